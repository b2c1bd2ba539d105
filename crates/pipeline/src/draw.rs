//! One pass of sampling: from noise, or from a picture and noise, to a clean latent.
//!
//! Everything works on latents of one batch; pixels come in only to be encoded. The order in which a picture's noise
//! stream is read is the order of the reference, and a seed means nothing without it.

mod controls;
mod start;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_diffusion::{
    self as diffusion, Denoise, Noise, NoisePath, NoiseStreams, PictureSeed, Sampler, Scheduler,
    Sigmas, Step,
};
use latent_models::hypernetwork::Bend;
use latent_models::unet::FreeU;
use latent_models::{Denoiser, Padding};

use crate::beside::Hints;
use crate::conditioning::Prompts;
use crate::control::Span;
use crate::effect::churns;
use crate::error::{Error, Result};
use crate::extension::{Beside, Extension};
use crate::family::Beside::Nothing;
use crate::family::VectorInput;
use crate::guided::Guided;
use crate::guiders::Guidance;
use crate::masked::Masked;
use crate::model::Model;
use crate::passes::{Later, Passes};
use crate::profile::{Asked, Profile, StepNoise, Walk};
use crate::ready::Resolved;
use crate::refiner::{self, Next, Refining, Relay};
use crate::request::{Request, Size, Tiling};
use crate::shown::Show;

pub use start::Prepared;

/// The pixels a pass starts from.
#[derive(Debug, Clone)]
pub struct Canvas {
    /// `[1, 3, height, width]` in −1..1.
    pub image: Tensor<4>,
    /// Where it is repainted.
    pub mask: Option<Mask>,
}

/// A mask at both sizes, 1 where the picture is repainted.
#[derive(Debug, Clone)]
pub struct Mask {
    /// `[1, 1, height, width]`.
    pub pixels: Tensor<4>,
    /// `[1, 1, height / 8, width / 8]`, by the profile's rule.
    pub latent: Tensor<4>,
    /// The same as an inpainting network is told it, 0 or 1.
    pub channel: Tensor<4>,
}

/// What a pass is given beside its canvas.
pub struct Drawing<'a> {
    /// The networks.
    pub model: &'a Model,
    /// The program that is imitated.
    pub profile: &'a Profile,
    /// The request.
    pub request: &'a Request,
    /// The sampler.
    pub sampler: Sampler,
    /// The ladder's name.
    pub scheduler: Scheduler,
    /// Steps.
    pub steps: usize,
    /// How much of the canvas is redrawn, where there is one.
    pub strength: f64,
    /// The rule that makes steps of it.
    pub rule: latent_diffusion::StrengthRule,
}

/// What a pass is drawn from.
pub struct Start<'a> {
    /// Latent rows and columns.
    pub size: [usize; 2],
    /// Pixels to encode.
    pub canvas: Option<&'a Canvas>,
    /// A latent that is already there (the second pass of "hires fix"), `[batch, c, h, w]`.
    pub latent: Option<Tensor<4>>,
    /// Further pictures that the denoiser takes.
    pub hints: Option<&'a Hints>,
}

impl Start<'_> {
    /// Whether there is a picture or a latent to draw on.
    pub(crate) fn is_given(&self) -> bool {
        self.canvas.is_some() || self.latent.is_some()
    }
}

/// What came of a pass.
#[derive(Debug)]
pub struct Drawn {
    /// `[batch, channels, h, w]`.
    pub latent: Tensor<4>,
    /// It was stopped before its last step, and `latent` is the best guess so far: after how many steps, and of how many.
    pub stopped: Option<(usize, usize)>,
}

/// The padding that makes a picture's edges meet.
pub(crate) fn padding(tiling: Tiling) -> Padding {
    match tiling {
        Tiling::None => Padding::Zero,
        Tiling::X => Padding::CircularX,
        Tiling::Y => Padding::CircularY,
        Tiling::Both => Padding::Circular,
    }
}

/// Network calls per step, as a prompt's schedule counts them.
pub(crate) fn calls_per_step(sampler: Sampler) -> usize {
    match sampler.evaluations(10) {
        Some(calls) if calls > 15 => 2,
        _ => 1,
    }
}

/// The noise of references is that of a picture's seed and this.
const OF_REFERENCES: i64 = 2;

impl<'a> Drawing<'a> {
    /// The first pass of a request.
    pub fn of(
        request: &'a Request,
        model: &'a Model,
        profile: &'a Profile,
        names: Resolved,
    ) -> Self {
        Self {
            model,
            profile,
            request,
            sampler: names.sampler,
            scheduler: names.scheduler,
            steps: request.steps,
            strength: request.start.strength,
            rule: profile.strength,
        }
    }
}

impl Drawing<'_> {
    /// The ladder that is walked.
    ///
    /// # Errors
    /// Steps or a strength that no ladder fits.
    pub fn ladder(&self, from_picture: bool) -> Result<Walk> {
        let asked = Asked {
            sampler: self.sampler,
            scheduler: self.scheduler,
            steps: self.steps,
            custom: self.request.sigmas.as_deref(),
            align: self.model.family.align,
            strength: from_picture.then_some((self.rule, self.strength)),
        };
        self.profile
            .ladder(&asked, &self.path()?, &self.model.scheduler)
    }

    /// Whether there is a ladder and the sampler can walk it, in words of the request where the steps are too few for it. `field`
    /// holds them.
    ///
    /// # Errors
    /// As [`Self::ladder`]'s; churn on a flow.
    pub fn check_ladder(&self, from_picture: bool, field: &'static str) -> Result<()> {
        let churn = self.request.s_churn;
        if churn > 0.0 && churns(self.sampler) && matches!(self.path()?, NoisePath::Flow(_)) {
            let expected = "0, since this model is a rectified flow, which churn leaves: it adds noise and keeps the picture's share";
            return Err(Error::field("s_churn", churn, expected));
        }
        let Err(error) = self.ladder(from_picture) else {
            return Ok(());
        };
        let steps = |steps| Drawing { steps, ..*self };
        let mut more = self.steps + 1..=self.steps + 8;
        let by_hand = self.request.sigmas.is_some();
        let enough = more.find(|n| !by_hand && steps(*n).ladder(from_picture).is_ok());
        Err(match (error, enough) {
            (Error::Diffusion(diffusion::Error::Ladder { .. }), Some(enough)) => {
                let sampler = diffusion::names::sampler_info(self.sampler).label;
                Error::field(
                    field,
                    self.steps,
                    format!(
                        "{enough} or more, the fewest steps that {sampler} can take with this scheduler"
                    ),
                )
            }
            (error, _) => error,
        })
    }

    /// The noise path as the profile sees it.
    pub(crate) fn path(&self) -> Result<NoisePath> {
        let model = self.model;
        self.profile.path(
            model.prediction,
            &model.schedule,
            self.sampler,
            &model.scheduler,
        )
    }

    /// Draws a batch that is [prepared](Self::prepare); `refining` finishes what the model begins.
    ///
    /// # Errors
    /// Whatever the sampler reports; a denoiser that cannot be read.
    pub fn draw(
        &self,
        prepared: Prepared<'_>,
        (prompts, refining): (&Prompts, Option<Refining<'_>>),
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Drawn> {
        let path = &prepared.path;
        let looking = prepared.vector.map(|vector| prompts.beside(&vector));
        let prompts = looking.as_ref().unwrap_or(prompts);
        let second = refining.map(|refining| {
            let drawing = Drawing {
                model: refining.model,
                ..*self
            };
            Ok::<_, Error>((drawing.path()?, drawing, refining))
        });
        let second = second.transpose()?;
        let refiner = refining.map(|refining| refining.model);
        let legs = self.legs(&prepared.walk.sigmas, refiner, prepared.from_picture)?;
        let total = legs.iter().map(|leg| leg.sigmas.steps()).sum();
        let each = calls_per_step(self.sampler);
        let [_, c, h, w] = prepared.x.dims();
        let concat = prepared.concat.as_ref();
        let down = self.model.latent.downsample;
        let size = Size {
            width: w * down,
            height: h * down,
        };

        let mut latent = prepared.x;
        let mut noise: Option<Box<dyn Noise>> = None;
        let (mut done, mut stopped) = (0, None);
        for leg in &legs {
            let sigmas = &leg.sigmas;
            let mut own_noise = match noise.take() {
                Some(noise) if self.profile.step_noise == StepNoise::Continue => noise,
                _ => {
                    self.step_noise(prepared.streams.clone(), prepared.seeds, [c, h, w], sigmas)?
                }
            };
            let calls = (done * each, total * each);
            let by_second = second.as_ref().map(|(path, drawing, refining)| {
                move || -> Result<Guided<'_>> {
                    let network = refining.denoiser(self.model)?;
                    let concat = concat.filter(|_| drawing.model.family.beside != Nothing);
                    // What the drawing is held to is the model's own business.
                    let beside = Beside::all(concat);
                    Ok(drawing.guided(network, refining.prompts, path, sigmas, beside, calls))
                }
            });
            let by_base = || -> Result<Guided<'_>> {
                let network = Denoiser::clone(&*self.model.denoiser()?);
                let network = network.with_bends(prepared.bends.clone());
                let mut extensions = Beside::all(concat);
                extensions.extend(self.controls(&prepared.hints, path)?);
                extensions.extend(prepared.shown.iter().map(|shown| {
                    let span = Span::of(self.profile.control_span, shown.part(), path);
                    let device = &self.model.device;
                    Box::new(Show::new(shown.clone(), span, size, device)) as Box<dyn Extension>
                }));
                extensions.extend(
                    self.freeu()
                        .map(|freeu| Box::new(freeu) as Box<dyn Extension>),
                );
                let noise = reseeded(&prepared.streams, prepared.seeds, OF_REFERENCES)?;
                let referred = &prepared.referred;
                extensions.extend(self.refer(path, referred, noise));
                let mut guided = self.guided(network, prompts, path, sigmas, extensions, calls);
                let passes = guided.passes.with_later(self.later(&prepared.bends));
                guided.passes = passes.with_styles(self.styled(&prepared.styles, path));
                Ok(guided)
            };
            let (guided, next) = match by_second {
                Some(by_second) if leg.refined => (by_second()?, None),
                Some(by_second) if leg.hands_over => {
                    (by_base()?, Some(Box::new(by_second) as Next<'_>))
                }
                _ => (by_base()?, None),
            };
            let switch = self.request.refiner_switch;
            let mut relay = Relay {
                mixing: path.mixing(),
                due: Box::new(move |sigma| refiner::done(path, sigmas, sigma) >= switch),
                guided: Some(guided),
                next,
            };
            let (by, of) = match &second {
                Some((path, drawing, _)) if leg.refined => (drawing, path),
                _ => (self, path),
            };
            let levels = (of, by.model.prediction);
            let steps = sigmas.steps();
            let mut options = self
                .profile
                .options(self.request, self.sampler, levels, steps);
            if leg.goes_on {
                options.variance_preserving_end = Some(false);
                options.lower_order_final = self.profile.order_before_handover(&options);
            }
            let mut show = |step: Step<'_>| {
                let index = done + step.index;
                let flow = on_step(Step {
                    index,
                    total,
                    ..step
                });
                stopped = flow.is_break().then_some((index + 1, total));
                flow
            };
            let x = latent;
            let walk = |d: &mut dyn Denoise| {
                let noise = &mut *own_noise;
                diffusion::sample(self.sampler, &options, d, x, sigmas, noise, &mut show)
            };
            latent = match &prepared.mask {
                Some((mask, original)) => {
                    let mut rule = self.profile.mask(self.sampler);
                    rule.spare_first &= prepared.pure && done == 0;
                    let mut masked = Masked {
                        inner: &mut relay,
                        mask: mask.clone(),
                        original: original.clone(),
                        noise: prepared.noise.clone(),
                        path,
                        rule,
                        first: true,
                    };
                    let latent = walk(&mut masked)?;
                    match rule.at_end && (!leg.goes_on || stopped.is_some()) {
                        true => Masked::blend(mask, latent, original.clone()),
                        false => latent,
                    }
                }
                None => walk(&mut relay)?,
            };
            if stopped.is_some() {
                break;
            }
            done += steps;
            noise = Some(own_noise);
        }
        Ok(Drawn { latent, stopped })
    }

    /// The network behind guidance, for one walk.
    fn guided<'p>(
        &'p self,
        network: Denoiser,
        prompts: &'p Prompts,
        path: &'p NoisePath,
        sigmas: &'p Sigmas,
        extensions: Vec<Box<dyn Extension>>,
        calls: (usize, usize),
    ) -> Guided<'p> {
        let network = network.with_padding(padding(self.request.tiling));
        let scale = self.request.guidance.scale;
        Guided {
            guidance: Guidance::of(self.request, &network.interface(), prompts.positive.len()),
            passes: Passes::new(network, prompts, scale, extensions),
            prediction: self.model.prediction,
            path,
            sigmas,
            whole_timesteps: self.profile.whole_timesteps,
            needs_unconditional: self.sampler.needs_unconditional(),
            calls,
            unconditional: None,
        }
    }

    /// The denoisers that LoRAs make of the model's own which act in some calls alone, each from its call on.
    fn later(&self, bends: &[Bend]) -> Vec<(usize, Later<'_>)> {
        let turns = self.model.turns().into_iter();
        let later = turns.map(|call| {
            let bends = bends.to_vec();
            let make = move || {
                let network = Denoiser::clone(&*self.model.denoiser_at(call)?);
                Ok(network
                    .with_bends(bends)
                    .with_padding(padding(self.request.tiling)))
            };
            (call, Box::new(make) as Later<'_>)
        });
        later.collect()
    }

    /// FreeU, with the family's factors where the request leaves them open.
    pub(crate) fn freeu(&self) -> Option<FreeU> {
        let asked = self.request.guidance.freeu?;
        let (b, s) = match self.model.family.vector {
            VectorInput::Sizes | VectorInput::Score => ([1.1, 1.2], [0.6, 0.4]),
            _ => ([1.5, 1.6], [0.9, 0.2]),
        };
        Some(FreeU {
            backbone: asked.b.unwrap_or(b),
            kept: asked.s.unwrap_or(s),
            stages: self.profile.freeu,
        })
    }

    fn step_noise(
        &self,
        streams: NoiseStreams,
        seeds: &[PictureSeed],
        shape: [usize; 3],
        sigmas: &Sigmas,
    ) -> Result<Box<dyn Noise>> {
        if self.profile.brownian && self.sampler.brownian_noise() {
            let values = sigmas.values();
            let low = values.iter().rev().find(|v| **v > 0.0);
            return Ok(match low {
                Some(low) if *low < values[0] => {
                    Box::new(streams.brownian(shape, *low, values[0])?)
                }
                _ => Box::new(streams),
            });
        }
        Ok(match self.profile.step_noise {
            StepNoise::Continue => Box::new(streams),
            StepNoise::NextSeed => Box::new(reseeded(&streams, seeds, 1)?),
        })
    }
}

/// Streams of the pictures' seeds and a number, modulo 2⁶⁴, without variation.
pub(crate) fn reseeded(
    streams: &NoiseStreams,
    seeds: &[PictureSeed],
    by: i64,
) -> Result<NoiseStreams> {
    let next = seeds
        .iter()
        .map(|s| PictureSeed::from(s.seed.wrapping_add_signed(by)));
    Ok(NoiseStreams::new(
        streams.source(),
        &next.collect::<Vec<_>>(),
    )?)
}
