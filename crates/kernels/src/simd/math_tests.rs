use super::math::exp;
use super::*;
use crate::cpu::Cpu;

/// Applies a function of vectors to every number of a slice.
macro_rules! each_lane {
    ($name:ident, $x:expr, $cpu:expr) => {{
        struct Lanes<'a>(&'a [f32], &'a mut [f32]);
        impl Kernel for Lanes<'_> {
            type Out = ();
            #[inline(always)]
            unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
                for (x, y) in self.0.chunks(I::LANES).zip(self.1.chunks_mut(I::LANES)) {
                    let v = $name::<I>(I::load_part(x.as_ptr(), x.len()));
                    I::store_part(y.as_mut_ptr(), v, y.len());
                }
            }
        }
        let mut y = vec![f32::NAN; $x.len()];
        run($cpu, Lanes($x, &mut y));
        y
    }};
}

fn range(from: f32, to: f32, steps: usize) -> Vec<f32> {
    (0..=steps)
        .map(|i| from + (to - from) * i as f32 / steps as f32)
        .collect()
}

/// The largest error beside 1 or the number itself, whichever `relative` says.
fn worst(x: &[f32], y: &[f32], relative: bool, twin: impl Fn(f64) -> f64) -> f64 {
    x.iter().zip(y).fold(0.0, |worst, (x, y)| {
        let want = twin(f64::from(*x));
        let error = (f64::from(*y) - want).abs() / if relative { want.abs() } else { 1.0 };
        assert!(error.is_finite(), "{x} {y}");
        worst.max(error)
    })
}

/// Φ by Simpson's rule.
fn phi(x: f64) -> f64 {
    let steps = 200;
    let h = x / f64::from(steps);
    let mut sum = density(0.0) + density(x);
    for i in 1..steps {
        sum += density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 };
    }
    0.5 + sum * h / 3.0
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn functions_against_f64() {
    let (all, near) = (range(-86.0, 87.0, 40_003), range(-12.0, 12.0, 10_007));
    for cpu in Cpu::every() {
        let check = |what: &str, error: f64, most: f64| {
            assert!(error < most, "{what}: {error:e} {cpu:?}");
        };
        check(
            "exp",
            worst(&all, &each_lane!(exp, &all, cpu), true, f64::exp),
            2e-7,
        );
        let y = each_lane!(sigmoid, &all, cpu);
        check("sigmoid", worst(&all, &y, true, logistic), 3e-7);
        let y = each_lane!(silu, &near, cpu);
        check("silu", worst(&near, &y, false, |x| x * logistic(x)), 2e-6);
        let slope = |x: f64| logistic(x) * (1.0 + x * (1.0 - logistic(x)));
        let y = each_lane!(silu_slope, &near, cpu);
        check("silu_slope", worst(&near, &y, false, slope), 1e-6);
        let y = each_lane!(quick_gelu, &near, cpu);
        check(
            "quick_gelu",
            worst(&near, &y, false, |x| x * logistic(1.702 * x)),
            2.5e-6,
        );
        let y = each_lane!(gelu, &near, cpu);
        check("gelu", worst(&near, &y, false, |x| x * phi(x)), 2e-6);
        let inner = |x: f64| (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        let y = each_lane!(tanh_gelu, &near, cpu);
        let value = |x: f64| 0.5 * x * (1.0 + inner(x).tanh());
        check("tanh_gelu", worst(&near, &y, false, value), 2.5e-6);
        let y = each_lane!(tanh_gelu_slope, &near, cpu);
        let slope = |x: f64| {
            let (t, u) = (
                inner(x).tanh(),
                inner(1.0) / 1.044715 * (1.0 + 3.0 * 0.044715 * x * x),
            );
            0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * u
        };
        check("tanh_gelu_slope", worst(&near, &y, false, slope), 5e-6);
        let y = each_lane!(gelu_short, &near, cpu);
        check("gelu_short", worst(&near, &y, false, |x| x * phi(x)), 2e-4);
        let y = each_lane!(gelu_slope, &near, cpu);
        check(
            "gelu_slope",
            worst(&near, &y, false, |x| phi(x) + x * density(x)),
            1e-6,
        );
        let powers = range(-126.0, 126.5, 30_011);
        let y = each_lane!(exp2, &powers, cpu);
        check("exp2", worst(&powers, &y, true, f64::exp2), 3e-7);
        let y = each_lane!(exp2_short, &powers, cpu);
        check("exp2_short", worst(&powers, &y, true, f64::exp2), 8e-5);
    }
}

#[test]
fn ends_of_the_range() {
    let x = [
        f32::NEG_INFINITY,
        -1e30,
        -200.0,
        200.0,
        1e30,
        f32::INFINITY,
        f32::NAN,
    ];
    for cpu in Cpu::every() {
        let y = each_lane!(exp, &x, cpu);
        assert!(y[..3].iter().all(|v| (0.0..2e-38).contains(v)), "{y:?}");
        assert!(
            y[3..6].iter().all(|v| (1e38..=f32::INFINITY).contains(v)),
            "{y:?}"
        );
        assert!(y[6].is_nan());
        let y = each_lane!(sigmoid, &x, cpu);
        assert!(
            y[..3].iter().all(|v| (0.0..2e-38).contains(v)) && y[3..6] == [1.0; 3],
            "{y:?}"
        );
        assert!(y[6].is_nan());
        for y in [each_lane!(silu, &x, cpu), each_lane!(quick_gelu, &x, cpu)] {
            assert!(
                y[2].abs() < 1e-30 && y[3..6] == x[3..6] && y[6].is_nan(),
                "{y:?}"
            );
        }
        let y = each_lane!(gelu, &x, cpu);
        // erf stops a rounding short of ±1.
        assert!(
            y[2].abs() < 1e-4 && (y[3] / x[3] - 1.0).abs() < 2e-7,
            "{y:?}"
        );
        assert!(y[6].is_nan());
    }
}
