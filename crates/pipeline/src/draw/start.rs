//! What a pass of sampling begins with: noise, a given picture, channels beside the latent.

use burn::tensor::Tensor;
use latent_diffusion::{Mixing, NoisePath, NoiseStreams, PictureSeed};
use latent_models::hypernetwork::Bend;

use super::{Drawing, Start, padding, reseeded};
use crate::error::Result;
use crate::masked::Masked;
use crate::profile::{Posterior, StartScale, Walk};
use crate::reference::Latents;
use crate::request::{InpaintFill, Size};
use crate::shown::Shown;

/// A batch before its first step.
pub struct Prepared<'s> {
    /// The model's own ladder.
    pub(super) walk: Walk,
    pub(super) path: NoisePath,
    pub(super) streams: NoiseStreams,
    pub(super) seeds: &'s [PictureSeed],
    pub(super) x: Tensor<4>,
    pub(super) noise: Tensor<4>,
    pub(super) mask: Option<(Tensor<4>, Tensor<4>)>,
    pub(super) concat: Option<Tensor<4>>,
    /// Pictures that the drawing is held to, at the size of this pass.
    pub(super) hints: Vec<Tensor<4>>,
    /// Tokens of pictures, each with the entry of the request that it is of.
    pub(super) styles: Vec<(usize, Tensor<3>)>,
    /// Pictures as prompts.
    pub(super) shown: Vec<Shown>,
    /// Pictures that the denoiser's own attention looks at.
    pub(super) referred: Latents,
    /// What bends what the denoiser's attention reads.
    pub(super) bends: Vec<Bend>,
    /// What is told of pictures that were looked at.
    pub(super) vector: Option<Tensor<2>>,
    pub(super) pure: bool,
    /// A given picture is drawn on.
    pub(super) from_picture: bool,
}

impl Prepared<'_> {
    /// Steps of the model's own ladder.
    pub(crate) fn steps(&self) -> usize {
        self.walk.sigmas.steps()
    }
}

impl Drawing<'_> {
    /// What is walked from, for one batch, one picture per seed.
    ///
    /// # Errors
    /// Settings that no ladder fits; a picture that cannot be encoded.
    pub fn prepare<'s>(&self, start: &Start<'_>, seeds: &'s [PictureSeed]) -> Result<Prepared<'s>> {
        let walk = self.ladder(start.is_given())?;
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
        let down = model.latent.downsample;
        let size = Size {
            width: w * down,
            height: h * down,
        };
        let second = start.latent.is_some();
        let held = start.hints.map_or(&[][..], |hints| &hints.held);
        let styles = start.hints.map_or(&[][..], |hints| &hints.styles);
        let referred = start.hints.map_or(&[][..], |hints| &hints.referred);
        let referred = referred.iter().map(|picture| picture.latent(size, model));
        Ok(Prepared {
            walk,
            path,
            streams,
            seeds,
            x,
            noise,
            mask,
            concat,
            hints: held
                .iter()
                .map(|held| held.hint(size, second, device))
                .collect(),
            styles: styles
                .iter()
                .map(|style| (style.entry, style.tokens(second)))
                .collect(),
            shown: start
                .hints
                .map(|hints| hints.shown.clone())
                .unwrap_or_default(),
            referred: Latents {
                all: referred.collect::<Result<_>>()?,
                second,
            },
            bends: start
                .hints
                .map(|hints| hints.bends.clone())
                .unwrap_or_default(),
            vector,
            pure,
            from_picture: start.is_given(),
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
        match (mask, self.request.start.fill) {
            (Some(mask), InpaintFill::LatentNoise) => Masked::blend(mask, noise.clone(), original),
            (Some(mask), InpaintFill::LatentNothing) => {
                Masked::blend(mask, noise.zeros_like(), original)
            }
            _ => original,
        }
    }
}
