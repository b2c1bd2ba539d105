//! Group norm, backward.
//!
//! With n the normalised number, z = n·weight + bias what SiLU is applied to, and h the gradient of
//! z, the gradient of x is (weight·h − mean of weight·h − n·mean of weight·h·n) / deviation, the means
//! being over the group. One pass sums h, h·n and n per channel, from which all means and all other
//! gradients follow; another computes h again, which costs less than keeping it.

mod rows;

use rows::{Apply, Place, Sums};

use super::CHUNK;
use super::group::{GroupNormParameters, GroupNormShape};
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::pool::{Shared, each, rows_in};
use crate::simd::run;

/// What [`group_norm_backward`] writes: nothing is added to what was there.
#[derive(Debug)]
pub struct GroupNormGradients<'a, T> {
    /// `[batch, pixels, channels]`.
    pub x: &'a mut [T],
    /// `[channels]`.
    pub weight: &'a mut [f32],
    /// `[channels]`.
    pub bias: &'a mut [f32],
    /// `[batch, channels]`, where there is a shift whose gradient is wanted.
    pub shift: Option<&'a mut [f32]>,
    /// Of scale and offset, `[batch, channels]` each, where there is a modulation.
    pub modulation: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// Per channel of a picture. Those that both passes read come first.
const LINES: usize = 7;
/// Per channel of a picture: the sums of h, h·n and n.
const SUMS: usize = 3;

/// The gradients of [`group_norm`](super::group_norm) at x: `[batch, pixels, channels]` for those of
/// its output, of the same shape. `stats`: `[batch, groups, 2]` is what the forward pass wrote.
///
/// # Panics
///
/// If a length does not fit the shape, or a gradient is asked for of what is not there.
pub fn group_norm_backward<T: Number>(
    cpu: Cpu,
    shape: GroupNormShape,
    x: &[T],
    parameters: &GroupNormParameters<'_>,
    stats: &[f32],
    grad_out: &[T],
    gradients: GroupNormGradients<'_, T>,
) {
    let GroupNormShape {
        batch,
        pixels,
        channels,
        groups,
        ..
    } = shape;
    shape.check(x.len(), parameters.shift);
    parameters.check(&shape);
    assert_eq!(
        stats.len(),
        batch * groups * 2,
        "stats are [batch, groups, 2]"
    );
    assert_eq!(
        grad_out.len(),
        x.len(),
        "grad_out is [batch, pixels, channels]"
    );
    assert_eq!(
        gradients.x.len(),
        x.len(),
        "x's gradient is [batch, pixels, channels]"
    );
    assert_eq!(
        gradients.weight.len(),
        channels,
        "the weight's gradient is [channels]"
    );
    assert_eq!(
        gradients.bias.len(),
        channels,
        "the bias's gradient is [channels]"
    );
    if let Some(shift) = &gradients.shift {
        assert!(parameters.shift.is_some(), "there is a shift");
        assert_eq!(
            shift.len(),
            batch * channels,
            "the shift's gradient is [batch, channels]"
        );
    }
    if let Some((scale, offset)) = &gradients.modulation {
        assert!(parameters.modulation.is_some(), "there is a modulation");
        let lengths = [scale.len(), offset.len()];
        assert_eq!(
            lengths,
            [batch * channels; 2],
            "the modulation's are [batch, channels]"
        );
    }

    let span = rows_in(CHUNK, channels);
    let chunks = pixels.div_ceil(span);
    let counts = [batch * LINES * channels, batch * chunks * SUMS * channels];
    let totals = batch * SUMS * channels;
    let [lines, parts] = counts.map(|n| n * size_of::<f32>());
    with_scratch(
        [lines, parts, totals * size_of::<f64>()],
        |[lines, parts, all]| {
            // SAFETY: the scratch memory is as large as this, and zeros are numbers.
            let (lines, parts, all) = unsafe {
                lines.write_bytes(0, counts[0] * size_of::<f32>());
                parts.write_bytes(0, counts[1] * size_of::<f32>());
                all.write_bytes(0, totals * size_of::<f64>());
                (
                    std::slice::from_raw_parts_mut(lines.cast::<f32>(), counts[0]),
                    std::slice::from_raw_parts_mut(parts.cast::<f32>(), counts[1]),
                    std::slice::from_raw_parts_mut(all.cast::<f64>(), totals),
                )
            };
            if !x.is_empty() {
                first_lines(&shape, parameters, stats, lines);
                let shared = Shared::new(parts);
                for_chunks(&shape, |job, item, at, rows| {
                    let (x, g) = (x[at..].as_ptr(), grad_out[at..].as_ptr());
                    let lines = lines[item * LINES * channels..].as_ptr();
                    // SAFETY: every job has its own part.
                    let sums = unsafe { shared.get().add(job * SUMS * channels) };
                    let place = Place {
                        x,
                        g,
                        rows,
                        channels,
                        lines,
                    };
                    match parameters.silu {
                        true => run(cpu, Sums::<T, true> { place, sums }),
                        false => run(cpu, Sums::<T, false> { place, sums }),
                    }
                });
                for (i, part) in parts.chunks_exact(SUMS * channels).enumerate() {
                    let all = &mut all[i / chunks * SUMS * channels..][..SUMS * channels];
                    for (all, part) in all.iter_mut().zip(part) {
                        *all += f64::from(*part);
                    }
                }
                last_lines(&shape, all, lines);
                let (lines, out) = (&*lines, Shared::new(gradients.x));
                for_chunks(&shape, |_, item, at, rows| {
                    let (x, g) = (x[at..].as_ptr(), grad_out[at..].as_ptr());
                    let lines = lines[item * LINES * channels..].as_ptr();
                    // SAFETY: as long as x; every job has its own rows.
                    let out = unsafe { out.get().add(at) };
                    let place = Place {
                        x,
                        g,
                        rows,
                        channels,
                        lines,
                    };
                    match parameters.silu {
                        true => run(cpu, Apply::<T, true> { place, out }),
                        false => run(cpu, Apply::<T, false> { place, out }),
                    }
                });
            }
            of_parameters(&shape, parameters, all, gradients.weight, gradients.bias);
            let each_sum = |item: usize, c: usize| {
                let at = item * SUMS * channels + c;
                [all[at], all[at + channels], all[at + 2 * channels]]
            };
            if let Some(shift) = gradients.shift {
                for (i, shift) in shift.iter_mut().enumerate() {
                    let (item, c) = (i / channels, i % channels);
                    let [h, _, n] = each_sum(item, c);
                    let line = |k: usize| f64::from(lines[(item * LINES + k) * channels + c]);
                    *shift = (line(4) * h + line(5) * n + line(6) * pixels as f64) as f32;
                }
            }
            if let Some((scale, offset)) = gradients.modulation {
                for (i, (scale, offset)) in scale.iter_mut().zip(offset).enumerate() {
                    let c = i % channels;
                    let [h, hn, _] = each_sum(i / channels, c);
                    let (weight, bias) = (parameters.weight[c], parameters.bias[c]);
                    *scale = (hn * f64::from(weight) + h * f64::from(bias)) as f32;
                    *offset = h as f32;
                }
            }
        },
    );
}

/// Runs `job` with its number, its picture, where its numbers begin and how many rows they are.
fn for_chunks(shape: &GroupNormShape, job: impl Fn(usize, usize, usize, usize) + Send + Sync) {
    let span = rows_in(CHUNK, shape.channels);
    let chunks = shape.pixels.div_ceil(span);
    each(shape.batch * chunks, |i| {
        let (item, first) = (i / chunks, i % chunks * span);
        let at = (item * shape.pixels + first) * shape.channels;
        job(i, item, at, span.min(shape.pixels - first));
    });
}

/// What makes n of x, and z of n.
fn first_lines(
    shape: &GroupNormShape,
    parameters: &GroupNormParameters<'_>,
    stats: &[f32],
    lines: &mut [f32],
) {
    let channels = shape.channels;
    let width = channels / shape.groups;
    for (item, lines) in lines.chunks_exact_mut(LINES * channels).enumerate() {
        for c in 0..channels {
            let at = (item * shape.groups + c / width) * 2;
            let shift = parameters.shift.map_or(0.0, |s| s[item * channels + c]);
            let (weight, bias) = parameters.affine(shape, item, c);
            let values = [stats[at] - shift, stats[at + 1], weight as f32, bias as f32];
            for (k, value) in values.into_iter().enumerate() {
                lines[k * channels + c] = value;
            }
        }
    }
}

/// What makes the gradient of x of h and n: factors of both and a term.
fn last_lines(shape: &GroupNormShape, all: &[f64], lines: &mut [f32]) {
    let channels = shape.channels;
    let width = channels / shape.groups;
    let share = 1.0 / (shape.pixels * width) as f64;
    let items = lines.chunks_exact_mut(LINES * channels);
    for (lines, sums) in items.zip(all.chunks_exact(SUMS * channels)) {
        for group in (0..channels).step_by(width) {
            let (mut mean, mut slope) = (0.0, 0.0);
            for c in group..group + width {
                let weight = f64::from(lines[2 * channels + c]);
                mean += weight * sums[c];
                slope += weight * sums[channels + c];
            }
            for c in group..group + width {
                let inverse = f64::from(lines[channels + c]);
                let weight = f64::from(lines[2 * channels + c]);
                lines[4 * channels + c] = (inverse * weight) as f32;
                lines[5 * channels + c] = (-inverse * slope * share) as f32;
                lines[6 * channels + c] = (-inverse * mean * share) as f32;
            }
        }
    }
}

fn of_parameters(
    shape: &GroupNormShape,
    parameters: &GroupNormParameters<'_>,
    all: &[f64],
    weights: &mut [f32],
    biases: &mut [f32],
) {
    let channels = shape.channels;
    for (c, (weight, bias)) in weights.iter_mut().zip(biases).enumerate() {
        let (mut h, mut hn) = (0.0, 0.0);
        for item in 0..shape.batch {
            let scale = parameters
                .modulation
                .map_or(0.0, |(s, _)| s[item * channels + c]);
            let at = item * SUMS * channels + c;
            h += (1.0 + f64::from(scale)) * all[at];
            hn += (1.0 + f64::from(scale)) * all[at + channels];
        }
        (*weight, *bias) = (hn as f32, h as f32);
    }
}
