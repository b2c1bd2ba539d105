use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::twin::{numbers, on_any_threads, wide};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn sums_equal_their_twin(rows in 0usize..150, width in 0usize..300) {
        check_sums::<f32>(rows, width);
        check_sums::<bf16>(rows, width);
    }
}

#[test]
fn many_rows() {
    check_sums::<f32>(3000, 77);
    check_sums::<bf16>(50_000, 3);
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
