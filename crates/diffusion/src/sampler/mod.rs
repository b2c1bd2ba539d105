//! Samplers: rules that walk a σ ladder from noise to a latent.
//!
//! Each is a short function of x, D and σ. Many names turn out to be one rule in σ-space: DDIM and DDPM are Euler with
//! ancestral noise, PLMS is Adams-Bashforth on ε, DPM++ 2M is its SDE form with η = 0. What is left between programs that
//! run the same sampler differently is data, in [`SamplerOptions`].
//!
//! Formulas are written for x = x₀ + σ·n. On a rectified flow ([`Mixing::Flow`]) those of the ODE in σ hold as they
//! stand, ancestral steps have a [`Split`](walk::Split) of their own, and those in λ are walked in x/α over σ/α ([`flow`]).

mod consistency;
mod dpm_solver;
mod dpmpp_multistep;
mod euler;
mod flow;
mod kind;
mod linear_multistep;
mod options;
mod quadrature;
mod restart;
mod two_stage;
mod unipc;
mod walk;

use std::ops::ControlFlow;

use burn::tensor::Tensor;

pub use kind::Sampler;
pub use options::{
    Adaptive, DdpmVariance, DeisVariable, FlowVariable, IpndmCoefficients, LcmBoundary,
    LowerOrderFinal, PlmsAverage, RestartSegment, SamplerOptions, SolverType,
};

use crate::{Denoise, Error, Mixing, Noise, Sigmas, Step};
use walk::{Stop, Walk, Walked};

/// Walks `sigmas` from x at σ₀ and returns x at the last σ, where x is x̂₀ if that σ is 0. Where it is above 0,
/// [`SamplerOptions::variance_preserving_end`] says what is returned.
///
/// `on_step` is called after every step; on `Break` the latest x̂₀ is returned. `noise` is asked in the order in which
/// the sampler adds noise, and never where nothing would be added.
///
/// # Shapes
/// `x` and the result: `[batch, channels, height, width]`, f32.
///
/// # Errors
/// [`Error::Network`] from the denoiser, [`Error::NoUnconditional`] where a CFG++ sampler is not given what it needs,
/// [`Error::Ladder`] for a rectified flow on a ladder above 1 or a σ outside what f32 can hold, [`Error::Setting`] for an option out of its range.
#[allow(clippy::too_many_arguments)] // each is another thing the caller owns
pub fn sample<const D: usize>(
    sampler: Sampler,
    options: &SamplerOptions,
    d: &mut dyn Denoise<D>,
    x: Tensor<D>,
    sigmas: &Sigmas,
    noise: &mut dyn Noise<D>,
    on_step: &mut dyn FnMut(Step<'_, D>) -> ControlFlow<()>,
) -> Result<Tensor<D>, Error> {
    options.check(sampler)?;
    let mixing = d.mixing();
    check_ladder(mixing, sigmas)?;
    if mixing == Mixing::Flow {
        flow::check(sampler, options)?;
    }
    let mut walk = Walk {
        sampler,
        options,
        mixing,
        d,
        ladder: sigmas,
        noise,
        on_step,
    };
    let rule: fn(&mut Walk<'_, D>, Tensor<D>) -> Walked<D> = match sampler {
        Sampler::Euler => euler::euler,
        Sampler::EulerAncestral | Sampler::Ddim | Sampler::Ddpm => euler::euler_ancestral,
        Sampler::EulerCfgPp | Sampler::EulerAncestralCfgPp | Sampler::DdimCfgPp => euler::cfg_pp,
        Sampler::Heun => two_stage::heun,
        Sampler::Dpm2 => two_stage::dpm2,
        Sampler::Dpm2Ancestral => two_stage::dpm2_ancestral,
        Sampler::Dpmpp2sAncestral => two_stage::dpmpp_2s_ancestral,
        Sampler::DpmppSde => two_stage::dpmpp_sde,
        Sampler::Dpmpp2m | Sampler::Dpmpp2mSde | Sampler::Dpmpp2mSdeHeun | Sampler::Dpmpp3mSde => {
            dpmpp_multistep::multistep
        }
        Sampler::Lms | Sampler::Deis | Sampler::Ipndm | Sampler::Plms => {
            linear_multistep::linear_multistep
        }
        Sampler::UniPcBh1 | Sampler::UniPcBh2 => unipc::unipc,
        Sampler::DpmFast => dpm_solver::fast,
        Sampler::DpmAdaptive => dpm_solver::adaptive,
        Sampler::Restart => restart::restart,
        Sampler::Lcm => consistency::lcm,
        Sampler::Tcd => consistency::tcd,
    };
    let ratios = mixing == Mixing::Flow
        && sampler.walks_ratios(
            options.flow_variable == FlowVariable::HalfLogSnr,
            walk.eta(),
        );
    let walked = match ratios {
        true => flow::over_ratios(&mut walk, x, rule),
        false => rule(&mut walk, x),
    };
    let x = match walked {
        Ok(x) => x,
        Err(Stop::Broken(denoised)) => return Ok(*denoised),
        Err(Stop::Failed(error)) => return Err(error),
    };
    let scaled = options
        .variance_preserving_end
        .unwrap_or_else(|| sampler.variance_preserving());
    let last = sigmas.values()[sigmas.steps()];
    if scaled && last > 0.0 && mixing == Mixing::Added {
        return Ok(x / (1.0 + last * last).sqrt());
    }
    Ok(x)
}

/// The σ at which f32 latents still tell signal from noise; zero terminal SNR starts at 10⁶ or so.
const USABLE: std::ops::RangeInclusive<f64> = 1e-8..=1e12;

fn check_ladder(mixing: Mixing, sigmas: &Sigmas) -> Result<(), Error> {
    let values = sigmas.values();
    let lost = values.iter().find(|s| **s != 0.0 && !USABLE.contains(*s));
    let reason = if let Some(sigma) = lost {
        format!("σ = {sigma:e} is not between 1e-8 and 1e12, where f32 latents can follow it")
    } else if mixing == Mixing::Flow && values[0] > 1.0 {
        format!(
            "it starts at {}, but a rectified flow's σ is at most 1",
            values[0]
        )
    } else {
        return Ok(());
    };
    Err(Error::Ladder { reason })
}
