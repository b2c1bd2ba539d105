//! Pictures as references, by the denoiser's own attention: `reference_only` of A1111's ControlNet extension.
//!
//! Before each call the denoiser sees the picture, noised to the same level and told the same, and what its self-attention was
//! given there is looked at in the call itself beside the drawing's own pixels. The noise is drawn of each picture's own seed, anew
//! for each call, and is the same for every prompt; A1111 draws it from a generator that nothing repeats.

use burn::tensor::{Tensor, TensorData};
use latent_diffusion::{self as diffusion, NoisePath, NoiseStreams};
use latent_models::Input;
use latent_models::unet::{Alter, Extras, FreeU, Reference as Looked, References, Remembered};

use crate::control::Span;
use crate::draw::Drawing;
use crate::error::{Error, Result};
use crate::extension::{Call, Extension};
use crate::family::{Beside, VectorInput};
use crate::guiders::Prompt;
use crate::model::Model;
use crate::picture::Picture;
use crate::picture::resize::Filter;
use crate::profile::Profile;
use crate::request::{ControlMode, Reference, Request, ResizeMode, Size};
use crate::resources::Resources;

/// A picture that is referred to.
#[derive(Debug, Clone)]
pub struct Referred {
    /// The picture, at its own size.
    pub picture: Picture,
    /// How it is fitted to the size of a pass.
    pub fit: ResizeMode,
}

impl Referred {
    /// The pictures of a request.
    ///
    /// # Errors
    /// A model whose attention cannot look at pictures; a picture that cannot be read.
    pub(crate) fn all(
        request: &Request,
        model: &Model,
        profile: &Profile,
        resources: &dyn Resources,
    ) -> Result<Vec<Self>> {
        if !request.reference.is_empty() {
            check(model)?;
        }
        let read = |asked: &Reference| {
            let picture = resources.picture(&asked.image)?;
            Ok(Self {
                picture: match profile.background {
                    Some(background) => picture.flatten(background),
                    None => picture.opaque(),
                },
                fit: asked.resize_mode.unwrap_or(profile.control_fit),
            })
        };
        request.reference.iter().map(read).collect()
    }

    /// Its latent at the size of a pass, the mean of what the autoencoder says: `[1, channels, h, w]`.
    ///
    /// # Errors
    /// An autoencoder whose weights cannot be read.
    pub(crate) fn latent(&self, size: Size, model: &Model) -> Result<Tensor<4>> {
        let fitted = self.picture.fit(size, self.fit, Filter::Lanczos);
        let shape = [1, 3, size.height, size.width];
        let image = Tensor::from_data(TensorData::new(fitted.to_planes(), shape), &model.device);
        let encoded = model.encode(image, latent_models::Padding::Zero)?;
        Ok(model.scale_in(encoded.mean))
    }
}

/// Whether a model's attention can look at pictures.
fn check(model: &Model) -> Result<()> {
    let unet = model.unet();
    let unet = unet.map_err(|reason| Error::field("reference", "set", reason))?;
    let wrong = |expected: &str| {
        let value = format!("with a model of the family {}", model.family.name);
        Err(Error::field("reference", value, expected))
    };
    if unet.context.is_none() {
        return wrong("a model that reads text: the attention of others does not look at pictures");
    }
    let alone = unet.in_channels == model.latent.channels;
    match alone || (model.family.beside == Beside::Masked && model.condition.is_none()) {
        true => Ok(()),
        false => wrong("a model that is given the latent alone, or a mask beside it"),
    }
}

/// How much a picture's fidelity is in a pass: in A1111 none in the second one, and of SDXL its cube.
fn fidelity(asked: &Reference, model: &Model, second: bool) -> f64 {
    match asked.mode {
        ControlMode::Control => 1.0,
        ControlMode::Prompt => 0.0,
        _ if second => 0.0,
        _ if model.family.vector == VectorInput::Sizes => asked.fidelity.powi(3),
        _ => asked.fidelity,
    }
}

/// The latents of a pass's pictures.
#[derive(Debug, Clone)]
pub(crate) struct Latents {
    /// One for each of [`Request::reference`], `[1, channels, h, w]`.
    pub all: Vec<Tensor<4>>,
    /// A first pass has been before.
    pub second: bool,
}

impl Drawing<'_> {
    /// What shows the denoiser the pictures of a pass, where there are any.
    pub(crate) fn refer(
        &self,
        path: &NoisePath,
        referred: &Latents,
        noise: NoiseStreams,
    ) -> Option<Box<dyn Extension>> {
        let asked = self.request.reference.iter().zip(&referred.all);
        let pictures = asked.map(|(asked, latent)| Acting {
            latent: latent.clone(),
            span: Span::of(self.profile.control_span, [asked.start, asked.end], path),
            weight: asked.weight,
            fidelity: fidelity(asked, self.model, referred.second),
        });
        let pictures: Vec<Acting> = pictures.collect();
        (!pictures.is_empty()).then(|| {
            Box::new(Refer {
                path: path.clone(),
                pictures,
                freeu: self.freeu(),
                noise,
                drawn: None,
            }) as Box<dyn Extension>
        })
    }
}

/// A picture as it acts in a pass.
struct Acting {
    /// Its latent, `[1, channels, h, w]`.
    latent: Tensor<4>,
    /// The part of the run.
    span: Span,
    /// The share of blocks that look at it.
    weight: f64,
    /// How much the negative prompt is left as it is.
    fidelity: f64,
}

/// Shows the denoiser pictures before each of its calls.
struct Refer {
    path: NoisePath,
    pictures: Vec<Acting>,
    freeu: Option<FreeU>,
    noise: NoiseStreams,
    /// The number of the latest call, and its noise.
    drawn: Option<(usize, Tensor<4>)>,
}

impl Refer {
    fn noise(&mut self, call: usize) -> Tensor<4> {
        match &self.drawn {
            Some((known, noise)) if *known == call => noise.clone(),
            _ => {
                let [_, c, h, w] = self.pictures[0].latent.dims();
                let noise = self
                    .noise
                    .draw([c, h, w], &self.pictures[0].latent.device());
                self.drawn = Some((call, noise.clone()));
                noise
            }
        }
    }
}

/// Of what blocks were given, that of the share which looks at it: coarse ones first, those of one width in their order.
fn kept(mut remembered: Remembered, weight: f64) -> Remembered {
    let width = |block: &Option<Tensor<3>>| block.as_ref().map_or(0, |states| states.dims()[2]);
    let count = remembered.len().max(1);
    let mut order: Vec<usize> = (0..remembered.len()).collect();
    order.sort_by_key(|block| std::cmp::Reverse(width(&remembered[*block])));
    for (rank, block) in order.into_iter().enumerate() {
        if weight <= rank as f64 / count as f64 {
            remembered[block] = None;
        }
    }
    remembered
}

impl Extension for Refer {
    fn before(&mut self, call: &Call<'_>, input: &mut Input<'_>) -> Result<(), diffusion::Error> {
        // What is drawn does not depend on which pictures act.
        let noise = self.noise(call.at.call);
        let sigma = call.at.sigma;
        let [rows, channels, _, _] = input.x.dims();
        let mut all = Vec::new();
        for picture in &self.pictures {
            if picture.weight == 0.0 || !picture.span.contains(call.at) {
                continue;
            }
            let clean = picture.latent.clone().expand(noise.shape());
            let noised = self.path.add_noise(clean.clone(), noise.clone(), sigma);
            let mut x = noised * self.path.c_in(sigma);
            let [_, own, h, w] = x.dims();
            if channels > own {
                // A network for inpainting: nothing is hidden.
                let hole = Tensor::zeros([call.batch, channels - 2 * own, h, w], &x.device());
                x = Tensor::cat(vec![x, hole, clean], 1);
            }
            let remembered = call.network.run(Input {
                x: x.repeat_dim(0, rows / call.batch),
                t: input.t.clone(),
                given: input.given,
                alter: &Alter::Nothing,
                watch: false,
                states: None,
                extras: Extras {
                    freeu: self.freeu,
                    remember: true,
                    ..Extras::default()
                },
            });
            all.push(Looked {
                states: kept(remembered.remembered, picture.weight),
                fidelity: picture.fidelity,
            });
        }
        if all.is_empty() {
            return Ok(());
        }
        let alone = call.seen.iter().flat_map(|seen| {
            let negative = !matches!(seen.name.prompt, Prompt::Positive(_));
            std::iter::repeat_n(negative, call.batch)
        });
        input.extras.references = Some(References {
            all,
            alone: alone.collect(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn coarse_blocks_look_first() {
        let states = |width: usize| Some(Tensor::zeros([1, 2, width], &Device::flex()));
        let blocks = || vec![states(32), states(64), None, states(64), states(32)];
        let which = |weight: f64| -> Vec<bool> {
            let kept = kept(blocks(), weight);
            kept.iter().map(Option::is_some).collect()
        };
        assert_eq!(which(1.0), [true, true, false, true, true]);
        assert_eq!(which(0.5), [true, true, false, true, false]);
        assert_eq!(which(0.2), [false, true, false, false, false]);
        assert_eq!(which(0.0), [false; 5]);
    }
}
