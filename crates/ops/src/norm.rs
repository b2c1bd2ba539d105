//! Normalisations. Statistics are f32 whatever the type of the input, as in torch's half-precision
//! kernels.

use burn::tensor::{DType, Tensor};

use crate::activation;
use crate::cpu::{self, input};
use crate::is_cpu;

/// Normalises groups of neighbouring channels to mean zero and variance one, then scales and shifts
/// each channel (Wu and He, "Group Normalization", 2018). The variance is the biased one.
///
/// # Shapes
///
/// x `[batch, channels, height, width]`, weight and bias `[channels]`, channels a multiple of
/// `groups` → as x
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    let after = After {
        modulation: None,
        silu: false,
    };
    normalise(x, None, groups, [weight, bias], eps, after)
}

/// [`group_norm`], then SiLU, before returning to the type of the input.
///
/// # Shapes
///
/// As [`group_norm`].
pub fn group_norm_silu(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    normalise(x, None, groups, [weight, bias], eps, After::SILU)
}

/// [`group_norm_silu`] of x + shift.
///
/// # Shapes
///
/// As [`group_norm`]; shift `[batch, channels]`.
pub fn group_norm_silu_shifted(
    x: Tensor<4>,
    shift: Tensor<2>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    normalise(x, Some(shift), groups, [weight, bias], eps, After::SILU)
}

/// [`group_norm`] times 1 + scale, plus offset, then SiLU (Dhariwal and Nichol, arXiv 2105.05233, section 3: "adaptive
/// group normalization"), before returning to the type of the input.
///
/// # Shapes
///
/// As [`group_norm`]; scale and offset `[batch, channels]`.
pub fn group_norm_silu_modulated(
    x: Tensor<4>,
    [scale, offset]: [Tensor<2>; 2],
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    let after = After {
        modulation: Some([scale, offset]),
        silu: true,
    };
    normalise(x, None, groups, [weight, bias], eps, after)
}

/// What follows the norm.
struct After {
    /// Scale, beside 1, and offset: `[batch, channels]` each.
    modulation: Option<[Tensor<2>; 2]>,
    silu: bool,
}

impl After {
    const SILU: Self = Self {
        modulation: None,
        silu: true,
    };
}

/// By the kernel, or as a composition.
fn normalise(
    x: Tensor<4>,
    shift: Option<Tensor<2>>,
    groups: usize,
    [weight, bias]: [Tensor<1>; 2],
    eps: f64,
    After { modulation, silu }: After,
) -> Tensor<4> {
    let dtype = x.dtype();
    if is_cpu(&x.device()) {
        let norm = cpu::GroupNorm { groups, eps, silu };
        let [scale, offset] = match modulation {
            Some([scale, offset]) => [input(scale, dtype), input(offset, dtype)],
            None => [None, None],
        };
        let shift = shift.and_then(|shift| input(shift, dtype));
        let inputs = [
            input(x, dtype),
            input(weight, dtype),
            input(bias, dtype),
            shift,
            scale,
            offset,
        ];
        return cpu::run(norm, inputs).cast(dtype);
    }
    let of_picture = |each: Tensor<2>| {
        let [batch, channels] = each.dims();
        each.reshape([batch, channels, 1, 1])
    };
    let x = match shift {
        Some(shift) => x + of_picture(shift),
        None => x,
    };
    let x = group_norm_f32(x, groups, weight, bias, eps);
    let x = match modulation {
        Some(both) => {
            let [scale, offset] = both.map(|each| of_picture(each.cast(DType::F32)));
            x * (scale + 1.0) + offset
        }
        None => x,
    };
    let x = if silu { activation::silu(x) } else { x };
    x.cast(dtype)
}

fn group_norm_f32(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let per_group = channels / groups;
    // The mean of the means of channels: shorter sums, and so more exact ones, than a mean over the
    // whole group.
    let mean = |t: Tensor<4>| t.mean_dim(3).mean_dim(2);
    let x = x
        .cast(DType::F32)
        .reshape([batch, groups, per_group, height * width]);
    let centre = mean(x.clone());
    let variance = mean((x.clone() - centre.clone()).square());
    let factor = (variance + eps).sqrt().recip();
    // (x − centre)·factor·weight + bias, as one product and one sum over the picture.
    let weight = weight.cast(DType::F32).reshape([1, groups, per_group, 1]);
    let bias = bias.cast(DType::F32).reshape([1, groups, per_group, 1]);
    let scale = factor * weight;
    let shift = bias - centre * scale.clone();
    (x * scale + shift).reshape([batch, channels, height, width])
}

/// Normalises the last dimension to mean zero and variance one, then scales and shifts (Ba et al.,
/// "Layer Normalization", 2016). The variance is the biased one.
///
/// # Shapes
///
/// x `[…, width]`, weight and bias `[width]` → as x
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let dtype = x.dtype();
    if is_cpu(&x.device()) {
        let norm = cpu::LayerNorm {
            eps,
            modulates: false,
        };
        let inputs = [input(x, dtype), input(weight, dtype), input(bias, dtype)];
        return cpu::run(norm, inputs).cast(dtype);
    }
    let (weight, bias) = (weight.cast(DType::F32), bias.cast(DType::F32));
    (standardised(x, eps) * weight.unsqueeze() + bias.unsqueeze()).cast(dtype)
}

/// The last dimension of mean zero and variance one, in f32.
fn standardised<const D: usize>(x: Tensor<D>, eps: f64) -> Tensor<D> {
    let x = x.cast(DType::F32);
    let x = x.clone() - x.mean_dim(D - 1);
    let variance = x.clone().square().mean_dim(D - 1);
    x * (variance + eps).sqrt().recip()
}

/// Layer norm without weights, times 1 + scale, plus shift, for each item of the batch (Peebles and Xie, arXiv 2212.09748,
/// section 3.2: "adaptive layer norm").
///
/// # Shapes
///
/// x `[batch, tokens, width]`, scale and shift `[batch, width]` → as x
pub fn layer_norm_modulated(x: Tensor<3>, [scale, shift]: [Tensor<2>; 2], eps: f64) -> Tensor<3> {
    let dtype = x.dtype();
    if is_cpu(&x.device()) {
        let norm = cpu::LayerNorm {
            eps,
            modulates: true,
        };
        let inputs = [input(x, dtype), input(scale, dtype), input(shift, dtype)];
        return cpu::run(norm, inputs).cast(dtype);
    }
    let [scale, shift] = [scale, shift].map(|each| each.cast(DType::F32).unsqueeze_dim::<3>(1));
    (standardised(x, eps) * (scale + 1.0) + shift).cast(dtype)
}

/// The last dimension over the root of its mean square, times a weight (Zhang and Sennrich, arXiv 1910.07467).
///
/// # Shapes
///
/// x `[…, width]`, weight `[width]` → as x
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let factor = (x.clone().square().mean_dim(D - 1) + eps).sqrt().recip();
    (x * factor * weight.cast(DType::F32).unsqueeze()).cast(dtype)
}

/// x + gate·y, a gate for each item of the batch.
///
/// # Shapes
///
/// x and y `[batch, tokens, width]`, gate `[batch, width]` → as x
pub fn gated_add(x: Tensor<3>, gate: Tensor<2>, y: Tensor<3>) -> Tensor<3> {
    let dtype = x.dtype();
    if is_cpu(&x.device()) {
        let inputs = [input(x, dtype), input(gate, dtype), input(y, dtype)];
        return cpu::run(cpu::GatedAdd, inputs).cast(dtype);
    }
    x + gate.unsqueeze_dim::<3>(1) * y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_close, normal, numbers};
    use proptest::prelude::*;

    fn normalise(values: &[f64], eps: f64) -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        values
            .iter()
            .map(|v| (v - mean) / (variance + eps).sqrt())
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn group_norm_equals_its_twin(
            batch in 1usize..3, groups in 1usize..5, per in 1usize..5, h in 1usize..9, w in 2usize..9,
        ) {
            let channels = groups * per;
            let x = numbers("x", batch * channels * h * w);
            let (weight, bias) = (numbers("weight", channels), numbers("bias", channels));
            let mut want = Vec::new();
            for group in x.chunks(per * h * w) {
                want.extend(normalise(group, 1e-5));
            }
            for (i, plane) in want.chunks_mut(h * w).enumerate() {
                plane.iter_mut().for_each(|v| *v = *v * weight[i % channels] + bias[i % channels]);
            }
            let shape = [batch, channels, h, w];
            let (weight, bias) = (normal("weight", [channels]), normal("bias", [channels]));
            let plain = group_norm(normal("x", shape), groups, weight.clone(), bias.clone(), 1e-5);
            assert_close(plain, shape, &want);
            let silu = |v: &f64| v / (1.0 + (-v).exp());
            let activated: Vec<f64> = want.iter().map(silu).collect();
            let got = group_norm_silu(normal("x", shape), groups, weight.clone(), bias.clone(), 1e-5);
            assert_close(got, shape, &activated);
            let each = batch * channels;
            let (scale, offset) = (numbers("scale", each), numbers("offset", each));
            for (i, plane) in want.chunks_mut(h * w).enumerate() {
                plane.iter_mut().for_each(|v| *v = silu(&(*v * (1.0 + scale[i]) + offset[i])));
            }
            let by = ["scale", "offset"].map(|name| normal(name, [batch, channels]));
            let got = group_norm_silu_modulated(normal("x", shape), by, groups, weight, bias, 1e-5);
            assert_close(got, shape, &want);
        }

        #[test]
        fn what_modulates_equals_its_twin(batch in 1usize..4, rows in 1usize..9, width in 2usize..90) {
            let shape = [batch, rows, width];
            let of = |name| normal(name, [batch, width]);
            let (scale, shift) = (numbers("scale", batch * width), numbers("shift", batch * width));
            let x = numbers("x", batch * rows * width);
            let at = |i: usize| i / (rows * width) * width + i % width;
            let want: Vec<f64> = x.chunks(width).flat_map(|row| normalise(row, 1e-5)).collect();
            let want = want.iter().enumerate();
            let want: Vec<f64> = want.map(|(i, v)| v * (1.0 + scale[at(i)]) + shift[at(i)]).collect();
            let found = layer_norm_modulated(normal("x", shape), [of("scale"), of("shift")], 1e-5);
            assert_close(found, shape, &want);
            let y = numbers("y", batch * rows * width);
            let want: Vec<f64> = (0..y.len()).map(|i| x[i] + scale[at(i)] * y[i]).collect();
            assert_close(gated_add(normal("x", shape), of("scale"), normal("y", shape)), shape, &want);
            let weight = numbers("weight", width);
            let want = x.chunks(width).flat_map(|row| {
                let square = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
                let factor = 1.0 / (square + 1e-6).sqrt();
                row.iter().zip(&weight).map(|(v, w)| v * factor * w).collect::<Vec<_>>()
            });
            let want: Vec<f64> = want.collect();
            assert_close(rms_norm(normal("x", shape), normal("weight", [width]), 1e-6), shape, &want);
        }

        #[test]
        fn layer_norm_equals_its_twin(rows in 1usize..9, width in 2usize..90) {
            let (weight, bias) = (numbers("weight", width), numbers("bias", width));
            let mut want = Vec::new();
            for row in numbers("x", rows * width).chunks(width) {
                let row = normalise(row, 1e-5);
                want.extend(row.iter().zip(weight.iter().zip(&bias)).map(|(v, (w, b))| v * w + b));
            }
            let (weight, bias) = (normal("weight", [width]), normal("bias", [width]));
            let y = layer_norm(normal("x", [1, rows, width]), weight, bias, 1e-5);
            assert_close(y, [1, rows, width], &want);
        }
    }

    #[test]
    fn a_large_picture_far_from_zero_keeps_its_digits() {
        // One group of a 512-pixel decoder, with a mean twenty times its deviation.
        let shape = [1, 4, 512, 512];
        let x = normal("x", shape) + 20.0;
        let moved: Vec<f32> = x.clone().into_data().try_into_vec().unwrap();
        let want = normalise(&moved.into_iter().map(f64::from).collect::<Vec<_>>(), 1e-6);
        let device = x.device();
        let y = group_norm(
            x,
            1,
            Tensor::ones([4], &device),
            Tensor::zeros([4], &device),
            1e-6,
        );
        let y: Vec<f32> = y.into_data().try_into_vec().unwrap();
        let want: Vec<f32> = want.into_iter().map(|v| v as f32).collect();
        let error = latent_testkit::closeness(&y, &want);
        assert!(error < 5e-6, "{error:.2e}");
    }

    #[test]
    fn half_precision_keeps_its_type() {
        let x = normal("x", [1, 4, 3, 3]).cast(DType::F16);
        let one = normal("weight", [4]).cast(DType::F16);
        let y = group_norm_silu(x, 2, one.clone(), one, 1e-5);
        assert_eq!(y.dtype(), DType::F16);
    }
}
