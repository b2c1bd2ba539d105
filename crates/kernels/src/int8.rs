//! Products in eight bits: weights with one scale per output, inputs with one scale per pixel or
//! token, found as they come.
//!
//! A convolution's taps read pixels of different scales, so each tap is summed in integers and
//! added in f32. Inputs are stored as u8 with 128 for zero, because that is what the CPU's products
//! take; what this adds to every sum is known from the weights alone and taken off again.

use std::ops::Range;

use crate::buffer::{Buffer, with_scratch};
use crate::cpu::Cpu;
use crate::dense::share;
use crate::epilogue::Epilogue;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::packed::{Packed, each_panel, panel_width};
use crate::pool::{self, Shared};
use crate::simd::{Element, Kernel, Simd, run};

const GROUP: usize = <i8 as Element>::GROUP;

/// The weight of a linear layer or a convolution in eight bits.
#[derive(Debug)]
pub struct Int8Weight {
    packed: Packed<i8>,
    kernel: [usize; 2],
    input: usize,
    /// `[panels · width]`: what a unit of each output is worth.
    scales: Vec<f32>,
    /// `[taps, panels · width]`: 128 times the sum of each output's weights of a tap.
    zeros: Vec<f32>,
}

impl Int8Weight {
    /// The weight `[output, input]` of y = x·Wᵀ.
    pub fn linear<T: Number>(cpu: Cpu, weight: &[T], [output, input]: [usize; 2]) -> Self {
        Self::conv(cpu, weight, [output, input, 1, 1])
    }

    /// The weight `[output, input, rows, columns]` of a convolution.
    pub fn conv<T: Number>(
        cpu: Cpu,
        weight: &[T],
        [output, input, rows, columns]: [usize; 4],
    ) -> Self {
        let taps = rows * columns;
        assert_eq!(weight.len(), output * input * taps, "a weight's length");
        let padded = input.next_multiple_of(GROUP);
        let mut packed = Packed::<i8>::zeros(cpu, 1, taps * padded, output);
        let width = panel_width(cpu);
        let all = packed.panels() * width;
        let (mut scales, mut zeros) = (vec![0.0; all], vec![0.0; taps * all]);
        for p in 0..packed.panels() {
            let stride = packed.stride(p);
            let panel = packed.panel_mut(0, p);
            for j in 0..width.min(output - p * width) {
                let o = p * width + j;
                let of = &weight[o * input * taps..(o + 1) * input * taps];
                let most = of.iter().map(|v| v.to_f32().abs()).fold(0.0, f32::max);
                let scale = most / 127.0;
                scales[o] = scale;
                let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
                for tap in 0..taps {
                    let mut sum = 0i32;
                    for i in 0..input {
                        let q = (of[i * taps + tap].to_f32() * inverse).round_ties_even() as i8;
                        sum += i32::from(q);
                        let k = tap * padded + i;
                        panel[(k / GROUP * stride + j) * GROUP + k % GROUP] = q;
                    }
                    zeros[tap * all + o] = 128.0 * sum as f32;
                }
            }
        }
        Self {
            packed,
            kernel: [rows, columns],
            input,
            scales,
            zeros,
        }
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.packed.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.packed.bytes() + 4 * (self.scales.len() + self.zeros.len())
    }
}

/// Each row's numbers as u8 around 128, and what a unit is worth.
struct Quantize<'a, T> {
    x: &'a [T],
    out: *mut u8,
}

impl<T: Number> Kernel for Quantize<'_, T> {
    type Out = f32;

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> f32 {
        let mut most = I::splat(0.0);
        let (p, n) = (self.x.as_ptr(), self.x.len());
        let mut c = 0;
        while c < n {
            let v = T::get_part::<I>(p.add(c), (n - c).min(I::LANES));
            most = I::max(most, I::max(v, I::sub(I::splat(0.0), v)));
            c += I::LANES;
        }
        let scale = I::largest(most) / 127.0;
        let inverse = if scale > 0.0 { scale.recip() } else { 0.0 };
        let (inverse, zero) = (I::splat(inverse), I::splat(128.0));
        let (least, top) = (I::splat(0.0), I::splat(255.0));
        for c in (0..n).step_by(I::LANES) {
            let count = (n - c).min(I::LANES);
            let q = I::round(I::fma(T::get_part::<I>(p.add(c), count), inverse, zero));
            // Within range, so that a number that is none does no harm.
            let q = I::min(I::max(q, least), top);
            I::store_u8_part(self.out.add(c), q, count);
        }
        scale
    }
}

/// [`conv2d`](crate::conv2d) in eight bits.
///
/// # Shapes
///
/// As [`conv2d`](crate::conv2d).
///
/// # Panics
///
/// Where a length differs from this, or the window's kernel from the weight's.
pub fn conv2d_int8<T: Number>(
    x: &Picture<'_, T>,
    weight: &Int8Weight,
    window: &Window,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    x.check();
    let rows = x.batch * window.output[0] * window.output[1];
    let columns = weight.output();
    assert_eq!(x.channels, weight.input, "the weight's channels");
    assert_eq!(window.kernel, weight.kernel, "the weight's kernel");
    assert_eq!(out.len(), rows * columns, "an output's length");
    epilogue.check(rows, columns, false);
    if rows * columns == 0 {
        return;
    }
    let cpu = weight.packed.cpu;
    let channels = x.channels.next_multiple_of(GROUP);
    let pixels = x.batch * x.height * x.width;
    let mut quantized = Buffer::<i8>::zeros(pixels * channels);
    let mut worth = vec![0f32; pixels];
    let (to, worths) = (Shared::new(&mut quantized), Shared::new(&mut worth));
    const PIXELS: usize = 256;
    pool::each(pixels.div_ceil(PIXELS), |job| {
        for i in job * PIXELS..((job + 1) * PIXELS).min(pixels) {
            let (b, y, at) = (
                i / (x.height * x.width),
                i / x.width % x.height,
                i % x.width,
            );
            let start = b * x.batch_stride + y * x.row_stride + at * x.pixel_stride;
            let row = Quantize {
                x: &x.data[start..start + x.channels],
                // SAFETY: pixel i's part of `quantized`.
                out: unsafe { to.get().add(i * channels).cast() },
            };
            // SAFETY: i < pixels, each written by one job.
            unsafe { *worths.get().add(i) = run(cpu, row) };
        }
    });
    let x = Picture::new(&quantized, [x.batch, x.height, x.width, channels]);
    product(&x, &worth, weight, window, epilogue, out);
}

/// [`linear`](crate::linear) in eight bits.
///
/// # Shapes
///
/// As [`linear`](crate::linear).
///
/// # Panics
///
/// Where a length differs from this.
pub fn linear_int8<T: Number>(
    x: &[T],
    rows: usize,
    stride: usize,
    weight: &Int8Weight,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    let x = Picture::of_rows(x, rows, stride, weight.input);
    conv2d_int8(&x, weight, &Window::same(1, rows, 1), epilogue, out);
}

fn product<T: Number>(
    x: &Picture<'_, i8>,
    worth: &[f32],
    weight: &Int8Weight,
    window: &Window,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    let rows = x.batch * window.output[0] * window.output[1];
    let zeros = Buffer::<i8>::zeros(x.channels);
    let (taps, seen) = (window.taps(), window.over(x));
    let out = Shared::new(out);
    share(rows, weight.packed.panels(), |first, count, panels| {
        let pointers = taps * count * size_of::<*const u8>();
        let worths = taps * count * size_of::<f32>();
        let sums = count * weight.packed.width * size_of::<f32>();
        with_scratch([pointers, worths, sums], |[table, scales, sums]| {
            let (table, scales) = (table.cast::<*const u8>(), scales.cast::<f32>());
            for r in 0..count {
                for tap in 0..taps {
                    let offset = seen.at(first + r, tap);
                    // Beyond the edges a unit is worth nothing.
                    let (pointer, scale) = match offset {
                        Some(o) => (x.data[o..].as_ptr(), worth[o / x.channels]),
                        None => (zeros.as_ptr(), 0.0),
                    };
                    // SAFETY: the scratch parts hold taps·count of each.
                    unsafe {
                        *table.add(tap * count + r) = pointer.cast();
                        *scales.add(tap * count + r) = scale;
                    }
                }
            }
            let job = Chunk {
                weight,
                epilogue,
                table,
                scales,
                taps,
                first,
                count,
                panels,
                sums: sums.cast(),
                out: out.get(),
            };
            run(weight.packed.cpu, job);
        });
    });
}

struct Chunk<'a, T> {
    weight: &'a Int8Weight,
    epilogue: &'a Epilogue<'a, T>,
    /// `[taps, count]`: where each row's numbers lie, and what a unit of them is worth.
    table: *const *const u8,
    scales: *const f32,
    taps: usize,
    first: usize,
    count: usize,
    panels: Range<usize>,
    /// `[count, panel width]`
    sums: *mut f32,
    out: *mut T,
}

impl<T: Number> Kernel for Chunk<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        each_panel!(self, I, MR, NV);
    }
}

impl<T: Number> Chunk<'_, T> {
    #[inline(always)]
    unsafe fn panel<I: Simd, const MR: usize, const NV: usize>(&self, p: usize) {
        for tap in 0..self.taps {
            for r in (0..self.count).step_by(MR) {
                self.rows::<I, MR, NV>(p, r, tap);
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<I: Simd, const MR: usize, const NV: usize>(
        &self,
        p: usize,
        r: usize,
        tap: usize,
    ) {
        let packed = &self.weight.packed;
        let steps = self.weight.input.div_ceil(GROUP);
        let column = p * packed.width;
        let row = |i: usize| tap * self.count + (r + i).min(self.count - 1);
        let rows: [*const u8; MR] = std::array::from_fn(|i| *self.table.add(row(i)));
        let mut acc = [[I::none(); NV]; MR];
        let mut b = packed.at(0, p, tap * steps);
        for s in 0..steps {
            for i in 0..MR {
                let a = rows[i].add(s * GROUP);
                for j in 0..NV {
                    acc[i][j] = I::mac_int(acc[i][j], a, b.add(j * I::LANES * GROUP));
                }
            }
            b = b.add(NV * I::LANES * GROUP);
        }
        let all = self.weight.scales.len();
        let zeros = self.weight.zeros.as_ptr().add(tap * all + column);
        let count = MR.min(self.count - r);
        for j in 0..NV {
            let zero = I::load(zeros.add(j * I::LANES));
            let scale = I::load(self.weight.scales.as_ptr().add(column + j * I::LANES));
            let at = column + j * I::LANES;
            let n = (packed.columns - at).min(I::LANES);
            let bias = self.epilogue.bias::<I>(at, n);
            for i in 0..count {
                let sums = self.sums.add(((r + i) * NV + j) * I::LANES);
                let before = if tap == 0 {
                    I::splat(0.0)
                } else {
                    I::load(sums)
                };
                let unit = I::splat(*self.scales.add(row(i)));
                let sum = I::fma(I::sub(I::float(acc[i][j]), zero), unit, before);
                if tap + 1 < self.taps {
                    I::store(sums, sum);
                } else {
                    let to = (self.first + r + i) * packed.columns + at;
                    self.epilogue
                        .store::<I>(self.out, to, n, I::mul(sum, scale), bias);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::twin::{self, distance, numbers};

    /// Each output within what rounding inputs and weights of at most 1 to 1/127 can do, on every CPU.
    fn check<T: Number>(shape: [usize; 4], output: usize, window: &Window) {
        let [batch, height, width, channels] = shape;
        let data = numbers::<T>("x", batch * height * width * channels);
        let x = Picture::new(&data, shape);
        let weight = numbers::<T>("weight", output * channels * window.taps());
        let bias = numbers::<f32>("bias", output);
        let rows = batch * window.output[0] * window.output[1];
        let residual = numbers::<T>("residual", rows * output);
        let mut want = twin::conv2d(&x, &weight, output, window);
        for (i, v) in want.iter_mut().enumerate() {
            *v += f64::from(bias[i % output]) + f64::from(residual[i].to_f32());
        }
        // Σ (|x| + |w|)/254 + 1/254², by two convolutions with ones.
        let size = |v: &T| T::from_f32(v.to_f32().abs() + 0.5 / 254.0);
        let sizes: Vec<T> = data.iter().map(size).collect();
        let ones = vec![T::from_f32(1.0); data.len().max(weight.len())];
        let of_x = twin::conv2d(
            &Picture::new(&sizes, shape),
            &ones[..weight.len()],
            output,
            window,
        );
        let sizes: Vec<T> = weight.iter().map(size).collect();
        let of_weight = twin::conv2d(
            &Picture::new(&ones[..data.len()], shape),
            &sizes,
            output,
            window,
        );
        let rounding = if T::GROUP == 2 { 1e-2 } else { 1e-5 };
        let epilogue = Epilogue {
            bias: Some(&bias),
            residual: Some(&residual),
            ..Default::default()
        };
        for cpu in Cpu::every() {
            let dims = [output, channels, window.kernel[0], window.kernel[1]];
            let packed = Int8Weight::conv(cpu, &weight, dims);
            let mut out = vec![T::ZERO; rows * output];
            conv2d_int8(&x, &packed, window, &epilogue, &mut out);
            for (i, got) in out.iter().enumerate() {
                let error = (f64::from(got.to_f32()) - want[i]).abs();
                let limit =
                    1.01 * (of_x[i] + of_weight[i]) / 254.0 + rounding * (1.0 + want[i].abs());
                assert!(
                    error <= limit,
                    "{cpu:?} {error:.2e} where {limit:.2e} is allowed"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn eight_bits_come_close(
            batch in 1usize..3, h in 1usize..9, w in 1usize..9, channels in 1usize..70, output in 1usize..150,
            kernel in 1usize..4, stride in 1usize..3,
        ) {
            let output_size = [h.div_ceil(stride), w.div_ceil(stride)];
            let window = Window { stride, output: output_size, ..Window::same(kernel, h, w) };
            check::<f32>([batch, h, w, channels], output, &window);
            check::<bf16>([batch, h, w, channels], output, &window);
        }
    }

    #[test]
    fn whole_numbers_are_exact() {
        // Inputs and weights that eight bits hold exactly, with the largest at 127.
        let (rows, input, output) = (7, 130, 70);
        let whole = |name: &str, count: usize| -> Vec<f32> {
            let mut x: Vec<f32> = numbers::<f32>(name, count)
                .iter()
                .map(|v| (v * 127.0).round())
                .collect();
            x.chunks_mut(input).for_each(|row| row[0] = 127.0);
            x
        };
        let (x, weight) = (whole("x", rows * input), whole("weight", output * input));
        let window = Window::same(1, rows, 1);
        let want = twin::conv2d(
            &Picture::of_rows(&x, rows, input, input),
            &weight,
            output,
            &window,
        );
        for cpu in Cpu::every() {
            let packed = Int8Weight::linear(cpu, &weight, [output, input]);
            let mut out = vec![0f32; rows * output];
            linear_int8(&x, rows, input, &packed, &Epilogue::default(), &mut out);
            assert!(distance(&out, &want) < 1e-6, "{cpu:?}");
        }
    }
}
