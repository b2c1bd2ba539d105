//! Normalisations. Statistics are f32 whatever the type of the input, as in torch's half-precision kernels.

use burn::tensor::{DType, Tensor};

use crate::activation::silu;

/// Normalises groups of neighbouring channels to mean zero and variance one, then scales and shifts each channel
/// (Wu and He, "Group Normalization", 2018). The variance is the biased one.
///
/// # Shapes
///
/// x `[batch, channels, height, width]`, weight and bias `[channels]`, channels a multiple of `groups` → as x
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<4> {
    let dtype = x.dtype();
    group_norm_f32(x, groups, weight, bias, eps).cast(dtype)
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
    let dtype = x.dtype();
    silu(group_norm_f32(x, groups, weight, bias, eps)).cast(dtype)
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
    // The mean of the means of channels: shorter sums, and so more exact ones, than a mean over the whole group.
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

/// Normalises the last dimension to mean zero and variance one, then scales and shifts (Ba et al., "Layer
/// Normalization", 2016). The variance is the biased one.
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
    let x = x.cast(DType::F32);
    let x = x.clone() - x.mean_dim(D - 1);
    let variance = x.clone().square().mean_dim(D - 1);
    let x = x * (variance + eps).sqrt().recip();
    let (weight, bias) = (weight.cast(DType::F32), bias.cast(DType::F32));
    (x * weight.unsqueeze() + bias.unsqueeze()).cast(dtype)
}
