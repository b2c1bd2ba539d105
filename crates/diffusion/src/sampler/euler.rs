//! One evaluation a step and no memory: Euler, its ancestral form, DDIM, DDPM, CFG++ and the flow forms.

use burn::tensor::Tensor;

use super::walk::{Walk, Walked, ancestral, slope, toward};
use super::{DdpmVariance, Error, Sampler};

/// Euler's method, with churn (Karras et al. 2022, Algorithm 2 without its correction).
pub(super) fn euler(walk: &mut Walk<'_>, mut x: Tensor<4>) -> Walked {
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
pub(super) fn euler_ancestral(walk: &mut Walk<'_>, mut x: Tensor<4>) -> Walked {
    let eta = walk.eta();
    let large = walk.sampler == Sampler::Ddpm && walk.options.ddpm_variance == DdpmVariance::Large;
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let (down, mut up) = ancestral(sigma, next, eta);
        if large && next > 0.0 {
            // β = 1 − ᾱ/ᾱ' instead of β̃, on the same mean
            let (s, n) = (sigma * sigma, next * next);
            up = eta * ((s - n) * (1.0 + n) / (1.0 + s)).sqrt();
        }
        x = toward(&x, &denoised, down / sigma);
        x = walk.add_noise(x, sigma, next, up);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// CFG++ (Chung et al. 2024, Algorithm 2): x̂₀ is guided, the noise that is put back is the unconditional one.
pub(super) fn cfg_pp(walk: &mut Walk<'_>, mut x: Tensor<4>) -> Walked {
    let eta = walk.eta();
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let unconditional = walk.d.unconditional().ok_or(Error::NoUnconditional {
            sampler: walk.sampler.name(),
        })?;
        let (down, up) = ancestral(sigma, next, eta);
        x = denoised.clone() + slope(&x, &unconditional, sigma) * down;
        x = walk.add_noise(x, sigma, next, up);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// An ancestral step on a rectified flow: down past σ_next, scale back to where the signal's weight is 1 − σ_next, and
/// noise for the rest of the variance.
pub(super) fn flow_ancestral(walk: &mut Walk<'_>, mut x: Tensor<4>) -> Walked {
    let eta = walk.eta();
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let down = (next * (1.0 + (next / sigma - 1.0) * eta)).max(0.0);
        let scale = (1.0 - next) / (1.0 - down);
        let up = (next * next - (down * scale).powi(2)).max(0.0).sqrt();
        x = toward(&x, &denoised, down / sigma) * scale;
        x = walk.add_noise(x, sigma, next, up);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}
