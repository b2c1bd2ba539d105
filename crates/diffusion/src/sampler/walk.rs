//! What every sampler shares: the calls outwards, and the few formulas that keep returning.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::{Error, Sampler, SamplerOptions};
use crate::{Denoise, Mixing, Noise, Sigmas, Step};

/// Why a walk ended early.
pub(super) enum Stop<const D: usize> {
    /// `on_step` asked for it: the latest x̂₀.
    Broken(Box<Tensor<D>>),
    /// Something failed.
    Failed(Error),
}

impl<const D: usize> From<Error> for Stop<D> {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a sampler's formula gives.
pub(super) type Walked<const D: usize> = Result<Tensor<D>, Stop<D>>;

/// The surroundings of one run.
pub(super) struct Walk<'a, const D: usize> {
    pub sampler: Sampler,
    pub options: &'a SamplerOptions,
    /// How x is made, as [`Denoise::mixing`] says.
    pub mixing: Mixing,
    pub d: &'a mut dyn Denoise<D>,
    pub ladder: &'a Sigmas,
    pub noise: &'a mut dyn Noise<D>,
    pub on_step: &'a mut dyn FnMut(Step<'_, D>) -> ControlFlow<()>,
}

impl<const D: usize> Walk<'_, D> {
    /// Every pair (i, σᵢ, σᵢ₊₁).
    pub fn steps(&self) -> Vec<(usize, f64, f64)> {
        let pairs = self.ladder.values().windows(2).enumerate();
        pairs.map(|(i, pair)| (i, pair[0], pair[1])).collect()
    }

    /// What step `i` made, at the level that the next one takes it for (see [`Sigmas::with_landings`]).
    pub fn relabelled(&self, i: usize, x: Tensor<D>) -> Tensor<D> {
        let (landed, next) = (self.ladder.landing(i), self.ladder.values()[i + 1]);
        match landed == next {
            true => x,
            false => x * ((1.0 + next * next) / (1.0 + landed * landed)).sqrt(),
        }
    }

    pub fn eta(&self) -> f64 {
        self.options.eta(self.sampler)
    }

    pub fn order(&self) -> usize {
        self.options
            .order
            .unwrap_or_else(|| self.sampler.default_order())
    }

    /// How an ancestral step from σ to a lower level is made (see [`Split`]).
    pub fn split(&self, sigma: f64, next: f64, eta: f64) -> Split {
        match self.mixing {
            Mixing::Added => {
                let (down, up) = ancestral(sigma, next, eta);
                Split {
                    down,
                    up,
                    scale: 1.0,
                }
            }
            Mixing::Flow if self.sampler.posterior_noise() => Split::of_ratio(sigma, next, eta),
            Mixing::Flow => Split::of_flow(sigma, next, eta),
        }
    }

    /// D(x, σ).
    pub fn denoise(&mut self, x: &Tensor<D>, sigma: f64) -> Walked<D> {
        Ok(self.d.denoise(x.clone(), sigma)?)
    }

    /// x plus noise of standard deviation `amount`·s_noise; nothing is drawn where that is 0.
    pub fn add_noise(
        &mut self,
        x: Tensor<D>,
        sigma: f64,
        sigma_next: f64,
        amount: f64,
    ) -> Tensor<D> {
        let amount = amount * self.options.s_noise;
        if amount == 0.0 {
            return x;
        }
        let noise = self.noise.between(&x, sigma, sigma_next);
        x + noise * amount
    }

    /// Shows step `i` of the ladder.
    pub fn show(&mut self, i: usize, x: &Tensor<D>, denoised: &Tensor<D>) -> Result<(), Stop<D>> {
        let values = self.ladder.values();
        let (sigma, sigma_next) = (values[i], values[i + 1]);
        self.show_as(i, self.ladder.steps(), sigma, sigma_next, x, denoised)
    }

    /// Shows a step of a walk that is not the ladder's own.
    pub fn show_as(
        &mut self,
        index: usize,
        total: usize,
        sigma: f64,
        sigma_next: f64,
        x: &Tensor<D>,
        denoised: &Tensor<D>,
    ) -> Result<(), Stop<D>> {
        let step = Step {
            index,
            total,
            sigma,
            sigma_next,
            x,
            denoised,
        };
        match (self.on_step)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Broken(Box::new(denoised.clone()))),
        }
    }

    /// The noise added before a step (Karras et al. 2022, Algorithm 2): (x̂, σ̂).
    pub fn churn(&mut self, x: Tensor<D>, sigma: f64, sigma_next: f64) -> (Tensor<D>, f64) {
        let o = self.options;
        let inside = sigma >= o.s_tmin && o.s_tmax.is_none_or(|top| sigma <= top);
        let most = std::f64::consts::SQRT_2 - 1.0;
        let gamma = (o.s_churn / self.ladder.steps() as f64).min(most);
        if gamma == 0.0 {
            return (x, sigma);
        }
        if !inside {
            if o.churn_always_draws {
                self.noise.between(&x, sigma, sigma_next);
            }
            return (x, sigma);
        }
        let hat = sigma * (1.0 + gamma);
        let x = self.add_noise(x, hat, sigma, (hat * hat - sigma * sigma).sqrt());
        (x, hat)
    }
}

/// The exact solution of dx/dσ = (x − D)/σ for a constant D: σ falls by `ratio` and x moves towards D. Written as a
/// mean, never as x + (σ' − σ)·d, so that it keeps f32 precision from the σ of 10⁶ that zero terminal SNR starts at.
pub(super) fn toward<const D: usize>(x: &Tensor<D>, denoised: &Tensor<D>, ratio: f64) -> Tensor<D> {
    x.clone() * ratio + denoised.clone() * (1.0 - ratio)
}

/// ε = dx/dσ = (x − D)/σ.
pub(super) fn slope<const D: usize>(x: &Tensor<D>, denoised: &Tensor<D>, sigma: f64) -> Tensor<D> {
    (x.clone() - denoised.clone()) / sigma
}

/// An ancestral step: the ODE down to `down`, all of it times `scale`, and noise of standard deviation `up`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Split {
    pub down: f64,
    pub up: f64,
    pub scale: f64,
}

impl Split {
    /// On a rectified flow, as k-diffusion's "RF" samplers in ComfyUI take it: σ_down = σ'·(1 + η·(σ'/σ − 1)), then
    /// (1 − σ')/(1 − σ_down) brings the picture's share to 1 − σ', and noise the variance to σ'².
    ///
    /// Source: [ComfyUI `sampling.py`, `sample_euler_ancestral_RF`](https://github.com/comfyanonymous/ComfyUI/blob/master/comfy/k_diffusion/sampling.py).
    fn of_flow(sigma: f64, next: f64, eta: f64) -> Self {
        let down = (next * (1.0 + (next / sigma - 1.0) * eta)).max(0.0);
        let scale = (1.0 - next) / (1.0 - down);
        let up = (next * next - (down * scale).powi(2)).max(0.0).sqrt();
        Self { down, up, scale }
    }

    /// On a rectified flow, the split of x/α, whose level is σ/α: DDIM's (Song et al. 2020, formula 16) for any α and σ.
    fn of_ratio(sigma: f64, next: f64, eta: f64) -> Self {
        let mixing = Mixing::Flow;
        let (down, up) = ancestral(mixing.ratio(sigma), mixing.ratio(next), eta);
        let alpha = mixing.alpha(next);
        Self {
            down: mixing.of_ratio(down),
            up: up * alpha,
            scale: alpha * (1.0 + down),
        }
    }

    /// x at σ moved towards D and scaled, before the noise.
    pub fn walk<const D: usize>(
        &self,
        x: &Tensor<D>,
        denoised: &Tensor<D>,
        sigma: f64,
    ) -> Tensor<D> {
        self.scaled(toward(x, denoised, self.down / sigma))
    }

    /// x at `down`, scaled.
    pub fn scaled<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.scale {
            1.0 => x,
            scale => x * scale,
        }
    }
}

/// An ancestral step splits σ_to² into σ_down², which the ODE reaches, and σ_up², which noise brings back. η = 1 is the
/// posterior of DDPM. Returns (σ_down, σ_up).
pub(super) fn ancestral(from: f64, to: f64, eta: f64) -> (f64, f64) {
    // √(σ_to² (σ_from² − σ_to²) / σ_from²), with a factor that stays inside [0, 1] however it rounds
    let kept = (1.0 - (to / from).powi(2)).max(0.0).sqrt();
    let up = (eta * to * kept).min(to);
    let down = (to * to - up * up).max(0.0).sqrt();
    (down, up)
}

/// φ_k(z): φ₀ = eᶻ, φ_{k+1} = (φ_k − 1/k!)/z, the functions of exponential integrators. A series near 0, where the
/// recursion would cancel.
pub(super) fn phi(k: u32, z: f64) -> f64 {
    if z.abs() < 1.0 {
        let mut term = 1.0 / factorial(k);
        let mut sum = term;
        for n in 1..30 {
            term *= z / f64::from(n + k);
            sum += term;
        }
        return sum;
    }
    match k {
        0 => z.exp(),
        1 => z.exp_m1() / z,
        _ => (phi(k - 1, z) - 1.0 / factorial(k - 1)) / z,
    }
}

pub(super) fn factorial(k: u32) -> f64 {
    (1..=k).map(f64::from).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phi_is_continuous_where_the_series_takes_over() {
        for k in 0..5 {
            for z in [-1.0, 1.0f64] {
                let (inside, outside) = (phi(k, z * (1.0 - 1e-12)), phi(k, z));
                assert!(
                    (inside - outside).abs() < 1e-11 * outside.abs(),
                    "φ_{k}({z})"
                );
            }
        }
        assert!((phi(2, 0.0) - 0.5).abs() < 1e-15);
    }

    #[test]
    fn an_ancestral_step_never_rounds_below_zero() {
        for exponent in 0..600 {
            let from = 14.6 * (1.0 + f64::from(exponent) * f64::EPSILON);
            let (down, up) = ancestral(from, 14.6, 1.0);
            assert!(down.is_finite() && up.is_finite() && up <= 14.6);
        }
        assert_eq!(ancestral(2.0, 1.0, 0.0), (1.0, 0.0));
        assert_eq!(ancestral(2.0, 0.0, 1.0), (0.0, 0.0));
        let (down, up) = ancestral(2.0, 1.0, 1.0);
        assert!((down - 0.5).abs() < 1e-15 && (up * up - 0.75).abs() < 1e-15);
        assert_eq!(ancestral(2.0, 1.0, 9.0), (0.0, 1.0));
    }

    #[test]
    fn a_step_on_a_flow_keeps_the_shares_of_picture_and_noise() {
        for (sigma, next) in [(1.0, 0.9), (0.7, 0.2), (0.3, 0.0)] {
            for eta in [0.0, 0.5, 1.0] {
                for split in [
                    Split::of_flow(sigma, next, eta),
                    Split::of_ratio(sigma, next, eta),
                ] {
                    let picture = (1.0 - split.down) * split.scale;
                    let noise = (split.down * split.scale).hypot(split.up);
                    assert!((picture - (1.0 - next)).abs() < 1e-12, "{split:?}");
                    assert!((noise - next).abs() < 1e-12, "{split:?}");
                }
            }
            let plain = Split::of_flow(sigma, next, 0.0);
            assert_eq!((plain.down, plain.scale), (next, 1.0));
        }
    }
}
