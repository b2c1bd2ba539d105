//! Attention.

use burn::backend::flex::FlexTensor;
use latent_kernels::{AttentionShape, Tokens, attention, output};

use super::layout::{dims, numbers, rows, tensor};
use super::{by_type, instructions};

/// softmax(q·kᵀ / √width)·v in each head: q `[b, queries, c]`, k and v `[b, keys, c]` → as q.
pub(crate) fn attend(q: FlexTensor, k: FlexTensor, v: FlexTensor, heads: usize, causal: bool) -> FlexTensor {
    by_type!(q.dtype(), T => {
        let (q, k, v) = (rows(q), rows(k), rows(v));
        let size @ [batch, _, channels] = dims(&q);
        let width = channels / heads.max(1);
        let shape = AttentionShape {
            batch,
            heads,
            width,
            causal,
            scale: (width as f32).sqrt().recip(),
        };
        let tokens = |x| Tokens::new(numbers::<T>(x), dims(x));
        let mut out = output::<T>(size.iter().product());
        attention(instructions(), shape, tokens(&q), tokens(&k), tokens(&v), &mut out, None);
        tensor(out, size)
    })
}
