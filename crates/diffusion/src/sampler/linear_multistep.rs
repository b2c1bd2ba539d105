//! Linear multistep methods on ε = dx/dσ: LMS, DEIS, iPNDM, PLMS.
//!
//! They differ only in the coefficients c_j of x' = x + Σ c_j ε_{i−j}.

use burn::tensor::Tensor;

use super::quadrature::integrate;
use super::walk::{Walk, Walked, slope, toward};
use super::{DeisVariable, IpndmCoefficients, LowerOrderFinal, PlmsAverage, Sampler};

/// The variable u in which a polynomial is laid through the last ε, and the dσ/du that turns ∫ L(u) dσ into ∫ … du.
#[derive(Clone, Copy)]
enum Variable {
    Sigma,
    LogSigma,
    VpTime,
}

impl Variable {
    fn of(self, sigma: f64) -> f64 {
        match self {
            Self::Sigma => sigma,
            Self::LogSigma => sigma.ln(),
            Self::VpTime => {
                let (beta_d, beta_min) = vp_betas();
                let root = (beta_min * beta_min + 2.0 * beta_d * (sigma * sigma).ln_1p()).sqrt();
                (root - beta_min) / beta_d
            }
        }
    }

    fn slope(self, u: f64) -> f64 {
        match self {
            Self::Sigma => 1.0,
            Self::LogSigma => u.exp(),
            Self::VpTime => {
                // σ² + 1 = exp(½ β_d t² + β_min t)
                let (beta_d, beta_min) = vp_betas();
                let log = 0.5 * beta_d * u * u + beta_min * u;
                let sigma = log.exp_m1().sqrt();
                0.5 * log.exp() * (beta_d * u + beta_min) / sigma
            }
        }
    }
}

/// (β_d, β_min) of the VP schedule whose σ is 0.002 at t = 0.001 and 80 at t = 1, as in zju-pi/diff-sampler.
fn vp_betas() -> (f64, f64) {
    let (low, high) = (0.002f64.powi(2).ln_1p(), 80f64.powi(2).ln_1p());
    let epsilon = 1e-3;
    let beta_d = 2.0 * (low / epsilon - high) / (epsilon - 1.0);
    (beta_d, high - 0.5 * beta_d)
}

/// c_j = ∫ L_j(u(σ)) dσ from σᵢ to σᵢ₊₁, L_j the Lagrange polynomials through the last `order` levels.
fn adams(variable: Variable, sigmas: &[f64], i: usize, order: usize) -> Vec<f64> {
    let nodes: Vec<f64> = (0..order).map(|k| variable.of(sigmas[i - k])).collect();
    let (from, to) = (nodes[0], variable.of(sigmas[i + 1]));
    let coefficient = |j: usize| {
        integrate(from, to, |u| {
            let others = (0..order).filter(|k| *k != j);
            let basis: f64 = others
                .map(|k| (u - nodes[k]) / (nodes[j] - nodes[k]))
                .product();
            basis * variable.slope(u)
        })
    };
    (0..order).map(coefficient).collect()
}

/// Adams-Bashforth coefficients of equal steps, times σᵢ₊₁ − σᵢ.
fn uniform(sigmas: &[f64], i: usize, order: usize) -> Vec<f64> {
    let step = sigmas[i + 1] - sigmas[i];
    let (weights, divisor): (&[f64], f64) = match order {
        1 => (&[1.0], 1.0),
        2 => (&[3.0, -1.0], 2.0),
        3 => (&[23.0, -16.0, 5.0], 12.0),
        _ => (&[55.0, -59.0, 37.0, -9.0], 24.0),
    };
    weights.iter().map(|w| w * step / divisor).collect()
}

/// What tells the four methods apart.
struct Rule {
    coefficients: fn(&[f64], usize, usize) -> Vec<f64>,
    /// A step to σ = 0 returns D instead of extrapolating.
    denoise_at_zero: bool,
    /// The order falls over the last steps.
    falling: bool,
    /// The first step is corrected by an evaluation at its end.
    heun_start: bool,
}

fn rule<const D: usize>(walk: &Walk<'_, D>) -> Rule {
    let o = walk.options;
    let n = walk.ladder.steps();
    let plain = Rule {
        coefficients: |s, i, order| adams(Variable::Sigma, s, i, order),
        denoise_at_zero: false,
        falling: false,
        heun_start: false,
    };
    match walk.sampler {
        Sampler::Plms => Rule {
            coefficients: uniform,
            // A single step is of first order, unless it is what is left of a longer ladder.
            heun_start: n > 1 || walk.ladder.landing(0) != walk.ladder.values()[1],
            ..plain
        },
        Sampler::Ipndm => Rule {
            coefficients: match o.ipndm_coefficients {
                IpndmCoefficients::Uniform => uniform,
                IpndmCoefficients::Variable => plain.coefficients,
            },
            denoise_at_zero: true,
            ..plain
        },
        Sampler::Deis => Rule {
            coefficients: match o.deis_variable {
                DeisVariable::LogSigma => |s, i, order| adams(Variable::LogSigma, s, i, order),
                DeisVariable::VpTime => |s, i, order| adams(Variable::VpTime, s, i, order),
            },
            denoise_at_zero: true,
            falling: o
                .lower_order_final
                .unwrap_or(LowerOrderFinal::Below(15))
                .applies(n),
            ..plain
        },
        _ => plain,
    }
}

/// LMS, DEIS (Zhang & Chen 2022), iPNDM (the same, section 4) and PLMS (Liu et al. 2022), whose transfer formula (9) is
/// x' = x + (σ' − σ) ε in σ-space.
pub(super) fn linear_multistep<const D: usize>(
    walk: &mut Walk<'_, D>,
    mut x: Tensor<D>,
) -> Walked<D> {
    let rule = rule(walk);
    let (order, n) = (walk.order(), walk.ladder.steps());
    let velocity =
        walk.sampler == Sampler::Plms && walk.options.plms_average == PlmsAverage::Velocity;
    let mut slopes: Vec<Tensor<D>> = Vec::new(); // newest first
    for (i, sigma, _) in walk.steps() {
        let next = walk.ladder.landing(i);
        let denoised = walk.denoise(&x, sigma)?;
        let averaged = |x: &Tensor<D>, denoised: &Tensor<D>, sigma: f64| match velocity {
            true => velocity_of(x, denoised, sigma),
            false => slope(x, denoised, sigma),
        };
        let d = averaged(&x, &denoised, sigma);
        // ε = α·v + α²σ·x of the step's own x, for α = 1/√(1 + σ²).
        let (kept, scale) = match velocity {
            true => {
                let square = 1.0 + sigma * sigma;
                (1.0 + (next - sigma) * sigma / square, 1.0 / square.sqrt())
            }
            false => (1.0, 1.0),
        };
        slopes.insert(0, d.clone());
        slopes.truncate(order);
        let mut this = slopes.len();
        if rule.falling {
            this = this.min(n - i);
        }
        x = if i == 0 && rule.heun_start {
            let euler = toward(&x, &denoised, next / sigma);
            let denoised_2 = walk.denoise(&euler, next)?;
            x * kept + (d + averaged(&euler, &denoised_2, next)) * (0.5 * (next - sigma) * scale)
        } else if this == 1 || (next == 0.0 && rule.denoise_at_zero) {
            toward(&x, &denoised, next / sigma)
        } else {
            let mut sigmas = walk.ladder.values().to_vec();
            sigmas[i + 1] = next;
            let coefficients = (rule.coefficients)(&sigmas, i, this);
            let terms = coefficients.into_iter().zip(&slopes);
            terms.fold(x * kept, |x, (c, d)| x + d.clone() * (c * scale))
        };
        x = walk.relabelled(i, x);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// The velocity α·ε − ασ·D, α = 1/√(1 + σ²), of a variance-preserving network.
fn velocity_of<const D: usize>(x: &Tensor<D>, denoised: &Tensor<D>, sigma: f64) -> Tensor<D> {
    (slope(x, denoised, sigma) - denoised.clone() * sigma) / (1.0 + sigma * sigma).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_steps_give_the_textbook_coefficients() {
        let sigmas = [5.0, 4.0, 3.0, 2.0, 1.0];
        for order in 1..=4 {
            let got = adams(Variable::Sigma, &sigmas, 3, order);
            let want = uniform(&sigmas, 3, order);
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() < 1e-12, "{got:?} {want:?}");
            }
        }
    }

    #[test]
    fn coefficients_sum_to_the_step() {
        let sigmas = [14.6, 9.1, 3.3, 0.4, 0.03];
        for variable in [Variable::Sigma, Variable::LogSigma, Variable::VpTime] {
            let sum: f64 = adams(variable, &sigmas, 2, 3).iter().sum();
            assert!((sum - (0.4 - 3.3)).abs() < 1e-9, "{sum}");
        }
    }

    #[test]
    fn vp_time_runs_from_a_thousandth_to_one() {
        assert!((Variable::VpTime.of(0.002) - 1e-3).abs() < 1e-9);
        assert!((Variable::VpTime.of(80.0) - 1.0).abs() < 1e-9);
    }
}
