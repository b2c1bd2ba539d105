//! The backward pass.
//!
//! With P the shares of the forward pass, dO the gradient of the output and D = Σ dO·O of each
//! query, dV = Pᵀ·dO, dS = P∘(dO·Vᵀ − D), dQ = scale·dS·K and dK = scale·dSᵀ·Q. P is computed
//! again from the scores and the sum of their powers.
//!
//! Queries gather from all keys and keys from all queries, so that jobs either share rows of dQ or
//! of dK and dV. Hence two passes that both compute P and dS: one over rows of queries for dQ, and
//! one over rows of keys, with everything transposed, for dK and dV.

mod rows;

use rows::Rows;

use super::forward::{block_size, job_rows};
use super::pack::{Across, Along, Source, Units, across_size, along_size};
use super::{AttentionShape, Tokens};
use crate::buffer::with_scratch;
use crate::cpu::Cpu;
use crate::pool::{self, Shared};
use crate::simd::{Kernel, Simd, run};

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
    /// Per head and query, −log2 Σ exp; each head fills whole vectors.
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
                    sum = -std::f32::consts::LOG2_E * log_sum_exp[head * queries + row];
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
