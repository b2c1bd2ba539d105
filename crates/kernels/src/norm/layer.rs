//! Layer norm, forward.

use crate::cpu::Cpu;
use crate::elementwise::CHUNK;
use crate::number::Number;
use crate::pool::{Shared, each_range, rows_in};
use crate::simd::{Isa, Kernel, Simd, run};

/// Rows that are normalised, each by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerNormShape {
    /// How many.
    pub rows: usize,
    /// Numbers in each.
    pub width: usize,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNormShape {
    /// How many items the rows are of, by the rows of `weight`.
    pub(super) fn check(&self, x: usize, weight: &[f32]) -> usize {
        assert_eq!(x, self.rows * self.width, "x is [rows, width]");
        let items = weight.len() / self.width.max(1);
        assert_eq!(weight.len(), items * self.width, "weight is [items, width]");
        assert!(
            self.rows * self.width == 0 || items > 0 && self.rows.is_multiple_of(items),
            "{} rows of {items} items",
            self.rows
        );
        items
    }
}

/// (x − mean) / √(variance + eps) · weight + bias over every row of x: `[rows, width]` → out, of the
/// same shape. Weight and bias are `[width]`, or `[items, width]` for the rows of as many items one
/// after another. Means and deviations go to `stats`: `[rows, 2]`, the mean and 1 / √(variance +
/// eps), which [`layer_norm_backward`](super::layer_norm_backward) needs.
///
/// # Panics
///
/// If a length does not fit the shape.
pub fn layer_norm<T: Number>(
    cpu: Cpu,
    shape: LayerNormShape,
    x: &[T],
    weight: &[f32],
    bias: &[f32],
    out: &mut [T],
    stats: Option<&mut [f32]>,
) {
    let LayerNormShape { rows, width, eps } = shape;
    let items = shape.check(x.len(), weight);
    assert_eq!(bias.len(), weight.len(), "bias is as weight");
    assert_eq!(out.len(), x.len(), "out is [rows, width]");
    if let Some(stats) = &stats {
        assert_eq!(stats.len(), rows * 2, "stats are [rows, 2]");
    }
    let (out, stats) = (Shared::new(out), stats.map(Shared::new));
    each_range(rows, rows_in(CHUNK, width), |part| {
        let at = part.start * width;
        // SAFETY: the lengths were checked; every job has its own rows.
        let kernel = unsafe {
            Rows {
                x: x.as_ptr().add(at),
                out: out.get().add(at),
                stats: stats.map(|s| s.get().add(2 * part.start)),
                weight: weight.as_ptr(),
                bias: bias.as_ptr(),
                first: part.start,
                each: rows / items.max(1),
                shape: LayerNormShape {
                    rows: part.len(),
                    width,
                    eps,
                },
            }
        };
        run(cpu, kernel);
    });
}

struct Rows<T> {
    x: *const T,
    out: *mut T,
    stats: Option<*mut f32>,
    weight: *const f32,
    bias: *const f32,
    /// The first row's number, and the rows of an item.
    first: usize,
    each: usize,
    shape: LayerNormShape,
}

/// Σ d and Σ d² for d = x − base, over `len` numbers.
#[inline(always)]
unsafe fn sums<I: Isa, T: Number>(x: *const T, base: f32, len: usize) -> (f32, f32) {
    // Several sums, because one would wait for each addition to finish before the next.
    const WAYS: usize = 4;
    let bases = I::splat(base);
    let (mut s, mut q) = ([I::splat(0.0); WAYS], [I::splat(0.0); WAYS]);
    let mut at = 0;
    while at + WAYS * I::LANES <= len {
        for w in 0..WAYS {
            let d = I::sub(T::get::<I>(x.add(at + w * I::LANES)), bases);
            s[w] = I::add(s[w], d);
            q[w] = I::fma(d, d, q[w]);
        }
        at += WAYS * I::LANES;
    }
    while at + I::LANES <= len {
        let d = I::sub(T::get::<I>(x.add(at)), bases);
        s[0] = I::add(s[0], d);
        q[0] = I::fma(d, d, q[0]);
        at += I::LANES;
    }
    let mut sum = I::sum(I::add(I::add(s[0], s[1]), I::add(s[2], s[3])));
    let mut squares = I::sum(I::add(I::add(q[0], q[1]), I::add(q[2], q[3])));
    // One by one, because the lanes beyond the end would count as −base.
    for at in at..len {
        let d = (*x.add(at)).to_f32() - base;
        sum += d;
        squares += d * d;
    }
    (sum, squares)
}

impl<T: Number> Kernel for Rows<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let LayerNormShape { rows, width, eps } = self.shape;
        let share = 1.0 / width as f32;
        for row in 0..rows {
            let (x, out) = (self.x.add(row * width), self.out.add(row * width));
            let item = (self.first + row) / self.each * width;
            let (weight, bias) = (self.weight.add(item), self.bias.add(item));
            // The row is in the cache after the first pass. What the first mean lacks, the sum of
            // what is left gives; it is so little that the variance loses nothing to it.
            let rough = sums::<I, T>(x, 0.0, width).0 * share;
            let (sum, squares) = sums::<I, T>(x, rough, width);
            let less = sum * share;
            let mean = rough + less;
            let variance = squares * share - less * less;
            let inverse = 1.0 / (variance + eps).sqrt();
            if let Some(stats) = self.stats {
                *stats.add(2 * row) = mean;
                *stats.add(2 * row + 1) = inverse;
            }
            let (mean, inverse) = (I::splat(mean), I::splat(inverse));
            let mut at = 0;
            while at + I::LANES <= width {
                let y = I::mul(I::sub(T::get::<I>(x.add(at)), mean), inverse);
                let y = I::fma(y, I::load(weight.add(at)), I::load(bias.add(at)));
                T::put::<I>(out.add(at), y);
                at += I::LANES;
            }
            let n = width - at;
            if n > 0 {
                let y = I::mul(I::sub(T::get_part::<I>(x.add(at), n), mean), inverse);
                let (w, b) = (weight.add(at), bias.add(at));
                let y = I::fma(y, I::load_part(w, n), I::load_part(b, n));
                T::put_part::<I>(out.add(at), y, n);
            }
        }
    }
}
