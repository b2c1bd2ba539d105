use proptest::prelude::*;

use super::tests::{Case, shape, twin, with_threads};
use super::*;
use crate::twin::{numbers, wide};

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
