//! What the kinds of changes make of a weight.
//!
//! A weight W is seen as `[o, i, K]`: outputs, inputs, and the places of a kernel (1 of a matrix). Everything is f32, since a change
//! of low rank is small beside the weight, and half of it would be rounded away in f16. At a strength s other than 1 a change that
//! is not a sum is W + s (W′ − W), as A1111 and ComfyUI have it.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::file::Module;
use super::kind::Kind;
use super::rotation;
use crate::report::ModelError;

/// Numbers that are one thread's share of a weight.
const SHARE: usize = 1 << 16;

/// How a module is applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub kind: Kind,
    /// s.
    pub strength: f64,
    /// Alpha over rank, or what stands in its place.
    pub factor: f64,
    /// Only so many ranks of a plain LoRA are taken.
    pub ranks: Option<usize>,
    /// An alpha of 0 forbids an OFT any rotation, as kohya's trainer means it; in others it is no bound.
    pub zero_forbids: bool,
}

/// A matrix or a stack of matrices of these sides.
pub(super) fn tensor<const D: usize>(values: Vec<f32>, sides: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, sides), &Device::flex())
}

pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    // It is f32, as it was made.
    tensor.into_data().try_into_vec().unwrap_or_default()
}

/// Outputs, inputs and places of a kernel.
pub(super) fn sides(shape: &[usize]) -> [usize; 3] {
    let side = |axis| shape.get(axis).copied().unwrap_or(1);
    [side(0), side(1), shape.iter().skip(2).product()]
}

impl Module<'_> {
    /// A part as a matrix of `rows`.
    fn matrix(&self, part: &str, rows: usize) -> Result<Tensor<2>, ModelError> {
        let values = self.values(part)?;
        let columns = values.len() / rows.max(1);
        Ok(tensor(values, [rows, columns]))
    }

    /// Changes a weight of this shape, row-major. The parts have been found to fit it.
    ///
    /// # Errors
    /// Parts that cannot be read or are no numbers.
    pub fn change(
        &self,
        how: &Applied,
        shape: &[usize],
        weight: &mut [f32],
    ) -> Result<(), ModelError> {
        let s = how.strength as f32;
        match how.kind {
            Kind::Bias => {}
            Kind::Full | Kind::Norm => {
                let part = if how.kind == Kind::Full {
                    "diff"
                } else {
                    "w_norm"
                };
                add(weight, &self.values(part)?, s);
            }
            Kind::Scaling => self.rescale_by(shape, s, weight)?,
            Kind::Rotation | Kind::Butterfly | Kind::Rotated => {
                let turned = self.rotated(how, shape, weight)?;
                towards(weight, &turned, s);
            }
            _ => {
                let change = self.difference(how, shape, weight)?;
                match self.magnitudes(shape)? {
                    None => add(weight, &change, s * how.factor as f32),
                    Some((magnitudes, of_inputs)) => {
                        let mut both = weight.to_vec();
                        add(&mut both, &change, how.factor as f32);
                        renorm(&mut both, &magnitudes, shape, of_inputs);
                        towards(weight, &both, s);
                    }
                }
            }
        }
        Ok(())
    }

    /// Changes a bias.
    ///
    /// # Errors
    /// As [`change`](Self::change)'s.
    pub fn change_bias(&self, how: &Applied, bias: &mut [f32]) -> Result<(), ModelError> {
        let s = how.strength as f32;
        for (part, s) in [
            ("diff_b", s),
            ("b_norm", s),
            ("lora_bias", s * how.factor as f32),
        ] {
            if self.has(part) {
                add(bias, &self.values(part)?, s);
            }
        }
        Ok(())
    }

    /// The change, not yet multiplied by alpha over rank.
    fn difference(
        &self,
        how: &Applied,
        shape: &[usize],
        weight: &[f32],
    ) -> Result<Vec<f32>, ModelError> {
        let [o, i, k] = sides(shape);
        let rank = self.rank(how.kind).unwrap_or(1);
        let product = match how.kind {
            Kind::LowRank => {
                let (up, down) = (self.matrix("lora_up", o)?, self.matrix("lora_down", rank)?);
                let kept = how.ranks.unwrap_or(rank).min(rank);
                up.slice([0..o, 0..kept])
                    .matmul(down.slice([0..kept, 0..i * k]))
            }
            Kind::LowRankCore => {
                let up = self.matrix("lora_up", o)?.transpose();
                self.core("lora_mid", up, self.matrix("lora_down", rank)?, k)?
            }
            Kind::Hadamard => {
                let first = self
                    .matrix("hada_w1_a", o)?
                    .matmul(self.matrix("hada_w1_b", rank)?);
                first
                    * self
                        .matrix("hada_w2_a", o)?
                        .matmul(self.matrix("hada_w2_b", rank)?)
            }
            Kind::HadamardCore => {
                let half =
                    |core, a, b| self.core(core, self.matrix(a, rank)?, self.matrix(b, rank)?, k);
                half("hada_t1", "hada_w1_a", "hada_w1_b")?
                    * half("hada_t2", "hada_w2_a", "hada_w2_b")?
            }
            Kind::Generalised => self.generalised([o, i, k], rank, weight)?,
            _ => self.kronecker([o, i, k], rank)?,
        };
        Ok(numbers(product))
    }

    /// Σ over x and y of core `[x, y, K]` · a `[x, o]` · b `[y, i]`, as `[o, i·K]`.
    fn core(
        &self,
        core: &str,
        a: Tensor<2>,
        b: Tensor<2>,
        k: usize,
    ) -> Result<Tensor<2>, ModelError> {
        let ([x, o], [y, i]) = (a.dims(), b.dims());
        let core = self.matrix(core, x)?;
        let left = a.transpose().matmul(core).reshape([o, y, k]);
        let left = left.swap_dims(1, 2).reshape([o * k, y]);
        Ok(left
            .matmul(b)
            .reshape([o, k, i])
            .swap_dims(1, 2)
            .reshape([o, i * k]))
    }

    /// W·A + B with A and B of low rank.
    fn generalised(
        &self,
        [o, i, k]: [usize; 3],
        rank: usize,
        weight: &[f32],
    ) -> Result<Tensor<2>, ModelError> {
        let old = self.is_old_glora();
        let ([a, b], [c, d]) = match old {
            true => (["a2", "a1"], ["b2", "b1"]),
            false => (["a1", "a2"], ["b1", "b2"]),
        };
        let inner = self.matrix(a, i)?.matmul(self.matrix(b, rank)?);
        let w = tensor(weight.to_vec(), [o, i, k])
            .swap_dims(1, 2)
            .reshape([o * k, i]);
        let bent = w
            .matmul(inner)
            .reshape([o, k, i])
            .swap_dims(1, 2)
            .reshape([o, i * k]);
        Ok(bent + self.matrix(c, o)?.matmul(self.matrix(d, rank)?))
    }

    /// w1 `[a, c]` ⊗ w2 `[b, d, K]`, as `[a·b, c·d·K]`.
    fn kronecker(&self, [o, i, k]: [usize; 3], rank: usize) -> Result<Tensor<2>, ModelError> {
        let rows = |part| self.shape(part).first().copied().unwrap_or(1);
        let first = match self.has("lokr_w1") {
            true => self.matrix("lokr_w1", rows("lokr_w1"))?,
            false => {
                let (left, right) = ("lokr_w1_a", "lokr_w1_b");
                self.matrix(left, rows(left))?
                    .matmul(self.matrix(right, rows(right))?)
            }
        };
        let [a, c] = first.dims();
        let (b, d) = (o / a, i / c);
        let second = if self.has("lokr_t2") {
            self.core(
                "lokr_t2",
                self.matrix("lokr_w2_a", rank)?,
                self.matrix("lokr_w2_b", rank)?,
                k,
            )?
        } else if self.has("lokr_w2") {
            self.matrix("lokr_w2", b)?
        } else {
            self.matrix("lokr_w2_a", b)?
                .matmul(self.matrix("lokr_w2_b", rank)?)
        };
        let product = first.reshape([a, 1, c, 1]) * second.reshape([1, b, 1, d * k]);
        Ok(product.reshape([o, i * k]))
    }

    /// The magnitudes of a DoRA, and whether they are of the inputs: told by the shape, since LyCORIS wrote both.
    fn magnitudes(&self, shape: &[usize]) -> Result<Option<(Vec<f32>, bool)>, ModelError> {
        if self.has("magnitude") {
            return Ok(Some((self.values("magnitude")?, false)));
        }
        if !self.has("dora_scale") {
            return Ok(None);
        }
        let found = self.shape("dora_scale");
        let of_inputs = found.len() > 1 && found[0] == 1 && (shape[0] != 1 || found[1] != 1);
        Ok(Some((self.values("dora_scale")?, of_inputs)))
    }

    /// IA³.
    fn rescale_by(&self, shape: &[usize], s: f32, weight: &mut [f32]) -> Result<(), ModelError> {
        let [o, i, k] = sides(shape);
        let factors = self.values("weight")?;
        let of_inputs = self.number("on_input")?.unwrap_or(0.0) != 0.0;
        let wanted = if of_inputs { i } else { o };
        if factors.len() != wanted {
            return Err(self.file.wrong(format!(
                "`{}.weight` holds {} factors; of the {} of its module there are {wanted}",
                crate::error::shown(self.stem),
                factors.len(),
                if of_inputs { "inputs" } else { "outputs" }
            )));
        }
        for (row, values) in weight.chunks_mut((i * k).max(1)).enumerate() {
            for (column, values) in values.chunks_mut(k.max(1)).enumerate() {
                let factor = factors[if of_inputs { column } else { row }];
                values
                    .iter_mut()
                    .for_each(|value| *value += s * factor * *value);
            }
        }
        Ok(())
    }

    /// OFT, BOFT and the early form: W′ itself.
    fn rotated(
        &self,
        how: &Applied,
        shape: &[usize],
        weight: &[f32],
    ) -> Result<Vec<f32>, ModelError> {
        let [o, i, k] = sides(shape);
        let part = if how.kind == Kind::Rotated {
            "oft_diag"
        } else {
            "oft_blocks"
        };
        let found = self.shape(part);
        let side = found[found.len() - 1];
        let mut blocks = self.values(part)?;
        if how.kind != Kind::Rotated {
            let bound = self
                .number("alpha")?
                .filter(|alpha| *alpha > 0.0 || how.zero_forbids);
            rotation::of_skew(&mut blocks, side, bound.map(|alpha| alpha * o as f64));
        }
        let rest = i * k;
        let count = o / side;
        let turned = match how.kind {
            Kind::Butterfly => {
                let mut rows = tensor(weight.to_vec(), [o, rest]);
                for (step, factor) in blocks.chunks(count * side * side).enumerate() {
                    let half = (side << step) / 2;
                    let factor = tensor(factor.to_vec(), [count, side, side]);
                    // The rows that this factor mixes come together, and go back.
                    let together = rows
                        .reshape([o / (2 * half), 2, half, rest])
                        .swap_dims(1, 2);
                    let mixed = factor.matmul(together.reshape([count, side, rest]));
                    let back = mixed
                        .reshape([o / (2 * half), half, 2, rest])
                        .swap_dims(1, 2);
                    rows = back.reshape([o, rest]);
                }
                rows
            }
            _ => {
                let turn = tensor(blocks, [count, side, side]).swap_dims(1, 2);
                let rows = tensor(weight.to_vec(), [count, side, rest]);
                turn.matmul(rows).reshape([o, rest])
            }
        };
        let mut turned = numbers(turned);
        if self.has("rescale") {
            let factors = self.values("rescale")?;
            for (row, factor) in turned.chunks_mut(rest.max(1)).zip(factors) {
                row.iter_mut().for_each(|value| *value *= factor);
            }
        }
        Ok(turned)
    }
}

fn add(values: &mut [f32], change: &[f32], s: f32) {
    let share = |(values, change): (&mut [f32], &[f32])| {
        for (value, change) in values.iter_mut().zip(change) {
            *value += s * change;
        }
    };
    let changes = change.par_chunks(SHARE);
    values.par_chunks_mut(SHARE).zip(changes).for_each(share);
}

/// W + s (W′ − W).
fn towards(values: &mut [f32], changed: &[f32], s: f32) {
    for (value, changed) in values.iter_mut().zip(changed) {
        // The change itself at full strength, to the bit.
        *value = if s == 1.0 {
            *changed
        } else {
            *value + s * (changed - *value)
        };
    }
}

/// Gives each output (or input) of W the length in `magnitudes`. Source: DoRA (Liu et al. 2024), §4.
fn renorm(weight: &mut [f32], magnitudes: &[f32], shape: &[usize], of_inputs: bool) {
    let [o, i, k] = sides(shape);
    let index = |at: usize| if of_inputs { at / k % i } else { at / (i * k) };
    let mut squares = vec![0f64; if of_inputs { i } else { o }];
    for (at, value) in weight.iter().enumerate() {
        squares[index(at)] += f64::from(*value).powi(2);
    }
    let factors: Vec<f32> = squares
        .iter()
        .zip(magnitudes)
        .map(|(square, magnitude)| match *square > 0.0 {
            true => (f64::from(*magnitude) / square.sqrt()) as f32,
            false => 0.0,
        })
        .collect();
    for (at, value) in weight.iter_mut().enumerate() {
        *value *= factors[index(at)];
    }
}
