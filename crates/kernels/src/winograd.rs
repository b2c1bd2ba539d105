//! 3×3 convolutions of stride one by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms
//! for Convolutional Neural Networks", 2015).
//!
//! A tile of m×m outputs needs (m + 2)² products instead of 9·m²: 2.25 times fewer for m = 2, four
//! times for m = 4, whose transforms amplify rounding too much for operands in bf16. The tile's
//! inputs are transformed straight from the picture (doubled or wrapped as the window says), the
//! products of each of the (m + 2)² places are one matrix product over all tiles of a block, and
//! what comes back is finished and stored in one go.

use std::ops::Range;

use crate::buffer::{Buffer, with_scratch};
use crate::cpu::Cpu;
use crate::dense::pad_channels;
use crate::epilogue::Epilogue;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::packed::Packed;
use crate::pool::{self, Shared};
use crate::simd::{Isa, Kernel, Simd, run};

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

/// The transformed weight of a 3×3 convolution.
#[derive(Debug)]
pub struct WinogradWeight<T> {
    packed: Packed<T>,
    tile: Tile,
    input: usize,
}

impl<T: Number> WinogradWeight<T> {
    /// From a weight `[output, input, 3, 3]`.
    pub fn new(cpu: Cpu, tile: Tile, weight: &[T], [output, input]: [usize; 2]) -> Self {
        assert_eq!(weight.len(), output * input * 9, "a weight's length");
        Self::pack(cpu, tile, [output, input], weight, false)
    }

    /// For the gradient of the input, as [`Weight::conv_back`](crate::Weight::conv_back).
    pub fn back(cpu: Cpu, tile: Tile, weight: &[T], [output, input]: [usize; 2]) -> Self {
        assert_eq!(weight.len(), output * input * 9, "a weight's length");
        Self::pack(cpu, tile, [input, output], weight, true)
    }

    fn pack(cpu: Cpu, tile: Tile, [output, input]: [usize; 2], weight: &[T], turned: bool) -> Self {
        let places = tile.inputs().pow(2);
        let mut packed = Packed::<T>::zeros(cpu, places, input, output);
        let panels = packed.panels();
        let mut parts = Vec::new();
        for p in 0..panels {
            for place in 0..places {
                parts.push(Shared::new(packed.panel_mut(place, p)));
            }
        }
        pool::each(panels, |p| {
            let job = PackPanel {
                weight,
                turned,
                tile,
                output,
                input,
                first: p * packed.width,
                stride: packed.stride(p),
                parts: &parts[p * places..][..places],
            };
            run(cpu, job);
        });
        Self {
            packed,
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

/// The weights of one panel of outputs, transformed.
struct PackPanel<'a, T> {
    weight: &'a [T],
    /// Taps turned round, outputs and inputs exchanged.
    turned: bool,
    tile: Tile,
    output: usize,
    input: usize,
    first: usize,
    stride: usize,
    /// The panel at each place.
    parts: &'a [Shared<T>],
}

impl<T: Number> Kernel for PackPanel<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let columns = self.stride.min(self.output - self.first);
        // In blocks of inputs, so that what is written stays in the cache.
        for start in (0..self.input).step_by(INPUTS) {
            for j in 0..columns {
                for i in (start..self.input.min(start + INPUTS)).step_by(I::LANES) {
                    match self.tile {
                        Tile::Two => self.some::<I, 4>(j, i),
                        Tile::Four => self.some::<I, 6>(j, i),
                    }
                }
            }
        }
    }
}

/// More than any vector's lanes.
const MOST_LANES: usize = 16;

impl<T: Number> PackPanel<'_, T> {
    /// Output `j` of the panel, a vector of inputs from `i` on.
    #[inline(always)]
    unsafe fn some<I: Simd, const A: usize>(&self, j: usize, i: usize) {
        let count = I::LANES.min(self.input - i);
        let mut taps = [[0f32; MOST_LANES]; 9];
        for l in 0..count {
            let (o, i) = (self.first + j, i + l);
            let at = if self.turned {
                i * self.output + o
            } else {
                o * self.input + i
            };
            for tap in 0..9 {
                let from = if self.turned { 8 - tap } else { tap };
                taps[tap][l] = (*self.weight.as_ptr().add(at * 9 + from)).to_f32();
            }
        }
        let rows: [[I::F; A]; 3] = std::array::from_fn(|y| {
            weight_row::<I, A>(std::array::from_fn(|x| I::load(taps[3 * y + x].as_ptr())))
        });
        for x in 0..A {
            let column = weight_row::<I, A>([rows[0][x], rows[1][x], rows[2][x]]);
            for (y, v) in column.iter().enumerate() {
                let mut values = [T::ZERO; MOST_LANES];
                T::put::<I>(values.as_mut_ptr(), *v);
                let part = self.parts[y * A + x].get();
                for group in 0..count.div_ceil(T::GROUP) {
                    let to = ((i / T::GROUP + group) * self.stride + j) * T::GROUP;
                    let from = values.as_ptr().add(group * T::GROUP);
                    std::ptr::copy_nonoverlapping(from, part.add(to), T::GROUP);
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

/// Tiles of a block: more where the weights are large, since each block reads them all.
fn tiles_of_block(tiles: usize, channels: usize, columns: usize) -> usize {
    let most = if channels * columns >= 512 * 512 {
        96
    } else {
        48
    };
    let blocks = tiles.div_ceil(most);
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
    let block = tiles_of_block(tiles, x.channels, weight.packed.columns);
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
        with_scratch([inputs, products], |[inputs, products]| {
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
                out: out.get(),
            };
            run(weight.packed.cpu, job);
        });
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
        let [top, left] = self.window.before;
        let seen: [[*const T; A]; A] = std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let row = (y + i) as isize - top;
                let column = (x + j) as isize - left;
                let offset = self.window.pixel(self.x, b, row, column);
                offset.map_or(self.zeros, |o| self.x.data.as_ptr().add(o))
            })
        });
        let channels = self.x.channels;
        let mut c = 0;
        while c < channels {
            let n = (channels - c).min(I::LANES);
            let whole = n == I::LANES;
            let mut d = [[I::splat(0.0); A]; A];
            for i in 0..A {
                for j in 0..A {
                    let p = seen[i][j].add(c);
                    d[i][j] = if whole {
                        T::get::<I>(p)
                    } else {
                        T::get_part::<I>(p, n)
                    };
                }
                d[i] = input_row::<I, A>(d[i]);
            }
            for j in 0..A {
                let column = input_row::<I, A>(std::array::from_fn(|i| d[i][j]));
                for i in 0..A {
                    let to = ((i * A + j) * self.count + t) * channels + c;
                    if whole {
                        T::put::<I>(self.inputs.add(to), column[i]);
                    } else {
                        T::put_part::<I>(self.inputs.add(to), column[i], n);
                    }
                }
            }
            c += n;
        }
    }

    #[inline(always)]
    unsafe fn panel<I: Simd, const MR: usize, const NV: usize, const A: usize, const M: usize>(
        &self,
        p: usize,
    ) {
        let (count, channels) = (self.count, self.x.channels);
        let packed = &self.weight.packed;
        for place in 0..A * A {
            let inputs = self.inputs.add(place * count * channels);
            let products = self.products.add(place * count * NV * I::LANES);
            let weights = packed.at(place, p, 0);
            for t in (0..count).step_by(MR) {
                // Tiles beyond the last repeat it and are not stored.
                let rows: [*const T; MR] = std::array::from_fn(|i| {
                    inputs.add((t + i).min(count - 1) * channels).cast_const()
                });
                let mut acc = [[I::splat(0.0); NV]; MR];
                T::tile::<I, MR, NV>(packed.groups, &rows, weights, &mut acc);
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
        for t in 0..count {
            for j in 0..NV {
                self.finish::<I, NV, A, M>(p, t, j);
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
