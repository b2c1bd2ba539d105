//! A pass for some of its rows.
//!
//! # Safety
//!
//! Everything here is part of [`Rows`]' kernel, and sound where the pointers in it and in its
//! [`Pass`] are what their fields say they are: tiles, blocks, panels and vectors then stay within
//! them.

// A tile is indexed by row and vector, like the memory that it goes to.
#![allow(clippy::needless_range_loop)]

use super::super::Tokens;
use super::super::forward::LIMITS;
use super::super::pack::split;
use super::Pass;
use crate::pool::Shared;
use crate::simd::{self, Kernel, Simd};
use crate::tile::tile;

/// Some rows of one head, and memory for a tile of them.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub pass: &'a Pass<'a>,
    pub head: usize,
    pub first: usize,
    pub count: usize,
    /// Numbers from one row of a tile to the next.
    pub stride: usize,
    /// P of a block of columns.
    pub shares: *mut f32,
    /// dS of a block of columns.
    pub slopes: *mut f32,
}

/// A tile's columns of one block.
#[derive(Clone, Copy)]
struct Block {
    /// The tile's first row.
    row: usize,
    /// Columns that any row of the tile sees.
    first: usize,
    last: usize,
    /// Whether the tile saw no columns before, and sees none after.
    begins: bool,
    ends: bool,
}

impl Kernel for Rows<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let pass = self.pass;
        let columns = pass.columns[0].tokens;
        for start in (0..columns).step_by(pass.block) {
            for row in (self.first..self.first + self.count).step_by(MR) {
                // A causal query sees the keys up to it; a key is seen by the queries from it on.
                let (first, last) = match (pass.shape.causal, pass.by_query) {
                    (false, _) => (0, columns),
                    (true, true) => (0, columns.min(row + MR)),
                    // From the start of a panel.
                    (true, false) => (row - row % (NV * I::LANES), columns),
                };
                let end = start + pass.block;
                let block = Block {
                    row,
                    first: first.max(start),
                    last: last.min(end),
                    begins: first >= start,
                    ends: last <= end,
                };
                if block.first < block.last {
                    self.block::<I, MR, NV>(block);
                }
            }
        }
    }
}

impl Rows<'_> {
    #[inline(always)]
    unsafe fn block<I: Simd, const MR: usize, const NV: usize>(&self, block: Block) {
        let pass = self.pass;
        let columns = pass.units.pad(pass.columns[0].tokens);
        let mut first = block.first;
        while first < block.last {
            let n = NV.min((columns - first) / I::LANES);
            match n {
                1 => self.panel::<I, MR, 1>(block, first),
                2 => self.panel::<I, MR, 2>(block, first),
                3 => self.panel::<I, MR, 3>(block, first),
                _ => self.panel::<I, MR, 4>(block, first),
            }
            first += n * I::LANES;
        }
        for (vector, n) in split(pass.shape.width.div_ceil(I::LANES), NV) {
            match n {
                1 => self.products::<I, MR, 1>(block, vector),
                2 => self.products::<I, MR, 2>(block, vector),
                3 => self.products::<I, MR, 3>(block, vector),
                _ => self.products::<I, MR, 4>(block, vector),
            }
        }
    }

    /// A query's number: of row `i` of the tile in every lane, or of the columns from `column` on.
    #[inline(always)]
    unsafe fn stat<I: Simd>(&self, of: Shared<f32>, row: usize, column: usize) -> I::F {
        let pass = self.pass;
        let (rows, columns) = (pass.x.tokens, pass.columns[0].tokens);
        let queries = if pass.by_query { rows } else { columns };
        let of = of.get().add(self.head * pass.units.pad(queries));
        if pass.by_query {
            I::splat(*of.add(row.min(rows - 1)))
        } else {
            I::load(of.add(column))
        }
    }

    /// A tile's products of `rows` with the panel of columns from `first` on.
    #[inline(always)]
    unsafe fn tile<I: Simd, const MR: usize, const N: usize>(
        &self,
        row: usize,
        first: usize,
        rows: Tokens<'_, f32>,
        across: Shared<f32>,
    ) -> [[I::F; N]; MR] {
        let (pass, shape) = (self.pass, &self.pass.shape);
        let head = rows.head(shape, self.head / shape.heads, self.head % shape.heads);
        let mut a = [head; MR];
        for (i, a) in a.iter_mut().enumerate() {
            // Rows beyond the last are the last once more, and not stored.
            *a = head.add((row + i).min(rows.tokens - 1) * rows.stride);
        }
        let columns = pass.units.pad(pass.columns[0].tokens);
        let panel = across
            .get()
            .add((self.head * columns + first) * shape.width);
        let mut acc = [[I::splat(0.0); N]; MR];
        tile::<I, f32, MR, N>(shape.width, &a, panel, &mut acc);
        acc
    }

    /// P and dS of the panel of columns from `first` on.
    #[inline(always)]
    unsafe fn panel<I: Simd, const MR: usize, const N: usize>(&self, block: Block, first: usize) {
        let pass = self.pass;
        let at = first % pass.block;
        let factor = I::splat(pass.shape.scale * std::f32::consts::LOG2_E);
        let scores = self.tile::<I, MR, N>(block.row, first, pass.x, pass.across[0]);
        for i in 0..MR {
            for j in 0..N {
                let (row, column) = (block.row + i, first + j * I::LANES);
                let sum = self.stat::<I>(pass.sums, row, column);
                let mut x = I::fma(scores[i][j], factor, sum);
                if pass.shape.causal {
                    // How many of these columns come before the first, or the last, that is seen.
                    let end = row + usize::from(pass.by_query);
                    let before = end.saturating_sub(column).min(I::LANES);
                    let limits = if pass.by_query { 16 } else { 32 } - before;
                    x = I::min(x, I::load(LIMITS.as_ptr().add(limits)));
                }
                let share = simd::exp2::<I>(x);
                I::store(self.shares.add(i * self.stride + at + j * I::LANES), share);
            }
        }
        let gradients = self.tile::<I, MR, N>(block.row, first, pass.y, pass.across[1]);
        for i in 0..MR {
            for j in 0..N {
                let here = i * self.stride + at + j * I::LANES;
                let dot = self.stat::<I>(pass.dots, block.row + i, first + j * I::LANES);
                let slope = I::mul(I::load(self.shares.add(here)), I::sub(gradients[i][j], dot));
                I::store(self.slopes.add(here), slope);
            }
        }
    }

    /// What a block of columns adds to one panel of channels of the outputs.
    #[inline(always)]
    unsafe fn products<I: Simd, const MR: usize, const N: usize>(
        &self,
        block: Block,
        vector: usize,
    ) {
        let pass = self.pass;
        self.product::<I, MR, N>(block, vector, self.slopes, 0, pass.out, pass.shape.scale);
        if let Some(out) = pass.shares_out {
            self.product::<I, MR, N>(block, vector, self.shares, 1, out, 1.0);
        }
    }

    #[inline(always)]
    unsafe fn product<I: Simd, const MR: usize, const N: usize>(
        &self,
        block: Block,
        vector: usize,
        left: *const f32,
        along: usize,
        out: Shared<f32>,
        scale: f32,
    ) {
        let pass = self.pass;
        let shape = &pass.shape;
        let at = block.first % pass.block;
        let a: [*const f32; MR] = std::array::from_fn(|i| left.add(i * self.stride + at));
        let columns = pass.columns[0].tokens;
        let channel = vector * I::LANES;
        let head = pass.along[along]
            .get()
            .add(self.head * columns * pass.units.pad(shape.width));
        let panel = head.add(columns * channel + block.first * N * I::LANES);
        let mut acc = [[I::splat(0.0); N]; MR];
        tile::<I, f32, MR, N>(block.last - block.first, &a, panel, &mut acc);
        let (b, h) = (self.head / shape.heads, self.head % shape.heads);
        let rows = MR.min(self.first + self.count - block.row);
        let row = b * pass.x.tokens + block.row;
        let out = out
            .get()
            .add(row * shape.channels() + h * shape.width + channel);
        let scale = I::splat(if block.ends { scale } else { 1.0 });
        for i in 0..rows {
            for j in 0..N {
                let at = out.add(i * shape.channels() + j * I::LANES);
                let n = I::LANES.min(shape.width - channel - j * I::LANES);
                let mut sum = acc[i][j];
                if !block.begins {
                    sum = I::add(sum, I::load_part(at, n));
                }
                I::store_part(at, I::mul(sum, scale), n);
            }
        }
    }
}
