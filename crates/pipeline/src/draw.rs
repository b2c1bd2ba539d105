//! One pass of sampling: from noise, or from a picture and noise, to a clean latent.
//!
//! Everything works on latents of one batch; pixels come in only to be encoded. The order in which a picture's noise
//! stream is read is the order of the reference, and a seed means nothing without it.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_diffusion::{
    self as diffusion, Denoise, Mixing, Noise, NoisePath, NoiseStreams, PictureSeed, Sampler,
    Scheduler, Sigmas, Step,
};
use latent_models::{Padding, UNet};

use crate::beside::Hints;
use crate::conditioning::Prompts;
use crate::error::{Error, Result};
use crate::extension::{Beside, Extension};
use crate::guided::Guided;
use crate::guiders::Guidance;
use crate::masked::Masked;
use crate::model::Model;
use crate::passes::Passes;
use crate::profile::{Asked, Posterior, Profile, StartScale, StepNoise, Walk};
use crate::ready::Resolved;
use crate::request::{InpaintFill, Request, Tiling};

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
            strength: request.strength,
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

    /// Whether there is a ladder, in words of the request where the steps are too few for it. `field` holds them.
    ///
    /// # Errors
    /// As [`Self::ladder`]'s.
    pub fn check_ladder(&self, from_picture: bool, field: &'static str) -> Result<()> {
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
    fn path(&self) -> Result<NoisePath> {
        let model = self.model;
        self.profile.path(
            model.prediction,
            &model.schedule,
            self.sampler,
            &model.scheduler,
        )
    }

    /// What is walked from, for one batch, one picture per seed.
    ///
    /// # Errors
    /// Settings that no ladder fits; a picture that cannot be encoded.
    pub fn prepare<'s>(&self, start: &Start<'_>, seeds: &'s [PictureSeed]) -> Result<Prepared<'s>> {
        let from_picture = start.canvas.is_some() || start.latent.is_some();
        let walk = self.ladder(from_picture)?;
        let path = self.path()?;
        let streams = NoiseStreams::new(self.profile.noise_for(self.request), seeds)?;
        let mut prepared = self.started(start, walk, path, (streams, seeds))?;
        if self.profile.fresh_mask_noise(self.sampler) && prepared.mask.is_some() {
            let [_, c, h, w] = prepared.x.dims();
            let mut streams = reseeded(&prepared.streams, seeds, 1)?;
            prepared.noise = streams.initial([c, h, w], &self.model.device);
        }
        Ok(prepared)
    }

    /// Draws a batch that is [prepared](Self::prepare).
    ///
    /// # Errors
    /// Whatever the sampler reports; a denoiser that cannot be read.
    pub fn draw(
        &self,
        prepared: Prepared<'_>,
        prompts: &Prompts,
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Drawn> {
        let (path, sigmas) = (&prepared.path, &prepared.walk.sigmas);
        let looking = prepared.vector.map(|vector| prompts.beside(&vector));
        let prompts = looking.as_ref().unwrap_or(prompts);
        let options = self.profile.options(
            self.request,
            self.sampler,
            (path, self.model.prediction),
            sigmas.steps(),
        );
        let calls = calls_per_step(self.sampler) * sigmas.steps();
        let unet = UNet::clone(&*self.model.denoiser()?);
        let unet = unet.with_padding(padding(self.request.tiling));
        let beside = prepared
            .concat
            .map(|extra| Box::new(Beside(extra)) as Box<dyn Extension>);
        let mut guided = Guided {
            passes: Passes::new(
                &unet,
                prompts,
                self.request.cfg_scale,
                beside.into_iter().collect(),
            ),
            prediction: self.model.prediction,
            path,
            sigmas,
            whole_timesteps: self.profile.whole_timesteps,
            guidance: Guidance::of(self.request, unet.config(), prompts.positive.len()),
            needs_unconditional: self.sampler.needs_unconditional(),
            calls: (0, calls),
            unconditional: None,
        };
        let mut stopped = None;
        let mut on_step = |step: Step<'_>| {
            let (done, all) = (step.index + 1, step.total);
            let flow = on_step(step);
            stopped = flow.is_break().then_some((done, all));
            flow
        };
        let [_, c, h, w] = prepared.x.dims();
        let mut noise = self.step_noise(prepared.streams, prepared.seeds, [c, h, w], sigmas)?;
        let walk = |d: &mut dyn Denoise| {
            diffusion::sample(
                self.sampler,
                &options,
                d,
                prepared.x,
                sigmas,
                &mut *noise,
                &mut on_step,
            )
        };
        let latent = match prepared.mask {
            Some((mask, original)) => {
                let mut rule = self.profile.mask(self.sampler);
                rule.spare_first &= prepared.pure;
                let mut masked = Masked {
                    inner: &mut guided,
                    mask: mask.clone(),
                    original: original.clone(),
                    noise: prepared.noise,
                    path,
                    rule,
                    first: true,
                };
                let latent = walk(&mut masked)?;
                if rule.at_end {
                    Masked::blend(&mask, latent, original)
                } else {
                    latent
                }
            }
            None => walk(&mut guided)?,
        };
        Ok(Drawn { latent, stopped })
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

    fn started<'s>(
        &self,
        start: &Start<'_>,
        walk: Walk,
        path: NoisePath,
        (mut streams, seeds): (NoiseStreams, &'s [PictureSeed]),
    ) -> Result<Prepared<'s>> {
        let Self { model, profile, .. } = self;
        let device = &model.device;
        let batch = streams.pictures();
        let [h, w] = start.size;
        let shape = [model.latent.channels, h, w];
        let inpaints = model.inpaints();
        let mask = start.canvas.and_then(|c| c.mask.as_ref());
        let sigma = walk.sigmas.values()[0];
        let rule = profile.mask(self.sampler);
        let pure = mask.is_some() && rule.spare_first && self.strength >= 1.0;

        // What is drawn for an embedding comes before all else.
        let vector = self.image_vector(start, &mut streams, seeds)?;
        // An inpainting network redrawn from pure noise never reads the picture outside its extra channels.
        let skip_encoding = inpaints && pure;
        let original = match (&start.latent, start.canvas) {
            (Some(latent), _) => Some(latent.clone()),
            (None, Some(canvas)) if !skip_encoding => {
                Some(self.encode(canvas.image.clone(), &mut streams, shape)?)
            }
            _ => None,
        };
        // What is drawn of other pictures comes before the noise of the latent, the masked picture after it.
        let beside = self.hint_channels(start, &mut streams, shape)?;
        let noise = streams.initial(shape, device);
        let concat = match beside {
            None if inpaints => Some(self.masked_channels(start, &mut streams, shape)?),
            early => early,
        };
        let scale = profile.start_scale(self.sampler, &model.scheduler, &path, sigma);
        let mask = mask
            .filter(|_| !inpaints || profile.masks_inpainting_networks)
            .map(|m| m.latent.clone());
        let original = original.map(|o| self.under_mask(o, mask.as_ref(), &noise));
        let x = match (&original, pure) {
            (Some(original), false) if path.mixing() == Mixing::Flow => {
                path.add_noise(original.clone(), noise.clone(), sigma)
            }
            (Some(original), false) if profile.start == StartScale::Preserving => {
                original.clone() + noise.clone() * scale
            }
            (Some(original), false) => match walk.noised {
                None => original.clone() + noise.clone() * sigma,
                // Noised to one level and taken for the other, both of them variance-preserving.
                Some(level) => {
                    let ratio = (1.0 + sigma * sigma) / (1.0 + level * level);
                    (original.clone() + noise.clone() * level) * ratio.sqrt()
                }
            },
            _ => noise.clone() * scale,
        };
        let x = x.expand([batch, shape[0], h, w]);
        let mask = mask.zip(original);
        Ok(Prepared {
            walk,
            path,
            streams,
            seeds,
            x,
            noise,
            mask,
            concat,
            vector,
            pure,
        })
    }

    /// The latent of pixels, one per picture: by mean the same for all, by draw each its own.
    ///
    /// # Errors
    /// An autoencoder whose weights cannot be read.
    pub(crate) fn encode(
        &self,
        image: Tensor<4>,
        streams: &mut NoiseStreams,
        shape: [usize; 3],
    ) -> Result<Tensor<4>> {
        let model = self.model;
        let moments = model.encode(image, padding(self.request.tiling))?;
        let spread = |t: Tensor<4>| t.expand([streams.pictures(), shape[0], shape[1], shape[2]]);
        let (mean, logvar) = (spread(moments.mean), spread(moments.logvar));
        Ok(model.scale_in(match self.profile.posterior {
            Posterior::Mean => mean,
            Posterior::Draw => {
                let noise = streams.draw(shape, &model.device);
                latent_models::Moments { mean, logvar }.sample(noise)
            }
        }))
    }

    /// What lies under the mask before sampling.
    fn under_mask(
        &self,
        original: Tensor<4>,
        mask: Option<&Tensor<4>>,
        noise: &Tensor<4>,
    ) -> Tensor<4> {
        match (mask, self.request.inpaint_fill) {
            (Some(mask), InpaintFill::LatentNoise) => Masked::blend(mask, noise.clone(), original),
            (Some(mask), InpaintFill::LatentNothing) => {
                Masked::blend(mask, noise.zeros_like(), original)
            }
            _ => original,
        }
    }
}

/// A batch before its first step.
pub struct Prepared<'s> {
    walk: Walk,
    path: NoisePath,
    streams: NoiseStreams,
    seeds: &'s [PictureSeed],
    x: Tensor<4>,
    noise: Tensor<4>,
    mask: Option<(Tensor<4>, Tensor<4>)>,
    concat: Option<Tensor<4>>,
    /// What is told of pictures that were looked at.
    vector: Option<Tensor<2>>,
    pure: bool,
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
