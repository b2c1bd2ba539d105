use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::twin::{distance, numbers, wide};

/// What attention is, in f64: the output and ln Σ exp of the scores.
fn twin(
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
struct Case<T> {
    data: Vec<T>,
    tokens: usize,
    gaps: [usize; 2],
    dense: Vec<f64>,
}

impl<T: Number> Case<T> {
    fn new(name: &str, shape: &AttentionShape, tokens: usize, size: f32, gaps: [usize; 2]) -> Self {
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

    fn tokens(&self, shape: &AttentionShape) -> Tokens<'_, T> {
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
    let tolerance = if T::GROUP == 1 { 1e-6 } else { 1e-2 };
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

fn shape(batch: usize, heads: usize, width: usize, causal: bool) -> AttentionShape {
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
fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
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

/// The gradients in f64 for q, k and v.
fn backward_twin(
    shape: &AttentionShape,
    queries: usize,
    keys: usize,
    [q, k, v, grad]: [&[f64]; 4],
) -> [Vec<f64>; 3] {
    let (out, sums) = twin(shape, queries, keys, [q, k, v]);
    let (channels, width) = (shape.channels(), shape.width);
    let scale = f64::from(shape.scale);
    let (mut dq, mut dk) = (vec![0.0; q.len()], vec![0.0; k.len()]);
    let mut dv = dk.clone();
    for b in 0..shape.batch {
        for h in 0..shape.heads {
            for i in 0..queries {
                let row = (b * queries + i) * channels + h * width;
                let sum = sums[(b * shape.heads + h) * queries + i];
                let dot: f64 = (0..width).map(|c| grad[row + c] * out[row + c]).sum();
                for j in 0..if shape.causal { i + 1 } else { keys } {
                    let key = (b * keys + j) * channels + h * width;
                    let product = |x: &[f64], y: &[f64]| -> f64 {
                        (0..width).map(|c| x[row + c] * y[key + c]).sum()
                    };
                    let share = (scale * product(q, k) - sum).exp();
                    let slope = scale * share * (product(grad, v) - dot);
                    for c in 0..width {
                        dq[row + c] += slope * k[key + c];
                        dk[key + c] += slope * q[row + c];
                        dv[key + c] += share * grad[row + c];
                    }
                }
            }
        }
    }
    [dq, dk, dv]
}

fn check_backward(shape: AttentionShape, queries: usize, keys: usize, gaps: [usize; 2]) {
    let q = Case::<f32>::new("q", &shape, queries, 1.5, gaps);
    let k = Case::<f32>::new("k", &shape, keys, 1.5, gaps);
    let v = Case::<f32>::new("v", &shape, keys, 1.0, gaps);
    let grad = Case::<f32>::new("grad", &shape, queries, 1.0, [0, 0]);
    let dense = [&q.dense[..], &k.dense, &v.dense, &grad.dense];
    let want = backward_twin(&shape, queries, keys, dense);
    for cpu in Cpu::every() {
        let [q, k, v] = [&q, &k, &v].map(|case| case.tokens(&shape));
        let mut out = vec![f32::NAN; want[0].len()];
        let mut sums = vec![f32::NAN; shape.batch * shape.heads * queries];
        attention(cpu, shape, q, k, v, &mut out, Some(&mut sums));
        let [mut dq, mut dk, mut dv] = [0, 1, 2].map(|i| vec![f32::NAN; want[i].len()]);
        let grad = &grad.data;
        attention_backward(
            cpu, shape, q, k, v, &out, &sums, grad, &mut dq, &mut dk, &mut dv,
        );
        // Where a gradient is a small difference, an error is measured by what went into it.
        let size = want.iter().flatten().map(|x| x * x).sum::<f64>().sqrt();
        for (name, got, want) in [
            ("q", &dq, &want[0]),
            ("k", &dk, &want[1]),
            ("v", &dv, &want[2]),
        ] {
            let difference: Vec<f64> = wide(got).iter().zip(want).map(|(g, w)| g - w).collect();
            let error = difference.iter().map(|x| x * x).sum::<f64>().sqrt();
            assert!(
                error <= 2e-6 * size,
                "{cpu:?} {shape:?} {queries} {keys} d{name}: {:.2e}",
                error / size
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn gradients_equal_their_twin(
        (batch, heads, width) in (0usize..3, 1usize..4, 1usize..90),
        (queries, keys) in (0usize..60, 0usize..150),
        causal in any::<bool>(),
        negative in any::<bool>(),
        gaps in [0usize..4, 0usize..4],
    ) {
        let mut shape = shape(batch, heads, width, causal);
        if negative {
            shape.scale = -shape.scale;
        }
        let keys = if causal { queries } else { keys };
        check_backward(shape, queries, keys, gaps);
    }
}

#[test]
fn gradients_over_several_blocks() {
    for (width, queries, keys, causal) in [
        (40, 700, 1300, false),
        (40, 1100, 1100, true),
        (160, 300, 427, false),
        (257, 300, 300, true),
        (512, 20, 300, false),
    ] {
        check_backward(shape(1, 1, width, causal), queries, keys, [0, 0]);
    }
}

#[test]
fn the_backward_twin_is_the_derivative() {
    for causal in [false, true] {
        let shape = shape(1, 2, 3, causal);
        let (queries, keys) = (4, if causal { 4 } else { 6 });
        let of = |name, tokens| wide(&numbers::<f32>(name, tokens * 6));
        let mut inputs = [of("q", queries), of("k", keys), of("v", keys)];
        let grad = of("grad", queries);
        let loss = |[q, k, v]: &[Vec<f64>; 3]| -> f64 {
            let (out, _) = twin(&shape, queries, keys, [q, k, v]);
            out.iter().zip(&grad).map(|(o, g)| o * g).sum()
        };
        let [q, k, v] = &inputs;
        let want = backward_twin(&shape, queries, keys, [q, k, v, &grad]);
        for which in 0..3 {
            for at in 0..inputs[which].len() {
                let kept = inputs[which][at];
                inputs[which][at] = kept + 1e-5;
                let above = loss(&inputs);
                inputs[which][at] = kept - 1e-5;
                let slope = (above - loss(&inputs)) / 2e-5;
                inputs[which][at] = kept;
                assert!((slope - want[which][at]).abs() < 1e-8, "{which} {at}");
            }
        }
    }
}

fn gradients_of(threads: usize, batch: usize, causal: bool) -> [Vec<f32>; 3] {
    let shape = shape(batch, 2, 40, causal);
    let (tokens, channels) = (700, 80);
    let size = batch * tokens * channels;
    let of = |name| numbers::<f32>(name, 3 * tokens * channels)[..size].to_vec();
    let (q, k, v, grad) = (of("q"), of("k"), of("v"), of("grad"));
    let mut gradients = [0; 3].map(|_| vec![0.0; size]);
    with_threads(threads, || {
        let cpu = Cpu::detect();
        let [q, k, v] = [&q, &k, &v].map(|x| Tokens::new(&x[..], [batch, tokens, channels]));
        let (mut out, mut sums) = (vec![0.0; size], vec![0.0; batch * 2 * tokens]);
        attention(cpu, shape, q, k, v, &mut out, Some(&mut sums));
        let [dq, dk, dv] = &mut gradients;
        attention_backward(cpu, shape, q, k, v, &out, &sums, &grad, dq, dk, dv);
    });
    gradients.map(|g| g[..tokens * channels].to_vec())
}

#[test]
fn threads_and_batches_change_no_bit_of_gradients() {
    for causal in [false, true] {
        let one = gradients_of(1, 1, causal);
        assert_eq!(one, gradients_of(2, 3, causal));
        assert_eq!(one, gradients_of(4, 2, causal));
    }
}
