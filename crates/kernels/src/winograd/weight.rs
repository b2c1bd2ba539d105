//! Weights, and their transform G·g·Gᵀ.

use std::ops::Range;

use super::Tile;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::packed::Packed;
use crate::pool::{self, Shared};
use crate::simd::{Isa, Kernel, Simd, run};

/// Inputs that are packed at a time, so that what is written stays in the cache.
const INPUTS: usize = 64;

/// The weight of a 3×3 convolution.
#[derive(Debug)]
pub struct WinogradWeight<T> {
    /// A matrix per place if `transformed`, per tap otherwise.
    pub(super) packed: Packed<T>,
    pub(super) transformed: bool,
    pub(super) tile: Tile,
    pub(super) input: usize,
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
pub(super) struct TransformPanel<'a, T> {
    /// A matrix per tap.
    pub plain: &'a Packed<T>,
    pub tile: Tile,
    pub p: usize,
    pub groups: Range<usize>,
    pub to: *mut T,
    pub stride: usize,
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
    pub unsafe fn all<I: Simd, const A: usize>(&self) {
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
