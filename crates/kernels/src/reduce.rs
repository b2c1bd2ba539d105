//! Sums of columns, and of squares.

use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::elementwise::CHUNK;
use crate::number::Number;
use crate::pool::{Shared, each_range, rows_in};
use crate::simd::{Isa, Kernel, Simd, run};

/// The sum of every column of x: `[rows, width]` → out: `[width]`: the gradient of a bias.
///
/// # Panics
///
/// If a length does not fit its shape, here and below.
pub fn column_sums<T: Number>(cpu: Cpu, rows: usize, width: usize, x: &[T], out: &mut [f32]) {
    assert_eq!(x.len(), rows * width, "x is [rows, width]");
    assert_eq!(out.len(), width, "out is [width]");
    if width == 0 {
        return;
    }
    let span = rows_in(2 * CHUNK, width);
    let count = rows.div_ceil(span) * width;
    with_scratch(
        [count * size_of::<f32>(), width * size_of::<f64>()],
        |[parts, totals]| {
            // SAFETY: the scratch memory is as large as this, and zeros are numbers.
            let (parts, totals) = unsafe {
                parts.write_bytes(0, count * size_of::<f32>());
                totals.write_bytes(0, width * size_of::<f64>());
                (
                    std::slice::from_raw_parts_mut(parts.cast::<f32>(), count),
                    std::slice::from_raw_parts_mut(totals.cast::<f64>(), width),
                )
            };
            let shared = Shared::new(parts);
            each_range(rows, span, |part| {
                let x = x[part.start * width..].as_ptr();
                // SAFETY: every job has its own part.
                let sums = unsafe { shared.get().add(part.start / span * width) };
                run(
                    cpu,
                    Columns {
                        x,
                        rows: part.len(),
                        width,
                        sums,
                    },
                );
            });
            for part in parts.chunks_exact(width) {
                for (total, part) in totals.iter_mut().zip(part) {
                    *total += f64::from(*part);
                }
            }
            for (out, total) in out.iter_mut().zip(totals) {
                *out = *total as f32;
            }
        },
    );
}

/// The sum of squares, in f64: alike on any number of threads and on any CPU.
pub fn square_sum(x: &[f32]) -> f64 {
    const LANES: usize = 16;
    let mut parts = vec![0f64; x.len().div_ceil(CHUNK)];
    let shared = Shared::new(&mut parts);
    each_range(x.len(), CHUNK, |part| {
        let mut sums = [0f64; LANES];
        let (whole, rest) = x[part.clone()].as_chunks::<LANES>();
        for numbers in whole.iter().map(|n| &n[..]).chain([rest]) {
            for (sum, &number) in sums.iter_mut().zip(numbers) {
                *sum += f64::from(number) * f64::from(number);
            }
        }
        // SAFETY: every job has its own part.
        unsafe { *shared.get().add(part.start / CHUNK) = sums.iter().sum() };
    });
    parts.iter().sum()
}

struct Columns<T> {
    x: *const T,
    rows: usize,
    width: usize,
    /// Begins as zeros.
    sums: *mut f32,
}

impl<T: Number> Columns<T> {
    #[inline(always)]
    unsafe fn wide<I: Isa, const B: usize>(&self, first: usize, rows: usize, c: usize) {
        let mut sums = [I::splat(0.0); B];
        for row in first..first + rows {
            let x = self.x.add(row * self.width + c);
            for (b, sum) in sums.iter_mut().enumerate() {
                *sum = I::add(*sum, T::get::<I>(x.add(b * I::LANES)));
            }
        }
        for (b, sum) in sums.into_iter().enumerate() {
            let to = self.sums.add(c + b * I::LANES);
            I::store(to, I::add(sum, I::load(to)));
        }
    }
}

impl<T: Number> Kernel for Columns<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        // Sums of sums lose fewer digits than one long sum.
        const BLOCK: usize = 64;
        for first in (0..self.rows).step_by(BLOCK) {
            let rows = BLOCK.min(self.rows - first);
            let mut c = 0;
            while c + 8 * I::LANES <= self.width {
                self.wide::<I, 8>(first, rows, c);
                c += 8 * I::LANES;
            }
            while c + I::LANES <= self.width {
                self.wide::<I, 1>(first, rows, c);
                c += I::LANES;
            }
            let n = self.width - c;
            if n > 0 {
                let mut sum = I::load_part(self.sums.add(c), n);
                for row in first..first + rows {
                    sum = I::add(sum, T::get_part::<I>(self.x.add(row * self.width + c), n));
                }
                I::store_part(self.sums.add(c), sum, n);
            }
        }
    }
}

#[cfg(test)]
mod tests;
