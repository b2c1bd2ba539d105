//! What walking a rectified flow needs beside the samplers' own formulas.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::walk::{Stop, Walk, Walked};
use super::{DdpmVariance, Error, Sampler, SamplerOptions};
use crate::{Denoise, Mixing, Noise, Sigmas, Step};

/// Refuses what has no published form on a flow.
pub(super) fn check(sampler: Sampler, options: &SamplerOptions) -> Result<(), Error> {
    if let Some(reason) = sampler.refused_on_flows() {
        return Err(Error::Setting {
            name: "sampler",
            value: sampler.name().to_owned(),
            expected: format!("another one on a rectified flow: {reason}"),
        });
    }
    if sampler == Sampler::Ddpm && options.ddpm_variance == DdpmVariance::Large {
        return Err(Error::Setting {
            name: "ddpm_variance",
            value: "large".to_owned(),
            expected: "small on a rectified flow, which has no β".to_owned(),
        });
    }
    if options.s_churn > 0.0 && sampler.churns() {
        return Err(Error::Setting {
            name: "s_churn",
            value: options.s_churn.to_string(),
            expected: "0 on a rectified flow, which churn leaves: it adds noise and keeps the picture's share".to_owned(),
        });
    }
    Ok(())
}

/// Runs `rule` in x/α over σ/α, where a flow is x₀ + (σ/α)·n: each formula in λ = ln(α/σ) then holds as it stands, that
/// of its noise too. What the denoiser, the noise and the listener see is the flow.
///
/// At σ = 1, where α is 0, [`SamplerOptions::flow_top`] stands in. ComfyUI writes α and λ out in each of its SDE samplers
/// and begins at a lower level too ([`offset_first_sigma_for_snr`](https://github.com/comfyanonymous/ComfyUI/blob/master/comfy/k_diffusion/sampling.py)).
pub(super) fn over_ratios<const D: usize>(
    walk: &mut Walk<'_, D>,
    x: Tensor<D>,
    rule: fn(&mut Walk<'_, D>, Tensor<D>) -> Walked<D>,
) -> Walked<D> {
    let mut levels = walk.ladder.values().to_vec();
    // Half way to the next level where that is nearer to 1 than the option.
    let top = walk.options.flow_top.max(0.5 * (1.0 + levels[1]));
    levels[0] = levels[0].min(top);
    let ladder = Sigmas::new(levels.iter().map(|s| Mixing::Flow.ratio(*s)).collect())?;
    let known = Known {
        ratios: ladder.values(),
        levels: &levels,
    };
    let last = known.levels[ladder.steps()];
    let x = x / Mixing::Flow.alpha(known.levels[0]);
    let on_step = &mut *walk.on_step;
    let mut on_step = |step: Step<'_, D>| {
        let (sigma, sigma_next) = (known.level(step.sigma), known.level(step.sigma_next));
        let x = step.x.clone() * Mixing::Flow.alpha(sigma_next);
        on_step(Step {
            sigma,
            sigma_next,
            x: &x,
            ..step
        })
    };
    let mut d = Ratios {
        inner: &mut *walk.d,
        known,
    };
    let mut noise = RatioNoise {
        inner: &mut *walk.noise,
        known,
    };
    let mut own = Walk {
        sampler: walk.sampler,
        options: walk.options,
        mixing: Mixing::Added,
        d: &mut d,
        ladder: &ladder,
        noise: &mut noise,
        on_step: &mut on_step as &mut dyn FnMut(Step<'_, D>) -> ControlFlow<()>,
    };
    let x: Result<_, Stop<D>> = rule(&mut own, x);
    Ok(x? * Mixing::Flow.alpha(last))
}

/// The ladder in both scales, so that its levels come back without rounding.
#[derive(Clone, Copy)]
struct Known<'a> {
    ratios: &'a [f64],
    levels: &'a [f64],
}

impl Known<'_> {
    fn level(&self, ratio: f64) -> f64 {
        match self.ratios.iter().position(|r| *r == ratio) {
            Some(at) => self.levels[at],
            None => Mixing::Flow.of_ratio(ratio),
        }
    }
}

/// A flow's denoiser that is asked in x/α at σ/α.
struct Ratios<'a, const D: usize> {
    inner: &'a mut dyn Denoise<D>,
    known: Known<'a>,
}

impl<const D: usize> Denoise<D> for Ratios<'_, D> {
    fn denoise(&mut self, x: Tensor<D>, ratio: f64) -> Result<Tensor<D>, Error> {
        let sigma = self.known.level(ratio);
        self.inner.denoise(x * Mixing::Flow.alpha(sigma), sigma)
    }

    fn unconditional(&self) -> Option<Tensor<D>> {
        self.inner.unconditional()
    }
}

/// Noise between a flow's levels that is asked for between ratios.
struct RatioNoise<'a, const D: usize> {
    inner: &'a mut dyn Noise<D>,
    known: Known<'a>,
}

impl<const D: usize> Noise<D> for RatioNoise<'_, D> {
    fn between(&mut self, like: &Tensor<D>, ratio: f64, ratio_next: f64) -> Tensor<D> {
        let (sigma, sigma_next) = (self.known.level(ratio), self.known.level(ratio_next));
        self.inner.between(like, sigma, sigma_next)
    }
}
