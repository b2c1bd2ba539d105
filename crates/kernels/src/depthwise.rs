//! Convolution of each channel by a kernel of its own.

use crate::cpu::Cpu;
use crate::elementwise::CHUNK;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::pool::{Shared, each_range, rows_in};
use crate::simd::{Kernel, Simd, run};

/// One row of the output.
struct Row<'a, T> {
    picture: &'a Picture<'a, T>,
    window: &'a Window,
    weight: &'a [f32],
    bias: &'a [f32],
    /// Which picture, and the row in it.
    at: [usize; 2],
    out: *mut T,
}

impl<T: Number> Kernel for Row<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let channels = self.picture.channels;
        let [rows, columns] = self.window.kernel;
        let ([b, y], bias) = (self.at, self.bias.as_ptr());
        let mut taps = Vec::with_capacity(rows * columns);
        for x in 0..self.window.output[1] {
            taps.clear();
            for tap in 0..rows * columns {
                let place = [tap / columns, tap % columns];
                if let Some(from) = self.window.tap(self.picture, [b, y, x], place) {
                    let weight = self.weight.as_ptr().add(tap * channels);
                    taps.push((self.picture.data.as_ptr().add(from), weight));
                }
            }
            let out = self.out.add(x * channels);
            let mut c = 0;
            while c + I::LANES <= channels {
                let mut sum = I::load(bias.add(c));
                for &(x, weight) in &taps {
                    sum = I::fma(T::get::<I>(x.add(c)), I::load(weight.add(c)), sum);
                }
                T::put::<I>(out.add(c), sum);
                c += I::LANES;
            }
            if c < channels {
                let rest = channels - c;
                let mut sum = I::load_part(bias.add(c), rest);
                for &(x, weight) in &taps {
                    let weight = I::load_part(weight.add(c), rest);
                    sum = I::fma(T::get_part::<I>(x.add(c), rest), weight, sum);
                }
                T::put_part::<I>(out.add(c), sum, rest);
            }
        }
    }
}

/// Each channel of a picture by its own kernel: weight `[kernel · kernel, channels]`, bias `[channels]`, out:
/// `[batch, height, width, channels]` with the window's height and width.
///
/// # Panics
///
/// If a length does not fit its shape.
pub fn depthwise<T: Number>(
    cpu: Cpu,
    picture: &Picture<'_, T>,
    window: &Window,
    weight: &[f32],
    bias: &[f32],
    out: &mut [T],
) {
    let (channels, [height, width]) = (picture.channels, window.output);
    assert_eq!(
        weight.len(),
        window.taps() * channels,
        "weight is [taps, channels]"
    );
    assert_eq!(bias.len(), channels, "bias is [channels]");
    assert_eq!(
        out.len(),
        picture.batch * height * width * channels,
        "out is [batch, height, width, channels]"
    );
    let row = width * channels;
    let out = Shared::new(out);
    let together = rows_in(CHUNK, row * window.taps());
    each_range(picture.batch * height, together, |range| {
        for i in range {
            // SAFETY: row `i` of the output, which no other job has. The taps lie in the picture, whose data hold every
            // channel of its pixels; the lengths of weight and bias were checked.
            let out = unsafe { out.get().add(i * row) };
            let at = [i / height, i % height];
            run(
                cpu,
                Row {
                    picture,
                    window,
                    weight,
                    bias,
                    at,
                    out,
                },
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::{distance, numbers};

    #[test]
    fn each_channel_is_convolved_alone() {
        let shape @ [batch, height, width, channels] = [2, 5, 4, 21];
        let x = numbers::<f32>("x", shape.iter().product());
        let weight = numbers::<f32>("weight", 9 * channels);
        let bias = numbers::<f32>("bias", channels);
        let picture = Picture::new(&x, shape);
        for stride in [1, 2] {
            let output @ [rows, columns] = [height.div_ceil(stride), width.div_ceil(stride)];
            let window = Window {
                stride,
                output,
                ..Window::same(3, height, width)
            };
            let mut want = Vec::new();
            for i in 0..batch * rows * columns * channels {
                let (pixel, c) = (i / channels, i % channels);
                let taps = (0..9).filter_map(|tap| {
                    let from = window.over(&picture).at(pixel, tap)? + c;
                    Some(f64::from(x[from]) * f64::from(weight[tap * channels + c]))
                });
                want.push(f64::from(bias[c]) + taps.sum::<f64>());
            }
            for cpu in Cpu::every() {
                let mut out = vec![f32::NAN; want.len()];
                depthwise(cpu, &picture, &window, &weight, &bias, &mut out);
                assert!(distance(&out, &want) < 1e-6, "{cpu:?}, stride {stride}");
            }
        }
    }
}
