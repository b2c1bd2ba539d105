//! What a model that looks at pictures is told of them: their embeddings, noised to the level that is asked for.
//!
//! The noise is each picture's own, of its seed. Several pictures are added up, each by its strength, and noised a second
//! time: ComfyUI's rule, since A1111 and diffusers take one. The negative prompt is beside zeros, and so is a prompt without
//! pictures.

use burn::tensor::Tensor;
use latent_diffusion::{NoiseStreams, PictureSeed};

use crate::canvas::Prepared;
use crate::draw::{Drawing, Start, reseeded};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::picture::Picture;
use crate::profile::Profile;
use crate::request::{ImagePrompt, Request};
use crate::resources::Resources;

/// The level of the second noise of several pictures, as a share of the highest.
const TOGETHER: f64 = 0.05;

/// A picture as the image encoder sees it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `[1, width]`.
    pub embedding: Tensor<2>,
    /// The factor on what is told of it.
    pub strength: f64,
}

/// The pictures of a request to look at, with the strength of each. `start` is the picture to start from, which some
/// profiles look at too.
///
/// # Errors
/// Pictures for a model that looks at none, or that cannot be read.
pub(crate) fn pictures(
    request: &Request,
    model: &Model,
    profile: &Profile,
    start: Option<&Prepared>,
    resources: &dyn Resources,
) -> Result<Vec<(Picture, f64)>> {
    if model.image_encoder.is_none() {
        return match request.condition.images.is_empty() {
            true => Ok(Vec::new()),
            false => Err(Error::field(
                "condition.images",
                "set",
                format!(
                    "nothing: this model ({}) has no image encoder to look at them with",
                    model.family.name
                ),
            )),
        };
    }
    if let (Some(start), true, true) = (
        start,
        profile.looks_at_start,
        request.condition.images.is_empty(),
    ) {
        return Ok(vec![(start.picture().clone(), 1.0)]);
    }
    let read = |given: &ImagePrompt| {
        let picture = resources.picture(&given.image)?;
        let picture = match profile.background {
            Some(background) => picture.flatten(background),
            None => picture.opaque(),
        };
        Ok((picture, given.strength))
    };
    request.condition.images.iter().map(read).collect()
}

impl Seen {
    /// What the model's image encoder makes of pictures.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub(crate) fn all(
        pictures: &[(Picture, f64)],
        model: &Model,
        profile: &Profile,
    ) -> Result<Vec<Self>> {
        let Some(encoder) = &model.image_encoder else {
            return Ok(Vec::new());
        };
        let look = |(picture, strength): &(Picture, f64)| {
            let embedding = encoder.embed(picture, profile.image_fit)?;
            Ok(Self {
                embedding,
                strength: *strength,
            })
        };
        pictures.iter().map(look).collect()
    }
}

impl Drawing<'_> {
    /// What the denoiser is told of the pictures that were looked at, for each picture of the batch: `[batch, width]`; `None`
    /// where there are none.
    ///
    /// # Errors
    /// Seeds that no noise can be drawn of.
    pub fn image_vector(
        &self,
        start: &Start<'_>,
        streams: &mut NoiseStreams,
        seeds: &[PictureSeed],
    ) -> Result<Option<Tensor<2>>> {
        let seen = start.hints.map_or(&[][..], |hints| &hints.seen);
        let (Some(augmentor), [first, ..]) = (&self.model.augmentor, seen) else {
            return Ok(None);
        };
        let mut own = match self.profile.image_noise {
            Some(by) => Some(reseeded(streams, seeds, by)?),
            None => None,
        };
        let streams = own.as_mut().unwrap_or(streams);
        let (batch, [_, width]) = (streams.pictures(), first.embedding.dims());
        let mut noise = || {
            let drawn = streams.draw([1, 1, width], &self.model.device);
            drawn.reshape([batch, width])
        };
        let level = self.request.condition.noise_level.unwrap_or(0) as usize;
        let drawn = noise();
        let told = seen.iter().map(|one| {
            augmentor.augment(one.embedding.clone(), drawn.clone(), level) * one.strength
        });
        let told = told.reduce(|sum, one| sum + one);
        if seen.len() == 1 {
            return Ok(told);
        }
        let level = (augmentor.highest() as f64 * TOGETHER).round_ties_even() as usize;
        let again = |told: Tensor<2>| augmentor.augment(told.narrow(1, 0, width), noise(), level);
        Ok(told.map(again))
    }
}
