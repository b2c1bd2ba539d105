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
    pub(super) fn check(&self, x: usize, weight: &[f32]) {
        assert_eq!(x, self.rows * self.width, "x is [rows, width]");
        assert_eq!(weight.len(), self.width, "weight is [width]");
    }
}

/// (x − mean) / √(variance + eps) · weight + bias over every row of x: `[rows, width]` → out, of the
/// same shape. Means and deviations go to `stats`: `[rows, 2]`, the mean and 1 / √(variance + eps),
/// which [`layer_norm_backward`](super::layer_norm_backward) needs.
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
    shape.check(x.len(), weight);
    assert_eq!(bias.len(), width, "bias is [width]");
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
                shape: LayerNormShape { rows: part.len(), width, eps },
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
    shape: LayerNormShape,
}

/// Σ (x − base), or of its square, over `len` numbers.
#[inline(always)]
unsafe fn sum<I: Isa, T: Number, const SQUARE: bool>(x: *const T, base: f32, len: usize) -> f32 {
    // Several sums, because one would wait for each addition to finish before the next.
    const WAYS: usize = 4;
    let base = I::splat(base);
    let mut sums = [I::splat(0.0); WAYS];
    let mut at = 0;
    while at + WAYS * I::LANES <= len {
        for (w, sum) in sums.iter_mut().enumerate() {
            let d = I::sub(T::get::<I>(x.add(at + w * I::LANES)), base);
            *sum = if SQUARE { I::fma(d, d, *sum) } else { I::add(*sum, d) };
        }
        at += WAYS * I::LANES;
    }
    while at + I::LANES <= len {
        let d = I::sub(T::get::<I>(x.add(at)), base);
        sums[0] = if SQUARE { I::fma(d, d, sums[0]) } else { I::add(sums[0], d) };
        at += I::LANES;
    }
    let mut total = I::sum(I::add(I::add(sums[0], sums[1]), I::add(sums[2], sums[3])));
    while at < len {
        // One by one: the lanes beyond the end would count as −base.
        let d = I::sub(I::splat((*x.add(at)).to_f32()), base);
        let d = if SQUARE { I::mul(d, d) } else { d };
        total += I::sum(d) / I::LANES as f32;
        at += 1;
    }
    total
}

impl<T: Number> Kernel for Rows<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let LayerNormShape { rows, width, eps } = self.shape;
        let share = 1.0 / width as f32;
        for row in 0..rows {
            let (x, out) = (self.x.add(row * width), self.out.add(row * width));
            // The row is in the cache after the first pass. The mean of what is left when the first
            // mean is taken off gives the digits that a mean far from zero lost.
            let rough = sum::<I, T, false>(x, 0.0, width) * share;
            let mean = rough + sum::<I, T, false>(x, rough, width) * share;
            let variance = sum::<I, T, true>(x, mean, width) * share;
            let inverse = 1.0 / (variance + eps).sqrt();
            if let Some(stats) = self.stats {
                *stats.add(2 * row) = mean;
                *stats.add(2 * row + 1) = inverse;
            }
            let (mean, inverse) = (I::splat(mean), I::splat(inverse));
            let mut at = 0;
            while at + I::LANES <= width {
                let y = I::mul(I::sub(T::get::<I>(x.add(at)), mean), inverse);
                let y = I::fma(y, I::load(self.weight.add(at)), I::load(self.bias.add(at)));
                T::put::<I>(out.add(at), y);
                at += I::LANES;
            }
            let n = width - at;
            if n > 0 {
                let y = I::mul(I::sub(T::get_part::<I>(x.add(at), n), mean), inverse);
                let (w, b) = (self.weight.add(at), self.bias.add(at));
                let y = I::fma(y, I::load_part(w, n), I::load_part(b, n));
                T::put_part::<I>(out.add(at), y, n);
            }
        }
    }
}
