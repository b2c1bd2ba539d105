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
    strided_ladder,
};
use latent_text::{Dialect, WeightRule};

use crate::error::{Error, Result};
use crate::guided::{MaskRule, Outside};
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
        /// The one curve that this program ends in its own way.
        own_end: (Scheduler, End),
        beta_axis: BetaAxis,
        discard: &'static [Sampler],
    },
    /// Time steps spaced as a scheduler config says, σ following.
    Spaced,
}

/// What a ladder is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The sampler that will walk it.
    pub sampler: Sampler,
    /// Its name.
    pub scheduler: Scheduler,
    /// Steps.
    pub steps: usize,
    /// σ given by hand.
    pub custom: Option<&'a [f64]>,
    /// For a given picture: how much of it is redrawn, and the rule that makes steps of that.
    pub strength: Option<(StrengthRule, f64)>,
}

/// A ladder to walk.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// The levels.
    pub sigmas: Sigmas,
    /// The level that a given picture is noised to; `None`: the first of `sigmas`.
    pub noised: Option<f64>,
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
    /// The outside of a mask is put back for networks too that are told the mask.
    pub masks_inpainting_networks: bool,
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
                masks_inpainting_networks: true,
                paste: true,
                nearest_bytes: false,
                ladders: Ladders::Curves {
                    strided: true,
                    own_end: (Scheduler::KlOptimal, End::Keep),
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
                masks_inpainting_networks: true,
                paste: false,
                nearest_bytes: false,
                ladders: Ladders::Curves {
                    strided: false,
                    own_end: (Scheduler::AlignYourSteps, End::Replace),
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
                masks_inpainting_networks: false,
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

    /// The noise schedule as the program sees it: how it makes an infinite σ (zero terminal SNR) finite.
    ///
    /// # Errors
    /// Never for a schedule that ends in noise.
    pub fn schedule(&self, schedule: &NoiseSchedule, sampler: Sampler) -> Result<NoiseSchedule> {
        let floor = match self.compat {
            Compat::A1111 | Compat::ComfyUi => Some(4.897_345_189_085_343_5e-8),
            Compat::Diffusers if whole(sampler) => None,
            Compat::Diffusers => Some(2f64.powi(-24)),
        };
        let schedule = schedule.clone();
        Ok(match floor {
            Some(floor) if schedule.alphas_cumprod().last() == Some(&0.0) => {
                schedule.with_terminal_floor(floor)?
            }
            _ => schedule,
        })
    }

    /// The ladder of `steps` steps; for a given picture the part that is walked, and the level that the picture is
    /// noised to where it is not the ladder's first.
    ///
    /// # Errors
    /// More steps than the ladder has, or a strength that leaves no step.
    pub fn ladder(
        &self,
        asked: &Asked<'_>,
        schedule: &NoiseSchedule,
        config: &SchedulerConfig,
    ) -> Result<Walk> {
        let Asked {
            sampler,
            scheduler,
            steps,
            custom,
            strength,
        } = *asked;
        let steps = custom.map_or(steps, |c| {
            c.len()
                .saturating_sub(usize::from(c.last() == Some(&0.0)))
                .max(1)
        });
        let plan = match strength {
            Some((rule, strength)) => Some(rule.plan(steps, strength)?),
            None => None,
        };
        let steps = plan
            .filter(|_| custom.is_none())
            .map_or(steps, |p| p.ladder_steps);
        let sigmas = match (custom, self.ladders) {
            (Some(values), _) => custom_ladder(values)?,
            (None, Ladders::Spaced) => spaced(sampler, scheduler, schedule, config, steps)?,
            (None, Ladders::Curves { strided: true, .. }) if on_timesteps(sampler) => {
                let whole = strided_ladder(schedule, steps)?;
                if matches!(sampler, Sampler::UniPcBh1 | Sampler::UniPcBh2) {
                    return uniform_in_time(schedule, &whole, plan.map(|p| p.keep));
                }
                return match plan {
                    // A1111 noises the picture to one level above the first that it walks.
                    Some(plan) => {
                        let start = (whole.steps() + 2).saturating_sub(plan.keep);
                        if start >= whole.steps() {
                            return Err(too_little());
                        }
                        let noised = whole.values().get(start.saturating_sub(1)).copied();
                        Ok(Walk {
                            sigmas: whole.tail(start)?,
                            noised,
                        })
                    }
                    None => Ok(Walk {
                        sigmas: whole,
                        noised: None,
                    }),
                };
            }
            (
                None,
                Ladders::Curves {
                    own_end,
                    beta_axis,
                    discard,
                    ..
                },
            ) => {
                let options = LadderOptions {
                    end: (scheduler == own_end.0).then_some(own_end.1),
                    beta_axis,
                    discard_penultimate: discard.contains(&sampler),
                    ..LadderOptions::default()
                };
                ladder(scheduler, schedule, steps, &options)?
            }
        };
        Ok(Walk {
            sigmas: match plan {
                Some(plan) => plan.tail(&sigmas)?,
                None => sigmas,
            },
            noised: None,
        })
    }

    /// What is put back outside a mask while `sampler` runs, and when.
    pub fn mask(&self, sampler: Sampler) -> MaskRule {
        let rule = |before, after, at_end| MaskRule {
            before,
            spare_first: self.compat == Compat::Diffusers,
            after,
            at_end,
        };
        match self.compat {
            Compat::A1111 if on_timesteps(sampler) => rule(Outside::Clean, false, true),
            Compat::A1111 => rule(Outside::Sampled, true, true),
            Compat::ComfyUi => rule(Outside::Noised, true, false),
            Compat::Diffusers => rule(Outside::Noised, false, true),
        }
    }

    /// Whether the noise outside a mask is not the noise that the run started from but that of the next seed.
    pub fn fresh_mask_noise(&self, sampler: Sampler) -> bool {
        self.compat == Compat::ComfyUi && sampler == Sampler::Ddim
    }

    /// η where the request says nothing and the program does not go by the sampler's own.
    fn eta(&self, sampler: Sampler) -> Option<f64> {
        // A1111 hands its ancestral η to every function that takes one.
        let takes = matches!(sampler, Sampler::DpmFast | Sampler::DpmAdaptive);
        (self.compat == Compat::A1111 && takes).then_some(1.0)
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
        steps: usize,
    ) -> SamplerOptions {
        let mut options = SamplerOptions {
            eta: request.eta.or_else(|| self.eta(sampler)),
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
                if sampler == Sampler::Deis {
                    options.order = Some(3);
                    options.lower_order_final = Some(LowerOrderFinal::Never);
                }
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
            // ComfyUI keeps one step more than the order.
            let kept = usize::from(self.compat == Compat::ComfyUi);
            options.order = Some(3.min(steps.saturating_sub(kept)).max(1));
        }
        options
    }
}

/// A given picture of which no step is left to walk: A1111's samplers on time steps leave out the first.
fn too_little() -> Error {
    Error::field(
        "strength",
        "too low",
        "high enough to leave two steps or more to this sampler",
    )
}

/// A1111's UniPC: as many intervals, even in time, as the `strided` ladder has visited steps, from the last time step or,
/// for a given picture, from the step below the one it is noised to, down to the first. σ follows the interpolated
/// log ᾱ.
fn uniform_in_time(
    schedule: &NoiseSchedule,
    strided: &Sigmas,
    keep: Option<usize>,
) -> Result<Walk> {
    let visited = strided.values();
    let train = schedule.steps();
    let (from, intervals, noised) = match keep {
        None => ((train - 1) as f64, visited.len(), None),
        Some(keep) => {
            // time steps rise with the index from the end
            let at = |index: usize| visited.len().checked_sub(index + 1);
            let noised = at(keep - 1).and_then(|i| visited.get(i)).copied();
            let first = keep
                .checked_sub(2)
                .and_then(at)
                .and_then(|i| visited.get(i));
            let Some(first) = first else {
                return Err(too_little());
            };
            (schedule.timestep(*first).round(), keep - 1, noised)
        }
    };
    let times: Vec<f64> = (0..=intervals)
        .map(|i| from * (1.0 - i as f64 / intervals as f64))
        .collect();
    let bars = schedule.alphas_cumprod();
    let sigma = |t: &f64| {
        let (low, share) = (t.floor() as usize, t.fract());
        let high = (low + 1).min(train - 1);
        // a terminal ᾱ of 0 keeps the σ that the schedule gives it
        if bars[high] <= 0.0 {
            return schedule.sigma(*t);
        }
        let bar = (bars[low].ln() * (1.0 - share) + bars[high].ln() * share).exp();
        ((1.0 - bar) / bar).sqrt()
    };
    let sigmas = Sigmas::new(times.iter().map(sigma).collect())?;
    Ok(Walk {
        sigmas: sigmas.with_timesteps(times[..intervals].to_vec())?,
        noised,
    })
}

/// Samplers that A1111 runs on time steps of their own instead of a σ ladder.
fn on_timesteps(sampler: Sampler) -> bool {
    matches!(
        sampler,
        Sampler::Ddim | Sampler::DdimCfgPp | Sampler::Plms | Sampler::UniPcBh1 | Sampler::UniPcBh2
    )
}

/// Samplers whose diffusers classes step over whole time steps and keep an exact ᾱ of 0.
fn whole(sampler: Sampler) -> bool {
    matches!(
        sampler,
        Sampler::Ddim
            | Sampler::DdimCfgPp
            | Sampler::Ddpm
            | Sampler::Plms
            | Sampler::Lcm
            | Sampler::Tcd
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
