//! Scalar twins in f64 that kernels are tested against, and the numbers they are tested with.

use half::bf16;

use crate::geometry::{Picture, Window};
use crate::number::Number;

/// `count` numbers within −1..1 that differ by `name`, exactly representable as bf16.
pub(crate) fn numbers<T: Number>(name: &str, count: usize) -> Vec<T> {
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |s, b| {
        (s ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let unit = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            T::from_f32(bf16::from_f32(unit).to_f32())
        })
        .collect()
}

pub(crate) fn wide<T: Number>(x: &[T]) -> Vec<f64> {
    x.iter().map(|v| f64::from(v.to_f32())).collect()
}

/// The norm of the difference over the norm of `want`.
pub(crate) fn distance<T: Number>(got: &[T], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let difference: f64 = wide(got).iter().zip(want).map(|(g, w)| square(g - w)).sum();
    let size: f64 = want.iter().map(|w| square(*w)).sum();
    if difference == 0.0 {
        0.0
    } else {
        (difference / size).sqrt()
    }
}

/// A convolution `[batch, height, width, input]` → `[batch, height, width, output]` by its definition.
pub(crate) fn conv2d<T: Number>(
    x: &Picture<'_, T>,
    weight: &[T],
    output: usize,
    window: &Window,
) -> Vec<f64> {
    let taps = window.taps();
    let mut y = Vec::new();
    for b in 0..x.batch {
        for row in 0..window.output[0] {
            for column in 0..window.output[1] {
                for o in 0..output {
                    let mut sum = 0.0;
                    for tap in 0..taps {
                        let at = [tap / window.kernel[1], tap % window.kernel[1]];
                        let Some(offset) = window.tap(x, [b, row, column], at) else {
                            continue;
                        };
                        for c in 0..x.channels {
                            sum += f64::from(x.data[offset + c].to_f32())
                                * f64::from(weight[(o * x.channels + c) * taps + tap].to_f32());
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

/// Checks that `f` gives the same bits on one, two and four threads, and returns them.
pub(crate) fn on_any_threads<R: PartialEq + std::fmt::Debug + Send>(f: impl Fn() -> R + Sync) -> R {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(&f)
    };
    let one = on(1);
    for threads in [2, 4] {
        assert_eq!(on(threads), one, "{threads} threads");
    }
    one
}

/// How far off a result of this type may be: rounding to it, and some roundings of f32.
pub(crate) fn close<T: Number>() -> f64 {
    match size_of::<T>() {
        2 => 3e-3,
        _ => 2e-6,
    }
}
