//! Gauss-Legendre quadrature in f64.

use std::sync::LazyLock;

const POINTS: usize = 32;

/// (node, weight) on [−1, 1]: the roots of the Legendre polynomial P₃₂ by Newton's method.
static RULE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| {
    let n = POINTS as f64;
    (0..POINTS)
        .map(|i| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n + 0.5)).cos();
            let mut slope = 1.0;
            for _ in 0..20 {
                let (mut p, mut before) = (1.0, 0.0);
                for k in 1..=POINTS {
                    let k = k as f64;
                    (p, before) = (((2.0 * k - 1.0) * x * p - (k - 1.0) * before) / k, p);
                }
                slope = n * (x * p - before) / (x * x - 1.0);
                x -= p / slope;
            }
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
});

/// ∫ f from `from` to `to`: exact for polynomials of degree 63 and, to rounding, for anything a ladder's step holds.
pub(super) fn integrate(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    let (middle, half) = (0.5 * (from + to), 0.5 * (to - from));
    let terms = RULE.iter().map(|(x, w)| w * f(middle + half * x));
    half * terms.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_and_exponentials_are_exact() {
        assert!((integrate(1.0, 3.0, |x| x.powi(5)) - (729.0 - 1.0) / 6.0).abs() < 1e-11);
        assert!((integrate(-9.0, 3.0, f64::exp) - (3f64.exp() - (-9f64).exp())).abs() < 1e-11);
        assert!((integrate(2.0, 0.0, |x| x) + 2.0).abs() < 1e-14);
    }
}
