//! Products with packed weights: linear layers and convolutions as they are defined.
//!
//! Both are one loop. A row of the left matrix is where a pixel's (or token's) numbers lie; a
//! convolution has one such row per tap of its kernel, so nothing is gathered: a table of pointers
//! says where to read, and points to zeros beyond the edges. Rows are read in place, and the
//! weights in the order in which they were packed, so the product itself moves no memory.

use std::ops::Range;

use crate::buffer::{Buffer, with_scratch};
use crate::epilogue::Epilogue;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::packed::each_panel;
use crate::pool::{self, Shared};
use crate::simd::{self, Kernel, Simd, run};
use crate::weight::Weight;

/// y = epilogue(x·Wᵀ) for each of `rows` rows.
///
/// # Shapes
///
/// - x: row r begins at `x[r·stride]` and has the weight's input
/// - the bias of a gated weight: `[2·output]`; of another: `[output]`
/// - out `[rows, output]`
///
/// # Panics
///
/// Where a length differs from this.
pub fn linear<T: Number>(
    x: &[T],
    rows: usize,
    stride: usize,
    weight: &Weight<T>,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    let picture = Picture::of_rows(x, rows, stride, weight.input);
    conv2d(&picture, weight, &Window::same(1, rows, 1), epilogue, out);
}

/// A convolution of a channels-last picture.
///
/// # Shapes
///
/// - x `[batch, height, width, input]`
/// - out `[batch, window.output…, output]`
///
/// # Panics
///
/// Where a length differs from this, or the window's kernel from the weight's.
pub fn conv2d<T: Number>(
    x: &Picture<'_, T>,
    weight: &Weight<T>,
    window: &Window,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    x.check();
    let [height, width] = window.output;
    let rows = x.batch * height * width;
    assert_eq!(x.channels, weight.input, "the weight's channels");
    assert_eq!(window.kernel, weight.kernel, "the weight's kernel");
    assert_eq!(out.len(), rows * weight.output, "an output's length");
    epilogue.check(rows, weight.output, weight.gated);
    if rows * weight.output == 0 {
        return;
    }
    // A group may not reach beyond a pixel.
    if !x.channels.is_multiple_of(T::GROUP) {
        let padded = pad_channels(x);
        let x = Picture {
            data: &padded,
            channels: x.channels.next_multiple_of(T::GROUP),
            ..Picture::new(
                &padded,
                [
                    x.batch,
                    x.height,
                    x.width,
                    x.channels.next_multiple_of(T::GROUP),
                ],
            )
        };
        product(&x, weight, window, epilogue, out);
    } else {
        product(x, weight, window, epilogue, out);
    }
}

/// A copy without gaps, each pixel filled up with zeros to whole groups.
pub(crate) fn pad_channels<T: Number>(x: &Picture<'_, T>) -> Buffer<T> {
    let channels = x.channels.next_multiple_of(T::GROUP);
    let mut padded = Buffer::zeros(x.batch * x.height * x.width * channels);
    let mut pixels = padded.chunks_exact_mut(channels);
    for b in 0..x.batch {
        for y in 0..x.height {
            for at in 0..x.width {
                let start = b * x.batch_stride + y * x.row_stride + at * x.pixel_stride;
                if let Some(pixel) = pixels.next() {
                    pixel[..x.channels].copy_from_slice(&x.data[start..start + x.channels]);
                }
            }
        }
    }
    padded
}

/// Rows that share one pass over the weights: enough to make the weights' way from memory cheap,
/// few enough for the rows to stay in the second cache.
const ROWS: usize = 96;

/// Bytes of a panel that is read once for every few rows and so should stay in the second cache.
const PANEL: usize = 192 << 10;

/// Rows and panels cut into jobs: `job(first row, rows, panels)` for each.
pub(crate) fn share(rows: usize, panels: usize, job: impl Fn(usize, usize, Range<usize>) + Sync) {
    let threads = pool::threads();
    let chunks = if rows < 2 * ROWS {
        // As few as give every thread as much; each reads the weights again.
        let even = |chunks: &usize| {
            let jobs = chunks * panels;
            jobs.is_multiple_of(threads) || jobs >= 4 * threads
        };
        let most = (rows / 12).clamp(1, threads);
        (1..=most).find(even).unwrap_or(most)
    } else {
        rows.div_ceil(ROWS)
    };
    let chunk = rows.div_ceil(chunks).next_multiple_of(12);
    let chunks = rows.div_ceil(chunk);
    // A few jobs for each thread, so that none waits long for the last.
    let splits = (4 * threads).div_ceil(chunks).min(panels);
    pool::each(chunks * splits, |i| {
        let (first, s) = (i / splits * chunk, i % splits);
        let part = s * panels / splits..(s + 1) * panels / splits;
        job(first, chunk.min(rows - first), part);
    });
}

fn product<T: Number>(
    x: &Picture<'_, T>,
    weight: &Weight<T>,
    window: &Window,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    let rows = x.batch * window.output[0] * window.output[1];
    let zeros = Buffer::<T>::zeros(x.channels);
    let (taps, seen) = (window.taps(), window.over(x));
    let out = Shared::new(out);
    share(rows, weight.packed.panels(), |first, count, panels| {
        let pointers = taps * count * size_of::<*const T>();
        let sums = count * weight.packed.width * size_of::<f32>();
        with_scratch([pointers, sums], |[table, sums]| {
            let table = table.cast::<*const T>();
            for r in 0..count {
                for tap in 0..taps {
                    let offset = seen.at(first + r, tap);
                    let pointer = offset.map_or(zeros.as_ptr(), |o| x.data[o..].as_ptr());
                    // SAFETY: the scratch part holds taps·count pointers.
                    unsafe { *table.add(tap * count + r) = pointer };
                }
            }
            let job = Chunk {
                weight,
                epilogue,
                table,
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

/// The product of some rows with some panels.
struct Chunk<'a, T> {
    weight: &'a Weight<T>,
    epilogue: &'a Epilogue<'a, T>,
    /// For each tap, where each row's numbers lie.
    table: *const *const T,
    /// The first row's number in the output.
    first: usize,
    count: usize,
    panels: Range<usize>,
    /// `[count, panel width]`, what has been summed so far.
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
        let groups = self.weight.packed.groups;
        let group_bytes = NV * I::LANES * T::GROUP * size_of::<T>();
        let blocks = (groups * group_bytes).div_ceil(PANEL).max(1);
        let block = groups.div_ceil(blocks).max(1);
        let mut from = 0;
        loop {
            let to = (from + block).min(groups);
            for r in (0..self.count).step_by(MR) {
                if self.count - r <= 2 {
                    self.rows::<I, 2, NV>(p, r, from..to);
                } else {
                    self.rows::<I, MR, NV>(p, r, from..to);
                }
            }
            if to == groups {
                break;
            }
            from = to;
        }
    }

    /// Rows `r` to `r + MR` (or as many as there are), the groups of one block.
    #[inline(always)]
    unsafe fn rows<I: Simd, const MR: usize, const NV: usize>(
        &self,
        p: usize,
        r: usize,
        block: Range<usize>,
    ) {
        let packed = &self.weight.packed;
        let per_tap = self.weight.input.div_ceil(T::GROUP);
        let count = MR.min(self.count - r);
        let sums = self.sums.add(r * NV * I::LANES);
        let mut acc = [[I::splat(0.0); NV]; MR];
        if block.start > 0 {
            for i in 0..MR {
                for j in 0..NV {
                    // The scratch has room for `count` rows only; others are not kept.
                    if i < count {
                        acc[i][j] = I::load(sums.add((i * NV + j) * I::LANES));
                    }
                }
            }
        }
        if block.end == packed.groups {
            self.expect_output::<MR>(p, r, NV * I::LANES);
        }
        let mut at = block.start;
        while at < block.end {
            let (tap, group) = (at / per_tap, at % per_tap);
            let steps = (per_tap - group).min(block.end - at);
            let rows: [*const T; MR] = std::array::from_fn(|i| {
                // Rows beyond the last repeat it and are not stored.
                let row = (r + i).min(self.count - 1);
                (*self.table.add(tap * self.count + row)).add(group * T::GROUP)
            });
            T::tile::<I, MR, NV>(steps, &rows, packed.at(0, p, at), &mut acc);
            at += steps;
        }
        if block.end < packed.groups {
            for i in 0..MR {
                for j in 0..NV {
                    if i < count {
                        I::store(sums.add((i * NV + j) * I::LANES), acc[i][j]);
                    }
                }
            }
        } else if self.weight.gated {
            self.store_gated::<I, MR, NV>(p, r, &acc);
        } else {
            self.store::<I, MR, NV>(p, r, &acc);
        }
    }

    /// Asks for the lines of a tile of the output: otherwise its stores, which all miss the cache,
    /// would hold up the next tile.
    #[inline(always)]
    unsafe fn expect_output<const MR: usize>(&self, p: usize, r: usize, columns: usize) {
        let (width, columns) = match self.weight.gated {
            true => (self.weight.packed.width / 2, columns / 2),
            false => (self.weight.packed.width, columns),
        };
        for row in r..self.count.min(r + MR) {
            let start = (self.first + row) * self.weight.output + p * width;
            let end = (start + columns).min((self.first + row + 1) * self.weight.output);
            for at in (start..end).step_by(64 / size_of::<T>()) {
                simd::expect_write(self.out.add(at));
            }
        }
    }

    #[inline(always)]
    unsafe fn store<I: Simd, const MR: usize, const NV: usize>(
        &self,
        p: usize,
        r: usize,
        acc: &[[I::F; NV]; MR],
    ) {
        let columns = self.weight.output;
        for j in 0..NV {
            let column = p * self.weight.packed.width + j * I::LANES;
            let n = (columns - column).min(I::LANES);
            let bias = self.epilogue.bias::<I>(column, n);
            for i in 0..MR {
                if r + i < self.count {
                    let at = (self.first + r + i) * columns + column;
                    self.epilogue.store::<I>(self.out, at, n, acc[i][j], bias);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store_gated<I: Simd, const MR: usize, const NV: usize>(
        &self,
        p: usize,
        r: usize,
        acc: &[[I::F; NV]; MR],
    ) {
        let columns = self.weight.output;
        for j in 0..NV / 2 {
            let column = p * (self.weight.packed.width / 2) + j * I::LANES;
            let n = (columns - column).min(I::LANES);
            let bias = self.epilogue.bias::<I>(column, n);
            let gate_bias = self.epilogue.bias::<I>(columns + column, n);
            for i in 0..MR {
                if r + i < self.count {
                    let gate = I::add(acc[i][j + NV / 2], gate_bias);
                    let gate = if T::GROUP == 1 {
                        simd::gelu::<I>(gate)
                    } else {
                        simd::gelu_short::<I>(gate)
                    };
                    let value = I::mul(I::add(acc[i][j], bias), gate);
                    let at = (self.first + r + i) * columns + column;
                    self.epilogue
                        .store::<I>(self.out, at, n, value, I::splat(0.0));
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "dense_tests.rs"]
mod tests;
