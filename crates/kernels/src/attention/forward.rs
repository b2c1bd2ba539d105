//! The forward pass.

use super::pack::{Across, Along, Source, Units, across_size, along_size, split};
use super::{AttentionShape, Tokens};
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::pool::{self, Shared};
use crate::simd::{self, Kernel, Simd, run};

/// What the score of a key becomes that its query does not see: so low that its power is zero, but
/// finite, so that a row that sees no key of a block yet stays a number.
pub(super) const UNSEEN: f32 = -1e30;

/// From offset 16 − n on: no limit to n lanes, [`UNSEEN`] for the rest. From 32 − n on: the other
/// way round.
pub(super) static LIMITS: [f32; 48] = {
    let mut limits = [f32::INFINITY; 48];
    let mut i = 16;
    while i < 32 {
        limits[i] = UNSEEN;
        i += 1;
    }
    limits
};

/// Keys that are taken at once, where a block has so many packed copies of `width` channels.
///
/// A block should stay in the second-level cache while rows of queries go by, and what is summed is
/// scaled once per block. The size depends on nothing that a result may not depend on.
pub(super) fn block_size<T: Number>(width: usize, copies: usize) -> usize {
    let fits = (512 << 10) / (copies * size_of::<T>() * width.max(1));
    (fits / 128 * 128).clamp(128, 512)
}

/// Rows of queries of a job: enough to use a block of keys often, few enough to occupy all threads.
pub(super) fn job_rows(units: Units, shape: &AttentionShape, rows: usize) -> usize {
    let most = if shape.width > 256 { 48 } else { 96 };
    let all = shape.batch * shape.heads * rows;
    let fair = all.div_ceil(4 * pool::threads());
    fair.clamp(2 * units.rows, most)
        .next_multiple_of(units.rows)
}

#[derive(Clone, Copy)]
struct Pass<'a, T> {
    shape: AttentionShape,
    units: Units,
    q: Tokens<'a, T>,
    keys: usize,
    /// Keys of a block.
    block: usize,
    /// log2(e)·|scale|, by which the sign of the scale has gone into the queries.
    factor: f32,
    sign: f32,
    out: Shared<T>,
    log_sum_exp: Option<Shared<f32>>,
}

pub(super) fn forward<T: Number>(
    cpu: Cpu,
    shape: AttentionShape,
    q: Tokens<'_, T>,
    k: Tokens<'_, T>,
    v: Tokens<'_, T>,
    out: &mut [T],
    mut log_sum_exp: Option<&mut [f32]>,
) {
    let keys = k.tokens;
    if keys == 0 {
        out.fill(T::ZERO);
        if let Some(sums) = log_sum_exp {
            sums.fill(f32::NEG_INFINITY);
        }
        return;
    }
    let heads = shape.batch * shape.heads;
    if out.is_empty() {
        return;
    }
    let units = Units::of(cpu);
    let block = block_size::<T>(shape.width, 2);
    // A scale of zero makes all scores alike, as zero queries do.
    let (factor, sign) = if shape.scale == 0.0 {
        (1.0, 0.0)
    } else {
        let factor = shape.scale.abs() * std::f32::consts::LOG2_E;
        (factor, shape.scale.signum())
    };
    let pass = Pass {
        shape,
        units,
        q,
        keys,
        block,
        factor,
        sign,
        out: Shared::new(out),
        log_sum_exp: log_sum_exp.as_deref_mut().map(Shared::new),
    };
    let across = across_size::<T>(units, keys, shape.width);
    let along = along_size::<T>(units, keys, shape.width);
    let bytes = [across, along].map(|n| heads * n * size_of::<T>());
    with_scratch(bytes, |[packed_k, packed_v]| {
        // SAFETY: the scratch memory is as large as this, and any bits are a number.
        let lend = |to: *mut u8, n| unsafe { std::slice::from_raw_parts_mut(to.cast::<T>(), n) };
        let packed_k = Shared::new(lend(packed_k, heads * across));
        let packed_v = Shared::new(lend(packed_v, heads * along));
        let blocks = keys.div_ceil(block);
        pool::each(heads * blocks, |job| {
            let (head, first) = (job / blocks, job % blocks * block);
            // SAFETY: `AttentionShape::check` has seen the tokens; every job writes the keys and
            // values of its own block.
            unsafe {
                let (b, h) = (head / shape.heads, head % shape.heads);
                let of = |tokens: &Tokens<'_, T>| Source {
                    head: tokens.head(&shape, b, h),
                    stride: tokens.stride,
                    tokens: keys,
                    width: shape.width,
                    first,
                    last: keys.min(first + block),
                };
                let (source, to) = (of(&k), packed_k.get().add(head * across));
                run(cpu, Across { source, to });
                let (source, to) = (of(&v), packed_v.get().add(head * along));
                run(cpu, Along { source, to });
            }
        });
        let rows = job_rows(units, &shape, q.tokens);
        let parts = q.tokens.div_ceil(rows);
        pool::each(heads * parts, |job| {
            let (head, first) = (job / parts, job % parts * rows);
            let count = rows.min(q.tokens - first);
            // SAFETY: the packed heads are this far apart.
            let packed = unsafe {
                [
                    packed_k.get().add(head * across),
                    packed_v.get().add(head * along),
                ]
            };
            pass.rows(cpu, head, first, count, packed);
        });
    });
}

impl<T: Number> Pass<'_, T> {
    /// The queries `first..first + count` of one head.
    fn rows(&self, cpu: Cpu, head: usize, first: usize, count: usize, [k, v]: [*mut T; 2]) {
        let units = self.units;
        let depth = self.shape.width.next_multiple_of(T::GROUP);
        let padded = count.next_multiple_of(units.rows);
        // A cache line more than a block, lest the rows of a tile fall on the same lines.
        let stride = self.block + 64 / size_of::<T>();
        let (number, float) = (size_of::<T>(), size_of::<f32>());
        let bytes = [
            padded * depth * number,
            units.rows * stride * float,
            units.rows * stride * number,
            padded * units.pad(self.shape.width) * float,
            2 * padded * float,
            self.block * number,
        ];
        with_scratch(bytes, |[q, scores, powers, sums, state, ones]| {
            run(
                cpu,
                Rows {
                    pass: self,
                    head,
                    first,
                    count,
                    depth,
                    stride,
                    k,
                    v,
                    q: q.cast(),
                    scores: scores.cast(),
                    powers: powers.cast(),
                    sums: sums.cast(),
                    state: state.cast(),
                    ones: ones.cast(),
                },
            );
        });
    }
}

/// Some rows of queries of one head, and memory for them.
#[derive(Clone, Copy)]
struct Rows<'a, T> {
    pass: &'a Pass<'a, T>,
    head: usize,
    first: usize,
    count: usize,
    /// The width in whole groups.
    depth: usize,
    /// Numbers from one row of scores, or of powers, to the next.
    stride: usize,
    k: *const T,
    v: *const T,
    /// The queries, in whole groups and whole tiles.
    q: *mut T,
    /// A tile's scores of a block of keys.
    scores: *mut f32,
    /// Two to the power of them.
    powers: *mut T,
    /// Per row, what is summed so far of powers times values.
    sums: *mut f32,
    /// Per tile, each row's largest score so far, then each row's sum of powers.
    state: *mut f32,
    /// Ones, for summing powers.
    ones: *mut T,
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
        let row = self.first + block.tile * MR;
        if self.seen(row) < first + N * I::LANES {
            for i in 0..MR {
                let seen = self.seen(row + i).saturating_sub(first);
                for j in 0..N {
                    let lanes = seen.saturating_sub(j * I::LANES).min(I::LANES);
                    acc[i][j] = I::min(acc[i][j], I::load(LIMITS.as_ptr().add(16 - lanes)));
                }
            }
        }
        for i in 0..MR {
            for j in 0..N {
                I::store(
                    self.scores.add(i * self.stride + column + j * I::LANES),
                    acc[i][j],
                );
                top[i] = I::max(top[i], acc[i][j]);
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
        for i in 0..here {
            let share = I::splat(1.0 / *self.state.add((2 * block.tile + 1) * MR + i));
            for j in 0..N {
                let at = out.add(i * shape.channels() + j * I::LANES);
                let result = I::mul(acc[i][j], share);
                let left = shape.width - column - j * I::LANES;
                if left >= I::LANES {
                    T::put::<I>(at, result);
                } else {
                    T::put_part::<I>(at, result, left);
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
