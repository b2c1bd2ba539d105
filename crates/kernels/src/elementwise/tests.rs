use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::twin::{numbers, on_any_threads, wide};

const OPS: [Activation; 8] = [
    Activation::None,
    Activation::Silu,
    Activation::Gelu,
    Activation::QuickGelu,
    Activation::TanhGelu,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu,
];

/// Φ and its density, by Simpson's rule from 0 to x: the standard library has no erf.
fn normal(x: f64) -> (f64, f64) {
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let steps = 200;
    let h = x / f64::from(steps);
    let mut sum = density(0.0) + density(x);
    for i in 1..steps {
        sum += density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 };
    }
    (0.5 + sum * h / 3.0, density(x))
}

/// The function and its derivative.
fn twin(op: Activation, x: f64) -> (f64, f64) {
    let swish = |k: f64| {
        let s = 1.0 / (1.0 + (-k * x).exp());
        (x * s, s + k * x * s * (1.0 - s))
    };
    match op {
        Activation::None => (x, 1.0),
        Activation::Silu => swish(1.0),
        Activation::QuickGelu => swish(1.702),
        Activation::Gelu => {
            let (p, density) = normal(x);
            (x * p, p + x * density)
        }
        Activation::TanhGelu => {
            let k = (2.0 / std::f64::consts::PI).sqrt();
            let t = (k * (x + 0.044715 * x.powi(3))).tanh();
            let slope = k * (1.0 + 3.0 * 0.044715 * x * x);
            (
                0.5 * x * (1.0 + t),
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope,
            )
        }
        Activation::Relu if x > 0.0 => (x, 1.0),
        Activation::Relu6 if x > 6.0 => (6.0, 0.0),
        Activation::Relu6 if x > 0.0 => (x, 1.0),
        Activation::Relu | Activation::Relu6 => (0.0, 0.0),
        Activation::LeakyRelu if x > 0.0 => (x, 1.0),
        Activation::LeakyRelu => (x / 5.0, 0.2),
    }
}

/// Numbers within −7..7.
fn wider<T: Number>(name: &str, count: usize) -> Vec<T> {
    let x = numbers::<T>(name, count);
    x.iter().map(|v| T::from_f32(v.to_f32() * 4.0)).collect()
}

/// Whether all numbers are as near as this type and a function to some 3e-7 (before it is
/// multiplied by numbers up to 4, twice) let them be.
fn near<T: Number>(got: &[T], want: &[f64]) -> bool {
    let most = if size_of::<T>() == 2 { 4e-3 } else { 6e-6 };
    let off = |(g, w): (f64, &f64)| (g - w).abs() <= most * (1.0 + w.abs());
    got.len() == want.len() && wide(got).into_iter().zip(want).all(off)
}

fn blank<T: Number>(count: usize) -> Vec<T> {
    vec![T::from_f32(f32::NAN); count]
}

fn check<T: Number>(len: usize) {
    let (x, g) = (wider::<T>("x", len), numbers::<T>("g", len));
    let pairs = || wide(&x).into_iter().zip(wide(&g));
    for cpu in Cpu::every() {
        let mut out = blank::<T>(len);
        let mut check = |run: &dyn Fn(&mut [T]), want: Vec<f64>, what: &str| {
            out.fill(T::from_f32(f32::NAN));
            run(&mut out);
            assert!(near(&out, &want), "{what} {len} {cpu:?}");
        };
        for op in OPS {
            let want = wide(&x).iter().map(|v| twin(op, *v).0).collect();
            check(&|out| unary(cpu, op, &x, out), want, "unary");
            let want = pairs().map(|(v, g)| twin(op, v).1 * g).collect();
            check(
                &|out| unary_backward(cpu, op, &x, &g, out),
                want,
                "its gradient",
            );
        }
        let sum: Vec<f64> = pairs().map(|(x, g)| x + g).collect();
        check(&|out| add(cpu, &x, &g, out), sum, "add");
        let want = pairs().map(|(x, _)| x * 0.375).collect();
        check(&|out| scale(cpu, &x, 0.375, out), want, "scale");
    }
}

fn check_geglu<T: Number>(rows: usize, width: usize) {
    let (x, g) = (
        wider::<T>("x", rows * width * 2),
        numbers::<T>("g", rows * width),
    );
    let (mut want, mut want_back) = (Vec::new(), vec![0.0; x.len()]);
    for row in 0..rows {
        for c in 0..width {
            let at = 2 * row * width + c;
            let (a, b) = (f64::from(x[at].to_f32()), f64::from(x[at + width].to_f32()));
            let g = f64::from(g[row * width + c].to_f32());
            let (value, slope) = twin(Activation::Gelu, b);
            want.push(a * value);
            want_back[at] = g * value;
            want_back[at + width] = g * a * slope;
        }
    }
    for cpu in Cpu::every() {
        let (mut out, mut back) = (blank::<T>(want.len()), blank::<T>(x.len()));
        geglu(cpu, rows, width, &x, &mut out);
        geglu_backward(cpu, rows, width, &x, &g, &mut back);
        assert!(near(&out, &want), "{rows} {width} {cpu:?}");
        assert!(near(&back, &want_back), "{rows} {width} {cpu:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn functions_equal_their_twins(len in 0usize..200) {
        check::<f32>(len);
        check::<bf16>(len);
    }

    #[test]
    fn geglu_equals_its_twin(rows in 0usize..5, width in 0usize..70) {
        check_geglu::<f32>(rows, width);
        check_geglu::<bf16>(rows, width);
    }

    #[test]
    fn conversion_rounds_to_even(bits in prop::collection::vec(any::<u32>(), 0..70)) {
        let x: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).collect();
        let want: Vec<bf16> = x.iter().map(|v| bf16::from_f32(*v)).collect();
        for cpu in Cpu::every() {
            let mut out = blank::<bf16>(x.len());
            convert(cpu, &x, &mut out);
            let mut back = blank::<f32>(x.len());
            convert(cpu, &out, &mut back);
            for ((want, got), back) in want.iter().zip(&out).zip(back) {
                // Some instructions take what is below the least normal number for zero.
                if want.is_normal() {
                    assert_eq!((want.to_bits(), want.to_f32()), (got.to_bits(), back), "{cpu:?}");
                } else {
                    assert_eq!(want.is_nan(), got.is_nan());
                    assert_eq!(want.is_infinite(), got.is_infinite());
                }
            }
        }
    }
}

#[test]
fn long_slices_on_any_threads() {
    let len = 3 * CHUNK + 7;
    let x = wider::<f32>("x", len);
    let want: Vec<f64> = wide(&x)
        .iter()
        .map(|v| twin(Activation::Silu, *v).0)
        .collect();
    let out = on_any_threads(|| {
        let mut out = blank::<f32>(len);
        unary(Cpu::detect(), Activation::Silu, &x, &mut out);
        out
    });
    assert!(near(&out, &want));
    check_geglu::<f32>(300, 333);
}

#[test]
fn blends_are_weighted_sums() {
    for len in [0, 1, 37, CHUNK + 5] {
        for cpu in Cpu::every() {
            let (mut a, b) = (numbers::<f32>("a", len), numbers::<f32>("b", len));
            let want: Vec<f64> = wide(&a)
                .iter()
                .zip(wide(&b))
                .map(|(a, b)| 0.75 * a + 0.3 * b)
                .collect();
            blend(cpu, &mut a, 0.75, &b, 0.3);
            assert!(near(&a, &want), "{len} {cpu:?}");
        }
    }
}
