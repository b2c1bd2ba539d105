//! Mean and deviation of groups of channels.
//!
//! A sum of squares loses the digits of a deviation that is small beside the mean. So each channel's
//! first number in a chunk is taken off the others before they are squared, and chunks are combined
//! in f64 by their means and sums of squared deviations (Chan, Golub and LeVeque, "Updating Formulae
//! and a Pairwise Algorithm for Computing Sample Variances", 1979).

use super::group::GroupNormShape;
use super::{BLOCK, CHUNK};
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::pool::{Shared, each, rows_in};
use crate::simd::{Isa, Kernel, Simd, run};

/// Of some numbers: how many, their mean, the sum of their squared deviations from it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Moments {
    pub count: f64,
    pub mean: f64,
    pub squares: f64,
}

impl Moments {
    fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        if other.count > 0.0 {
            let apart = other.mean - self.mean;
            self.mean += apart * (other.count / count);
            self.squares += other.squares + apart * apart * (self.count * other.count / count);
        }
        self.count = count;
    }

    /// 1 / √(variance + eps).
    pub fn inverse_deviation(&self, eps: f32) -> f64 {
        1.0 / (self.squares / self.count + f64::from(eps)).sqrt()
    }
}

pub(super) fn stats(all: &[Moments], eps: f32, out: &mut [f32]) {
    assert_eq!(out.len(), all.len() * 2, "stats are [batch, groups, 2]");
    for (moments, out) in all.iter().zip(out.chunks_exact_mut(2)) {
        out[0] = moments.mean as f32;
        out[1] = moments.inverse_deviation(eps) as f32;
    }
}

/// The moments of x: `[batch, pixels, channels]`, with shift: `[batch, channels]` added to every pixel if there is one, into
/// `out`: `[batch, groups]`. Lengths are checked.
pub(super) fn moments<T: Number>(
    cpu: Cpu,
    shape: GroupNormShape,
    x: &[T],
    shift: Option<&[f32]>,
    out: &mut [Moments],
) {
    let GroupNormShape {
        batch,
        pixels,
        channels,
        groups,
        ..
    } = shape;
    let span = rows_in(CHUNK, channels);
    let chunks = pixels.div_ceil(span);
    let count = batch * chunks * groups;
    with_scratch([count * size_of::<Moments>()], |[parts]| {
        let parts = parts.cast::<Moments>();
        // SAFETY: the scratch memory is as large as this, and a `Moments` of zeros is one.
        let parts = unsafe {
            parts.write_bytes(0, count);
            std::slice::from_raw_parts_mut(parts, count)
        };
        let shared = Shared::new(parts);
        each(batch * chunks, |job| {
            let (item, first) = (job / chunks, job % chunks * span);
            let x = &x[(item * pixels + first) * channels..];
            let rows = span.min(pixels - first);
            let shift = shift.map(|s| &s[item * channels..][..channels]);
            // SAFETY: every job has its own `groups` of the parts.
            let out =
                unsafe { std::slice::from_raw_parts_mut(shared.get().add(job * groups), groups) };
            chunk(cpu, rows, channels, &x[..rows * channels], shift, out);
        });
        for (item, out) in out.chunks_exact_mut(groups).enumerate() {
            out.fill(Moments::default());
            for part in parts[item * chunks * groups..][..chunks * groups].chunks_exact(groups) {
                for (out, part) in out.iter_mut().zip(part) {
                    out.merge(part);
                }
            }
        }
    });
}

/// The moments of `rows` pixels, one entry of `out` per group.
fn chunk<T: Number>(
    cpu: Cpu,
    rows: usize,
    channels: usize,
    x: &[T],
    shift: Option<&[f32]>,
    out: &mut [Moments],
) {
    let bytes = channels * size_of::<f32>();
    with_scratch(
        [bytes, bytes, channels * size_of::<f64>()],
        |[sums, squares, means]| {
            let (sums, squares) = (sums.cast::<f32>(), squares.cast::<f32>());
            run(
                cpu,
                ChannelSums {
                    x: x.as_ptr(),
                    rows,
                    channels,
                    sums,
                    squares,
                },
            );
            // SAFETY: the kernel wrote every channel of the sums; the means are zeroed here.
            let (sums, squares, means) = unsafe {
                means.write_bytes(0, bytes * 2);
                (
                    std::slice::from_raw_parts(sums, channels),
                    std::slice::from_raw_parts(squares, channels),
                    std::slice::from_raw_parts_mut(means.cast::<f64>(), channels),
                )
            };
            let (n, width) = (rows as f64, channels / out.len());
            let share = 1.0 / n;
            for ((mean, first), sum) in means.iter_mut().zip(x).zip(sums) {
                *mean = f64::from(first.to_f32()) + f64::from(*sum) * share;
            }
            if let Some(shift) = shift {
                for (mean, shift) in means.iter_mut().zip(shift) {
                    *mean += f64::from(*shift);
                }
            }
            for (g, out) in out.iter_mut().enumerate() {
                let (mut mean, mut inside, mut between) = (0.0, 0.0, 0.0);
                let group = g * width..(g + 1) * width;
                for m in &means[group.clone()] {
                    mean += m;
                }
                mean /= width as f64;
                for c in group {
                    let (sum, apart) = (f64::from(sums[c]), means[c] - mean);
                    inside += f64::from(squares[c]) - sum * sum * share;
                    between += apart * apart;
                }
                // Rounding can leave a little less than nothing (but NaN must stay).
                let squares = inside + n * between;
                *out = Moments {
                    count: n * width as f64,
                    mean,
                    squares: if squares < 0.0 { 0.0 } else { squares },
                };
            }
        },
    );
}

/// Per channel, over all rows: Σ d and Σ d² for d = x − the first row's.
struct ChannelSums<T> {
    x: *const T,
    rows: usize,
    channels: usize,
    sums: *mut f32,
    squares: *mut f32,
}

impl<T: Number> ChannelSums<T> {
    #[allow(clippy::needless_range_loop)] // Zipped, the three arrays would read worse.
    /// Adds `rows` from `first` on to `A` · `B` vectors of channels from `c` on.
    #[inline(always)]
    unsafe fn wide<I: Isa, const A: usize, const B: usize>(
        &self,
        first: usize,
        rows: usize,
        c: usize,
    ) {
        let zero = I::splat(0.0);
        let (mut base, mut s, mut q) = ([[zero; B]; A], [[zero; B]; A], [[zero; B]; A]);
        for a in 0..A {
            for b in 0..B {
                base[a][b] = T::get::<I>(self.x.add(c + (a * B + b) * I::LANES));
            }
        }
        let mut x = self.x.add(first * self.channels + c);
        for _ in 0..rows {
            for a in 0..A {
                for b in 0..B {
                    let d = I::sub(T::get::<I>(x.add((a * B + b) * I::LANES)), base[a][b]);
                    s[a][b] = I::add(s[a][b], d);
                    q[a][b] = I::fma(d, d, q[a][b]);
                }
            }
            x = x.add(self.channels);
        }
        for a in 0..A {
            for b in 0..B {
                let at = c + (a * B + b) * I::LANES;
                let (sums, squares) = (self.sums.add(at), self.squares.add(at));
                if first > 0 {
                    s[a][b] = I::add(s[a][b], I::load(sums));
                    q[a][b] = I::add(q[a][b], I::load(squares));
                }
                I::store(sums, s[a][b]);
                I::store(squares, q[a][b]);
            }
        }
    }

    /// The same for the last `n` channels, fewer than a vector.
    #[inline(always)]
    unsafe fn part<I: Isa>(&self, first: usize, rows: usize, c: usize, n: usize) {
        let base = T::get_part::<I>(self.x.add(c), n);
        let (mut s, mut q) = (I::splat(0.0), I::splat(0.0));
        for row in first..first + rows {
            let d = I::sub(
                T::get_part::<I>(self.x.add(row * self.channels + c), n),
                base,
            );
            s = I::add(s, d);
            q = I::fma(d, d, q);
        }
        let (sums, squares) = (self.sums.add(c), self.squares.add(c));
        if first > 0 {
            s = I::add(s, I::load_part(sums, n));
            q = I::add(q, I::load_part(squares, n));
        }
        I::store_part(sums, s, n);
        I::store_part(squares, q, n);
    }
}

impl<T: Number> Kernel for ChannelSums<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        for first in (0..self.rows).step_by(BLOCK) {
            let rows = BLOCK.min(self.rows - first);
            let mut c = 0;
            while c + 2 * NV * I::LANES <= self.channels {
                self.wide::<I, 2, NV>(first, rows, c);
                c += 2 * NV * I::LANES;
            }
            while c + NV * I::LANES <= self.channels {
                self.wide::<I, 1, NV>(first, rows, c);
                c += NV * I::LANES;
            }
            while c + I::LANES <= self.channels {
                self.wide::<I, 1, 1>(first, rows, c);
                c += I::LANES;
            }
            if c < self.channels {
                self.part::<I>(first, rows, c, self.channels - c);
            }
        }
    }
}
