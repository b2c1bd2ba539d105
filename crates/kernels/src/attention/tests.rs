use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::twin::{distance, numbers, wide};

/// What attention is, in f64: the output and ln Σ exp of the scores.
pub(super) fn twin(
    shape: &AttentionShape,
    queries: usize,
    keys: usize,
    [q, k, v]: [&[f64]; 3],
) -> (Vec<f64>, Vec<f64>) {
    let (channels, width) = (shape.channels(), shape.width);
    let mut out = vec![0.0; shape.batch * queries * channels];
    let mut sums = Vec::new();
    for b in 0..shape.batch {
        for h in 0..shape.heads {
            for i in 0..queries {
                let at = (b * queries + i) * channels + h * width;
                let key = |j: usize| (b * keys + j) * channels + h * width;
                let seen = if shape.causal { i + 1 } else { keys };
                let scores: Vec<f64> = (0..seen)
                    .map(|j| {
                        let dot: f64 = (0..width).map(|c| q[at + c] * k[key(j) + c]).sum();
                        dot * f64::from(shape.scale)
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                sums.push(top + sum.ln());
                for (j, s) in scores.iter().enumerate() {
                    let share = (s - top).exp() / sum;
                    for c in 0..width {
                        out[at + c] += share * v[key(j) + c];
                    }
                }
            }
        }
    }
    (out, sums)
}

/// Tokens in memory with gaps, and without in f64.
pub(super) struct Case<T> {
    pub data: Vec<T>,
    tokens: usize,
    gaps: [usize; 2],
    pub dense: Vec<f64>,
}

impl<T: Number> Case<T> {
    pub fn new(
        name: &str,
        shape: &AttentionShape,
        tokens: usize,
        size: f32,
        gaps: [usize; 2],
    ) -> Self {
        let channels = shape.channels();
        let count = shape.batch * tokens * channels;
        let dense: Vec<T> = numbers::<f32>(name, count)
            .iter()
            .map(|x| T::from_f32(x * size))
            .collect();
        let mut data = Vec::new();
        for b in 0..shape.batch {
            for t in 0..tokens {
                let at = (b * tokens + t) * channels;
                data.extend_from_slice(&dense[at..at + channels]);
                data.extend(std::iter::repeat_n(T::from_f32(f32::NAN), gaps[0]));
            }
            data.extend(std::iter::repeat_n(T::from_f32(f32::NAN), gaps[1]));
        }
        Self {
            data,
            tokens,
            gaps,
            dense: wide(&dense),
        }
    }

    pub fn tokens(&self, shape: &AttentionShape) -> Tokens<'_, T> {
        let stride = shape.channels() + self.gaps[0];
        Tokens {
            data: &self.data,
            tokens: self.tokens,
            stride,
            batch_stride: self.tokens * stride + self.gaps[1],
        }
    }
}

fn check<T: Number>(
    shape: AttentionShape,
    queries: usize,
    keys: usize,
    size: f32,
    gaps: [usize; 2],
) {
    let q = Case::<T>::new("q", &shape, queries, size, gaps);
    let k = Case::<T>::new("k", &shape, keys, size, gaps);
    let v = Case::<T>::new("v", &shape, keys, 1.0, gaps);
    let (want, want_sums) = twin(&shape, queries, keys, [&q.dense, &k.dense, &v.dense]);
    let tolerance = if T::GROUP == 1 {
        // A score's rounding grows with the scores, whose deviation this is, and the exponential hands it on.
        1e-6 * f64::from(shape.scale.abs() * size * size * (shape.width as f32).sqrt()).max(1.0)
    } else {
        1e-2
    };
    for cpu in Cpu::every() {
        let mut out = vec![T::from_f32(f32::NAN); want.len()];
        let mut sums = vec![f32::NAN; want_sums.len()];
        let [q, k, v] = [&q, &k, &v].map(|case| case.tokens(&shape));
        attention(cpu, shape, q, k, v, &mut out, Some(&mut sums));
        let error = distance(&out, &want);
        assert!(
            error <= tolerance,
            "{cpu:?} {shape:?} {queries} {keys}: {error:.2e}"
        );
        for (got, want) in sums.iter().zip(&want_sums) {
            let near = (f64::from(*got) - want).abs() <= tolerance * (1.0 + want.abs());
            assert!(
                near || f64::from(*got) == *want,
                "{cpu:?} {shape:?}: {got} for {want}"
            );
        }
    }
}

pub(super) fn shape(batch: usize, heads: usize, width: usize, causal: bool) -> AttentionShape {
    AttentionShape {
        batch,
        heads,
        width,
        causal,
        scale: 1.0 / (width.max(1) as f32).sqrt(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn attention_equals_its_twin(
        (batch, heads, width) in (0usize..3, 1usize..4, 1usize..90),
        (queries, keys) in (0usize..60, 0usize..150),
        causal in any::<bool>(),
        size in 0.5f32..4.0,
        gaps in [0usize..4, 0usize..4],
    ) {
        let shape = shape(batch, heads, width, causal);
        let keys = if causal { queries } else { keys };
        check::<f32>(shape, queries, keys, size, gaps);
        check::<bf16>(shape, queries, keys, size, gaps);
    }

    #[test]
    fn scales_of_any_sign(width in 1usize..40, scale in -3f32..3.0, zero in any::<bool>()) {
        let mut shape = shape(1, 2, width, false);
        shape.scale = if zero { 0.0 } else { scale };
        check::<f32>(shape, 9, 21, 1.0, [0, 0]);
        check::<bf16>(shape, 9, 21, 1.0, [0, 0]);
    }
}

#[test]
fn many_keys_take_several_blocks() {
    for (width, queries, keys, causal) in [
        (40, 50, 1300, false),
        (40, 1100, 1100, true),
        (160, 30, 1027, false),
        (512, 20, 700, false),
        (513, 600, 600, true),
        (64, 1, 2049, false),
    ] {
        let shape = shape(1, 1, width, causal);
        check::<f32>(shape, queries, keys, 1.5, [0, 0]);
        check::<bf16>(shape, queries, keys, 1.5, [0, 0]);
    }
}

#[test]
fn large_scores_stay_numbers() {
    // Keys that grow along the sequence, so that every block brings a larger score; and queries
    // whose scores are all far below zero.
    let shape = shape(1, 1, 16, false);
    let (queries, keys) = (7, 1500);
    for sign in [1.0f32, -1.0] {
        let q: Vec<f32> = vec![sign * 8.0; queries * 16];
        let k: Vec<f32> = (0..keys * 16).map(|i| (i / 16) as f32 / 100.0).collect();
        let v = numbers::<f32>("v", keys * 16);
        let (want, _) = twin(&shape, queries, keys, [&wide(&q), &wide(&k), &wide(&v)]);
        for cpu in Cpu::every() {
            let mut out = vec![0f32; queries * 16];
            let of = |data, tokens| Tokens::new(data, [1, tokens, 16]);
            attention(
                cpu,
                shape,
                of(&q, queries),
                of(&k, keys),
                of(&v, keys),
                &mut out,
                None,
            );
            // The scores reach hundreds, whose last place is some 1e-5.
            let error = distance(&out, &want);
            assert!(error < 1e-4, "{cpu:?} {error:.2e}");
        }
    }
}

/// Runs `work` with so many threads.
pub(super) fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.unwrap().install(work)
}

fn attention_of<T: Number>(threads: usize, batch: usize, causal: bool) -> Vec<T> {
    let shape = shape(batch, 2, 40, causal);
    let (tokens, channels) = (700, 80);
    let of = |name| numbers::<T>(name, 3 * tokens * channels);
    let (q, k, v) = (of("q"), of("k"), of("v"));
    let size = batch * tokens * channels;
    let mut out = vec![T::ZERO; size];
    with_threads(threads, || {
        let [q, k, v] = [&q, &k, &v].map(|x| Tokens::new(&x[..size], [batch, tokens, channels]));
        attention(Cpu::detect(), shape, q, k, v, &mut out, None);
    });
    out.truncate(tokens * channels);
    out
}

#[test]
fn threads_and_batches_change_no_bit() {
    for causal in [false, true] {
        let one = attention_of::<bf16>(1, 1, causal);
        assert_eq!(one, attention_of::<bf16>(2, 3, causal));
        assert_eq!(one, attention_of::<bf16>(4, 2, causal));
        let one = attention_of::<f32>(1, 1, causal);
        assert_eq!(one, attention_of::<f32>(2, 3, causal));
        assert_eq!(one, attention_of::<f32>(4, 2, causal));
    }
}

#[test]
#[should_panic(expected = "keys beyond their data")]
fn short_data_is_refused() {
    let shape = shape(1, 2, 4, false);
    let x = [0f32; 24];
    let mut k = Tokens::new(&x, [1, 3, 8]);
    let q = k;
    k.tokens = 4;
    attention(Cpu::detect(), shape, q, k, k, &mut [0.0; 24], None);
}
