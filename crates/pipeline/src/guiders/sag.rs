//! Self-attention guidance (Hong et al., 2210.00939).

use burn::tensor::{Int, Tensor, TensorData};
use latent_diffusion as diffusion;

use super::{Answers, Ask, Guider, Prompt};

/// Taps of the blur.
const TAPS: usize = 9;

/// Adds s·(e − e′): e′ is the answer to a latent whose x̂₀ is blurred where the network's middle looks, and noised again with
/// the same noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sag {
    /// s.
    pub scale: f64,
    /// The blur's standard deviation, in pixels of the latent.
    pub blur: f64,
    /// Whose answer e is: the negative prompt's, or without guidance the prompt's.
    pub prompt: Prompt,
}

impl Guider for Sag {
    fn asks(&self) -> Vec<Ask> {
        vec![Ask::of(self.prompt)]
    }

    fn watches(&self) -> bool {
        true
    }

    fn combine(
        &self,
        output: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        let ask = Ask::of(self.prompt);
        let answer = answers.get(&ask)?;
        // A network without attention in its middle was refused before.
        let Some(attended) = answer.attended else {
            return Ok(output);
        };
        let level = answers.level;
        let clean = level.clean(answer.output.clone());
        let [batch, channels, h, w] = clean.dims();
        let mask = nearest(attended.greater_elem(1.0).float(), [h, w]);
        let lost =
            (clean.clone() - blurred(clean, self.blur)) * mask.expand([batch, channels, h, w]);
        let alpha = level.path.alpha(level.at.sigma);
        let altered = answers.elsewhere(level.x.clone() - lost * alpha, ask)?;
        Ok(output + (answer.output - altered) * self.scale)
    }
}

/// Rows or columns of `x` by number.
fn select(x: Tensor<4>, dim: usize, places: impl Iterator<Item = usize>) -> Tensor<4> {
    let places: Vec<i64> = places.map(|place| place as i64).collect();
    let count = places.len();
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [count]), &x.device());
    x.select(dim, places)
}

/// Each pixel the nearest of `x`, counted from its corner: `[batch, c, h, w]` → `[batch, c, size]`.
fn nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    size.into_iter().enumerate().fold(x, |x, (axis, to)| {
        let from = x.dims()[2 + axis];
        select(x, 2 + axis, (0..to).map(|i| i * from / to))
    })
}

/// A Gaussian blur of nine taps whose borders are reflected without the edge itself.
fn blurred(x: Tensor<4>, sigma: f64) -> Tensor<4> {
    let middle = (TAPS / 2) as f64;
    let weight = |tap: usize| (-0.5 * ((tap as f64 - middle) / sigma).powi(2)).exp();
    let sum: f64 = (0..TAPS).map(weight).sum();
    [2, 3].into_iter().fold(x, |x, dim| {
        let last = x.dims()[dim] as i64 - 1;
        let reflect = |at: i64| match last {
            0 => 0,
            _ => {
                let at = at.rem_euclid(2 * last);
                at.min(2 * last - at) as usize
            }
        };
        let taps = (0..TAPS).map(|tap| {
            let by = tap as i64 - (TAPS / 2) as i64;
            select(x.clone(), dim, (0..=last).map(|i| reflect(i + by))) * (weight(tap) / sum)
        });
        let blurred = taps.reduce(|a, b| a + b);
        blurred.unwrap_or(x)
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn row(values: &[f32]) -> Tensor<4> {
        let data = TensorData::new(values.to_vec(), [1, 1, 1, values.len()]);
        Tensor::from_data(data, &Device::flex())
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_blur_keeps_what_is_even_and_spreads_a_point() {
        let even = values(blurred(row(&[2.0; 6]), 1.0));
        assert!(even.iter().all(|v| (v - 2.0).abs() < 1e-6), "{even:?}");
        let point = values(blurred(row(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]), 1.0));
        // The edge is not reflected: its own weight, 1/√(2π), once.
        assert!((point[0] - 0.398_943).abs() < 1e-4, "{point:?}");
        assert!((point[1] - 0.241_971).abs() < 1e-4, "{point:?}");
    }

    #[test]
    fn nearest_counts_from_the_corner() {
        let three = row(&[1.0, 2.0, 3.0]);
        assert_eq!(values(nearest(three, [1, 5])), [1.0, 1.0, 2.0, 2.0, 3.0]);
    }
}
