//! The gradient of a weight: a sum over all rows of what went in times what came back.
//!
//! A job owns a block of the weight and walks over all rows in order, so that a sum is made in one
//! order however many threads there are.

mod winograd;

use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::packed::panel_width;
use crate::pool::{self, Shared};
use crate::simd::{Kernel, Simd, load, run};

/// Outputs of a job: a multiple of every tile's rows and of every vector's lanes.
const OUTPUTS: usize = 96;

/// Rows that are copied side by side at a time: a multiple of every group.
const ROWS: usize = 128;

/// The gradient of a convolution's weight, from its input and the gradient of its output.
///
/// # Shapes
///
/// - x `[batch, height, width, input]`
/// - grad_out `[batch, window.output…, output]`
/// - grad_weight `[output, input, kernel rows, kernel columns]`, overwritten
///
/// # Panics
///
/// Where a length differs from this.
pub fn conv2d_weight_gradient<T: Number>(
    cpu: Cpu,
    x: &Picture<'_, T>,
    grad_out: &[T],
    window: &Window,
    output: usize,
    grad_weight: &mut [f32],
) {
    x.check();
    let rows = x.batch * window.output[0] * window.output[1];
    let (input, taps) = (x.channels, window.taps());
    assert_eq!(grad_out.len(), rows * output, "the gradient of the output");
    assert_eq!(
        grad_weight.len(),
        output * input * taps,
        "a weight's length"
    );
    if winograd::suits(window) {
        return winograd::gradient(cpu, x, grad_out, window, output, grad_weight);
    }
    let width = panel_width(cpu);
    let (panels, blocks) = (input.div_ceil(width), output.div_ceil(OUTPUTS));
    let target = Shared::new(grad_weight);
    pool::each(panels * blocks, |job| {
        let (p, block) = (job % panels, job / panels);
        let inputs = taps * ROWS * width * size_of::<T>();
        let sums = taps * OUTPUTS * width * size_of::<f32>();
        let lefts = ROWS * OUTPUTS * size_of::<T>();
        with_scratch([inputs, sums, lefts], |[inputs, sums, lefts]| {
            let job = Block {
                x,
                grad_out,
                window,
                output,
                column: p * width,
                first: block * OUTPUTS,
                inputs: inputs.cast(),
                sums: sums.cast(),
                lefts: lefts.cast(),
                target: target.get(),
            };
            run(cpu, job);
        });
    });
}

/// The gradient of a linear layer's weight.
///
/// # Shapes
///
/// - x `[rows, input]`, grad_out `[rows, output]`
/// - grad_weight `[output, input]`, overwritten
///
/// # Panics
///
/// Where a length differs from this.
pub fn linear_weight_gradient<T: Number>(
    cpu: Cpu,
    x: &[T],
    grad_out: &[T],
    [rows, input, output]: [usize; 3],
    grad_weight: &mut [f32],
) {
    let x = Picture::new(x, [1, rows, 1, input]);
    let window = Window::same(1, rows, 1);
    conv2d_weight_gradient(cpu, &x, grad_out, &window, output, grad_weight);
}

struct Block<'a, T> {
    x: &'a Picture<'a, T>,
    grad_out: &'a [T],
    window: &'a Window,
    output: usize,
    /// The first input and the first output of the block.
    column: usize,
    first: usize,
    /// `[taps, ROWS/GROUP, width, GROUP]`
    inputs: *mut T,
    /// `[taps, OUTPUTS, width]`
    sums: *mut f32,
    /// `[ROWS/GROUP, OUTPUTS, GROUP]`
    lefts: *mut T,
    /// The whole gradient.
    target: *mut f32,
}

impl<T: Number> Kernel for Block<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let width = NV * I::LANES;
        let (taps, seen) = (self.window.taps(), self.window.over(self.x));
        let columns = (self.x.channels - self.column).min(width);
        let outputs = (self.output - self.first).min(OUTPUTS);
        let [height, across] = self.window.output;
        let rows = self.x.batch * height * across;
        for start in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - start);
            for r in (0..count).step_by(T::GROUP) {
                let there = T::GROUP.min(count - r);
                for tap in 0..taps {
                    let mut from = [None; 2];
                    for (e, from) in from.iter_mut().enumerate().take(there) {
                        if let Some(offset) = seen.at(start + r + e, tap) {
                            *from = Some(self.x.data.as_ptr().add(offset + self.column));
                        }
                    }
                    let to = self.inputs.add((tap * ROWS + r) * width);
                    interleave::<I, T>(from, columns, width, to);
                }
                let mut from = [None; 2];
                for (e, from) in from.iter_mut().enumerate().take(there) {
                    let offset = (start + r + e) * self.output + self.first;
                    *from = Some(self.grad_out.as_ptr().add(offset));
                }
                interleave::<I, T>(from, outputs, OUTPUTS, self.lefts.add(r * OUTPUTS));
            }
            for tap in 0..taps {
                let inputs = self.inputs.add(tap * ROWS * width);
                for o in (0..outputs.next_multiple_of(MR)).step_by(MR) {
                    let sums = self.sums.add((tap * OUTPUTS + o) * width);
                    let (steps, lefts) = (count.div_ceil(T::GROUP), self.lefts.add(o * T::GROUP));
                    add_product::<I, T, MR, NV>(steps, lefts, OUTPUTS, inputs, start > 0, sums);
                }
            }
        }
        for o in 0..outputs {
            let to = ((self.first + o) * self.x.channels + self.column) * taps;
            for tap in 0..taps {
                let from = self.sums.add((tap * OUTPUTS + o) * width);
                for c in 0..columns {
                    *self.target.add(to + c * taps + tap) = *from.add(c);
                }
            }
        }
    }
}

/// A tile of [`Number::tile_transposed`] in memory: `[MR, NV·LANES]` sums, added to where there are some.
#[inline(always)]
unsafe fn add_product<I: Simd, T: Number, const MR: usize, const NV: usize>(
    steps: usize,
    lefts: *const T,
    stride: usize,
    inputs: *const T,
    there: bool,
    sums: *mut f32,
) {
    let width = NV * I::LANES;
    let mut acc = [[I::splat(0.0); NV]; MR];
    if there {
        for (i, row) in acc.iter_mut().enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                *v = I::load(sums.add(i * width + j * I::LANES));
            }
        }
    }
    T::tile_transposed::<I, MR, NV>(steps, lefts, stride, inputs, &mut acc);
    for (i, row) in acc.iter().enumerate() {
        for (j, v) in row.iter().enumerate() {
            I::store(sums.add(i * width + j * I::LANES), *v);
        }
    }
}

/// The first `count` numbers of a group of rows, side by side, and zeros up to `width` groups, and for rows that are not there.
#[inline(always)]
unsafe fn interleave<I: Simd, T: Number>(
    from: [Option<*const T>; 2],
    count: usize,
    width: usize,
    to: *mut T,
) {
    for c in (0..width).step_by(I::LANES) {
        let n = count.saturating_sub(c).min(I::LANES);
        // No closure: it would not be compiled with `I`'s instructions.
        let mut rows = [I::splat(0.0); 2];
        for (to, from) in rows.iter_mut().zip(from) {
            if let (Some(from), true) = (from, n > 0) {
                *to = load::<I, T>(from.add(c), n);
            }
        }
        T::put_groups::<I>(to.add(c * T::GROUP), rows);
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::dense::conv2d;
    use crate::epilogue::Epilogue;
    use crate::twin::{distance, numbers};
    use crate::weight::Weight;

    /// The gradients of Σ y·g over the weight and the input, by the definition of a convolution.
    fn twins(
        x: &Picture<'_, f32>,
        weight: &[f32],
        grad_out: &[f32],
        window: &Window,
        output: usize,
    ) -> (Vec<f64>, Vec<f64>) {
        let taps = window.taps();
        let mut dw = vec![0.0; output * x.channels * taps];
        let mut dx = vec![0.0; x.data.len()];
        let [height, width] = window.output;
        for row in 0..x.batch * height * width {
            for tap in 0..taps {
                let Some(offset) = window.over(x).at(row, tap) else {
                    continue;
                };
                for o in 0..output {
                    let g = f64::from(grad_out[row * output + o]);
                    for c in 0..x.channels {
                        let k = (o * x.channels + c) * taps + tap;
                        dw[k] += g * f64::from(x.data[offset + c]);
                        dx[offset + c] += g * f64::from(weight[k]);
                    }
                }
            }
        }
        (dw, dx)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(50))]

        #[test]
        fn gradients_equal_their_twins(
            batch in 1usize..3, h in 1usize..14, w in 1usize..14, input in 1usize..70, output in 1usize..60,
            kernel in 1usize..4, stride in 1usize..3, corner in any::<bool>(),
        ) {
            let data = numbers::<f32>("x", batch * h * w * input);
            let x = Picture::new(&data, [batch, h, w, input]);
            let before = if corner { 0 } else { (kernel / 2) as isize };
            let window = Window {
                stride,
                before: [before; 2],
                output: [h.div_ceil(stride), w.div_ceil(stride)],
                ..Window::same(kernel, h, w)
            };
            let weight = numbers::<f32>("weight", output * input * kernel * kernel);
            let rows = batch * window.output[0] * window.output[1];
            let grad_out = numbers::<f32>("g", rows * output);
            let (want_dw, want_dx) = twins(&x, &weight, &grad_out, &window, output);
            let back = window.back(h, w);
            let g = Picture::new(&grad_out, [batch, window.output[0], window.output[1], output]);
            for cpu in Cpu::every() {
                let mut dw = vec![f32::NAN; weight.len()];
                conv2d_weight_gradient(cpu, &x, &grad_out, &window, output, &mut dw);
                let limit = if winograd::suits(&window) { 5e-6 } else { 1e-6 };
                prop_assert!(distance(&dw, &want_dw) < limit, "{cpu:?}");
                let turned = Weight::conv_back(cpu, &weight, [output, input, kernel, kernel]);
                let mut dx = vec![f32::NAN; data.len()];
                conv2d(&g, &turned, &back, &Epilogue::default(), &mut dx);
                prop_assert!(distance(&dx, &want_dx) < 1e-6, "{cpu:?}");
            }
            // Of bf16: the products are exact, and so the sums are as those of f32.
            let narrow = |x: &[f32]| -> Vec<bf16> { x.iter().map(|&x| bf16::from_f32(x)).collect() };
            let wide = |x: &[bf16]| -> Vec<f32> { x.iter().map(|x| x.to_f32()).collect() };
            let (data, grad_out) = (narrow(&data), narrow(&grad_out));
            let (rounded, rounded_out) = (wide(&data), wide(&grad_out));
            let twin = Picture::new(&rounded, [batch, h, w, input]);
            let (want_dw, _) = twins(&twin, &weight, &rounded_out, &window, output);
            let x = Picture::new(&data, [batch, h, w, input]);
            for cpu in Cpu::every() {
                let mut dw = vec![f32::NAN; weight.len()];
                conv2d_weight_gradient(cpu, &x, &grad_out, &window, output, &mut dw);
                let limit = if winograd::suits(&window) { 5e-6 } else { 1e-6 };
                prop_assert!(distance(&dw, &want_dw) < limit, "{cpu:?}");
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let (rows, input, output) = (300, 70, 130);
        let x = numbers::<f32>("x", rows * input);
        let g = numbers::<f32>("g", rows * output);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut dw = vec![0.0; output * input];
            pool.install(|| {
                linear_weight_gradient(Cpu::detect(), &x, &g, [rows, input, output], &mut dw)
            });
            dw
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(4));
    }
}
