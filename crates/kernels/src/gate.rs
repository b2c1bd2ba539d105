//! A branch that is weighed before it is added: the gates of diffusion transformers (Peebles and Xie, arXiv 2212.09748).

use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::elementwise::CHUNK;
use crate::number::Number;
use crate::pool::{Shared, each_range_of, rows_in};
use crate::simd::{Kernel, Simd, load, run, store};

/// Rows of several items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateShape {
    /// How many items.
    pub items: usize,
    /// Rows of each.
    pub rows: usize,
    /// Numbers in a row.
    pub width: usize,
}

impl GateShape {
    fn count(&self) -> usize {
        self.items * self.rows * self.width
    }

    fn check(&self, gate: usize, lengths: &[usize]) {
        assert_eq!(gate, self.items * self.width, "the gate is [items, width]");
        assert!(
            lengths.iter().all(|len| *len == self.count()),
            "the rows are [items, rows, width]"
        );
    }
}

/// x + gate·y: x, y and out `[items, rows, width]`, gate `[items, width]`.
///
/// # Panics
///
/// If a length does not fit the shape, here and below.
pub fn gated_add<T: Number>(
    cpu: Cpu,
    shape: GateShape,
    x: &[T],
    gate: &[f32],
    y: &[T],
    out: &mut [T],
) {
    shape.check(gate.len(), &[x.len(), y.len(), out.len()]);
    let GateShape { items, rows, width } = shape;
    let out = Shared::new(out);
    each_range_of(items, rows, rows_in(CHUNK, width), |item, _, part| {
        let at = (item * rows + part.start) * width;
        // SAFETY: the lengths were checked; every job has its own rows.
        let kernel = unsafe {
            Forward {
                x: x.as_ptr().add(at),
                gate: gate.as_ptr().add(item * width),
                y: y.as_ptr().add(at),
                out: out.get().add(at),
                rows: part.len(),
                width,
            }
        };
        run(cpu, kernel);
    });
}

struct Forward<T> {
    x: *const T,
    gate: *const f32,
    y: *const T,
    out: *mut T,
    rows: usize,
    width: usize,
}

impl<T: Number> Kernel for Forward<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        for row in 0..self.rows {
            let mut at = 0;
            while at < self.width {
                let n = I::LANES.min(self.width - at);
                let place = row * self.width + at;
                let gate = load::<I, f32>(self.gate.add(at), n);
                let x = load::<I, T>(self.x.add(place), n);
                let y = load::<I, T>(self.y.add(place), n);
                store::<I, T>(self.out.add(place), I::fma(gate, y, x), n);
                at += I::LANES;
            }
        }
    }
}

/// The gradients of [`gated_add`] in y and in the gate, for those of its output. That in x is the output's own.
pub fn gated_add_backward<T: Number>(
    cpu: Cpu,
    shape: GateShape,
    gate: &[f32],
    y: &[T],
    grad_out: &[T],
    grad_gate: &mut [f32],
    grad_y: &mut [T],
) {
    shape.check(gate.len(), &[y.len(), grad_out.len(), grad_y.len()]);
    shape.check(grad_gate.len(), &[]);
    let GateShape { items, rows, width } = shape;
    let span = rows_in(CHUNK, width);
    let parts_of_item = rows.div_ceil(span);
    let count = items * parts_of_item * width;
    with_scratch([count * size_of::<f32>()], |[parts]| {
        // SAFETY: the scratch memory is as large as this, and zeros are numbers.
        let parts = unsafe {
            parts.write_bytes(0, count * size_of::<f32>());
            std::slice::from_raw_parts_mut(parts.cast::<f32>(), count)
        };
        let (shared, out) = (Shared::new(parts), Shared::new(grad_y));
        each_range_of(items, rows, span, |item, number, part| {
            let at = (item * rows + part.start) * width;
            // SAFETY: the lengths were checked; every job has its own rows and its own sums.
            let kernel = unsafe {
                Back {
                    gate: gate.as_ptr().add(item * width),
                    y: y.as_ptr().add(at),
                    g: grad_out.as_ptr().add(at),
                    sums: shared.get().add(number * width),
                    out: out.get().add(at),
                    rows: part.len(),
                    width,
                }
            };
            run(cpu, kernel);
        });
        for (item, of_gate) in grad_gate.chunks_exact_mut(width.max(1)).enumerate() {
            for (at, of_gate) in of_gate.iter_mut().enumerate() {
                let first = item * parts_of_item;
                let parts = (first..first + parts_of_item).map(|part| parts[part * width + at]);
                *of_gate = parts.map(f64::from).sum::<f64>() as f32;
            }
        }
    });
}

struct Back<T> {
    gate: *const f32,
    y: *const T,
    g: *const T,
    /// `[width]`.
    sums: *mut f32,
    out: *mut T,
    rows: usize,
    width: usize,
}

impl<T: Number> Kernel for Back<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        for row in 0..self.rows {
            let mut at = 0;
            while at < self.width {
                let n = I::LANES.min(self.width - at);
                let place = row * self.width + at;
                let g = load::<I, T>(self.g.add(place), n);
                let y = load::<I, T>(self.y.add(place), n);
                let sums = load::<I, f32>(self.sums.add(at), n);
                store::<I, f32>(self.sums.add(at), I::fma(g, y, sums), n);
                let gate = load::<I, f32>(self.gate.add(at), n);
                store::<I, T>(self.out.add(place), I::mul(g, gate), n);
                at += I::LANES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::twin::{distance, numbers, on_any_threads, wide};

    /// Output, gradient in the gate, gradient in y.
    fn all<T: Number>(cpu: Cpu, shape: GateShape) -> (Vec<T>, Vec<f32>, Vec<T>) {
        let count = shape.count();
        let [x, y, g] = ["x", "y", "g"].map(|name| numbers::<T>(name, count));
        let gate = numbers::<f32>("gate", shape.items * shape.width);
        let nan = T::from_f32(f32::NAN);
        let (mut out, mut of_y) = (vec![nan; count], vec![nan; count]);
        let mut of_gate = vec![f32::NAN; gate.len()];
        gated_add(cpu, shape, &x, &gate, &y, &mut out);
        gated_add_backward(cpu, shape, &gate, &y, &g, &mut of_gate, &mut of_y);
        (out, of_gate, of_y)
    }

    fn check<T: Number>(shape: GateShape) {
        let GateShape { rows, width, .. } = shape;
        let count = shape.count();
        let [x, y, g] = ["x", "y", "g"].map(|name| wide(&numbers::<T>(name, count)));
        let gate = wide(&numbers::<f32>("gate", shape.items * width));
        let of = |i: usize| i / (rows * width) * width + i % width;
        let want: Vec<f64> = (0..count).map(|i| x[i] + gate[of(i)] * y[i]).collect();
        let want_y: Vec<f64> = (0..count).map(|i| gate[of(i)] * g[i]).collect();
        let mut want_gate = vec![0.0; gate.len()];
        (0..count).for_each(|i| want_gate[of(i)] += y[i] * g[i]);
        let most = if size_of::<T>() == 2 { 4e-3 } else { 1e-6 };
        for cpu in Cpu::every() {
            let (out, of_gate, of_y) = all::<T>(cpu, shape);
            assert!(distance(&out, &want) < most, "{shape:?} {cpu:?}");
            assert!(distance(&of_y, &want_y) < most, "{shape:?} {cpu:?}");
            // Thousands of products of either sign are summed in f32.
            assert!(distance(&of_gate, &want_gate) < 1e-5, "{shape:?} {cpu:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn gates_equal_their_twins(items in 0usize..4, rows in 0usize..9, width in 0usize..70) {
            check::<f32>(GateShape { items, rows, width });
            check::<bf16>(GateShape { items, rows, width });
        }
    }

    #[test]
    fn over_several_chunks_and_threads() {
        let shape = GateShape {
            items: 2,
            rows: 700,
            width: 131,
        };
        check::<f32>(shape);
        on_any_threads(|| all::<f32>(Cpu::detect(), shape));
    }
}
