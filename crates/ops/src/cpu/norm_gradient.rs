//! Gradients of normalisations, until the kernels have them.
//!
//! With n = (x − mean)·r, r = 1 / deviation, and g the gradient of n, the gradient of x is
//! r·(g − mean of g − n·mean of g·n), means being over what was normalised together.

use latent_kernels::{GroupNormParameters, GroupNormShape, LayerNormShape};

/// The gradients of x `[batch, pixels, channels]`, weight, bias `[channels]` and shift
/// `[batch, channels]`. `stats` `[batch, groups, 2]` is the forward pass's.
pub(super) fn group_norm_gradient(
    shape: GroupNormShape,
    x: &[f32],
    gradient: &[f32],
    parameters: &GroupNormParameters<'_>,
    stats: &[f32],
) -> [Vec<f32>; 4] {
    let GroupNormShape {
        batch,
        pixels,
        channels,
        groups,
        ..
    } = shape;
    let per_group = channels / groups.max(1);
    let mut of_x = vec![0f32; x.len()];
    let mut of_weight = vec![0f64; channels];
    let mut of_bias = vec![0f64; channels];
    let mut of_shift = vec![0f64; batch * channels];
    for b in 0..batch {
        let item = b * pixels * channels..(b + 1) * pixels * channels;
        let (x, gradient) = (&x[item.clone()], &gradient[item.clone()]);
        let of_x = &mut of_x[item];
        // n = x·factor + offset of each channel.
        let (mut factor, mut offset) = (vec![0f32; channels], vec![0f32; channels]);
        for c in 0..channels {
            let at = 2 * (b * groups + c / per_group);
            let shift = parameters
                .shift
                .map_or(0.0, |shift| shift[b * channels + c]);
            factor[c] = stats[at + 1];
            offset[c] = (shift - stats[at]) * stats[at + 1];
        }
        // The gradient of n·weight + bias, and its sums over the pixels, alone and times n.
        let inner = |n: f32, gradient: f32, c: usize| {
            if !parameters.silu {
                return gradient;
            }
            let z = n * parameters.weight[c] + parameters.bias[c];
            let sigmoid = 1.0 / (1.0 + (-z).exp());
            gradient * sigmoid * (1.0 + z * (1.0 - sigmoid))
        };
        let (mut sums, mut products) = (vec![0f64; channels], vec![0f64; channels]);
        for (row, gradient) in x
            .chunks_exact(channels)
            .zip(gradient.chunks_exact(channels))
        {
            for c in 0..channels {
                let n = row[c] * factor[c] + offset[c];
                let inner = inner(n, gradient[c], c);
                sums[c] += f64::from(inner);
                products[c] += f64::from(inner * n);
            }
        }
        let (mut mean, mut slope) = (vec![0f64; channels], vec![0f64; channels]);
        let count = (pixels * per_group) as f64;
        for first in (0..channels).step_by(per_group.max(1)) {
            let group = first..first + per_group;
            let weighted = |sums: &[f64]| -> f64 {
                let terms = group
                    .clone()
                    .map(|c| sums[c] * f64::from(parameters.weight[c]));
                terms.sum::<f64>() / count
            };
            mean[group.clone()].fill(weighted(&sums));
            slope[group.clone()].fill(weighted(&products));
        }
        let rows = x
            .chunks_exact(channels)
            .zip(gradient.chunks_exact(channels));
        for ((row, gradient), out) in rows.zip(of_x.chunks_exact_mut(channels)) {
            for c in 0..channels {
                let n = row[c] * factor[c] + offset[c];
                let g = inner(n, gradient[c], c) * parameters.weight[c];
                out[c] = factor[c] * (g - mean[c] as f32 - n * slope[c] as f32);
                of_shift[b * channels + c] += f64::from(out[c]);
            }
        }
        for c in 0..channels {
            of_weight[c] += products[c];
            of_bias[c] += sums[c];
        }
    }
    let [of_weight, of_bias, of_shift] = [of_weight, of_bias, of_shift].map(narrow);
    [of_x, of_weight, of_bias, of_shift]
}

/// The gradients of x `[rows, width]`, weight and bias `[width]`. `stats` `[rows, 2]` is the forward
/// pass's.
pub(super) fn layer_norm_gradient(
    shape: LayerNormShape,
    x: &[f32],
    gradient: &[f32],
    weight: &[f32],
    stats: &[f32],
) -> [Vec<f32>; 3] {
    let width = shape.width.max(1);
    let mut of_x = vec![0f32; x.len()];
    let mut of_weight = vec![0f64; width];
    let mut of_bias = vec![0f64; width];
    let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
    let outs = of_x.chunks_exact_mut(width).zip(stats.chunks_exact(2));
    for ((x, gradient), (out, stats)) in rows.zip(outs) {
        let (mut mean, mut slope) = (0f64, 0f64);
        for i in 0..width {
            let n = (x[i] - stats[0]) * stats[1];
            let g = gradient[i] * weight[i];
            mean += f64::from(g);
            slope += f64::from(g * n);
            of_weight[i] += f64::from(gradient[i] * n);
            of_bias[i] += f64::from(gradient[i]);
        }
        let (mean, slope) = (mean / width as f64, slope / width as f64);
        for i in 0..width {
            let n = (x[i] - stats[0]) * stats[1];
            let g = gradient[i] * weight[i];
            out[i] = stats[1] * (g - mean as f32 - n * slope as f32);
        }
    }
    let [of_weight, of_bias] = [of_weight, of_bias].map(narrow);
    [of_x, of_weight, of_bias]
}

fn narrow(sums: Vec<f64>) -> Vec<f32> {
    sums.into_iter().map(|sum| sum as f32).collect()
}
