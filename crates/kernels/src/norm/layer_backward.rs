//! Layer norm, backward: the gradient of x is (weight·g − mean of weight·g − n·mean of weight·g·n) /
//! deviation, n the normalised numbers, g the gradient of the output, the means over the row.

use super::layer::LayerNormShape;
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::elementwise::CHUNK;
use crate::number::Number;
use crate::pool::{Shared, each_range_of, rows_in};
use crate::simd::{Isa, Kernel, Simd, load, run, store};

/// What [`layer_norm_backward`] writes: nothing is added to what was there.
#[derive(Debug)]
pub struct LayerNormGradients<'a, T> {
    /// `[rows, width]`.
    pub x: &'a mut [T],
    /// As the weight.
    pub weight: &'a mut [f32],
    /// As the weight.
    pub bias: &'a mut [f32],
}

/// The gradients of [`layer_norm`](super::layer_norm) at x: `[rows, width]` for those of its output,
/// of the same shape. `stats`: `[rows, 2]` is what the forward pass wrote.
///
/// # Panics
///
/// If a length does not fit the shape.
pub fn layer_norm_backward<T: Number>(
    cpu: Cpu,
    shape: LayerNormShape,
    x: &[T],
    weight: &[f32],
    stats: &[f32],
    grad_out: &[T],
    gradients: LayerNormGradients<'_, T>,
) {
    let LayerNormShape { rows, width, .. } = shape;
    let items = shape.check(x.len(), weight);
    assert_eq!(stats.len(), rows * 2, "stats are [rows, 2]");
    assert_eq!(grad_out.len(), x.len(), "grad_out is [rows, width]");
    assert_eq!(gradients.x.len(), x.len(), "x's gradient is [rows, width]");
    assert_eq!(
        gradients.weight.len(),
        weight.len(),
        "the weight's gradient is as the weight"
    );
    assert_eq!(
        gradients.bias.len(),
        weight.len(),
        "the bias's gradient is as the weight"
    );
    let each = rows / items.max(1);
    let span = rows_in(CHUNK, width);
    let parts_of_item = each.div_ceil(span);
    let count = items * parts_of_item * 2 * width;
    with_scratch(
        [count * size_of::<f32>(), 2 * width * size_of::<f64>()],
        |[parts, totals]| {
            // SAFETY: the scratch memory is as large as this, and zeros are numbers.
            let (parts, totals) = unsafe {
                parts.write_bytes(0, count * size_of::<f32>());
                totals.write_bytes(0, 2 * width * size_of::<f64>());
                (
                    std::slice::from_raw_parts_mut(parts.cast::<f32>(), count),
                    std::slice::from_raw_parts_mut(totals.cast::<f64>(), 2 * width),
                )
            };
            let (shared, out) = (Shared::new(parts), Shared::new(gradients.x));
            each_range_of(items, each, span, |item, number, part| {
                let first = item * each + part.start;
                let at = first * width;
                // SAFETY: the lengths were checked; every job has its own rows and its own sums.
                let kernel = unsafe {
                    Rows {
                        x: x.as_ptr().add(at),
                        g: grad_out.as_ptr().add(at),
                        out: out.get().add(at),
                        stats: stats.as_ptr().add(2 * first),
                        weight: weight.as_ptr().add(item * width),
                        sums: shared.get().add(number * 2 * width),
                        rows: part.len(),
                        width,
                    }
                };
                run(cpu, kernel);
            });
            let one = width.max(1);
            let of_weight = gradients.weight.chunks_exact_mut(one);
            let each_item = of_weight.zip(gradients.bias.chunks_exact_mut(one));
            for (item, (of_weight, of_bias)) in each_item.enumerate() {
                totals.fill(0.0);
                let parts = &parts[item * parts_of_item * 2 * width..];
                for part in parts.chunks_exact(2 * one).take(parts_of_item) {
                    for (total, part) in totals.iter_mut().zip(part) {
                        *total += f64::from(*part);
                    }
                }
                let (weights, biases) = totals.split_at(width);
                for (to, total) in of_weight.iter_mut().zip(weights) {
                    *to = *total as f32;
                }
                for (to, total) in of_bias.iter_mut().zip(biases) {
                    *to = *total as f32;
                }
            }
        },
    );
}

struct Rows<T> {
    x: *const T,
    g: *const T,
    out: *mut T,
    stats: *const f32,
    weight: *const f32,
    /// Of weight and bias, `[2, width]`.
    sums: *mut f32,
    rows: usize,
    width: usize,
}

/// A row's mean, 1 / deviation, mean of weight·g and mean of weight·g·n.
type Line = [f32; 4];

impl<T: Number> Rows<T> {
    #[inline(always)]
    unsafe fn line<I: Isa>(&self, row: usize) -> Line {
        let (x, g) = (self.x.add(row * self.width), self.g.add(row * self.width));
        let [mean, inverse] = [*self.stats.add(2 * row), *self.stats.add(2 * row + 1)];
        let centre = I::splat(mean);
        // Two sums of each, because one would wait for each addition to finish before the next.
        let (mut s, mut q) = ([I::splat(0.0); 2], [I::splat(0.0); 2]);
        let mut at = 0;
        while at + I::LANES <= self.width {
            let way = at / I::LANES % 2;
            let h = I::mul(T::get::<I>(g.add(at)), I::load(self.weight.add(at)));
            s[way] = I::add(s[way], h);
            q[way] = I::fma(h, I::sub(T::get::<I>(x.add(at)), centre), q[way]);
            at += I::LANES;
        }
        let n = self.width - at;
        if n > 0 {
            // Lanes beyond the end are zero in h, and so in both sums.
            let h = T::get_part::<I>(g.add(at), n);
            let h = I::mul(h, I::load_part(self.weight.add(at), n));
            s[0] = I::add(s[0], h);
            q[0] = I::fma(h, I::sub(T::get_part::<I>(x.add(at), n), centre), q[0]);
        }
        let share = 1.0 / self.width as f32;
        let s = I::sum(I::add(s[0], s[1])) * share;
        let q = I::sum(I::add(q[0], q[1])) * share;
        [mean, inverse, s, q * inverse]
    }

    /// The gradient of x in `R` rows, and what they add to the sums.
    #[inline(always)]
    unsafe fn band<I: Isa, const R: usize>(&self, first: usize) {
        let mut lines = [[0.0; 4]; R];
        for (r, line) in lines.iter_mut().enumerate() {
            *line = self.line::<I>(first + r);
        }
        let mut at = 0;
        while at + I::LANES <= self.width {
            self.vector::<I, R>(first, at, I::LANES, &lines);
            at += I::LANES;
        }
        if at < self.width {
            self.vector::<I, R>(first, at, self.width - at, &lines);
        }
    }

    #[inline(always)]
    unsafe fn vector<I: Isa, const R: usize>(
        &self,
        first: usize,
        at: usize,
        lanes: usize,
        lines: &[Line; R],
    ) {
        let [of_weight, of_bias] = [self.sums.add(at), self.sums.add(self.width + at)];
        let weight = load::<I, f32>(self.weight.add(at), lanes);
        let (mut w, mut b) = (
            load::<I, f32>(of_weight, lanes),
            load::<I, f32>(of_bias, lanes),
        );
        for (r, [mean, inverse, s, q]) in lines.iter().enumerate() {
            let place = (first + r) * self.width + at;
            let x = load::<I, T>(self.x.add(place), lanes);
            let g = load::<I, T>(self.g.add(place), lanes);
            let inverse = I::splat(*inverse);
            let n = I::mul(I::sub(x, I::splat(*mean)), inverse);
            w = I::fma(g, n, w);
            b = I::add(b, g);
            let h = I::sub(I::mul(g, weight), I::splat(*s));
            let dx = I::mul(I::sub(h, I::mul(n, I::splat(*q))), inverse);
            store::<I, T>(self.out.add(place), dx, lanes);
        }
        store::<I, f32>(of_weight, w, lanes);
        store::<I, f32>(of_bias, b, lanes);
    }
}

impl<T: Number> Kernel for Rows<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let mut row = 0;
        while row + 4 <= self.rows {
            self.band::<I, 4>(row);
            row += 4;
        }
        for row in row..self.rows {
            self.band::<I, 1>(row);
        }
    }
}
