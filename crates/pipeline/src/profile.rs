//! Compatibility profiles: everything in which programs differ for the same settings, as one value.
//!
//! The same checkpoint, prompt, seed and sampler give three different pictures in A1111, ComfyUI and diffusers. Each
//! difference is a field here; the code that draws a picture reads fields and never asks whose picture it is.
//! `docs/compatibility.md` has the table.

use latent_checkpoint::SchedulerConfig;
use latent_diffusion::{
    AlignTable, BetaAxis, End, LadderOptions, NoisePath, NoiseSchedule, NoiseSource, Prediction,
    Sampler, Scheduler, Shape, Sigmas, StrengthRule, TERMINAL_FLOOR_4096, TERMINAL_FLOOR_4518,
    custom_ladder, ladder, names,
};
use latent_models::unet::FreeUStages;
use latent_text::{Dialect, WeightRule};

use crate::conditioning::Skip;
use crate::error::{Error, Result};
use crate::family::{Family, Layer};
use crate::masked::{MaskRule, Outside};
use crate::request::{Compat, Request, ResizeMode, Rng};

mod ladders;
mod samplers;

use ladders::{
    distilled, edm_curve, edm_levels, flow_levels, fractional, on_timesteps, repeated, shape,
    spaced, strided, whole,
};

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

/// How a program hands a picture over to a refiner, after a fraction of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handover {
    /// In one walk: the network is exchanged before the first call of which that fraction of the training time steps is
    /// done. What a sampler remembers of earlier steps, it keeps.
    Within,
    /// In two walks over the halves of a ladder, parted after the step nearest to that fraction of the steps.
    Steps,
    /// In two walks, parted before the first time step below what is left of the training time steps.
    Time,
}

/// How a program counts the part of a run, from one fraction to another, in which a ControlNet acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlSpan {
    /// The calls that begin in it.
    Begun,
    /// The calls that begin and end in it.
    Whole,
    /// The levels of noise that lie in it, of all time steps.
    Levels,
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
    /// The family's levels of [`Scheduler::AlignYourSteps`].
    pub align: AlignTable,
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
    /// What a transparent picture to start from is laid on; `None`: transparency is dropped, and the colours show that
    /// lie hidden below it.
    pub background: Option<[u8; 3]>,
    /// How a picture that a model looks at is fitted to the square of its image encoder.
    pub image_fit: ResizeMode,
    /// A model that looks at pictures and is given none looks at the picture to start from.
    pub looks_at_start: bool,
    /// The noise of picture embeddings comes from a stream of its own, of the picture's seed and this; `None`: it is the
    /// first of the picture's stream.
    pub image_noise: Option<i64>,
    /// Decoded values are rounded to the nearest of 256 levels, not down.
    pub nearest_bytes: bool,
    /// How a refiner takes over.
    pub handover: Handover,
    /// A refiner's own autoencoder decodes what it finished, where none is chosen.
    pub refiner_decodes: bool,
    /// Where the two stages of FreeU are.
    pub freeu: FreeUStages,
    /// How a picture that the drawing is held to is fitted to its size.
    pub control_fit: ResizeMode,
    /// How the part of a run is counted in which it is held to it.
    pub control_span: ControlSpan,
    /// Behind the negative prompt stand as many zeros as a T2I-Adapter of style has tokens behind the prompt.
    pub zeros_beside_style: bool,
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
                background: Some([255; 3]),
                image_fit: ResizeMode::Stretch,
                looks_at_start: true,
                image_noise: Some(-10),
                nearest_bytes: false,
                handover: Handover::Within,
                refiner_decodes: true,
                freeu: FreeUStages::Widths,
                control_fit: ResizeMode::Crop,
                control_span: ControlSpan::Begun,
                zeros_beside_style: true,
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
                background: None,
                image_fit: ResizeMode::Crop,
                looks_at_start: false,
                image_noise: Some(-10),
                nearest_bytes: false,
                handover: Handover::Steps,
                refiner_decodes: false,
                freeu: FreeUStages::Widths,
                control_fit: ResizeMode::Crop,
                control_span: ControlSpan::Levels,
                zeros_beside_style: false,
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
                background: None,
                image_fit: ResizeMode::Crop,
                looks_at_start: false,
                image_noise: None,
                nearest_bytes: true,
                handover: Handover::Time,
                refiner_decodes: false,
                freeu: FreeUStages::Levels,
                control_fit: ResizeMode::Stretch,
                control_span: ControlSpan::Whole,
                // It has no such adapters: ComfyUI's way.
                zeros_beside_style: false,
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

    /// The noise path of a model as the program sees it: how it makes an infinite σ (zero terminal SNR) finite.
    ///
    /// # Errors
    /// Settings in `config` that no path fits.
    pub fn path(
        &self,
        prediction: Prediction,
        schedule: &NoiseSchedule,
        sampler: Sampler,
        config: &SchedulerConfig,
    ) -> Result<NoisePath> {
        let floor = match self.compat {
            Compat::A1111 | Compat::ComfyUi => Some(TERMINAL_FLOOR_4518),
            Compat::Diffusers if whole(sampler) => None,
            Compat::Diffusers => Some(TERMINAL_FLOOR_4096),
        };
        let schedule = schedule.clone();
        let schedule = match floor {
            Some(floor) if schedule.alphas_cumprod().last() == Some(&0.0) => {
                schedule.with_terminal_floor(floor)?
            }
            _ => schedule,
        };
        Ok(match NoisePath::of(prediction, schedule, config.shift)? {
            NoisePath::Edm(usual) => NoisePath::Edm(edm_levels(&usual, config)?),
            path => path,
        })
    }

    /// The ladder of `steps` steps; for a given picture the part that is walked, and the level that the picture is
    /// noised to where it is not the ladder's first.
    ///
    /// # Errors
    /// More steps than the ladder has, a strength that leaves no step, or a sampler or scheduler that the path has no
    /// use for.
    pub fn ladder(
        &self,
        asked: &Asked<'_>,
        path: &NoisePath,
        config: &SchedulerConfig,
    ) -> Result<Walk> {
        let Asked {
            sampler,
            scheduler,
            steps,
            custom,
            align,
            strength,
        } = *asked;
        if let (NoisePath::Flow(_), Some(reason)) = (path, sampler.refused_on_flows()) {
            let expected = format!(
                "another one, such as Euler or DPM++ 2M, since this model is a rectified flow: {reason}"
            );
            return Err(Error::field(
                "sampler",
                names::sampler_info(sampler).label,
                expected,
            ));
        }
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
        let curve = |scheduler| LadderOptions {
            align,
            ..self.curve(sampler, scheduler)
        };
        let sigmas = match (custom, path) {
            (Some(values), _) => custom_ladder(values)?,
            (None, NoisePath::Discrete(schedule)) => match self.ladders {
                Ladders::Spaced => spaced(sampler, scheduler, schedule, config, steps)?,
                Ladders::Curves { strided: true, .. } if on_timesteps(sampler) => {
                    return strided(sampler, schedule, steps, plan);
                }
                Ladders::Curves { strided: true, .. } if sampler == Sampler::Lcm => {
                    distilled(scheduler, schedule, steps, &curve(scheduler))?
                }
                Ladders::Curves { .. } => ladder(scheduler, schedule, steps, &curve(scheduler))?,
            },
            (None, NoisePath::Flow(levels)) => {
                let shape = match self.ladders {
                    Ladders::Spaced => shape(scheduler, config),
                    Ladders::Curves { .. } => {
                        (scheduler == Scheduler::Automatic).then_some(Shape::Plain)
                    }
                };
                flow_levels(levels, scheduler, shape, steps, &curve(scheduler))?
            }
            (None, NoisePath::Edm(levels)) => {
                let named = match self.ladders {
                    Ladders::Spaced => edm_curve(scheduler, config)?,
                    Ladders::Curves { .. } => scheduler,
                };
                ladder(named, levels, steps, &curve(named))?
            }
        };
        Ok(Walk {
            sigmas: match plan {
                Some(plan) if self.ladders == Ladders::Spaced && sampler == Sampler::Plms => {
                    repeated(&sigmas, plan)?
                }
                Some(plan) => plan.tail(&sigmas)?,
                None => sigmas,
            },
            noised: None,
        })
    }

    /// How the program draws the curve called `scheduler` for `sampler`.
    fn curve(&self, sampler: Sampler, scheduler: Scheduler) -> LadderOptions {
        match self.ladders {
            Ladders::Spaced => LadderOptions::default(),
            Ladders::Curves {
                own_end,
                beta_axis,
                discard,
                ..
            } => LadderOptions {
                end: (scheduler == own_end.0).then_some(own_end.1),
                beta_axis,
                discard_penultimate: discard.contains(&sampler),
                ..LadderOptions::default()
            },
        }
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

    /// The scale of unit noise at the top of the ladder.
    pub fn start_scale(
        &self,
        sampler: Sampler,
        config: &SchedulerConfig,
        path: &NoisePath,
        sigma: f64,
    ) -> f64 {
        let leading = config.timestep_spacing.as_deref() == Some("leading");
        let preserving = match self.start {
            StartScale::Preserving => sigma >= path.sigma_max() * (1.0 - 1e-5),
            StartScale::BySampler if self.ladders == Ladders::Spaced => {
                matches!(path, NoisePath::Edm(_)) || !fractional(sampler) || leading
            }
            StartScale::BySampler => on_timesteps(sampler),
        };
        if preserving {
            path.preserving_scale(sigma)
        } else {
            sigma
        }
    }

    /// The layer of the text encoders that a request's `clip_skip` asks for; of the negative prompt's for `negative`.
    ///
    /// A1111 does not skip layers of OpenCLIP's encoders, ComfyUI counts from the last layer in all, diffusers counts
    /// from the layer that the model reads, and for the prompt alone.
    pub fn skip(&self, request: &Request, family: &Family, negative: bool) -> Option<Skip> {
        let layers = request.layers_skipped()?;
        let open_clip = family.texts.iter().any(|text| text.open_clip);
        let read_before_end = family
            .texts
            .iter()
            .any(|text| matches!(text.layer, Layer::Number(_)));
        match self.compat {
            Compat::A1111 if open_clip => None,
            // Its last layer was left out at loading, so the one before it is the first that can be counted.
            Compat::ComfyUi if read_before_end => Some(Skip::BeforeLast(layers.saturating_sub(1))),
            Compat::A1111 | Compat::ComfyUi => Some(Skip::BeforeLast(layers)),
            Compat::Diffusers if negative => None,
            Compat::Diffusers => Some(Skip::Further(layers)),
        }
    }

    /// Whether an empty negative prompt is zeros to the denoiser, not the states of an empty text.
    pub fn zeros_for_empty(&self, request: &Request, family: &Family) -> bool {
        let sizes = family.vector.sinusoids() > 0;
        request.zero_empty_negative.unwrap_or(match self.compat {
            Compat::A1111 => sizes,
            Compat::ComfyUi => false,
            Compat::Diffusers => family.zeros_for_empty,
        })
    }
}
