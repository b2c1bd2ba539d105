//! What the CPU can do at most, for benchmarks to be measured against.

use std::hint::black_box;
use std::time::{Duration, Instant};

use half::bf16;

use crate::buffer::Buffer;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::pool;
use crate::simd::{Element, Int8, Kernel, Simd, run};

/// Groups of a panel that stays in the first cache.
const STEPS: usize = 64;

/// Products in each of the number types, floating-point operations per second of all threads
/// together: the innermost loop of a matrix product, with everything it reads in the first cache.
pub fn peak<T: Number>(cpu: Cpu) -> f64 {
    let a = Buffer::<T>::zeros(8 * STEPS * T::GROUP);
    let b = Buffer::<T>::zeros(64 * STEPS * T::GROUP);
    rate(|| run(cpu, Tiles::<T> { a: &a, b: &b }))
}

/// The same of [`conv2d_int8`](crate::conv2d_int8)'s loop.
pub fn peak_int8(cpu: Cpu) -> f64 {
    let a = Buffer::<i8>::zeros(8 * STEPS * 4);
    let b = Buffer::<i8>::zeros(64 * STEPS * 4);
    rate(|| run(cpu, IntTiles { a: &a, b: &b }))
}

/// The best rate of several tries of a tenth of a second; `tile` says how many operations it made.
fn rate(tile: impl Fn() -> usize + Sync) -> f64 {
    let threads = pool::threads();
    let one = || {
        let done: Vec<_> = (0..threads).map(|_| std::sync::Mutex::new(0.0)).collect();
        pool::each(threads, |i| {
            let began = Instant::now();
            let mut count = 0;
            while began.elapsed() < Duration::from_millis(100) {
                for _ in 0..200 {
                    count += tile();
                }
            }
            *done[i].lock().unwrap_or_else(|e| e.into_inner()) =
                count as f64 / began.elapsed().as_secs_f64();
        });
        let rates = done
            .into_iter()
            .map(|d| d.into_inner().unwrap_or_else(|e| e.into_inner()));
        rates.sum()
    };
    (0..5).map(|_| one()).fold(0.0, f64::max)
}

struct Tiles<'a, T> {
    a: &'a [T],
    b: &'a [T],
}

impl<T: Number> Kernel for Tiles<'_, T> {
    type Out = usize;

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> usize {
        let rows = std::array::from_fn(|i| self.a.as_ptr().add(i * STEPS * T::GROUP));
        let mut acc = [[I::splat(0.0); NV]; MR];
        T::tile::<I, MR, NV>(STEPS, &rows, black_box(self.b.as_ptr()), &mut acc);
        black_box(acc);
        2 * STEPS * T::GROUP * MR * NV * I::LANES
    }
}

struct IntTiles<'a> {
    a: &'a [i8],
    b: &'a [i8],
}

impl Kernel for IntTiles<'_> {
    type Out = usize;

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> usize {
        let b = black_box(self.b.as_ptr());
        let mut acc = [[I::none(); NV]; MR];
        for s in 0..STEPS {
            for (i, row) in acc.iter_mut().enumerate() {
                let a = self.a.as_ptr().add((i * STEPS + s) * 4).cast();
                for (j, v) in row.iter_mut().enumerate() {
                    let b = b.add((s * NV + j) * I::LANES * <i8 as Element>::GROUP);
                    *v = <I as Int8>::mac_int(*v, a, b);
                }
            }
        }
        black_box(acc);
        2 * STEPS * 4 * MR * NV * I::LANES
    }
}

/// All peaks of `cpu`, in operations per second: f32, bf16, int8.
pub fn peaks(cpu: Cpu) -> [f64; 3] {
    [peak::<f32>(cpu), peak::<bf16>(cpu), peak_int8(cpu)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peak_is_a_rate() {
        for cpu in Cpu::every() {
            assert!(
                peaks(cpu).iter().all(|p| *p > 1e8 && p.is_finite()),
                "{cpu:?}"
            );
        }
    }
}
