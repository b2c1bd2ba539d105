//! The forward pass: how it is shared among jobs.

mod rows;

use rows::Rows;

use super::pack::{Across, Along, Source, Units, across_size, along_size};
use super::{AttentionShape, Tokens};
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::pool::{self, Shared};
use crate::simd::run;

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
    log_sum_exp: Option<&mut [f32]>,
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
        log_sum_exp: log_sum_exp.map(Shared::new),
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
