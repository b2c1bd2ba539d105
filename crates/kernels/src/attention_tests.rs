use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::twin::{distance, numbers};

/// Attention by its definition, and the logarithm of each row's sum.
fn twin<T: Number>(
    shape: &AttentionShape,
    q: &Tokens<'_, T>,
    k: &Tokens<'_, T>,
    v: &Tokens<'_, T>,
) -> (Vec<f64>, Vec<f64>) {
    let channels = shape.heads * shape.width;
    let mut out = vec![0.0; shape.batch * q.tokens * channels];
    let mut sums = Vec::new();
    for item in 0..shape.batch {
        for head in 0..shape.heads {
            for query in 0..q.tokens {
                let seen = if shape.causal { query + 1 } else { k.tokens };
                let row = q.at(shape, item, head, query);
                let scores: Vec<f64> = (0..seen)
                    .map(|key| {
                        let key = k.at(shape, item, head, key);
                        let dot = row.iter().zip(key).map(|(a, b)| f64::from(a.to_f32()) * f64::from(b.to_f32()));
                        (dot.sum::<f64>() * f64::from(shape.scale)).exp()
                    })
                    .collect();
                let sum: f64 = scores.iter().sum();
                sums.push(sum.ln());
                let at = (item * q.tokens + query) * channels + head * shape.width;
                for (key, score) in scores.iter().enumerate() {
                    let value = v.at(shape, item, head, key);
                    for (c, x) in value.iter().enumerate() {
                        out[at + c] += score / sum * f64::from(x.to_f32());
                    }
                }
            }
        }
    }
    (out, sums)
}

fn check<T: Number>(shape: AttentionShape, queries: usize, keys: usize, gap: usize, limit: f64) {
    let channels = shape.heads * shape.width;
    let draw = |name: &str, tokens: usize| {
        let data: Vec<T> = numbers::<T>(name, shape.batch * tokens * (channels + gap));
        data.iter().map(|v| T::from_f32(3.0 * v.to_f32())).collect::<Vec<_>>()
    };
    let (q, k, v) = (draw("q", queries), draw("k", keys), draw("v", keys));
    fn tokens<T>(data: &[T], tokens: usize, stride: usize) -> Tokens<'_, T> {
        Tokens { data, tokens, stride, batch_stride: tokens * stride }
    }
    let stride = channels + gap;
    let (q, k, v) = (tokens(&q, queries, stride), tokens(&k, keys, stride), tokens(&v, keys, stride));
    let (want, want_sums) = twin(&shape, &q, &k, &v);
    for cpu in Cpu::every() {
        let mut out = vec![T::ZERO; shape.batch * queries * channels];
        let mut sums = vec![0f32; shape.batch * shape.heads * queries];
        attention(cpu, shape, q, k, v, &mut out, Some(&mut sums));
        if keys == 0 {
            assert!(out.iter().all(|x| *x == T::ZERO));
            continue;
        }
        let error = distance(&out, &want);
        assert!(error < limit, "{cpu:?} {shape:?} {queries}×{keys}: {error:.2e}");
        let error = distance(&sums, &want_sums);
        assert!(error < 1e-3 * limit.max(1e-3) + 1e-6, "{cpu:?} sums {error:.2e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn attention_equals_its_twin(
        batch in 1usize..3, heads in 1usize..4, width in 1usize..70, queries in 0usize..130, keys in 0usize..140,
        causal in any::<bool>(), gap in 0usize..4,
    ) {
        let keys = if causal { queries } else { keys };
        let shape = AttentionShape { batch, heads, width, causal, scale: (width as f32).sqrt().recip() };
        check::<f32>(shape, queries, keys, gap, 2e-6);
        check::<bf16>(shape, queries, keys, gap, 1e-2);
    }
}

#[test]
fn several_blocks_of_keys() {
    for (width, causal) in [(40, false), (40, true), (160, false), (512, false)] {
        let shape = AttentionShape { batch: 1, heads: 2, width, causal, scale: (width as f32).sqrt().recip() };
        check::<f32>(shape, 1100, 1100, 0, 2e-6);
        check::<bf16>(shape, 1100, 1100, 0, 1e-2);
    }
}

#[test]
fn threads_and_batches_change_no_bit() {
    let (heads, width, tokens) = (3, 40, 700);
    let q = numbers::<bf16>("q", 3 * tokens * heads * width);
    let k = numbers::<bf16>("k", 3 * tokens * heads * width);
    let run = |threads: usize, batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let shape = AttentionShape { batch, heads, width, causal: false, scale: 0.2 };
            let one = tokens * heads * width;
            let tokens = |data| Tokens::new(data, tokens, heads * width);
            let mut out = vec![bf16::ZERO; batch * one];
            attention(Cpu::detect(), shape, tokens(&q), tokens(&k), tokens(&k), &mut out, None);
            out[..one].to_vec()
        })
    };
    let one = run(1, 1);
    assert_eq!(one, run(2, 3));
    assert_eq!(one, run(4, 2));
}
