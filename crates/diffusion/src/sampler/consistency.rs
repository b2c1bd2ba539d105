//! Samplers of distilled models, which predict the end of the trajectory: LCM and TCD.

use burn::tensor::Tensor;

use super::LcmBoundary;
use super::walk::{Walk, Walked, toward};
use crate::Mixing;

/// Multistep latent consistency sampling (Luo et al. 2023, Algorithm 3): to x̂₀, then noise up to the next σ. On a flow,
/// where c_skip and c_out are not defined, x' = (1 − σ')·x̂₀ + σ'·n (diffusers' `FlowMatchLCMScheduler`).
pub(super) fn lcm<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let o = walk.options;
    for (i, sigma, next) in walk.steps() {
        let mut denoised = walk.denoise(&x, sigma)?;
        let blends = o.lcm_boundary != LcmBoundary::Off && walk.mixing == Mixing::Added;
        if let (Some(t), true) = (walk.ladder.timestep(sigma), blends) {
            let t = t * o.lcm_timestep_scaling;
            let square = t * t + o.lcm_sigma_data.powi(2);
            let mut c_skip = o.lcm_sigma_data.powi(2) / square;
            let c_out = t / square.sqrt();
            if o.lcm_boundary == LcmBoundary::VariancePreserving {
                c_skip /= (1.0 + sigma * sigma).sqrt();
            }
            denoised = denoised * c_out + x * c_skip;
        }
        let clean = match walk.mixing {
            Mixing::Added => denoised.clone(),
            Mixing::Flow => denoised.clone() * walk.mixing.alpha(next),
        };
        x = walk.add_noise(clean, sigma, next, next);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// Strategic stochastic sampling (Zheng et al. 2024, Algorithm 4): DDIM to the time s = (1 − γ) t', then noise up to t'.
pub(super) fn tcd<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let gamma = walk.options.tcd_gamma;
    let schedule = walk.options.schedule.clone();
    let last = walk.ladder.steps() - 1;
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let at_time = |t: f64| {
            let schedule = schedule.as_ref()?;
            schedule.get(((1.0 - gamma) * t).max(0.0) as usize).copied()
        };
        let down = if i == last {
            next
        } else {
            let known = walk.ladder.timestep(next).and_then(at_time);
            known.unwrap_or((1.0 - gamma) * next).min(next)
        };
        x = toward(&x, &denoised, down / sigma);
        let up = (next * next - down * down).max(0.0).sqrt();
        x = walk.add_noise(x, sigma, next, up);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}
