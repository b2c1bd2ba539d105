use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::twin::{close, distance, numbers, on_any_threads, wide};
use crate::{max2x2, max2x2_backward};

fn check_transpose<T: Number>(batch: usize, rows: usize, columns: usize) {
    let x = numbers::<T>("x", batch * rows * columns);
    let mut out = vec![T::ZERO; x.len()];
    transpose(batch, rows, columns, &x, &mut out);
    for (i, v) in x.iter().enumerate() {
        let (item, rest) = (i / (rows * columns), i % (rows * columns));
        let (row, column) = (rest / columns, rest % columns);
        assert_eq!(out[(item * columns + column) * rows + row], *v);
    }
}

fn check_cat<T: Number>(rows: usize, channels: &[usize]) {
    let parts: Vec<Vec<T>> = channels
        .iter()
        .map(|c| numbers(&format!("part{c}"), rows * c))
        .collect();
    let total: usize = channels.iter().sum();
    let mut out = vec![T::from_f32(f32::NAN); rows * total];
    let given: Vec<_> = parts
        .iter()
        .zip(channels)
        .map(|(p, c)| (&p[..], *c))
        .collect();
    cat_channels(rows, &given, &mut out);
    for row in 0..rows {
        let whole: Vec<T> = parts
            .iter()
            .zip(channels)
            .flat_map(|(p, c)| p[row * c..(row + 1) * c].to_vec())
            .collect();
        assert_eq!(out[row * total..(row + 1) * total], whole);
    }
    let mut back: Vec<Vec<T>> = channels
        .iter()
        .map(|c| vec![T::from_f32(f32::NAN); rows * c])
        .collect();
    let mut given: Vec<_> = back
        .iter_mut()
        .zip(channels)
        .map(|(p, c)| (&mut p[..], *c))
        .collect();
    split_channels(rows, &out, &mut given);
    assert_eq!(back, parts);
}

fn check_pool<T: Number>(shape: Pool2x2) {
    let Pool2x2 {
        batch,
        height,
        width,
        channels,
    } = shape;
    let x = numbers::<T>("x", batch * height * width * channels);
    let (h, w) = (height / 2, width / 2);
    let grad = numbers::<T>("g", batch * h * w * channels);
    let (mut want, mut want_back) = (vec![0.0; grad.len()], vec![0.0; x.len()]);
    for (i, want) in want.iter_mut().enumerate() {
        let (c, p) = (i % channels, i / channels);
        let (column, row, item) = (p % w, p / w % h, p / w / h);
        for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let at = ((item * height + 2 * row + dy) * width + 2 * column + dx) * channels + c;
            *want += wide(&x[at..=at])[0] / 4.0;
            want_back[at] = wide(&grad[i..=i])[0] / 4.0;
        }
    }
    for cpu in Cpu::every() {
        let mut out = vec![T::from_f32(f32::NAN); grad.len()];
        pool2x2(cpu, shape, &x, &mut out);
        assert!(distance(&out, &want) < close::<T>(), "{shape:?} {cpu:?}");
        let mut back = vec![T::from_f32(f32::NAN); x.len()];
        pool2x2_backward(cpu, shape, &grad, &mut back);
        assert!(
            distance(&back, &want_back) < close::<T>(),
            "{shape:?} {cpu:?}"
        );
    }
}

fn check_max<T: Number>(shape: Pool2x2) {
    let Pool2x2 {
        batch,
        height,
        width,
        channels,
    } = shape;
    let x = numbers::<T>("x", batch * height * width * channels);
    let (h, w) = (height / 2, width / 2);
    let grad = numbers::<T>("g", batch * h * w * channels);
    let (mut want, mut want_back) = (Vec::new(), vec![T::ZERO; x.len()]);
    for (i, g) in grad.iter().enumerate() {
        let (c, p) = (i % channels, i / channels);
        let (column, row, item) = (p % w, p / w % h, p / w / h);
        let seen = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(dy, dx)| {
            ((item * height + 2 * row + dy) * width + 2 * column + dx) * channels + c
        });
        let largest = seen
            .map(|at| x[at].to_f32())
            .into_iter()
            .fold(f32::MIN, f32::max);
        want.push(T::from_f32(largest));
        let first = seen.into_iter().find(|at| x[*at].to_f32() == largest);
        want_back[first.unwrap()] = *g;
    }
    let mut out = vec![T::from_f32(f32::NAN); grad.len()];
    max2x2(shape, &x, &mut out);
    assert_eq!(out, want, "{shape:?}");
    let mut back = vec![T::from_f32(f32::NAN); x.len()];
    max2x2_backward(shape, &x, &grad, &mut back);
    assert_eq!(back, want_back, "{shape:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn transposition(batch in 0usize..4, rows in 0usize..150, columns in 0usize..150) {
        check_transpose::<f32>(batch, rows, columns);
        check_transpose::<bf16>(batch, rows, columns);
    }

    #[test]
    fn concatenation(rows in 0usize..20, channels in prop::collection::vec(0usize..40, 0..4)) {
        check_cat::<f32>(rows, &channels);
        check_cat::<bf16>(rows, &channels);
    }

    #[test]
    fn averages(
        batch in 0usize..3, height in 0usize..9, width in 0usize..9, channels in 0usize..40,
    ) {
        check_pool::<f32>(Pool2x2 { batch, height, width, channels });
        check_pool::<bf16>(Pool2x2 { batch, height, width, channels });
        check_max::<f32>(Pool2x2 { batch, height, width, channels });
        check_max::<bf16>(Pool2x2 { batch, height, width, channels });
    }
}

#[test]
fn large_ones_on_any_threads() {
    let x = numbers::<f32>("x", 2 * 3000 * 33);
    let out = on_any_threads(|| {
        let mut out = vec![0.0; x.len()];
        transpose(2, 3000, 33, &x, &mut out);
        out
    });
    let mut back = vec![0.0; x.len()];
    transpose(2, 33, 3000, &out, &mut back);
    assert_eq!(back, x);
    check_cat::<bf16>(3000, &[31, 64]);
}
