//! The forward pass of some rows of queries.
//!
//! # Safety
//!
//! Everything here is part of [`Rows`]' kernel, and sound where the pointers in it are what its
//! fields say they are: tiles, blocks, panels and vectors then stay within them.

// A tile is indexed by row and vector, like the memory that it goes to.
#![allow(clippy::needless_range_loop)]

use super::super::pack::split;
use super::{LIMITS, Pass};
use crate::number::Number;
use crate::simd::{self, Kernel, Simd};

/// Some rows of queries of one head, and memory for them.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub pass: &'a Pass<'a, T>,
    pub head: usize,
    pub first: usize,
    pub count: usize,
    /// The width in whole groups.
    pub depth: usize,
    /// Numbers from one row of scores, or of powers, to the next.
    pub stride: usize,
    pub k: *const T,
    pub v: *const T,
    /// The queries, in whole groups and whole tiles.
    pub q: *mut T,
    /// A tile's scores of a block of keys.
    pub scores: *mut f32,
    /// Two to the power of them.
    pub powers: *mut T,
    /// Per row, what is summed so far of powers times values.
    pub sums: *mut f32,
    /// Per tile, each row's largest score so far, then each row's sum of powers.
    pub state: *mut f32,
    /// Ones, for summing powers.
    pub ones: *mut T,
}

/// A tile's keys of one block.
#[derive(Clone, Copy)]
struct Block {
    tile: usize,
    first: usize,
    /// Keys of the block that any row of the tile sees.
    count: usize,
    last: bool,
}

impl<T: Number> Kernel for Rows<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let pass = self.pass;
        self.copy_queries::<MR>();
        for i in 0..pass.block {
            *self.ones.add(i) = T::from_f32(1.0);
        }
        for first in (0..pass.keys).step_by(pass.block) {
            for tile in 0..self.count.div_ceil(MR) {
                let end = self.seen(self.first + tile * MR + MR - 1);
                if first < end {
                    let block = Block {
                        tile,
                        first,
                        count: pass.block.min(end - first),
                        last: first + pass.block >= end,
                    };
                    self.block::<I, MR, NV>(block);
                }
            }
        }
    }
}

impl<T: Number> Rows<'_, T> {
    /// How many keys query `row` sees.
    #[inline(always)]
    fn seen(&self, row: usize) -> usize {
        if self.pass.shape.causal {
            self.pass.keys.min(row + 1)
        } else {
            self.pass.keys
        }
    }

    /// Queries in whole groups; zeros in the rows that fill the last tile.
    #[inline(always)]
    unsafe fn copy_queries<const MR: usize>(&self) {
        let pass = self.pass;
        let (b, h) = (self.head / pass.shape.heads, self.head % pass.shape.heads);
        let head = pass.q.head(&pass.shape, b, h);
        let width = pass.shape.width;
        for row in 0..self.count.next_multiple_of(MR) {
            let to = self.q.add(row * self.depth);
            let from = head.add((self.first + row).min(pass.q.tokens - 1) * pass.q.stride);
            if pass.sign == 1.0 && row < self.count {
                std::ptr::copy_nonoverlapping(from, to, width);
            } else {
                let sign = if row < self.count { pass.sign } else { 0.0 };
                for c in 0..width {
                    *to.add(c) = T::from_f32(sign * (*from.add(c)).to_f32());
                }
            }
            for c in width..self.depth {
                *to.add(c) = T::ZERO;
            }
        }
    }

    #[inline(always)]
    unsafe fn block<I: Simd, const MR: usize, const NV: usize>(&self, block: Block) {
        let (columns, top) = self.scores::<I, MR, NV>(block);
        let state = self.state.add(block.tile * 2 * MR);
        let factor = self.pass.factor;
        let mut fade = [I::splat(0.0); MR];
        let mut shift = [0.0; MR];
        for i in 0..MR {
            let largest = I::largest(top[i]);
            if block.first == 0 {
                *state.add(i) = largest;
            } else {
                let before = *state.add(i);
                let largest = if before > largest { before } else { largest };
                *state.add(i) = largest;
                fade[i] = simd::exp2::<I>(I::splat(factor * (before - largest)));
            }
            shift[i] = -factor * *state.add(i);
        }
        let total = self.powers::<I, MR>(columns, &shift);
        for i in 0..MR {
            let sum = state.add(MR + i);
            *sum = if block.first == 0 {
                total[i]
            } else {
                // All lanes of `fade` are alike.
                *sum * I::largest(fade[i]) + total[i]
            };
        }
        for (vector, n) in split(self.pass.shape.width.div_ceil(I::LANES), NV) {
            match n {
                1 => self.values::<I, MR, 1>(block, vector, &fade),
                2 => self.values::<I, MR, 2>(block, vector, &fade),
                3 => self.values::<I, MR, 3>(block, vector, &fade),
                _ => self.values::<I, MR, 4>(block, vector, &fade),
            }
        }
        if block.last {
            self.log_sums::<MR>(block);
        }
    }

    /// A tile's scores; how many there are of each row, and the largest lane by lane.
    #[inline(always)]
    unsafe fn scores<I: Simd, const MR: usize, const NV: usize>(
        &self,
        block: Block,
    ) -> (usize, [I::F; MR]) {
        let mut top = [I::splat(f32::NEG_INFINITY); MR];
        let keys = self.pass.keys.next_multiple_of(I::LANES);
        let mut column = 0;
        while column < block.count {
            let left = (keys - block.first - column) / I::LANES;
            match left.min(NV) {
                1 => self.panel::<I, MR, 1>(block, column, &mut top),
                2 => self.panel::<I, MR, 2>(block, column, &mut top),
                3 => self.panel::<I, MR, 3>(block, column, &mut top),
                _ => self.panel::<I, MR, 4>(block, column, &mut top),
            }
            column += left.min(NV) * I::LANES;
        }
        (column, top)
    }

    /// The scores of one panel of keys, which starts at `column` of the block.
    #[inline(always)]
    unsafe fn panel<I: Simd, const MR: usize, const N: usize>(
        &self,
        block: Block,
        column: usize,
        top: &mut [I::F; MR],
    ) {
        let mut acc = [[I::splat(0.0); N]; MR];
        let a: [*const T; MR] =
            std::array::from_fn(|i| self.q.add((block.tile * MR + i) * self.depth).cast_const());
        let first = block.first + column;
        let panel = self.k.add(first * self.depth);
        T::tile::<I, MR, N>(self.depth / T::GROUP, &a, panel, &mut acc);
        // The tile stays in registers as long as only constants index it.
        for i in 0..MR {
            for j in 0..N {
                let to = self.scores.add(i * self.stride + column + j * I::LANES);
                I::store(to, acc[i][j]);
            }
        }
        let row = self.first + block.tile * MR;
        if self.seen(row) < first + N * I::LANES {
            self.hide::<I, MR, N>(row, first, column, top);
            return;
        }
        for i in 0..MR {
            for j in 0..N {
                top[i] = I::max(top[i], acc[i][j]);
            }
        }
    }

    /// Takes what a row does not see out of a panel's scores; the largest that are left.
    #[inline(always)]
    unsafe fn hide<I: Simd, const MR: usize, const N: usize>(
        &self,
        row: usize,
        first: usize,
        column: usize,
        top: &mut [I::F; MR],
    ) {
        for i in 0..MR {
            let seen = self.seen(row + i).saturating_sub(first);
            for j in 0..N {
                let lanes = seen.saturating_sub(j * I::LANES).min(I::LANES);
                let at = self.scores.add(i * self.stride + column + j * I::LANES);
                let score = I::min(I::load(at), I::load(LIMITS.as_ptr().add(16 - lanes)));
                I::store(at, score);
                top[i] = I::max(top[i], score);
            }
        }
    }

    /// Two to the power of `columns` scores of each row, and the sums of them as they were stored.
    #[inline(always)]
    unsafe fn powers<I: Simd, const MR: usize>(
        &self,
        columns: usize,
        shift: &[f32; MR],
    ) -> [f32; MR] {
        let factor = I::splat(self.pass.factor);
        let step = 4 * I::LANES * T::GROUP;
        let steps = columns.div_ceil(step);
        let ones = [self.ones.cast_const()];
        let mut total = [0.0; MR];
        for i in 0..MR {
            let scores = self.scores.add(i * self.stride);
            let powers = self.powers.add(i * self.stride);
            let shift = I::splat(shift[i]);
            for column in (0..columns).step_by(I::LANES) {
                let x = I::fma(I::load(scores.add(column)), factor, shift);
                let power = if T::GROUP == 1 {
                    simd::exp2::<I>(x)
                } else {
                    simd::exp2_short::<I>(x)
                };
                T::put::<I>(powers.add(column), power);
            }
            for column in (columns..steps * step).step_by(I::LANES) {
                T::put::<I>(powers.add(column), I::splat(0.0));
            }
        }
        for i in 0..MR {
            let powers = self.powers.add(i * self.stride);
            let mut acc = [[I::splat(0.0); 4]];
            T::tile::<I, 1, 4>(steps, &ones, powers, &mut acc);
            let [[a, b, c, d]] = acc;
            total[i] = I::sum(I::add(I::add(a, b), I::add(c, d)));
        }
        total
    }

    /// Adds powers times values of one panel of channels to what is summed of it, and after the
    /// last block stores the result.
    #[inline(always)]
    unsafe fn values<I: Simd, const MR: usize, const N: usize>(
        &self,
        block: Block,
        vector: usize,
        fade: &[I::F; MR],
    ) {
        let shape = &self.pass.shape;
        let column = vector * I::LANES;
        let mut acc = [[I::splat(0.0); N]; MR];
        let a: [*const T; MR] =
            std::array::from_fn(|i| self.powers.add(i * self.stride).cast_const());
        let height = self.pass.keys.next_multiple_of(T::GROUP);
        let panel = self.v.add(height * column + block.first * N * I::LANES);
        T::tile::<I, MR, N>(block.count.div_ceil(T::GROUP), &a, panel, &mut acc);
        let width = shape.width.next_multiple_of(I::LANES);
        let sums = self.sums.add(block.tile * MR * width + column);
        if block.first > 0 {
            for i in 0..MR {
                for j in 0..N {
                    let before = I::load(sums.add(i * width + j * I::LANES));
                    acc[i][j] = I::fma(before, fade[i], acc[i][j]);
                }
            }
        }
        if !block.last {
            for i in 0..MR {
                for j in 0..N {
                    I::store(sums.add(i * width + j * I::LANES), acc[i][j]);
                }
            }
            return;
        }
        let (b, h) = (self.head / shape.heads, self.head % shape.heads);
        let here = MR.min(self.count - block.tile * MR);
        let row = b * self.pass.q.tokens + self.first + block.tile * MR;
        let out = self
            .pass
            .out
            .get()
            .add(row * shape.channels() + h * shape.width + column);
        for i in 0..MR {
            let share = I::splat(1.0 / *self.state.add((2 * block.tile + 1) * MR + i));
            for j in 0..N {
                let result = I::mul(acc[i][j], share);
                let left = shape.width - column - j * I::LANES;
                if i < here {
                    let at = out.add(i * shape.channels() + j * I::LANES);
                    T::put_part::<I>(at, result, left.min(I::LANES));
                }
            }
        }
    }

    /// ln Σ exp of a finished tile's scores.
    #[inline(always)]
    unsafe fn log_sums<const MR: usize>(&self, block: Block) {
        let Some(sums) = self.pass.log_sum_exp else {
            return;
        };
        let state = self.state.add(2 * block.tile * MR);
        let first = self.first + block.tile * MR;
        let scale = self.pass.factor * std::f32::consts::LN_2;
        for i in 0..MR.min(self.count - block.tile * MR) {
            let at = self.head * self.pass.q.tokens + first + i;
            *sums.get().add(at) = scale * *state.add(i) + (*state.add(MR + i)).ln();
        }
    }
}
