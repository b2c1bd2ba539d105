//! One evaluation a step and no memory: Euler, its ancestral form, DDIM, DDPM and CFG++.

use burn::tensor::Tensor;

use super::walk::{Walk, Walked, toward};
use super::{DdpmVariance, Error, Sampler};

/// Euler's method, with churn (Karras et al. 2022, Algorithm 2 without its correction).
pub(super) fn euler<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    for (i, sigma, next) in walk.steps() {
        let (hat_x, hat) = walk.churn(x, sigma, next);
        let denoised = walk.denoise(&hat_x, hat)?;
        x = toward(&hat_x, &denoised, next / hat);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// Euler to σ_down, then noise up to σ_next.
///
/// DDIM (Song et al. 2020, formulas 12 and 16) is this too. In σ-space its x_vp,next = √ᾱ' x̂₀ + √(1 − ᾱ' − s²) ε + s z
/// becomes x̂₀ + √(σ'² − σ_up²) ε + σ_up z, and its s = η √((1−ᾱ')/(1−ᾱ)) √(1−ᾱ/ᾱ') becomes
/// σ_up = η σ' √(1 − σ'²/σ²). DDPM is DDIM with η = 1.
pub(super) fn euler_ancestral<const D: usize>(
    walk: &mut Walk<'_, D>,
    mut x: Tensor<D>,
) -> Walked<D> {
    let eta = walk.eta();
    let large = walk.sampler == Sampler::Ddpm && walk.options.ddpm_variance == DdpmVariance::Large;
    for (i, sigma, _) in walk.steps() {
        let next = walk.ladder.landing(i);
        let denoised = walk.denoise(&x, sigma)?;
        let mut split = walk.split(sigma, next, eta);
        if large && next > 0.0 {
            // β = 1 − ᾱ/ᾱ' instead of β̃, on the same mean
            let (s, n) = (sigma * sigma, next * next);
            split.up = eta * ((s - n) * (1.0 + n) / (1.0 + s)).sqrt();
        }
        x = split.walk(&x, &denoised, sigma);
        x = walk.add_noise(x, sigma, next, split.up);
        x = walk.relabelled(i, x);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// CFG++ (Chung et al. 2024, Algorithm 2): x̂₀ is guided, the noise that is put back is the unconditional one,
/// (x − α·x̂₀)/σ.
pub(super) fn cfg_pp<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let eta = walk.eta();
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let unconditional = walk.d.unconditional().ok_or(Error::NoUnconditional {
            sampler: walk.sampler.name(),
        })?;
        let split = walk.split(sigma, next, eta);
        let eps = (x - unconditional * walk.mixing.alpha(sigma)) / sigma;
        x = denoised.clone() * walk.mixing.alpha(next) + eps * (split.down * split.scale);
        x = walk.add_noise(x, sigma, next, split.up);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}
