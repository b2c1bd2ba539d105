//! Scaled dot-product attention that never holds the score matrix.
//!
//! A few queries at a time meet a block of keys: their scores, the weights made of them and what is
//! mixed so far stay in the first cache, while the block of keys and values stays in the second for
//! all queries of a job. The softmax is the online one (Milakov and Gimelshein, 2018; Dao et al.,
//! "FlashAttention", 2022): a row keeps its largest score and the sum of its weights, and what was
//! mixed before is scaled down when a larger score comes.

use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::packed::Packed;
use crate::pool::{self, Shared};
use crate::simd::{self, Kernel, Simd, run};

/// Tokens of `batch` sequences: channel c of token t of sequence b is
/// `data[b·batch_stride + t·stride + c]`. Head h has channels h·width to (h + 1)·width.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a, T> {
    /// The numbers.
    pub data: &'a [T],
    /// Tokens of a sequence.
    pub tokens: usize,
    /// Elements from one token to the next.
    pub stride: usize,
    /// Elements from one sequence to the next.
    pub batch_stride: usize,
}

impl<'a, T> Tokens<'a, T> {
    /// `[batch, tokens, channels]` without gaps.
    pub fn new(data: &'a [T], tokens: usize, channels: usize) -> Self {
        Self {
            data,
            tokens,
            stride: channels,
            batch_stride: tokens * channels,
        }
    }

    /// Panics where a token lies outside `data`.
    fn check(&self, shape: &AttentionShape) {
        let channels = shape.heads * shape.width;
        if shape.batch * self.tokens * channels > 0 {
            let last = (shape.batch - 1) * self.batch_stride + (self.tokens - 1) * self.stride;
            assert!(last + channels <= self.data.len(), "tokens beyond their data");
        }
    }

    /// The numbers of one head of one token.
    fn at(&self, shape: &AttentionShape, item: usize, head: usize, token: usize) -> &'a [T] {
        let start = item * self.batch_stride + token * self.stride + head * shape.width;
        &self.data[start..start + shape.width]
    }
}

/// What an attention is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Heads.
    pub heads: usize,
    /// Channels of a head.
    pub width: usize,
    /// A token sees itself and those before it; as many queries as keys.
    pub causal: bool,
    /// What products of queries and keys are multiplied by: 1/√width as a rule.
    pub scale: f32,
}

/// Queries of a job.
const QUERIES: usize = 96;

/// Keys that queries meet at a time: as many as stay in the second cache with their values.
fn keys_at_a_time(width: usize) -> usize {
    match width {
        0..=64 => 512,
        65..=192 => 256,
        _ => 128,
    }
}

/// softmax(scale · q·kᵀ)·v for each head.
///
/// # Shapes
///
/// - q, k, v: heads·width channels; as many keys as values
/// - out `[batch, queries, heads·width]`; zeros where there is no key
/// - log_sum_exp `[batch, heads, queries]`: ln Σ exp(scale · q·k), which the backward pass needs
///
/// # Panics
///
/// Where a length differs from this.
pub fn attention<T: Number>(
    cpu: Cpu,
    shape: AttentionShape,
    q: Tokens<'_, T>,
    k: Tokens<'_, T>,
    v: Tokens<'_, T>,
    out: &mut [T],
    log_sum_exp: Option<&mut [f32]>,
) {
    let (queries, keys) = (q.tokens, k.tokens);
    [q, k, v].iter().for_each(|t| t.check(&shape));
    assert_eq!(keys, v.tokens, "a value for each key");
    assert!(!shape.causal || queries == keys, "causal attention is on itself");
    let rows = shape.batch * shape.heads * queries;
    assert_eq!(out.len(), rows * shape.width, "an output's length");
    assert!(log_sum_exp.as_ref().is_none_or(|l| l.len() == rows), "a number for each row");
    if rows * shape.width == 0 {
        return;
    }
    let packed_keys = pack(cpu, &shape, &k, true);
    let packed_values = pack(cpu, &shape, &v, false);
    let out = Shared::new(out);
    let log_sum_exp = log_sum_exp.map(Shared::new);
    let blocks = queries.div_ceil(QUERIES);
    pool::each(shape.batch * shape.heads * blocks, |job| {
        let (slab, block) = (job / blocks, job % blocks);
        let first = block * QUERIES;
        let job = Job {
            shape,
            keys,
            queries: q,
            packed_keys: &packed_keys,
            packed_values: &packed_values,
            slab,
            first,
            count: QUERIES.min(queries - first),
            out: out.get(),
            log_sum_exp: log_sum_exp.map(Shared::get),
        };
        run(cpu, job);
    });
}

/// Every head of every sequence as a matrix to multiply with: `[width, tokens]` or
/// `[tokens, width]`.
fn pack<T: Number>(
    cpu: Cpu,
    shape: &AttentionShape,
    tokens: &Tokens<'_, T>,
    transposed: bool,
) -> Packed<T> {
    let slabs = shape.batch * shape.heads;
    let (depth, columns) = if transposed {
        (shape.width, tokens.tokens)
    } else {
        (tokens.tokens, shape.width)
    };
    let mut packed = Packed::<T>::zeros(cpu, slabs, depth, columns);
    let panels = packed.panels();
    let mut parts = Vec::with_capacity(slabs * panels);
    for slab in 0..slabs {
        for p in 0..panels {
            parts.push(Shared::new(packed.panel_mut(slab, p)));
        }
    }
    pool::each(slabs, |slab| {
        let (item, head) = (slab / shape.heads, slab % shape.heads);
        for p in 0..panels {
            let (part, stride) = (parts[slab * panels + p].get(), packed.stride(p));
            let first = p * packed.width;
            let wide = packed.width.min(columns - first);
            let put = |k: usize, j: usize, value: T| {
                let to = (k / T::GROUP * stride + j) * T::GROUP + k % T::GROUP;
                // SAFETY: k < depth and j < the panel's columns; a slab is written by one job.
                unsafe { *part.add(to) = value }
            };
            if transposed {
                for j in 0..wide {
                    let key = tokens.at(shape, item, head, first + j);
                    key.iter().enumerate().for_each(|(k, value)| put(k, j, *value));
                }
            } else {
                for k in 0..depth {
                    let value = &tokens.at(shape, item, head, k)[first..first + wide];
                    value.iter().enumerate().for_each(|(j, value)| put(k, j, *value));
                }
            }
        }
    });
    packed
}

struct Job<'a, T> {
    shape: AttentionShape,
    keys: usize,
    queries: Tokens<'a, T>,
    packed_keys: &'a Packed<T>,
    packed_values: &'a Packed<T>,
    /// Which head of which sequence.
    slab: usize,
    /// The first query.
    first: usize,
    count: usize,
    out: *mut T,
    log_sum_exp: Option<*mut f32>,
}

/// Scratch of a job.
struct Memory<T> {
    /// `[count, width in whole groups]`
    queries: *mut T,
    /// `[MR, keys at a time]`: scores, and the weights made of them.
    scores: *mut f32,
    weights: *mut T,
    /// `[count, width in whole vectors]`
    mixed: *mut f32,
    /// `[count]`: the largest score so far, in powers of two, and the sum of weights.
    largest: *mut f32,
    sums: *mut f32,
}

/// More rows than any tile has.
const MOST_ROWS: usize = 8;

impl<T: Number> Kernel for Job<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let size = size_of::<f32>();
        let width = self.shape.width.next_multiple_of(T::GROUP);
        let wide = self.shape.width.next_multiple_of(I::LANES);
        let block = keys_at_a_time(self.shape.width);
        let bytes = [
            self.count * width * size_of::<T>(),
            MOST_ROWS * block * size,
            MOST_ROWS * block * size_of::<T>(),
            self.count * wide * size,
            self.count * size,
            self.count * size,
        ];
        with_scratch(bytes, |[queries, scores, weights, mixed, largest, sums]| {
            let memory = Memory {
                queries: queries.cast(),
                scores: scores.cast(),
                weights: weights.cast(),
                mixed: mixed.cast(),
                largest: largest.cast(),
                sums: sums.cast(),
            };
            self.attend::<I, MR, NV>(&memory, width, wide, block);
        });
    }
}

impl<T: Number> Job<'_, T> {
    #[inline(always)]
    unsafe fn attend<I: Simd, const MR: usize, const NV: usize>(
        &self,
        m: &Memory<T>,
        width: usize,
        wide: usize,
        block: usize,
    ) {
        let (item, head) = (self.slab / self.shape.heads, self.slab % self.shape.heads);
        for i in 0..self.count {
            let query = self.queries.at(&self.shape, item, head, self.first + i);
            let to = m.queries.add(i * width);
            std::ptr::copy_nonoverlapping(query.as_ptr(), to, query.len());
            for c in query.len()..width {
                *to.add(c) = T::ZERO;
            }
            *m.largest.add(i) = f32::NEG_INFINITY;
            *m.sums.add(i) = 0.0;
        }
        std::ptr::write_bytes(m.mixed, 0, self.count * wide);
        let seen = if self.shape.causal {
            self.first + self.count
        } else {
            self.keys
        };
        for start in (0..seen).step_by(block) {
            let end = (start + block).min(self.keys);
            for r in (0..self.count).step_by(MR) {
                self.scores::<I, MR, NV>(m, r, width, start, end, block);
                self.weigh::<I, MR>(m, r, start, end, block, wide);
                self.mix::<I, MR, NV>(m, r, start, end, block, wide);
            }
        }
        self.finish::<I>(m, wide);
    }

    /// q·kᵀ of some rows and the keys from `start` to `end`.
    #[inline(always)]
    unsafe fn scores<I: Simd, const MR: usize, const NV: usize>(
        &self,
        m: &Memory<T>,
        r: usize,
        width: usize,
        start: usize,
        end: usize,
        block: usize,
    ) {
        let panel = self.packed_keys.width;
        for p in start / panel..end.div_ceil(panel) {
            let to = m.scores.add(p * panel - start);
            match self.packed_keys.vectors(p) {
                1 => self.score_panel::<I, MR, 1>(m, r, width, p, to, block),
                2 => self.score_panel::<I, MR, 2>(m, r, width, p, to, block),
                3 => self.score_panel::<I, MR, 3>(m, r, width, p, to, block),
                _ => self.score_panel::<I, MR, NV>(m, r, width, p, to, block),
            }
        }
    }

    #[inline(always)]
    unsafe fn score_panel<I: Simd, const MR: usize, const NV: usize>(
        &self,
        m: &Memory<T>,
        r: usize,
        width: usize,
        p: usize,
        to: *mut f32,
        block: usize,
    ) {
        // Rows beyond the last repeat it.
        let rows: [*const T; MR] = std::array::from_fn(|i| {
            m.queries.add((r + i).min(self.count - 1) * width).cast_const()
        });
        let mut acc = [[I::splat(0.0); NV]; MR];
        let keys = self.packed_keys.at(self.slab, p, 0);
        T::tile::<I, MR, NV>(width / T::GROUP, &rows, keys, &mut acc);
        for (i, row) in acc.iter().enumerate() {
            for (j, v) in row.iter().enumerate() {
                I::store(to.add(i * block + j * I::LANES), *v);
            }
        }
    }

    /// Weights from scores; what was mixed before is scaled to the new largest score.
    #[inline(always)]
    unsafe fn weigh<I: Simd, const MR: usize>(
        &self,
        m: &Memory<T>,
        r: usize,
        start: usize,
        end: usize,
        block: usize,
        wide: usize,
    ) {
        // In powers of two: 2^(x·log₂e) = eˣ.
        let scale = self.shape.scale * std::f32::consts::LOG2_E;
        let factor = I::splat(scale);
        let all = end - start;
        for i in 0..MR.min(self.count - r) {
            let scores = m.scores.add(i * block);
            let weights = m.weights.add(i * block);
            let seen = if self.shape.causal {
                (self.first + r + i + 1).saturating_sub(start).min(all)
            } else {
                all
            };
            // As far as `mix` reads.
            let read = all.next_multiple_of(T::GROUP);
            let whole = seen / I::LANES * I::LANES;
            let mut most = I::splat(f32::NEG_INFINITY);
            for c in (0..whole).step_by(I::LANES) {
                most = I::max(most, I::mul(I::load(scores.add(c)), factor));
            }
            let mut top = I::largest(most);
            for c in whole..seen {
                top = top.max(*scores.add(c) * scale);
            }
            let before = *m.largest.add(r + i);
            let top = top.max(before);
            if top == f32::NEG_INFINITY {
                for c in 0..read {
                    *weights.add(c) = T::ZERO;
                }
                continue;
            }
            let minus = I::splat(-top);
            let mut sum = I::splat(0.0);
            for c in (0..whole).step_by(I::LANES) {
                let x = I::fma(I::load(scores.add(c)), factor, minus);
                let w = if T::GROUP == 1 {
                    simd::exp2::<I>(x)
                } else {
                    simd::exp2_coarse::<I>(x)
                };
                sum = I::add(sum, w);
                T::put::<I>(weights.add(c), w);
            }
            let mut total = I::sum(sum);
            for c in whole..seen {
                let w = (*scores.add(c) * scale - top).exp2();
                total += w;
                *weights.add(c) = T::from_f32(w);
            }
            for c in seen..read {
                *weights.add(c) = T::ZERO;
            }
            let shrink = (before - top).exp2();
            *m.sums.add(r + i) = *m.sums.add(r + i) * shrink + total;
            *m.largest.add(r + i) = top;
            if shrink != 1.0 && start > 0 {
                let shrink = I::splat(shrink);
                for c in (0..wide).step_by(I::LANES) {
                    let at = m.mixed.add((r + i) * wide + c);
                    I::store(at, I::mul(I::load(at), shrink));
                }
            }
        }
    }

    /// Adds weights times values.
    #[inline(always)]
    unsafe fn mix<I: Simd, const MR: usize, const NV: usize>(
        &self,
        m: &Memory<T>,
        r: usize,
        start: usize,
        end: usize,
        block: usize,
        wide: usize,
    ) {
        for p in 0..self.packed_values.panels() {
            let to = m.mixed.add(r * wide + p * self.packed_values.width);
            let (from, steps) = (start / T::GROUP, (end - start).div_ceil(T::GROUP));
            let values = self.packed_values.at(self.slab, p, from);
            match self.packed_values.vectors(p) {
                1 => self.mix_panel::<I, MR, 1>(m, r, values, steps, to, block, wide),
                2 => self.mix_panel::<I, MR, 2>(m, r, values, steps, to, block, wide),
                3 => self.mix_panel::<I, MR, 3>(m, r, values, steps, to, block, wide),
                _ => self.mix_panel::<I, MR, NV>(m, r, values, steps, to, block, wide),
            }
        }
    }

    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    unsafe fn mix_panel<I: Simd, const MR: usize, const NV: usize>(
        &self,
        m: &Memory<T>,
        r: usize,
        values: *const T,
        steps: usize,
        to: *mut f32,
        block: usize,
        wide: usize,
    ) {
        let count = MR.min(self.count - r);
        let rows: [*const T; MR] =
            std::array::from_fn(|i| m.weights.add(i.min(count - 1) * block).cast_const());
        let mut acc = [[I::splat(0.0); NV]; MR];
        for i in 0..MR {
            for j in 0..NV {
                if i < count {
                    acc[i][j] = I::load(to.add(i * wide + j * I::LANES));
                }
            }
        }
        T::tile::<I, MR, NV>(steps, &rows, values, &mut acc);
        for i in 0..MR {
            for j in 0..NV {
                if i < count {
                    I::store(to.add(i * wide + j * I::LANES), acc[i][j]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<I: Simd>(&self, m: &Memory<T>, wide: usize) {
        let (item, head) = (self.slab / self.shape.heads, self.slab % self.shape.heads);
        let (width, channels) = (self.shape.width, self.shape.heads * self.shape.width);
        for i in 0..self.count {
            let sum = *m.sums.add(i);
            // Without a key nothing is mixed.
            let factor = I::splat(if sum > 0.0 { sum.recip() } else { 1.0 });
            let row = item * self.queries.tokens + self.first + i;
            let to = self.out.add(row * channels + head * width);
            for c in (0..width).step_by(I::LANES) {
                let v = I::mul(I::load(m.mixed.add(i * wide + c)), factor);
                T::put_part::<I>(to.add(c), v, (width - c).min(I::LANES));
            }
            if let Some(target) = self.log_sum_exp {
                let value = *m.largest.add(i) * std::f32::consts::LN_2 + sum.ln();
                *target.add(self.slab * self.queries.tokens + self.first + i) = value;
            }
        }
    }
}

#[cfg(test)]
#[path = "attention_tests.rs"]
mod tests;
