//! DPM-Solver++ as a multistep method: 2M, 2M SDE, 2M SDE Heun, 3M SDE.

use burn::tensor::Tensor;

use super::walk::{Walk, Walked, phi};
use super::{LowerOrderFinal, Sampler, SolverType};

/// DPM-Solver++(M), orders 1 to 3, ODE (η = 0) and SDE (Lu et al. 2022b, formulas 4.3 and B.2; k-diffusion's η).
///
/// With λ = −ln σ, h = λ' − λ and H = (1 + η) h, a step is x' = (σ'/σ) e^{−ηh} x + (1 − e^{−H}) D + a₂ D₁ − a₃ D₂ + noise,
/// where D₁ and D₂ are divided differences of the last predictions.
pub(super) fn multistep<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let (eta, order) = (walk.eta(), walk.order());
    let n = walk.ladder.steps();
    let falling = walk
        .options
        .lower_order_final
        .unwrap_or(LowerOrderFinal::Never)
        .applies(n);
    let form = walk.options.solver_type.unwrap_or(match walk.sampler {
        Sampler::Dpmpp2mSdeHeun | Sampler::Dpmpp3mSde => SolverType::Heun,
        _ => SolverType::Midpoint,
    });
    // the last two predictions before this one, each with the h of the step that followed it
    let mut past: Vec<(Tensor<D>, f64)> = Vec::new();
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        if next == 0.0 {
            x = denoised.clone();
            walk.show(i, &x, &denoised)?;
            continue;
        }
        let left = n - i;
        let mut this = order.min(past.len() + 1);
        if falling {
            this = this.min(left);
        }
        if walk.options.euler_at_final && left == 1 {
            this = 1;
        }
        let h = (sigma / next).ln();
        let hh = h * (1.0 + eta);
        let mut y = x * (-hh).exp() + denoised.clone() * -(-hh).exp_m1();
        // differences of predictions, newest first: (m₀ − m₁)/r₀, (m₁ − m₂)/r₁ with r = h_past / h
        let slope = |newer: &Tensor<D>, (older, gap): &(Tensor<D>, f64)| {
            (newer.clone() - older.clone()) * (h / gap)
        };
        let phi_2 = hh * phi(2, -hh); // (e^{−H} − 1)/H + 1
        if this == 2 {
            let weight = match form {
                SolverType::Midpoint => -0.5 * (-hh).exp_m1(),
                SolverType::Heun => phi_2,
            };
            y = y + slope(&denoised, &past[0]) * weight;
        } else if this == 3 {
            let (r_0, r_1) = (past[0].1 / h, past[1].1 / h);
            let (d_0, d_1) = (slope(&denoised, &past[0]), slope(&past[0].0, &past[1]));
            let second = (d_0.clone() - d_1) / (r_0 + r_1);
            let phi_3 = -hh * phi(3, -hh); // φ₂/H − ½
            y = y + (d_0 + second.clone() * r_0) * phi_2 - second * phi_3;
        }
        let up = next * (-(-2.0 * eta * h).exp_m1()).sqrt();
        x = walk.add_noise(y, sigma, next, up);
        walk.show(i, &x, &denoised)?;
        past.insert(0, (denoised, h));
        past.truncate(2);
    }
    Ok(x)
}
