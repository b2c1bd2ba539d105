//! Scaled dot-product attention.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

/// Scores held at once for one picture (all heads): 128 MiB in f32. Beyond it, queries are taken in parts.
const SCORES: usize = 1 << 25;

/// softmax(q·kᵀ / √width)·v in each of `heads` heads of width channels / heads (Vaswani et al., 2017).
///
/// `causal` lets a token see itself and the tokens before it; it needs as many queries as keys.
///
/// # Shapes
///
/// - q `[batch, queries, channels]`, k and v `[batch, keys, channels]`, channels a multiple of `heads`
/// - output `[batch, queries, channels]`
pub fn multi_head_attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    causal: bool,
) -> Tensor<3> {
    let [batch, queries, channels] = q.dims();
    let [_, keys, _] = k.dims();
    let width = channels / heads.max(1);
    // [batch, tokens, channels] → [batch, heads, tokens, width]
    let split = |t: Tensor<3>, tokens| t.reshape([batch, tokens, heads, width]).swap_dims(1, 2);
    let (q, k, v) = (split(q, queries), split(k, keys), split(v, keys));
    let options = AttentionModuleOptions {
        is_causal: causal,
        ..Default::default()
    };
    let attend = |q| module::attention(q, k.clone(), v.clone(), None, None, options);

    // The size of a part follows from one picture alone, so a batch does not change how a picture is computed.
    let part = (SCORES / (heads * keys).max(1)).max(1);
    let mixed = if causal || queries <= part {
        attend(q)
    } else {
        let starts = (0..queries).step_by(part);
        let parts =
            starts.map(|start| attend(q.clone().narrow(2, start, part.min(queries - start))));
        Tensor::cat(parts.collect(), 2)
    };
    mixed.swap_dims(1, 2).reshape([batch, queries, channels])
}
