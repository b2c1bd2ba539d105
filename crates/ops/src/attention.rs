//! Scaled dot-product attention.

use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

use crate::cpu::{self, input};
use crate::is_cpu;

/// Scores held at once for one picture (all heads) on a GPU: 128 MiB in f32. Beyond it, queries are
/// taken in parts.
const SCORES: usize = 1 << 25;

/// softmax(q·kᵀ / √width)·v in each of `heads` heads of width channels / heads (Vaswani et al.,
/// 2017).
///
/// `causal` lets a token see itself and the tokens before it; it needs as many queries as keys.
///
/// # Shapes
///
/// - q `[batch, queries, channels]`, k and v `[batch, keys, channels]`, channels a multiple of
///   `heads`
/// - output `[batch, queries, channels]`
pub fn multi_head_attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    causal: bool,
) -> Tensor<3> {
    if is_cpu(&q.device()) {
        let dtype = q.dtype();
        let inputs = [q, k, v].map(|t| input(t, dtype));
        return cpu::run(cpu::Attention { heads, causal }, inputs).cast(dtype);
    }
    let [batch, queries, channels] = q.dims();
    let (q, k, v) = (heads_of(q, heads), heads_of(k, heads), heads_of(v, heads));
    let mixed = if causal {
        whole(q, k, v, true)
    } else {
        in_parts(q, k, v, SCORES, |q, k, v| whole(q, k, v, false))
    };
    mixed.swap_dims(1, 2).reshape([batch, queries, channels])
}

/// [`multi_head_attention`] of tokens on themselves, whose queries, keys and values lie side by side.
///
/// # Shapes
///
/// `[batch, tokens, 3·channels]` → `[batch, tokens, channels]`
pub fn self_attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    let channels = qkv.dims()[2] / 3;
    if is_cpu(&qkv.device()) {
        let dtype = qkv.dtype();
        let inputs = [input(qkv, dtype), None];
        return cpu::run(cpu::JoinedAttention { heads }, inputs).cast(dtype);
    }
    let [q, k, v] = [0, 1, 2].map(|i| qkv.clone().narrow(2, i * channels, channels));
    multi_head_attention(q, k, v, heads, false)
}

/// [`multi_head_attention`] of q on tokens whose keys and values lie side by side.
///
/// # Shapes
///
/// q `[batch, queries, channels]`, kv `[batch, keys, 2·channels]` → as q
pub fn cross_attention(q: Tensor<3>, kv: Tensor<3>, heads: usize) -> Tensor<3> {
    let channels = q.dims()[2];
    if is_cpu(&q.device()) {
        let dtype = q.dtype();
        let inputs = [input(q, dtype), input(kv, dtype)];
        return cpu::run(cpu::JoinedAttention { heads }, inputs).cast(dtype);
    }
    let [k, v] = [0, 1].map(|i| kv.clone().narrow(2, i * channels, channels));
    multi_head_attention(q, k, v, heads, false)
}

/// `[batch, tokens, channels]` → `[batch, heads, tokens, width]`
fn heads_of(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, channels] = x.dims();
    x.reshape([batch, tokens, heads, channels / heads.max(1)])
        .swap_dims(1, 2)
}

/// By burn's kernel.
fn whole(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, causal: bool) -> Tensor<4> {
    let options = AttentionModuleOptions {
        is_causal: causal,
        ..Default::default()
    };
    module::attention(q, k, v, None, None, options)
}

/// `attend` for as many queries at a time as make at most `limit` scores for one picture.
///
/// The size of a part follows from one picture alone, so a batch does not change how a picture is
/// computed.
fn in_parts(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    limit: usize,
    attend: fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let [_, heads, queries, _] = q.dims();
    let [_, _, keys, _] = k.dims();
    let part = (limit / (heads * keys).max(1)).max(1);
    if queries <= part {
        return attend(q, k, v);
    }
    let one = |start| {
        let some = q.clone().narrow(2, start, part.min(queries - start));
        attend(some, k.clone(), v.clone())
    };
    Tensor::cat((0..queries).step_by(part).map(one).collect(), 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_close, normal, numbers};
    use proptest::prelude::*;

    fn scalar(
        batch: usize,
        tokens: [usize; 2],
        heads: usize,
        width: usize,
        causal: bool,
    ) -> Vec<f64> {
        let [queries, keys] = tokens;
        let channels = heads * width;
        let q = numbers("q", batch * queries * channels);
        let k = numbers("k", batch * keys * channels);
        let v = numbers("v", batch * keys * channels);
        let mut out = vec![0.0; batch * queries * channels];
        for (i, row) in out.chunks_mut(channels).enumerate() {
            let (b, query) = (i / queries, i % queries);
            for h in 0..heads {
                let at = |token: usize, n: usize| (b * n + token) * channels + h * width;
                let seen = if causal { query + 1 } else { keys };
                let scores: Vec<f64> = (0..seen)
                    .map(|key| {
                        let dot = |c| q[at(query, queries) + c] * k[at(key, keys) + c];
                        (0..width).map(dot).sum::<f64>() / (width as f64).sqrt()
                    })
                    .map(f64::exp)
                    .collect();
                let sum: f64 = scores.iter().sum();
                for c in 0..width {
                    let mix = |key: usize| scores[key] / sum * v[at(key, keys) + c];
                    row[h * width + c] = (0..seen).map(mix).sum();
                }
            }
        }
        out
    }

    #[test]
    fn tokens_that_lie_side_by_side_attend_as_others_do() {
        let (heads, channels) = (3, 36);
        let [q, k, v] = ["q", "k", "v"].map(|name| normal(name, [2, 9, channels]));
        let want = multi_head_attention(q.clone(), k.clone(), v.clone(), heads, false);
        let joined = |parts: Vec<Tensor<3>>| Tensor::cat(parts, 2);
        let found = self_attention(joined(vec![q.clone(), k.clone(), v.clone()]), heads);
        assert_eq!(found.into_data(), want.clone().into_data());
        let found = cross_attention(q.clone(), joined(vec![k.clone(), v.clone()]), heads);
        assert_eq!(found.into_data(), want.into_data());
        let few = |x: Tensor<3>| x.narrow(1, 0, 4);
        let want = multi_head_attention(q.clone(), few(k.clone()), few(v.clone()), heads, false);
        let found = cross_attention(q, few(joined(vec![k, v])), heads);
        assert_eq!(found.into_data(), want.into_data());
    }

    fn check(batch: usize, tokens: [usize; 2], heads: usize, width: usize, causal: bool) {
        let channels = heads * width;
        let y = multi_head_attention(
            normal("q", [batch, tokens[0], channels]),
            normal("k", [batch, tokens[1], channels]),
            normal("v", [batch, tokens[1], channels]),
            heads,
            causal,
        );
        let want = scalar(batch, tokens, heads, width, causal);
        assert_close(y, [batch, tokens[0], channels], &want);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn attention_equals_its_twin(
            batch in 1usize..3, queries in 1usize..40, keys in 1usize..40,
            heads in 1usize..5, width in 1usize..20,
        ) {
            check(batch, [queries, keys], heads, width, false);
            check(batch, [queries, queries], heads, width, true);
        }
    }

    #[test]
    fn long_sequences_take_the_same_sum() {
        check(1, [700, 650], 2, 8, false);
    }

    #[test]
    fn every_way_takes_the_same_sum() {
        let want = scalar(2, [9, 11], 2, 4, false);
        let [q, k, v] = [("q", 9), ("k", 11), ("v", 11)]
            .map(|(name, tokens)| heads_of(normal(name, [2, tokens, 8]), 2));
        // Scores of four queries at a time: 2 heads × 11 keys × 4.
        for limit in [1, 88, 1000] {
            {
                let whole = |q, k, v| whole(q, k, v, false);
                let y = in_parts(q.clone(), k.clone(), v.clone(), limit, whole);
                assert_close(y.swap_dims(1, 2).reshape([2, 9, 8]), [2, 9, 8], &want);
            }
        }
    }
}
