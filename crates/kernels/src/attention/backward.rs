//! The backward pass.
//!
//! With P the shares of the forward pass, dO the gradient of the output and D = Σ dO·O of each
//! query, dV = Pᵀ·dO, dS = P∘(dO·Vᵀ − D), dQ = scale·dS·K and dK = scale·dSᵀ·Q. P is computed
//! again from the scores and the sum of their powers.
//!
//! Queries gather from all keys and keys from all queries, so that jobs either share rows of dQ or
//! of dK and dV. Hence two passes that both compute P and dS: one over rows of queries for dQ, and
//! one over rows of keys, with everything transposed, for dK and dV.

use super::forward::{LIMITS, block_size, job_rows};
use super::pack::{Across, Along, Source, Units, across_size, along_size, split};
use super::{AttentionShape, Tokens};
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::pool::{self, Shared};
use crate::simd::{self, Kernel, Simd, run};

/// The gradients of [`attention`](super::attention) for q, k and v.
///
/// # Shapes
///
/// q `[batch, queries, heads·width]`, k and v `[batch, keys, heads·width]`, and without gaps: `out`,
/// `grad_out` and `dq` as q, `dk` and `dv` as k. `out` and `log_sum_exp` `[batch, heads, queries]`
/// are what the forward pass gave for the same q, k and v; `grad_out` is the gradient of `out`.
///
/// # Panics
///
/// Where the lengths do not fit.
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    cpu: Cpu,
    shape: AttentionShape,
    q: Tokens<'_, f32>,
    k: Tokens<'_, f32>,
    v: Tokens<'_, f32>,
    out: &[f32],
    log_sum_exp: &[f32],
    grad_out: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    shape.check(&q, &k, &v);
    let (queries, keys, channels) = (q.tokens, k.tokens, shape.channels());
    let size = shape.batch * queries * channels;
    assert_eq!(out.len(), size, "the output's length");
    assert_eq!(grad_out.len(), size, "the length of the output's gradient");
    assert_eq!(dq.len(), size, "the length of dq");
    let sums = shape.batch * shape.heads * queries;
    assert_eq!(log_sum_exp.len(), sums, "the length of log_sum_exp");
    let size = shape.batch * keys * channels;
    assert_eq!(dk.len(), size, "the length of dk");
    assert_eq!(dv.len(), size, "the length of dv");
    if dq.is_empty() || dk.is_empty() {
        for gradient in [dq, dk, dv] {
            gradient.fill(0.0);
        }
        return;
    }
    let grad = Tokens::new(grad_out, [shape.batch, queries, channels]);
    let heads = shape.batch * shape.heads;
    let units = Units::of(cpu);
    let most = queries.max(keys);
    let across = across_size::<f32>(units, most, shape.width);
    let along = along_size::<f32>(units, most, shape.width);
    let stats = heads * units.pad(queries);
    let sizes = [
        stats,
        stats,
        heads * across,
        heads * across,
        heads * along,
        heads * along,
    ];
    with_scratch(sizes.map(|n| n * size_of::<f32>()), |parts| {
        let mut parts = parts.into_iter().zip(sizes).map(|(part, n)| {
            // SAFETY: the scratch memory is as large as this, and any bits are a number.
            Shared::new(unsafe { std::slice::from_raw_parts_mut(part.cast::<f32>(), n) })
        });
        let mut part = || parts.next().expect("one part per size");
        let mut pass = Pass {
            cpu,
            shape,
            units,
            by_query: true,
            block: block_size::<f32>(shape.width, 4),
            x: q,
            y: grad,
            columns: [k, v],
            sums: part(),
            dots: part(),
            across: [part(), part()],
            along: [part(), part()],
            out: Shared::new(dq),
            shares_out: None,
        };
        pass.stats(out, log_sum_exp, grad_out);
        pass.pack();
        pass.gather();
        pass.by_query = false;
        (pass.x, pass.y) = (k, v);
        pass.columns = [q, grad];
        pass.out = Shared::new(dk);
        pass.shares_out = Some(Shared::new(dv));
        pass.pack();
        pass.gather();
    });
}

/// One of the two passes. Scores are x·columns\[0\]ᵀ, gradients of P y·columns\[1\]ᵀ.
#[derive(Clone, Copy)]
struct Pass<'a> {
    cpu: Cpu,
    shape: AttentionShape,
    units: Units,
    /// Rows are queries, and columns keys; or the other way round.
    by_query: bool,
    /// Columns that are taken at once.
    block: usize,
    /// Tokens that are rows.
    x: Tokens<'a, f32>,
    y: Tokens<'a, f32>,
    /// Tokens that are columns, packed below.
    columns: [Tokens<'a, f32>; 2],
    /// Per head and query, log2 Σ exp; each head fills whole vectors.
    sums: Shared<f32>,
    /// Per head and query, Σ dO·O.
    dots: Shared<f32>,
    across: [Shared<f32>; 2],
    along: [Shared<f32>; 2],
    /// dS·columns\[0\], times the scale.
    out: Shared<f32>,
    /// P·columns\[1\].
    shares_out: Option<Shared<f32>>,
}

impl Pass<'_> {
    fn heads(&self) -> usize {
        self.shape.batch * self.shape.heads
    }

    /// Fills `sums` and `dots`.
    fn stats(&self, out: &[f32], log_sum_exp: &[f32], grad_out: &[f32]) {
        let (shape, queries) = (&self.shape, self.x.tokens);
        let stride = self.units.pad(queries);
        let chunk = 256;
        let chunks = stride.div_ceil(chunk);
        pool::each(self.heads() * chunks, |job| {
            let (head, first) = (job / chunks, job % chunks * chunk);
            let (b, h) = (head / shape.heads, head % shape.heads);
            for row in first..stride.min(first + chunk) {
                let (mut sum, mut dot) = (0.0, 0.0);
                if row < queries {
                    let at = (b * queries + row) * shape.channels() + h * shape.width;
                    let range = at..at + shape.width;
                    sum = log_sum_exp[head * queries + row] * std::f32::consts::LOG2_E;
                    dot = Dot::of(self.cpu, &out[range.clone()], &grad_out[range]);
                }
                // SAFETY: each head has `stride` numbers of either, and every job its own rows.
                unsafe {
                    *self.sums.get().add(head * stride + row) = sum;
                    *self.dots.get().add(head * stride + row) = dot;
                }
            }
        });
    }

    /// Packs the columns.
    fn pack(&self) {
        let (shape, tokens) = (&self.shape, self.columns[0].tokens);
        let across = across_size::<f32>(self.units, tokens, shape.width);
        let along = along_size::<f32>(self.units, tokens, shape.width);
        let blocks = tokens.div_ceil(self.block);
        pool::each(self.heads() * blocks, |job| {
            let (head, first) = (job / blocks, job % blocks * self.block);
            for i in 0..2 {
                // SAFETY: the tokens were checked; every job writes its own block.
                unsafe {
                    let (b, h) = (head / shape.heads, head % shape.heads);
                    let source = Source {
                        head: self.columns[i].head(shape, b, h),
                        stride: self.columns[i].stride,
                        tokens,
                        width: shape.width,
                        first,
                        last: tokens.min(first + self.block),
                    };
                    let to = self.across[i].get().add(head * across);
                    run(self.cpu, Across { source, to });
                    if i == 0 || self.shares_out.is_some() {
                        let to = self.along[i].get().add(head * along);
                        run(self.cpu, Along { source, to });
                    }
                }
            }
        });
    }

    /// Computes the outputs.
    fn gather(&self) {
        let rows = job_rows(self.units, &self.shape, self.x.tokens);
        let parts = self.x.tokens.div_ceil(rows);
        pool::each(self.heads() * parts, |job| {
            let (head, first) = (job / parts, job % parts * rows);
            let count = rows.min(self.x.tokens - first);
            // A cache line more than a block, lest a tile's rows fall on the same lines.
            let stride = self.block + 16;
            let bytes = self.units.rows * stride * size_of::<f32>();
            with_scratch([bytes, bytes], |[shares, slopes]| {
                let rows = Rows {
                    pass: self,
                    head,
                    first,
                    count,
                    stride,
                    shares: shares.cast(),
                    slopes: slopes.cast(),
                };
                run(self.cpu, rows);
            });
        });
    }
}

/// Σ a·b.
struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl<'a> Dot<'a> {
    fn of(cpu: Cpu, a: &'a [f32], b: &'a [f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        run(cpu, Self { a, b })
    }
}

impl Kernel for Dot<'_> {
    type Out = f32;
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> f32 {
        let (a, b) = (self.a.as_ptr(), self.b.as_ptr());
        let mut sum = I::splat(0.0);
        for c in (0..self.a.len()).step_by(I::LANES) {
            let n = I::LANES.min(self.a.len() - c);
            sum = I::fma(I::load_part(a.add(c), n), I::load_part(b.add(c), n), sum);
        }
        I::sum(sum)
    }
}

/// Some rows of one head, and memory for a tile of them.
#[derive(Clone, Copy)]
struct Rows<'a> {
    pass: &'a Pass<'a>,
    head: usize,
    first: usize,
    count: usize,
    /// Numbers from one row of a tile to the next.
    stride: usize,
    /// P of a block of columns.
    shares: *mut f32,
    /// dS of a block of columns.
    slopes: *mut f32,
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

    /// P and dS of the panel of columns from `first` on.
    #[inline(always)]
    unsafe fn panel<I: Simd, const MR: usize, const N: usize>(&self, block: Block, first: usize) {
        let pass = self.pass;
        let (shape, rows) = (&pass.shape, pass.x.tokens);
        let (b, h) = (self.head / shape.heads, self.head % shape.heads);
        // Rows beyond the last are the last once more, and not stored.
        let row = |i: usize| (block.row + i).min(rows - 1);
        let columns = pass.units.pad(pass.columns[0].tokens);
        let offset = (self.head * columns + first) * shape.width;
        let queries = if pass.by_query {
            rows
        } else {
            pass.columns[0].tokens
        };
        let stats = self.head * pass.units.pad(queries);
        let stat = |of: Shared<f32>, i: usize, j: usize| {
            let of = of.get().add(stats);
            if pass.by_query {
                I::splat(*of.add(row(i)))
            } else {
                I::load(of.add(first + j * I::LANES))
            }
        };
        let product = |tokens: Tokens<'_, f32>, across: Shared<f32>| {
            let head = tokens.head(shape, b, h);
            let a: [*const f32; MR] = std::array::from_fn(|i| head.add(row(i) * tokens.stride));
            let mut acc = [[I::splat(0.0); N]; MR];
            let panel = across.get().add(offset);
            crate::tile::tile::<I, f32, MR, N>(shape.width, &a, panel, &mut acc);
            acc
        };
        let at = first % pass.block;
        let factor = I::splat(shape.scale * std::f32::consts::LOG2_E);
        let scores = product(pass.x, pass.across[0]);
        for i in 0..MR {
            for j in 0..N {
                let mut x = I::fma(
                    scores[i][j],
                    factor,
                    I::sub(I::splat(0.0), stat(pass.sums, i, j)),
                );
                if shape.causal {
                    // Below the first column, on the diagonal, or beyond the last.
                    let before = |n: usize| n.saturating_sub(first + j * I::LANES).min(I::LANES);
                    let limits = if pass.by_query {
                        16 - before(block.row + i + 1)
                    } else {
                        32 - before(block.row + i)
                    };
                    x = I::min(x, I::load(LIMITS.as_ptr().add(limits)));
                }
                let share = simd::exp2::<I>(x);
                I::store(self.shares.add(i * self.stride + at + j * I::LANES), share);
            }
        }
        let gradients = product(pass.y, pass.across[1]);
        for i in 0..MR {
            for j in 0..N {
                let here = i * self.stride + at + j * I::LANES;
                let slope = I::sub(gradients[i][j], stat(pass.dots, i, j));
                let slope = I::mul(I::load(self.shares.add(here)), slope);
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
        crate::tile::tile::<I, f32, MR, N>(block.last - block.first, &a, panel, &mut acc);
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
