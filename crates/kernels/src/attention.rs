//! Attention: softmax(scale·q·kᵀ)·v, blocked so that the scores are never in memory all at once.
//!
//! Keys and values are first packed, once per head, in the order in which the products read them.
//! Then every job takes some rows of queries through all keys, a block of keys at a time: scores,
//! their powers, and the powers times the values, with what was summed before a larger score came
//! along scaled down to it. A row's result depends on neither the other rows nor who computes it:
//! blocks of keys are the same for all.

mod backward;
mod forward;
#[cfg(test)]
mod gradient_tests;
mod pack;
#[cfg(test)]
mod tests;

use crate::cpu::Cpu;
use crate::number::Number;

pub use backward::attention_backward;

/// Tokens in memory: channel c of token t of sequence b is
/// `data[b·batch_stride + t·stride + c]`. The channels of head h are h·width to (h + 1)·width.
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
    /// Tokens `[batch, tokens, channels]` without gaps.
    ///
    /// # Panics
    ///
    /// Where `data` has another length.
    pub fn new(data: &'a [T], [batch, tokens, channels]: [usize; 3]) -> Self {
        assert_eq!(data.len(), batch * tokens * channels, "the tokens' length");
        Self {
            data,
            tokens,
            stride: channels,
            batch_stride: tokens * channels,
        }
    }

    /// Panics where a token lies outside `data`.
    fn check(&self, batch: usize, channels: usize, name: &str) {
        if batch * self.tokens * channels > 0 {
            let last = (batch - 1) * self.batch_stride + (self.tokens - 1) * self.stride;
            assert!(
                last + channels <= self.data.len(),
                "{name} beyond their data"
            );
        }
    }

    /// Where head `head` of the first token of a sequence lies.
    ///
    /// # Safety
    ///
    /// The sequence has such a token, as [`check`](Self::check) has seen.
    unsafe fn head(&self, shape: &AttentionShape, batch: usize, head: usize) -> *const T {
        self.data
            .as_ptr()
            .add(batch * self.batch_stride + head * shape.width)
    }
}

/// What is attended by what.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Heads of a token.
    pub heads: usize,
    /// Channels of a head.
    pub width: usize,
    /// A query sees only the keys up to its own position; there are as many of either.
    pub causal: bool,
    /// What q·kᵀ is multiplied by before the softmax, commonly 1/√width.
    pub scale: f32,
}

impl AttentionShape {
    fn channels(&self) -> usize {
        self.heads * self.width
    }

    /// Panics where the tokens do not fit.
    fn check<T>(&self, q: &Tokens<'_, T>, k: &Tokens<'_, T>, v: &Tokens<'_, T>) {
        assert_eq!(k.tokens, v.tokens, "as many values as keys");
        assert!(
            !self.causal || q.tokens == k.tokens,
            "as many queries as keys where causal"
        );
        q.check(self.batch, self.channels(), "queries");
        k.check(self.batch, self.channels(), "keys");
        v.check(self.batch, self.channels(), "values");
    }
}

/// softmax(scale·q·kᵀ)·v for each head.
///
/// # Shapes
///
/// q `[batch, queries, heads·width]`, k and v `[batch, keys, heads·width]`; out as q, without gaps.
/// `log_sum_exp` `[batch, heads, queries]` gets ln Σ exp(scale·q·kᵀ) over the keys, which
/// [`attention_backward`] needs. Without keys, out is zero and `log_sum_exp` −∞.
///
/// # Panics
///
/// Where the lengths do not fit.
pub fn attention<T: Number>(
    cpu: Cpu,
    shape: AttentionShape,
    q: Tokens<'_, T>,
    k: Tokens<'_, T>,
    v: Tokens<'_, T>,
    out: &mut [T],
    log_sum_exp: Option<&mut [f32]>,
) {
    shape.check(&q, &k, &v);
    let rows = shape.batch * q.tokens;
    assert_eq!(out.len(), rows * shape.channels(), "the output's length");
    if let Some(sums) = &log_sum_exp {
        assert_eq!(sums.len(), rows * shape.heads, "the length of log_sum_exp");
    }
    forward::forward(cpu, shape, q, k, v, out, log_sum_exp);
}
