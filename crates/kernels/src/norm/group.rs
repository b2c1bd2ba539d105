//! Group norm, forward.

use super::CHUNK;
use super::moments::{Moments, moments, stats as write_stats};
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::pool::{Shared, each, rows_in};
use crate::simd::{self, Isa, Kernel, Simd, run};

/// What is normalised over what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormShape {
    /// Pictures.
    pub batch: usize,
    /// Pixels of each.
    pub pixels: usize,
    /// Channels, side by side in memory; a multiple of the groups.
    pub channels: usize,
    /// Groups of neighbouring channels that share a mean and a deviation.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl GroupNormShape {
    /// How many numbers a picture holds.
    pub(super) fn item(&self) -> usize {
        self.pixels * self.channels
    }

    pub(super) fn check(&self, x: usize, shift: Option<&[f32]>) {
        assert!(
            self.groups > 0 && self.channels.is_multiple_of(self.groups),
            "{} channels in {} groups",
            self.channels,
            self.groups
        );
        assert_eq!(
            x,
            self.batch * self.item(),
            "x is [batch, pixels, channels]"
        );
        if let Some(shift) = shift {
            assert_eq!(
                shift.len(),
                self.batch * self.channels,
                "shift is [batch, channels]"
            );
        }
    }
}

/// What is done besides normalising: f(((x + shift − mean) / deviation · weight + bias)
/// · (1 + scale) + offset), f being SiLU or nothing.
#[derive(Debug, Clone, Copy)]
pub struct GroupNormParameters<'a> {
    /// `[channels]`.
    pub weight: &'a [f32],
    /// `[channels]`.
    pub bias: &'a [f32],
    /// `[batch, channels]`, added before the statistics are taken: a U-Net's embedding of the time.
    pub shift: Option<&'a [f32]>,
    /// Scale and offset after the norm, `[batch, channels]` each.
    pub modulation: Option<(&'a [f32], &'a [f32])>,
    /// Whether SiLU follows.
    pub silu: bool,
}

impl GroupNormParameters<'_> {
    pub(super) fn check(&self, shape: &GroupNormShape) {
        assert_eq!(self.weight.len(), shape.channels, "weight is [channels]");
        assert_eq!(self.bias.len(), shape.channels, "bias is [channels]");
        if let Some((scale, offset)) = self.modulation {
            let all = shape.batch * shape.channels;
            assert_eq!(
                scale.len(),
                all,
                "the modulation's scale is [batch, channels]"
            );
            assert_eq!(
                offset.len(),
                all,
                "the modulation's offset is [batch, channels]"
            );
        }
    }

    /// What a channel of a picture is multiplied by after the norm, and what is then added.
    pub(super) fn affine(&self, shape: &GroupNormShape, item: usize, c: usize) -> (f64, f64) {
        let (weight, bias) = (f64::from(self.weight[c]), f64::from(self.bias[c]));
        match self.modulation {
            None => (weight, bias),
            Some((scale, offset)) => {
                let at = item * shape.channels + c;
                let scale = 1.0 + f64::from(scale[at]);
                (weight * scale, bias * scale + f64::from(offset[at]))
            }
        }
    }
}

/// Group norm of x: `[batch, pixels, channels]` → out, of the same shape. Means and deviations go to
/// `stats`: `[batch, groups, 2]`, the mean and 1 / √(variance + eps), which
/// [`group_norm_backward`](super::group_norm_backward) needs.
///
/// # Panics
///
/// If a length does not fit the shape.
pub fn group_norm<T: Number>(
    cpu: Cpu,
    shape: GroupNormShape,
    x: &[T],
    parameters: &GroupNormParameters<'_>,
    out: &mut [T],
    stats: Option<&mut [f32]>,
) {
    shape.check(x.len(), parameters.shift);
    parameters.check(&shape);
    assert_eq!(out.len(), x.len(), "out is [batch, pixels, channels]");
    let count = shape.batch * shape.groups;
    with_scratch([count * size_of::<Moments>()], |[all]| {
        let all = all.cast::<Moments>();
        // SAFETY: the scratch memory is as large as this, and a `Moments` of zeros is one.
        let all = unsafe {
            all.write_bytes(0, count);
            std::slice::from_raw_parts_mut(all, count)
        };
        moments(cpu, shape, x, parameters.shift, all);
        if let Some(stats) = stats {
            write_stats(all, shape.eps, stats);
        }
        apply(cpu, shape, x, parameters, all, out);
    });
}

fn apply<T: Number>(
    cpu: Cpu,
    shape: GroupNormShape,
    x: &[T],
    parameters: &GroupNormParameters<'_>,
    all: &[Moments],
    out: &mut [T],
) {
    let GroupNormShape {
        batch,
        pixels,
        channels,
        groups,
        eps,
    } = shape;
    if x.is_empty() {
        return;
    }
    let width = channels / groups;
    let span = rows_in(CHUNK, channels);
    let chunks = pixels.div_ceil(span);
    let count = batch * 3 * channels;
    with_scratch([count * size_of::<f32>()], |[lines]| {
        let lines = lines.cast::<f32>();
        // SAFETY: the scratch memory is as large as this.
        let lines = unsafe {
            lines.write_bytes(0, count);
            std::slice::from_raw_parts_mut(lines, count)
        };
        for (item, lines) in lines.chunks_exact_mut(3 * channels).enumerate() {
            let (centres, rest) = lines.split_at_mut(channels);
            let (factors, terms) = rest.split_at_mut(channels);
            for (g, moments) in all[item * groups..][..groups].iter().enumerate() {
                let inverse = moments.inverse_deviation(eps);
                for c in g * width..(g + 1) * width {
                    let (weight, bias) = parameters.affine(&shape, item, c);
                    let shift = parameters
                        .shift
                        .map_or(0.0, |s| s[item * channels + c].into());
                    // x less a mean near it is exact. What the mean loses by being an f32 is added
                    // afterwards.
                    let (centre, factor) = (moments.mean - shift, weight * inverse);
                    centres[c] = centre as f32;
                    factors[c] = factor as f32;
                    terms[c] = (bias + (f64::from(centres[c]) - centre) * factor) as f32;
                }
            }
        }
        let (lines, out) = (&*lines, Shared::new(out));
        each(batch * chunks, |job| {
            let (item, first) = (job / chunks, job % chunks * span);
            let rows = span.min(pixels - first);
            let at = (item * pixels + first) * channels;
            let x = x[at..at + rows * channels].as_ptr();
            let lines = lines[item * 3 * channels..][..3 * channels].as_ptr();
            // SAFETY: as long as x; every job has its own rows.
            let out = unsafe { out.get().add(at) };
            match parameters.silu {
                true => run(
                    cpu,
                    Apply::<T, true> {
                        x,
                        out,
                        rows,
                        channels,
                        lines,
                    },
                ),
                false => run(
                    cpu,
                    Apply::<T, false> {
                        x,
                        out,
                        rows,
                        channels,
                        lines,
                    },
                ),
            }
        });
    });
}

/// (x − centre)·factor + term, whose lines lie behind each other, and SiLU.
struct Apply<T, const SILU: bool> {
    x: *const T,
    out: *mut T,
    rows: usize,
    channels: usize,
    lines: *const f32,
}

impl<T: Number, const SILU: bool> Apply<T, SILU> {
    #[inline(always)]
    unsafe fn at<I: Isa>(x: I::F, [centre, factor, term]: [I::F; 3]) -> I::F {
        let y = I::fma(I::sub(x, centre), factor, term);
        match SILU {
            true => simd::silu::<I>(y),
            false => y,
        }
    }

    /// `R` rows at once, so that the lines are loaded once for all of them.
    #[inline(always)]
    unsafe fn rows<I: Isa, const R: usize>(&self, first: usize) {
        let channels = self.channels;
        let (x, out) = (self.x.add(first * channels), self.out.add(first * channels));
        let mut c = 0;
        while c + I::LANES <= channels {
            let lines = [
                I::load(self.lines.add(c)),
                I::load(self.lines.add(channels + c)),
                I::load(self.lines.add(2 * channels + c)),
            ];
            for r in 0..R {
                let y = Self::at::<I>(T::get::<I>(x.add(r * channels + c)), lines);
                T::put::<I>(out.add(r * channels + c), y);
            }
            c += I::LANES;
        }
        let n = channels - c;
        if n > 0 {
            let lines = [
                I::load_part(self.lines.add(c), n),
                I::load_part(self.lines.add(channels + c), n),
                I::load_part(self.lines.add(2 * channels + c), n),
            ];
            for r in 0..R {
                let y = Self::at::<I>(T::get_part::<I>(x.add(r * channels + c), n), lines);
                T::put_part::<I>(out.add(r * channels + c), y, n);
            }
        }
    }
}

impl<T: Number, const SILU: bool> Kernel for Apply<T, SILU> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let mut row = 0;
        while row + 4 <= self.rows {
            self.rows::<I, 4>(row);
            row += 4;
        }
        for row in row..self.rows {
            self.rows::<I, 1>(row);
        }
    }
}
