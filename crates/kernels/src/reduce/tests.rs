use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::twin::{distance, numbers, on_any_threads, wide};

fn check_sums<T: Number>(rows: usize, width: usize) {
    let x = numbers::<T>("x", rows * width);
    let mut want = vec![0.0; width];
    for (i, v) in wide(&x).into_iter().enumerate() {
        want[i % width] += v;
    }
    for cpu in Cpu::every() {
        let out = on_any_threads(|| {
            let mut out = vec![f32::NAN; width];
            column_sums(cpu, rows, width, &x, &mut out);
            out
        });
        // A sum may be near zero, so its terms are the measure.
        for (got, want) in out.iter().zip(&want) {
            let off = (f64::from(*got) - want).abs();
            assert!(
                off <= 1e-6 * (rows as f64).sqrt(),
                "{rows} {width} {got} {want} {cpu:?}"
            );
        }
    }
}

fn check_softmax(rows: usize, width: usize, spread: f32) {
    let x: Vec<f32> = numbers::<f32>("x", rows * width)
        .iter()
        .map(|v| v * spread)
        .collect();
    let g = numbers::<f32>("g", rows * width);
    let (mut want, mut want_back) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let row = row * width..(row + 1) * width;
        let (x, g) = (wide(&x[row.clone()]), wide(&g[row]));
        let most = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
        let e: Vec<f64> = x.iter().map(|v| (v - most).exp()).collect();
        let sum: f64 = e.iter().sum();
        let along: f64 = e.iter().zip(&g).map(|(e, g)| e / sum * g).sum();
        want_back.extend(e.iter().zip(&g).map(|(e, g)| e / sum * (g - along)));
        want.extend(e.iter().map(|e| e / sum));
    }
    for cpu in Cpu::every() {
        let mut out = vec![f32::NAN; x.len()];
        softmax(cpu, rows, width, &x, &mut out);
        assert!(distance(&out, &want) < 1e-6, "{rows} {width} {cpu:?}");
        let mut back = vec![f32::NAN; x.len()];
        softmax_backward(cpu, rows, width, &out, &g, &mut back);
        for (got, want) in back.iter().zip(&want_back) {
            assert!(
                (f64::from(*got) - want).abs() < 1e-6,
                "{rows} {width} {got} {want} {cpu:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn sums_equal_their_twin(rows in 0usize..150, width in 0usize..300) {
        check_sums::<f32>(rows, width);
        check_sums::<bf16>(rows, width);
    }

    #[test]
    fn softmax_equals_its_twin(rows in 0usize..6, width in 0usize..100, spread in 0f32..60.0) {
        check_softmax(rows, width, spread);
    }
}

#[test]
fn many_rows() {
    check_sums::<f32>(3000, 77);
    check_sums::<bf16>(50_000, 3);
    check_softmax(1000, 77, 5.0);
}

/// Lanes beyond the end of a row are zeros, which must not count as the largest.
#[test]
fn far_below_zero() {
    for cpu in Cpu::every() {
        let x = [-1000.0, -1001.0, f32::NEG_INFINITY];
        let mut out = [0.0; 3];
        softmax(cpu, 1, 3, &x, &mut out);
        assert!(
            (out[0] - 0.731_058_6).abs() < 1e-6 && out[2] < 2e-38,
            "{out:?}"
        );
    }
}

#[test]
fn squares_are_summed_alike_on_any_threads() {
    for len in [0, 1, 37, 3 * CHUNK + 5] {
        let x = numbers::<f32>("x", len);
        let want: f64 = wide(&x).iter().map(|v| v * v).sum();
        let got = on_any_threads(|| square_sum(&x));
        assert!((got - want).abs() <= 1e-12 * want, "{len}: {got} {want}");
    }
}
