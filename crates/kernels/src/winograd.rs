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

use std::ops::Range;

use crate::buffer::{Buffer, with_scratch};
use crate::cpu::Cpu;
use crate::dense::pad_channels;
use crate::epilogue::Epilogue;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::packed::Packed;
use crate::pool::{self, Shared};
use crate::simd::{Isa, Kernel, Simd, load, run, store};

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

/// Inputs that are packed at a time, so that what is written stays in the cache.
const INPUTS: usize = 64;

/// Groups of inputs whose weights are transformed at a time, so that they stay in the second cache.
const GROUPS: usize = 64;

/// The weight of a 3×3 convolution.
#[derive(Debug)]
pub struct WinogradWeight<T> {
    /// A matrix per place if `transformed`, per tap otherwise.
    packed: Packed<T>,
    transformed: bool,
    tile: Tile,
    input: usize,
}

impl<T: Number> WinogradWeight<T> {
    /// From a weight `[output, input, 3, 3]`.
    pub fn new(cpu: Cpu, tile: Tile, weight: &[T], [output, input]: [usize; 2]) -> Self {
        let Self { packed: plain, .. } = Self::lean(cpu, tile, weight, [output, input]);
        let places = tile.inputs().pow(2);
        let mut packed = Packed::<T>::zeros(cpu, places, input, output);
        let stride = packed.slab();
        let to = Shared::new(packed.all_mut());
        pool::each(plain.panels(), |p| {
            let panel = TransformPanel {
                plain: &plain,
                tile,
                p,
                groups: 0..plain.groups,
                // SAFETY: both are cut into the same panels; each is written by one job.
                to: unsafe { to.get().add(plain.start(0, p)) },
                stride,
            };
            run(cpu, panel);
        });
        Self {
            packed,
            transformed: true,
            tile,
            input,
        }
    }

    /// As [`new`](Self::new), to be transformed at each use: no more memory than the weight has, and
    /// faster where a picture has few tiles or the weight is used once.
    pub fn lean(cpu: Cpu, tile: Tile, weight: &[T], [output, input]: [usize; 2]) -> Self {
        let at = |o: usize, i: usize, tap: usize| (o * input + i) * 9 + tap;
        Self::plain(cpu, tile, [output, input], weight, at)
    }

    /// For the gradient of the input, as [`Weight::conv_back`](crate::Weight::conv_back); transformed
    /// at each use.
    pub fn back(cpu: Cpu, tile: Tile, weight: &[T], [output, input]: [usize; 2]) -> Self {
        let at = |o: usize, i: usize, tap: usize| (i * input + o) * 9 + 8 - tap;
        Self::plain(cpu, tile, [input, output], weight, at)
    }

    /// `at` says where the weight of an output, an input and a tap lies.
    fn plain(
        cpu: Cpu,
        tile: Tile,
        [output, input]: [usize; 2],
        weight: &[T],
        at: impl Fn(usize, usize, usize) -> usize + Sync,
    ) -> Self {
        assert_eq!(weight.len(), output * input * 9, "a weight's length");
        let mut packed = Packed::<T>::zeros(cpu, 9, input, output);
        let (width, slab) = (packed.width, packed.slab());
        let panels: Vec<_> = (0..packed.panels())
            .map(|p| (packed.start(0, p), packed.stride(p)))
            .collect();
        let to = Shared::new(packed.all_mut());
        pool::each(panels.len(), |p| {
            let (first, stride) = panels[p];
            let columns = stride.min(output - p * width);
            for start in (0..input).step_by(INPUTS) {
                for j in 0..columns {
                    for i in start..input.min(start + INPUTS) {
                        let place = (i / T::GROUP * stride + j) * T::GROUP + i % T::GROUP;
                        for tap in 0..9 {
                            let value = weight[at(p * width + j, i, tap)];
                            // SAFETY: i < input and j < stride, so this lies in the tap's panel; each
                            // panel is written by one job.
                            unsafe { *to.get().add(tap * slab + first + place) = value };
                        }
                    }
                }
            }
        });
        Self {
            packed,
            transformed: false,
            tile,
            input,
        }
    }

    /// Columns of the output.
    pub fn output(&self) -> usize {
        self.packed.columns
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }
}

/// G·g·Gᵀ of some groups of a panel, the first at `to`, places `stride` apart.
struct TransformPanel<'a, T> {
    /// A matrix per tap.
    plain: &'a Packed<T>,
    tile: Tile,
    p: usize,
    groups: Range<usize>,
    to: *mut T,
    stride: usize,
}

impl<T: Number> Kernel for TransformPanel<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        match self.tile {
            Tile::Two => self.all::<I, 4>(),
            Tile::Four => self.all::<I, 6>(),
        }
    }
}

impl<T: Number> TransformPanel<'_, T> {
    #[inline(always)]
    unsafe fn all<I: Simd, const A: usize>(&self) {
        let numbers = I::LANES * T::GROUP;
        let taps: [*const T; 9] =
            std::array::from_fn(|tap| self.plain.at(tap, self.p, self.groups.start));
        for at in 0..self.groups.len() * self.plain.vectors(self.p) {
            let mut rows = [[[I::splat(0.0); A]; 2]; 3];
            for (y, row) in rows.iter_mut().enumerate() {
                let g: [[I::F; 2]; 3] =
                    std::array::from_fn(|x| T::get_groups::<I>(taps[3 * y + x].add(at * numbers)));
                for e in 0..T::GROUP {
                    row[e] = weight_row::<I, A>([g[0][e], g[1][e], g[2][e]]);
                }
            }
            for x in 0..A {
                let mut columns = [[I::splat(0.0); A]; 2];
                for (e, column) in columns.iter_mut().enumerate().take(T::GROUP) {
                    *column = weight_row::<I, A>([rows[0][e][x], rows[1][e][x], rows[2][e][x]]);
                }
                for y in 0..A {
                    let to = self.to.add((y * A + x) * self.stride + at * numbers);
                    T::put_groups::<I>(to, [columns[0][y], columns[1][y]]);
                }
            }
        }
    }
}

/// G·g of a row of three weights.
#[inline(always)]
unsafe fn weight_row<I: Isa, const A: usize>([a, b, c]: [I::F; 3]) -> [I::F; A] {
    let mut r = [a; A];
    let times = |x: I::F, by: f32| I::mul(x, I::splat(by));
    if A == 4 {
        let ends = I::add(a, c);
        r[1] = times(I::add(ends, b), 0.5);
        r[2] = times(I::sub(ends, b), 0.5);
        r[3] = c;
    } else {
        let (ends, far) = (I::add(a, c), I::fma(I::splat(4.0), c, a));
        let twice = I::add(b, b);
        r[0] = times(a, 0.25);
        r[1] = times(I::add(ends, b), -1.0 / 6.0);
        r[2] = times(I::sub(ends, b), -1.0 / 6.0);
        r[3] = times(I::add(far, twice), 1.0 / 24.0);
        r[4] = times(I::sub(far, twice), 1.0 / 24.0);
        r[5] = c;
    }
    r
}

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

/// Bᵀ·d of a row of inputs.
#[inline(always)]
unsafe fn input_row<I: Isa, const A: usize>(d: [I::F; A]) -> [I::F; A] {
    let mut r = d;
    if A == 4 {
        r[0] = I::sub(d[0], d[2]);
        r[1] = I::add(d[1], d[2]);
        r[2] = I::sub(d[2], d[1]);
        r[3] = I::sub(d[1], d[3]);
    } else {
        let (two, four, five) = (I::splat(2.0), I::splat(4.0), I::splat(-5.0));
        let even = I::fma(I::splat(-4.0), d[2], d[4]);
        let odd = I::fma(I::splat(-4.0), d[1], d[3]);
        let near = I::sub(d[4], d[2]);
        let far = I::mul(two, I::sub(d[3], d[1]));
        r[0] = I::fma(four, d[0], I::fma(five, d[2], d[4]));
        r[1] = I::add(even, odd);
        r[2] = I::sub(even, odd);
        r[3] = I::add(near, far);
        r[4] = I::sub(near, far);
        r[5] = I::fma(four, d[1], I::fma(five, d[3], d[5]));
    }
    r
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

/// Where the inputs of a tile lie.
pub(crate) struct Seen<T, const A: usize>([[*const T; A]; A]);

impl<T: Number, const A: usize> Seen<T, A> {
    /// The tile whose upper left output is (y, x) of picture b. `zeros` are as many as a pixel has
    /// channels.
    #[inline(always)]
    pub unsafe fn of(
        picture: &Picture<'_, T>,
        window: &Window,
        zeros: *const T,
        [b, y, x]: [usize; 3],
    ) -> Self {
        let [top, left] = window.before;
        Self(std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let (row, column) = ((y + i) as isize - top, (x + j) as isize - left);
                let offset = window.pixel(picture, b, row, column);
                offset.map_or(zeros, |o| picture.data.as_ptr().add(o))
            })
        }))
    }

    /// Bᵀ·d·B of some channels, the first at `to`, places `stride` apart.
    #[inline(always)]
    pub unsafe fn transform<I: Simd, U: Number>(
        &self,
        channels: Range<usize>,
        to: *mut U,
        stride: usize,
    ) {
        for c in channels.clone().step_by(I::LANES) {
            let n = (channels.end - c).min(I::LANES);
            let mut d = [[I::splat(0.0); A]; A];
            for (row, seen) in d.iter_mut().zip(&self.0) {
                for (v, p) in row.iter_mut().zip(seen) {
                    *v = load::<I, T>(p.add(c), n);
                }
                *row = input_row::<I, A>(*row);
            }
            for j in 0..A {
                let column = input_row::<I, A>(std::array::from_fn(|i| d[i][j]));
                for (i, v) in column.iter().enumerate() {
                    let to = to.add((i * A + j) * stride + c - channels.start);
                    store::<I, U>(to, *v, n);
                }
            }
        }
    }
}

impl<T: Number> Block<'_, T> {
    #[inline(always)]
    unsafe fn all<I: Simd, const MR: usize, const NV: usize, const A: usize, const M: usize>(
        &self,
    ) {
        for t in 0..self.count {
            self.transform::<I, A, M>(t);
        }
        for p in self.panels.clone() {
            match self.weight.packed.vectors(p) {
                1 => self.panel::<I, MR, 1, A, M>(p),
                2 => self.panel::<I, MR, 2, A, M>(p),
                3 => self.panel::<I, MR, 3, A, M>(p),
                _ => self.panel::<I, MR, NV, A, M>(p),
            }
        }
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
