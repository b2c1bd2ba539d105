//! Compatibility profiles: everything in which programs differ for the same settings, as one value.
//!
//! The same checkpoint, prompt, seed and sampler give three different pictures in A1111, ComfyUI and diffusers. Each
//! difference is a field here; the code that draws a picture reads fields and never asks whose picture it is.
//! `docs/compatibility.md` has the table.

use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{
    BetaAxis, DeisVariable, End, LadderOptions, LastSigma, LcmBoundary, LowerOrderFinal,
    NoiseSchedule, NoiseSource, Sampler, SamplerOptions, Scheduler, Shape, Sigmas, SpacedLadder,
    Spacing, StrengthRule, custom_ladder, distilled_timesteps, ladder, ladder_of_timesteps, names,
    strided_timesteps,
};
use latent_text::{Dialect, WeightRule};

use crate::error::{Error, Result};
use crate::guided::MaskRule;
use crate::request::{Compat, Request, Rng};

/// How the latent of a given picture is taken from the encoder's distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posterior {
    /// Its mean.
    Mean,
    /// A draw from it, with the first numbers of the picture's noise stream.
    Draw,
}

/// The scale of the noise that a run starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartScale {
    /// σ₀, and √(1 + σ₀²) for samplers that hold a variance-preserving latent.
    BySampler,
    /// √(1 + σ₀²) at the top of the schedule, so that the start has the variance of a noised picture; σ₀ below it.
    Preserving,
}

/// Where fresh noise of ancestral steps comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepNoise {
    /// The picture's stream goes on after its starting noise.
    Continue,
    /// A stream of its own, seeded with the picture's seed + 1.
    NextSeed,
}

/// Which ladders a program builds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ladders {
    /// k-diffusion's curves; DDIM, PLMS and UniPC on time steps of their own.
    Curves {
        strided: bool,
        end: Option<End>,
        beta_axis: BetaAxis,
        discard: &'static [Sampler],
    },
    /// Time steps spaced as a scheduler config says, σ following.
    Spaced,
}

/// One profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Which.
    pub compat: Compat,
    /// The generator of the noise.
    pub noise: NoiseSource,
    /// The prompt language.
    pub dialect: Dialect,
    /// How weights act on text states.
    pub weight_rule: WeightRule,
    /// Time steps that no ladder fixes are rounded to whole ones before the network sees them.
    pub whole_timesteps: bool,
    /// The scale of the starting noise.
    pub start: StartScale,
    /// The noise of ancestral steps.
    pub step_noise: StepNoise,
    /// SDE samplers take their noise from a Brownian path rather than from the stream.
    pub brownian: bool,
    /// The latent of a given picture.
    pub posterior: Posterior,
    /// Which part of the ladder img2img walks.
    pub strength: StrengthRule,
    /// The same in the second pass of "hires fix".
    pub hires_strength: StrengthRule,
    /// What is put back outside a mask, and when.
    pub mask: MaskRule,
    /// The original's pixels are pasted over the result outside the mask.
    pub paste: bool,
    /// Decoded values are rounded to the nearest of 256 levels, not down.
    pub nearest_bytes: bool,
    ladders: Ladders,
}

impl Profile {
    /// The profile of a program.
    pub fn of(compat: Compat) -> Self {
        match compat {
            Compat::A1111 => Self {
                compat,
                noise: NoiseSource::TorchCuda,
                dialect: Dialect::A1111,
                weight_rule: WeightRule::MeanRestoring,
                whole_timesteps: false,
                start: StartScale::BySampler,
                step_noise: StepNoise::Continue,
                brownian: true,
                posterior: Posterior::Mean,
                strength: StrengthRule::Encode,
                hires_strength: StrengthRule::EncodeExactly,
                mask: MaskRule {
                    before: false,
                    spare_first: false,
                    after: true,
                },
                paste: true,
                nearest_bytes: false,
                ladders: Ladders::Curves {
                    strided: true,
                    end: Some(End::Keep),
                    beta_axis: BetaAxis::Sigma,
                    discard: &[Sampler::Dpm2, Sampler::Dpm2Ancestral, Sampler::Dpmpp3mSde],
                },
            },
            Compat::ComfyUi => Self {
                compat,
                noise: NoiseSource::TorchCpu,
                dialect: Dialect::ComfyUi,
                weight_rule: WeightRule::InterpolateFromEmpty,
                whole_timesteps: true,
                start: StartScale::Preserving,
                step_noise: StepNoise::NextSeed,
                brownian: true,
                posterior: Posterior::Mean,
                strength: StrengthRule::Extend,
                hires_strength: StrengthRule::Extend,
                mask: MaskRule {
                    before: true,
                    spare_first: false,
                    after: true,
                },
                paste: false,
                nearest_bytes: false,
                ladders: Ladders::Curves {
                    strided: false,
                    end: None,
                    beta_axis: BetaAxis::Timestep,
                    discard: &[
                        Sampler::Dpm2,
                        Sampler::Dpm2Ancestral,
                        Sampler::UniPcBh1,
                        Sampler::UniPcBh2,
                    ],
                },
            },
            Compat::Diffusers => Self {
                compat,
                noise: NoiseSource::TorchCpu,
                dialect: Dialect::Diffusers,
                weight_rule: WeightRule::None,
                whole_timesteps: false,
                start: StartScale::BySampler,
                step_noise: StepNoise::Continue,
                brownian: false,
                posterior: Posterior::Draw,
                strength: StrengthRule::Share,
                hires_strength: StrengthRule::Share,
                mask: MaskRule {
                    before: true,
                    spare_first: true,
                    after: false,
                },
                paste: false,
                nearest_bytes: true,
                ladders: Ladders::Spaced,
            },
        }
    }

    /// The generator that a request asks for.
    pub fn noise_for(&self, request: &Request) -> NoiseSource {
        match request.rng {
            None => self.noise,
            Some(Rng::Cpu) => NoiseSource::TorchCpu,
            Some(Rng::Cuda) => NoiseSource::TorchCuda,
        }
    }

    /// The ladder of `steps` steps.
    ///
    /// # Errors
    /// More steps than the ladder has, or a ladder that a rectified-flow sampler cannot walk.
    pub fn ladder(
        &self,
        sampler: Sampler,
        scheduler: Scheduler,
        schedule: &NoiseSchedule,
        config: &SchedulerConfig,
        steps: usize,
        custom: Option<&[f64]>,
    ) -> Result<Sigmas> {
        if let Some(values) = custom {
            return Ok(custom_ladder(values)?);
        }
        Ok(match self.ladders {
            Ladders::Spaced => spaced(sampler, scheduler, schedule, config, steps)?,
            Ladders::Curves {
                strided,
                end,
                beta_axis,
                discard,
            } => {
                if strided && on_timesteps(sampler) {
                    let rising = strided_timesteps(schedule.steps(), steps)?;
                    let falling = rising.into_iter().rev().map(|t| t as f64).collect();
                    return Ok(ladder_of_timesteps(
                        schedule,
                        falling,
                        LastSigma::FirstStep,
                    )?);
                }
                let options = LadderOptions {
                    end: end.filter(|_| scheduler == Scheduler::KlOptimal),
                    beta_axis,
                    discard_penultimate: discard.contains(&sampler),
                    ..LadderOptions::default()
                };
                ladder(scheduler, schedule, steps, &options)?
            }
        })
    }

    /// The form of a sampler that the program runs under its name: diffusers' UniPC is B₂, the others' B₁.
    pub fn sampler(&self, named: Sampler) -> Sampler {
        match (self.compat, named) {
            (Compat::Diffusers, Sampler::UniPcBh1) => Sampler::UniPcBh2,
            _ => named,
        }
    }

    /// What `Automatic` stands for.
    pub fn default_scheduler(&self, sampler: Sampler) -> Scheduler {
        match self.compat {
            Compat::A1111 => names::sampler_info(sampler).scheduler,
            Compat::ComfyUi => Scheduler::Normal,
            Compat::Diffusers => Scheduler::Automatic,
        }
    }

    /// The scale of unit noise at the top of the ladder.
    pub fn start_scale(
        &self,
        sampler: Sampler,
        config: &SchedulerConfig,
        schedule: &NoiseSchedule,
        sigma: f64,
    ) -> f64 {
        let leading = config.timestep_spacing.as_deref() == Some("leading");
        let preserving = match self.start {
            StartScale::Preserving => sigma >= schedule.sigma_max() * (1.0 - 1e-5),
            StartScale::BySampler if self.ladders == Ladders::Spaced => {
                !fractional(sampler) || leading
            }
            StartScale::BySampler => on_timesteps(sampler),
        };
        if preserving {
            (1.0 + sigma * sigma).sqrt()
        } else {
            sigma
        }
    }

    /// What the request and the program leave to the sampler.
    pub fn options(
        &self,
        request: &Request,
        sampler: Sampler,
        schedule: &NoiseSchedule,
    ) -> SamplerOptions {
        let mut options = SamplerOptions {
            eta: request.eta,
            s_noise: request.s_noise,
            s_churn: request.s_churn,
            s_tmin: request.s_tmin,
            s_tmax: request.s_tmax,
            schedule: Some(schedule.sigmas().into()),
            ..SamplerOptions::default()
        };
        match self.compat {
            Compat::A1111 => {
                options.churn_always_draws = true;
                options.lcm_boundary = LcmBoundary::Sigma;
            }
            Compat::ComfyUi => {
                options.lcm_boundary = LcmBoundary::Off;
                options.unipc_final_sigma = 0.001;
                options.deis_variable = DeisVariable::VpTime;
                options.variance_preserving_end = Some(false);
            }
            Compat::Diffusers => {
                options.lower_order_final = match sampler {
                    Sampler::UniPcBh1 | Sampler::UniPcBh2 => None,
                    _ => Some(LowerOrderFinal::Below(15)),
                };
            }
        }
        if self.ladders != Ladders::Spaced
            && matches!(sampler, Sampler::UniPcBh1 | Sampler::UniPcBh2)
        {
            options.order = Some(3);
        }
        options
    }
}

/// Samplers that A1111 runs on time steps of their own instead of a σ ladder.
fn on_timesteps(sampler: Sampler) -> bool {
    matches!(
        sampler,
        Sampler::Ddim | Sampler::DdimCfgPp | Sampler::Plms | Sampler::UniPcBh1 | Sampler::UniPcBh2
    )
}

/// Samplers whose diffusers classes keep fractional time steps and start from σ₀ times noise.
fn fractional(sampler: Sampler) -> bool {
    matches!(
        sampler,
        Sampler::Euler
            | Sampler::EulerAncestral
            | Sampler::EulerCfgPp
            | Sampler::EulerAncestralCfgPp
            | Sampler::Heun
            | Sampler::Dpm2
            | Sampler::Dpm2Ancestral
            | Sampler::Lms
    )
}

/// The ladder of a diffusers scheduler class.
fn spaced(
    sampler: Sampler,
    scheduler: Scheduler,
    schedule: &NoiseSchedule,
    config: &SchedulerConfig,
    steps: usize,
) -> Result<Sigmas> {
    let shape = match scheduler {
        Scheduler::Automatic if config.use_karras_sigmas => Shape::Karras,
        Scheduler::Automatic if config.use_exponential_sigmas => Shape::Exponential,
        Scheduler::Automatic if config.use_beta_sigmas => Shape::Beta,
        Scheduler::Automatic | Scheduler::Normal | Scheduler::Uniform => Shape::Plain,
        Scheduler::Karras => Shape::Karras,
        Scheduler::Exponential => Shape::Exponential,
        Scheduler::Beta => Shape::Beta,
        // Curves that diffusers has no flag for: the common ones, their time steps interpolated.
        other => return Ok(ladder(other, schedule, steps, &LadderOptions::default())?),
    };
    let spacing = |own: Spacing| match config.timestep_spacing.as_deref() {
        Some("leading") => Spacing::Leading,
        Some("linspace") => Spacing::Linspace,
        Some("trailing") => Spacing::Trailing,
        _ => own,
    };
    let offset = usize::try_from(config.steps_offset).map_err(|_| {
        Error::field(
            "steps_offset",
            config.steps_offset,
            "0 or more in scheduler_config.json",
        )
    })?;
    let first_step = |own: bool| match config.set_alpha_to_one {
        Some(one) if !one => LastSigma::FirstStep,
        None if own => LastSigma::FirstStep,
        _ => LastSigma::Zero,
    };
    let last = match config.final_sigmas_type.as_deref() {
        Some("sigma_min") => LastSigma::FirstStep,
        _ => LastSigma::Zero,
    };
    let spaced = match sampler {
        Sampler::Lcm | Sampler::Tcd => {
            let timesteps =
                distilled_timesteps(schedule.steps(), 50.min(schedule.steps()), steps, 1.0)?;
            return Ok(ladder_of_timesteps(schedule, timesteps, LastSigma::Zero)?);
        }
        Sampler::Ddim | Sampler::DdimCfgPp => {
            SpacedLadder::whole(spacing(Spacing::Leading), offset, first_step(false))
        }
        Sampler::Plms => SpacedLadder::whole(spacing(Spacing::Leading), offset, first_step(true)),
        Sampler::Ddpm => SpacedLadder::whole(spacing(Spacing::Leading), offset, LastSigma::Zero),
        s if fractional(s) => SpacedLadder::fractional(spacing(Spacing::Linspace), offset, shape),
        _ => SpacedLadder::intervals(spacing(Spacing::Linspace), offset, shape, last),
    };
    Ok(spaced.ladder(schedule, steps)?)
}
