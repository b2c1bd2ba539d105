//! 3×3 convolutions of stride one by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms
//! for Convolutional Neural Networks", 2015).
//!
//! A tile of m×m outputs needs (m + 2)² products instead of 9·m²: 2.25 times fewer for m = 2, four
//! times for m = 4, whose transforms amplify rounding too much for operands in bf16. The tile's
//! inputs are transformed straight from the picture (doubled or wrapped as the window says), the
//! products of each of the (m + 2)² places are one matrix product over all tiles of a block, and
//! what comes back is finished and stored in one go.
//!
//! Transformed weights are 16/9 or 4 times as large. Where a picture has few tiles, a weight is
//! better kept as it is and transformed in the cache, a block of inputs at a time, at each use.

mod seen;
mod weight;

use std::ops::Range;

use crate::buffer::{Buffer, with_scratch};
use crate::dense::pad_channels;
use crate::epilogue::Epilogue;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::packed::each_panel;
use crate::pool::{self, Shared};
use crate::simd::{Isa, Kernel, Simd, run};

pub(crate) use seen::Seen;
use weight::TransformPanel;
pub use weight::WinogradWeight;

/// Outputs of a tile, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 2×2 outputs of 4×4 inputs.
    Two,
    /// 4×4 outputs of 6×6 inputs.
    Four,
}

impl Tile {
    fn outputs(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }

    fn inputs(self) -> usize {
        self.outputs() + 2
    }
}

/// Groups of inputs whose weights are transformed at a time, so that they stay in the second cache.
const GROUPS: usize = 64;

/// [`conv2d`](crate::conv2d) with a transformed weight: 3×3, stride and dilation one.
///
/// # Shapes
///
/// As [`conv2d`](crate::conv2d).
///
/// # Panics
///
/// Where a length differs, or the window is not one of these.
pub fn winograd<T: Number>(
    x: &Picture<'_, T>,
    weight: &WinogradWeight<T>,
    window: &Window,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    x.check();
    let [height, width] = window.output;
    let (rows, columns) = (x.batch * height * width, weight.packed.columns);
    assert_eq!(x.channels, weight.input, "the weight's channels");
    assert!(
        window.kernel == [3, 3] && window.stride == 1 && window.dilation == 1 && window.spread == 1,
        "a 3×3 window of stride one"
    );
    assert_eq!(out.len(), rows * columns, "an output's length");
    epilogue.check(rows, columns, false);
    if rows * columns == 0 {
        return;
    }
    if !x.channels.is_multiple_of(T::GROUP) {
        let channels = x.channels.next_multiple_of(T::GROUP);
        let padded = pad_channels(x);
        let x = Picture::new(&padded, [x.batch, x.height, x.width, channels]);
        blocks(&x, weight, window, epilogue, out);
    } else {
        blocks(x, weight, window, epilogue, out);
    }
}

/// Tiles of a block: more where the weights are large, since each block reads them all, and more
/// again where each block transforms them.
fn tiles_of_block<T>(tiles: usize, weight: &WinogradWeight<T>) -> usize {
    let most = match (weight.transformed, weight.input * weight.packed.columns) {
        (false, _) => 144,
        (true, 262_144..) => 96,
        (true, _) => 48,
    };
    // Whole blocks for each thread, where that takes no second transform of the weights.
    let wanted = match weight.transformed {
        true => (2 * pool::threads()).min(tiles / 12),
        false => 1,
    };
    let blocks = tiles.div_ceil(most).max(wanted);
    tiles.div_ceil(blocks).next_multiple_of(6).min(most)
}

fn blocks<T: Number>(
    x: &Picture<'_, T>,
    weight: &WinogradWeight<T>,
    window: &Window,
    epilogue: &Epilogue<'_, T>,
    out: &mut [T],
) {
    let [height, width] = window.output;
    let m = weight.tile.outputs();
    let grid = [height.div_ceil(m), width.div_ceil(m)];
    let tiles = x.batch * grid[0] * grid[1];
    let block = tiles_of_block(tiles, weight);
    let blocks = tiles.div_ceil(block);
    let panels = weight.packed.panels();
    // Each split transforms the inputs again, so there are no more than the threads need.
    let splits = (2 * pool::threads()).div_ceil(blocks).min(panels);
    let places = weight.tile.inputs().pow(2);
    let zeros = Buffer::<T>::zeros(x.channels);
    let out = Shared::new(out);
    pool::each(blocks * splits, |job| {
        let (b, s) = (job / splits, job % splits);
        let first = b * block;
        let count = block.min(tiles - first);
        let inputs = places * count * x.channels * size_of::<T>();
        let products = places * count * weight.packed.width * size_of::<f32>();
        let weights = match weight.transformed {
            true => 0,
            false => places * GROUPS * weight.packed.width * T::GROUP * size_of::<T>(),
        };
        with_scratch(
            [inputs, products, weights],
            |[inputs, products, weights]| {
                let job = Block {
                    x,
                    weight,
                    window,
                    epilogue,
                    zeros: zeros.as_ptr(),
                    grid,
                    first,
                    count,
                    panels: s * panels / splits..(s + 1) * panels / splits,
                    inputs: inputs.cast(),
                    products: products.cast(),
                    weights: weights.cast(),
                    out: out.get(),
                };
                run(weight.packed.cpu, job);
            },
        );
    });
}

struct Block<'a, T> {
    x: &'a Picture<'a, T>,
    weight: &'a WinogradWeight<T>,
    window: &'a Window,
    epilogue: &'a Epilogue<'a, T>,
    zeros: *const T,
    grid: [usize; 2],
    first: usize,
    count: usize,
    panels: Range<usize>,
    /// `[places, count, channels]`
    inputs: *mut T,
    /// `[places, count, vectors of the panel]`
    products: *mut f32,
    /// `[places, GROUPS, vectors of the panel, GROUP]`, unless the weight is transformed already.
    weights: *mut T,
    out: *mut T,
}

impl<T: Number> Kernel for Block<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        match self.weight.tile {
            Tile::Two => self.all::<I, MR, NV, 4, 2>(),
            Tile::Four => self.all::<I, MR, NV, 6, 4>(),
        }
    }
}

/// Aᵀ·m of a row of products.
#[inline(always)]
unsafe fn output_row<I: Isa, const A: usize, const M: usize>(m: [I::F; A]) -> [I::F; M] {
    let mut r = [m[0]; M];
    if M == 2 {
        r[0] = I::add(I::add(m[0], m[1]), m[2]);
        r[1] = I::sub(I::sub(m[1], m[2]), m[3]);
    } else {
        let (sum, difference) = (I::add(m[1], m[2]), I::sub(m[1], m[2]));
        let (sum2, difference2) = (I::add(m[3], m[4]), I::sub(m[3], m[4]));
        r[0] = I::add(I::add(m[0], sum), sum2);
        r[1] = I::fma(I::splat(2.0), difference2, difference);
        r[2] = I::fma(I::splat(4.0), sum2, sum);
        r[3] = I::add(I::fma(I::splat(8.0), difference2, difference), m[5]);
    }
    r
}

impl<T: Number> Block<'_, T> {
    #[inline(always)]
    unsafe fn all<I: Simd, const MR: usize, const NV: usize, const A: usize, const M: usize>(
        &self,
    ) {
        for t in 0..self.count {
            self.transform::<I, A, M>(t);
        }
        each_panel!(self, I, MR, NV, A, M);
    }

    /// The picture and the upper left output of tile `t` of the block.
    #[inline(always)]
    fn place(&self, t: usize, m: usize) -> [usize; 3] {
        let [down, across] = self.grid;
        let t = self.first + t;
        [t / (down * across), t / across % down * m, t % across * m]
    }

    #[inline(always)]
    unsafe fn transform<I: Simd, const A: usize, const M: usize>(&self, t: usize) {
        let [b, y, x] = self.place(t, M);
        let channels = self.x.channels;
        let to = self.inputs.add(t * channels);
        let seen = Seen::<T, A>::of(self.x, self.window, self.zeros, [b, y, x]);
        seen.transform::<I, T>(0..channels, to, self.count * channels);
    }

    #[inline(always)]
    unsafe fn panel<I: Simd, const MR: usize, const NV: usize, const A: usize, const M: usize>(
        &self,
        p: usize,
    ) {
        let packed = &self.weight.packed;
        if self.weight.transformed {
            for place in 0..A * A {
                let weights = packed.at(place, p, 0);
                self.product::<I, MR, NV>(place, weights, 0, packed.groups);
            }
        } else {
            for from in (0..packed.groups).step_by(GROUPS) {
                let groups = GROUPS.min(packed.groups - from);
                let stride = GROUPS * NV * I::LANES * T::GROUP;
                let panel = TransformPanel {
                    plain: packed,
                    tile: self.weight.tile,
                    p,
                    groups: from..from + groups,
                    to: self.weights,
                    stride,
                };
                panel.all::<I, A>();
                for place in 0..A * A {
                    let weights = self.weights.add(place * stride);
                    self.product::<I, MR, NV>(place, weights, from, groups);
                }
            }
        }
        for t in 0..self.count {
            for j in 0..NV {
                self.finish::<I, NV, A, M>(p, t, j);
            }
        }
    }

    /// Adds the products of one place over some groups of inputs; the first overwrite.
    #[inline(always)]
    unsafe fn product<I: Simd, const MR: usize, const NV: usize>(
        &self,
        place: usize,
        weights: *const T,
        from: usize,
        groups: usize,
    ) {
        let (count, channels) = (self.count, self.x.channels);
        let inputs = self.inputs.add(place * count * channels + from * T::GROUP);
        let products = self.products.add(place * count * NV * I::LANES);
        for t in (0..count).step_by(MR) {
            // Tiles beyond the last repeat it and are not stored.
            let rows: [*const T; MR] =
                std::array::from_fn(|i| inputs.add((t + i).min(count - 1) * channels).cast_const());
            let mut acc = [[I::splat(0.0); NV]; MR];
            if from > 0 {
                for i in 0..MR {
                    for j in 0..NV {
                        let at = ((t + i).min(count - 1) * NV + j) * I::LANES;
                        acc[i][j] = I::load(products.add(at));
                    }
                }
            }
            T::tile::<I, MR, NV>(groups, &rows, weights, &mut acc);
            for i in 0..MR {
                if t + i < count {
                    for j in 0..NV {
                        let to = ((t + i) * NV + j) * I::LANES;
                        I::store(products.add(to), acc[i][j]);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<I: Simd, const NV: usize, const A: usize, const M: usize>(
        &self,
        p: usize,
        t: usize,
        j: usize,
    ) {
        let columns = self.weight.packed.columns;
        let column = p * self.weight.packed.width + j * I::LANES;
        let n = (columns - column).min(I::LANES);
        let mut rows = [[I::splat(0.0); M]; A];
        for (y, row) in rows.iter_mut().enumerate() {
            *row = output_row::<I, A, M>(std::array::from_fn(|x| {
                let place = (y * A + x) * self.count + t;
                I::load(self.products.add((place * NV + j) * I::LANES))
            }));
        }
        let bias = self.epilogue.bias::<I>(column, n);
        let [b, top, left] = self.place(t, M);
        let [height, width] = self.window.output;
        for x in 0..M {
            let outputs = output_row::<I, A, M>(std::array::from_fn(|y| rows[y][x]));
            for (y, value) in outputs.iter().enumerate() {
                if top + y < height && left + x < width {
                    let pixel = (b * height + top + y) * width + left + x;
                    let at = pixel * columns + column;
                    self.epilogue.store::<I>(self.out, at, n, *value, bias);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "winograd_tests.rs"]
mod tests;
