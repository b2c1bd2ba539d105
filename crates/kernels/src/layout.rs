//! Moving numbers: concatenation, transposition; averages over windows of 2×2.

use crate::cpu::Cpu;
use crate::elementwise::{CHUNK, Lanewise, strip};
use crate::number::Number;
use crate::pool::{Shared, each_range, rows_in};
use crate::simd::{Isa, Kernel, Simd, run};

/// Puts pictures together along their channels: parts `[rows, channels]` → out: `[rows, Σ channels]`.
///
/// # Panics
///
/// If a length does not fit its shape, here and below.
pub fn cat_channels<T: Number>(rows: usize, parts: &[(&[T], usize)], out: &mut [T]) {
    let total: usize = parts.iter().map(|(_, channels)| channels).sum();
    for (x, channels) in parts {
        assert_eq!(x.len(), rows * channels, "every part is [rows, channels]");
    }
    assert_eq!(out.len(), rows * total, "out is [rows, sum of channels]");
    let out = Shared::new(out);
    each_range(rows, rows_in(CHUNK, total), |range| {
        for row in range {
            let mut at = row * total;
            for &(x, channels) in parts {
                let from = x[row * channels..(row + 1) * channels].as_ptr();
                // SAFETY: within the row of `out`, whose length was checked; no other job has it.
                unsafe { std::ptr::copy_nonoverlapping(from, out.get().add(at), channels) };
                at += channels;
            }
        }
    });
}

/// Takes apart what [`cat_channels`] put together (its gradient): x: `[rows, Σ channels]` → parts
/// `[rows, channels]`.
pub fn split_channels<T: Number>(rows: usize, x: &[T], parts: &mut [(&mut [T], usize)]) {
    let total: usize = parts.iter().map(|(_, channels)| channels).sum();
    assert_eq!(x.len(), rows * total, "x is [rows, sum of channels]");
    let mut from = 0;
    for (part, channels) in parts {
        let channels = *channels;
        assert_eq!(
            part.len(),
            rows * channels,
            "every part is [rows, channels]"
        );
        let part = Shared::new(part);
        each_range(rows, rows_in(CHUNK, channels), |range| {
            for row in range {
                let x = x[row * total + from..][..channels].as_ptr();
                // SAFETY: row `row` of the part, whose length was checked; no other job has it.
                unsafe {
                    std::ptr::copy_nonoverlapping(x, part.get().add(row * channels), channels)
                };
            }
        });
        from += channels;
    }
}

/// Rows and columns of the tiles that are transposed: few enough for the first cache.
const TILE: usize = 64;

/// x: `[batch, rows, columns]` → out: `[batch, columns, rows]`: between channels first and channels
/// last.
pub fn transpose<T: Number>(batch: usize, rows: usize, columns: usize, x: &[T], out: &mut [T]) {
    assert_eq!(
        x.len(),
        batch * rows * columns,
        "x is [batch, rows, columns]"
    );
    assert_eq!(out.len(), x.len(), "out is [batch, columns, rows]");
    if x.is_empty() {
        return;
    }
    let out = Shared::new(out);
    // A job takes bands of rows, as many as make up a chunk.
    let bands = rows.div_ceil(TILE);
    let together = rows_in(CHUNK, TILE * columns);
    each_range(batch * bands, together, |jobs| {
        for job in jobs {
            let (item, top) = (job / bands, job % bands * TILE);
            let base = item * rows * columns;
            let height = TILE.min(rows - top);
            for left in (0..columns).step_by(TILE) {
                let width = TILE.min(columns - left);
                // SAFETY: the tile is within its item on both sides, and tiles do not overlap.
                unsafe {
                    transpose_tile(
                        x.as_ptr().add(base + top * columns + left),
                        columns,
                        out.get().add(base + left * rows + top),
                        rows,
                        height,
                        width,
                    );
                }
            }
        }
    });
}

/// Transposes `height` × `width` numbers between rows `stride` and `out_stride` numbers apart.
unsafe fn transpose_tile<T: Number>(
    x: *const T,
    stride: usize,
    out: *mut T,
    out_stride: usize,
    height: usize,
    width: usize,
) {
    let side = block::side::<T>();
    let (tall, wide) = (height / side * side, width / side * side);
    let block = |r: usize, c: usize| {
        block::transpose(
            x.add(r * stride + c),
            stride,
            out.add(c * out_stride + r),
            out_stride,
        );
    };
    // Along the rows that are farther apart: a power of two apart, as those of pictures often are,
    // their lines would drive each other out of the cache before they are whole.
    if stride > out_stride {
        for r in (0..tall).step_by(side) {
            for c in (0..wide).step_by(side) {
                block(r, c);
            }
        }
    } else {
        for c in (0..wide).step_by(side) {
            for r in (0..tall).step_by(side) {
                block(r, c);
            }
        }
    }
    for c in 0..width {
        let from = if c < wide { tall } else { 0 };
        for r in from..height {
            *out.add(c * out_stride + r) = *x.add(r * stride + c);
        }
    }
}

/// Square blocks that are transposed in registers. What this needs, every x86-64 CPU has.
#[cfg(target_arch = "x86_64")]
mod block {
    use std::arch::x86_64::*;

    /// Numbers per side of a block: one vector.
    pub fn side<T>() -> usize {
        16 / size_of::<T>()
    }

    #[inline(always)]
    pub unsafe fn transpose<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        match size_of::<T>() {
            2 => eight::<T>(x, stride, out, out_stride),
            4 => four::<T>(x, stride, out, out_stride),
            size => unreachable!("numbers of {size} bytes"),
        }
    }

    #[inline(always)]
    unsafe fn four<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        let mut v = [_mm_setzero_si128(); 4];
        for (i, v) in v.iter_mut().enumerate() {
            *v = _mm_loadu_si128(x.add(i * stride).cast());
        }
        let [a, b, c, d] = v;
        let (p, q) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
        let (r, s) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
        let done = [
            _mm_unpacklo_epi64(p, q),
            _mm_unpackhi_epi64(p, q),
            _mm_unpacklo_epi64(r, s),
            _mm_unpackhi_epi64(r, s),
        ];
        for (i, v) in done.into_iter().enumerate() {
            _mm_storeu_si128(out.add(i * out_stride).cast(), v);
        }
    }

    #[inline(always)]
    unsafe fn eight<T>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        let mut v = [_mm_setzero_si128(); 8];
        for (i, v) in v.iter_mut().enumerate() {
            *v = _mm_loadu_si128(x.add(i * stride).cast());
        }
        // Interleaving row i with row i + 4 three times sorts by column, as a perfect shuffle does.
        for _ in 0..3 {
            let mut next = v;
            for i in 0..4 {
                next[2 * i] = _mm_unpacklo_epi16(v[i], v[i + 4]);
                next[2 * i + 1] = _mm_unpackhi_epi16(v[i], v[i + 4]);
            }
            v = next;
        }
        for (i, v) in v.into_iter().enumerate() {
            _mm_storeu_si128(out.add(i * out_stride).cast(), v);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod block {
    pub fn side<T>() -> usize {
        8
    }

    #[inline(always)]
    pub unsafe fn transpose<T: Copy>(x: *const T, stride: usize, out: *mut T, out_stride: usize) {
        for c in 0..8 {
            for r in 0..8 {
                *out.add(c * out_stride + r) = *x.add(r * stride + c);
            }
        }
    }
}

/// Pictures whose windows of 2×2 are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2x2 {
    /// Pictures.
    pub batch: usize,
    /// Rows of the larger picture; an odd last one is left out.
    pub height: usize,
    /// Columns of the larger picture; an odd last one is left out.
    pub width: usize,
    /// Channels, side by side in memory.
    pub channels: usize,
}

impl Pool2x2 {
    pub(crate) fn large(self) -> usize {
        self.batch * self.height * self.width * self.channels
    }
    pub(crate) fn small(self) -> usize {
        self.batch * (self.height / 2) * (self.width / 2) * self.channels
    }
}

#[derive(Clone, Copy)]
struct Mean;

impl Lanewise<4> for Mean {
    #[inline(always)]
    unsafe fn at<I: Isa>(self, [a, b, c, d]: [I::F; 4]) -> I::F {
        I::mul(I::add(I::add(a, b), I::add(c, d)), I::splat(0.25))
    }
}

/// One row of the smaller picture.
struct PoolRow<T> {
    x: *const T,
    out: *mut T,
    shape: Pool2x2,
}

impl<T: Number> Kernel for PoolRow<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let Pool2x2 {
            width, channels, ..
        } = self.shape;
        for column in 0..width / 2 {
            let a = self.x.add(2 * column * channels);
            let c = a.add(width * channels);
            let windows = [a, a.add(channels), c, c.add(channels)];
            let out = self.out.add(column * channels);
            strip::<I, T, T, _, 4>(Mean, windows, out, channels);
        }
    }
}

/// The mean of every 2×2 pixels: x: `[batch, height, width, channels]` → out:
/// `[batch, ⌊height / 2⌋, ⌊width / 2⌋, channels]`.
pub fn pool2x2<T: Number>(cpu: Cpu, shape: Pool2x2, x: &[T], out: &mut [T]) {
    let Pool2x2 {
        batch,
        height,
        width,
        channels,
    } = shape;
    assert_eq!(
        x.len(),
        shape.large(),
        "x is [batch, height, width, channels]"
    );
    assert_eq!(
        out.len(),
        shape.small(),
        "out is [batch, height / 2, width / 2, channels]"
    );
    let (rows, row) = (height / 2, width / 2 * channels);
    let out = Shared::new(out);
    each_range(batch * rows, rows_in(CHUNK, 4 * row), |range| {
        for i in range {
            let top = i / rows.max(1) * height + i % rows.max(1) * 2;
            // SAFETY: two rows of one picture and one row of the output; no other job has it.
            let (x, out) = unsafe {
                (
                    x.as_ptr().add(top * width * channels),
                    out.get().add(i * row),
                )
            };
            run(cpu, PoolRow { x, out, shape });
        }
    });
}

#[derive(Clone, Copy)]
struct Quarter;

impl Lanewise<1> for Quarter {
    #[inline(always)]
    unsafe fn at<I: Isa>(self, [x]: [I::F; 1]) -> I::F {
        I::mul(x, I::splat(0.25))
    }
}

/// One row of the larger picture out of one of the smaller.
struct PoolRowBack<T> {
    grad_out: *const T,
    grad_x: *mut T,
    shape: Pool2x2,
}

impl<T: Number> Kernel for PoolRowBack<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let Pool2x2 {
            width, channels, ..
        } = self.shape;
        for column in 0..width / 2 * 2 {
            let from = self.grad_out.add(column / 2 * channels);
            let out = self.grad_x.add(column * channels);
            strip::<I, T, T, _, 1>(Quarter, [from], out, channels);
        }
    }
}

/// The gradient of [`pool2x2`], shapes the other way round. Pixels that were left out get zero.
pub fn pool2x2_backward<T: Number>(cpu: Cpu, shape: Pool2x2, grad_out: &[T], grad_x: &mut [T]) {
    let Pool2x2 {
        batch,
        height,
        width,
        channels,
    } = shape;
    assert_eq!(
        grad_x.len(),
        shape.large(),
        "grad_x is [batch, height, width, channels]"
    );
    assert_eq!(
        grad_out.len(),
        shape.small(),
        "grad_out is [batch, height / 2, width / 2, channels]"
    );
    let (rows, row) = (height / 2, width / 2 * channels);
    let grad_x = Shared::new(grad_x);
    each_range(batch * height, rows_in(CHUNK, width * channels), |range| {
        for i in range {
            let (item, y) = (i / height, i % height);
            // SAFETY: row `i` of the larger picture, which no other job has.
            let whole = unsafe {
                std::slice::from_raw_parts_mut(
                    grad_x.get().add(i * width * channels),
                    width * channels,
                )
            };
            if y / 2 >= rows {
                whole.fill(T::ZERO);
                continue;
            }
            whole[2 * row..].fill(T::ZERO);
            let grad_out = grad_out[(item * rows + y / 2) * row..][..row].as_ptr();
            run(
                cpu,
                PoolRowBack {
                    grad_out,
                    grad_x: whole.as_mut_ptr(),
                    shape,
                },
            );
        }
    });
}

#[cfg(test)]
mod tests;
