//! Two evaluations a step: Heun, DPM2, DPM++ 2S and DPM++ SDE.

use burn::tensor::Tensor;

use super::walk::{Walk, Walked, ancestral, slope, toward};
use crate::Mixing;

/// Heun's method, with churn (Karras et al. 2022, Algorithm 2).
pub(super) fn heun<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    for (i, sigma, next) in walk.steps() {
        let (hat_x, hat) = walk.churn(x, sigma, next);
        let denoised = walk.denoise(&hat_x, hat)?;
        x = heun_from(walk, hat_x, &denoised, hat, next)?;
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// One Heun step from x at σ, where D(x, σ) is known; Euler where it leads to 0.
pub(super) fn heun_from<const D: usize>(
    walk: &mut Walk<'_, D>,
    x: Tensor<D>,
    denoised: &Tensor<D>,
    sigma: f64,
    next: f64,
) -> Walked<D> {
    let euler = toward(&x, denoised, next / sigma);
    if next == 0.0 {
        return Ok(euler);
    }
    let d = slope(&x, denoised, sigma);
    let denoised_2 = walk.denoise(&euler, next)?;
    let d_2 = slope(&euler, &denoised_2, next);
    Ok(x + (d + d_2) * (0.5 * (next - sigma)))
}

/// A midpoint step whose midpoint is √(σ σ'): from x at σ, where D(x, σ) is known, to `next` > 0.
fn midpoint<const D: usize>(
    walk: &mut Walk<'_, D>,
    x: Tensor<D>,
    denoised: &Tensor<D>,
    sigma: f64,
    next: f64,
) -> Walked<D> {
    let mid = (sigma * next).sqrt();
    let x_2 = toward(&x, denoised, mid / sigma);
    let denoised_2 = walk.denoise(&x_2, mid)?;
    Ok(x + slope(&x_2, &denoised_2, mid) * (next - sigma))
}

/// k-diffusion's DPM2, with churn.
pub(super) fn dpm2<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    for (i, sigma, next) in walk.steps() {
        let (hat_x, hat) = walk.churn(x, sigma, next);
        let denoised = walk.denoise(&hat_x, hat)?;
        x = if next == 0.0 {
            denoised.clone()
        } else {
            midpoint(walk, hat_x, &denoised, hat, next)?
        };
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// DPM2 with ancestral noise.
pub(super) fn dpm2_ancestral<const D: usize>(
    walk: &mut Walk<'_, D>,
    mut x: Tensor<D>,
) -> Walked<D> {
    let eta = walk.eta();
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let split = walk.split(sigma, next, eta);
        x = if split.down == 0.0 {
            split.scaled(denoised.clone())
        } else {
            split.scaled(midpoint(walk, x, &denoised, sigma, split.down)?)
        };
        x = walk.add_noise(x, sigma, next, split.up);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// DPM-Solver++(2S) (Lu et al. 2022b, Algorithm 1 with r = ½) with ancestral noise.
pub(super) fn dpmpp_2s_ancestral<const D: usize>(
    walk: &mut Walk<'_, D>,
    mut x: Tensor<D>,
) -> Walked<D> {
    let eta = walk.eta();
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        let split = walk.split(sigma, next, eta);
        x = if split.down == 0.0 {
            split.scaled(denoised.clone())
        } else {
            let s = half_way(walk.mixing, sigma, split.down);
            let x_2 = toward(&x, &denoised, s / sigma);
            let denoised_2 = walk.denoise(&x_2, s)?;
            split.walk(&x, &denoised_2, sigma)
        };
        x = walk.add_noise(x, sigma, next, split.up);
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}

/// The level whose λ is the mean of two: √(σ σ') where noise is added. On a flow that begins with noise alone, where λ
/// has no end, 0.9999 takes its place, as in ComfyUI's `sample_dpmpp_2s_ancestral_RF`.
fn half_way(mixing: Mixing, sigma: f64, down: f64) -> f64 {
    match mixing {
        Mixing::Added => (sigma * down).sqrt(),
        Mixing::Flow if sigma >= 1.0 => 0.9999f64.max(down),
        Mixing::Flow => mixing.of_ratio((mixing.ratio(sigma) * mixing.ratio(down)).sqrt()),
    }
}

/// DPM-Solver++ (stochastic), k-diffusion's two-stage form: both stages are ancestral, so noise is drawn twice a step.
pub(super) fn dpmpp_sde<const D: usize>(walk: &mut Walk<'_, D>, mut x: Tensor<D>) -> Walked<D> {
    let (eta, r) = (walk.eta(), walk.options.sde_r);
    let second = 1.0 / (2.0 * r); // the weight of the second prediction
    for (i, sigma, next) in walk.steps() {
        let denoised = walk.denoise(&x, sigma)?;
        x = if next == 0.0 {
            denoised.clone()
        } else {
            let s = sigma * (next / sigma).powf(r); // λ_s = λ + r h
            let (down, up) = ancestral(sigma, s, eta);
            let x_2 = toward(&x, &denoised, down / sigma);
            let x_2 = walk.add_noise(x_2, sigma, s, up);
            let denoised_2 = walk.denoise(&x_2, s)?;
            let (down, up) = ancestral(sigma, next, eta);
            let mean = denoised.clone() * (1.0 - second) + denoised_2 * second;
            let x = toward(&x, &mean, down / sigma);
            walk.add_noise(x, sigma, next, up)
        };
        walk.show(i, &x, &denoised)?;
    }
    Ok(x)
}
