//! Latents to pixels.

use burn::tensor::Tensor;

use crate::draw::padding;
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::model::{Compressor, Model};
use crate::picture::Picture;
use crate::profile::Profile;
use crate::request::Request;

/// How the decoder is run: the memory plan's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoding {
    /// Level by level, whole.
    Whole,
    /// In strips of this many rows: the same picture in less memory.
    Strips(usize),
}

impl Decoding {
    /// The values of one latent's picture, `[1, 3, height, width]`, about −1..1.
    ///
    /// # Errors
    /// A decoder whose weights cannot be read; a job that is dropped between two levels of strips.
    pub fn pixels(
        self,
        model: &Model,
        request: &Request,
        latent: Tensor<4>,
        hooks: &mut dyn Hooks,
    ) -> Result<Tensor<4>> {
        let z = model.scale_out(latent);
        let Some(autoencoder) = model.compressor()? else {
            return Ok(z);
        };
        let autoencoder = Compressor::clone(&autoencoder).with_padding(padding(request.tiling));
        match self {
            Self::Whole => Ok(autoencoder.decode(z)),
            Self::Strips(rows) => {
                let pixels = autoencoder.decode_in_strips(z, rows, &mut || !hooks.dropped());
                pixels.ok_or(Error::Dropped)
            }
        }
    }

    /// One latent's picture, with the profile's rounding.
    ///
    /// # Errors
    /// [`Error::NotFinite`] where the decoder overflowed; and as [`pixels`](Self::pixels)'.
    pub fn picture(
        self,
        model: &Model,
        request: &Request,
        profile: &Profile,
        latent: Tensor<4>,
        hooks: &mut dyn Hooks,
    ) -> Result<Picture> {
        let pixels = self.pixels(model, request, latent, hooks)?;
        let [_, _, height, width] = pixels.dims();
        let values: Vec<f32> = pixels.into_data().convert::<f32>().iter::<f32>().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::NotFinite {
                stage: "picture",
                hint: ": the decoder overflowed; try --dtype f32 or another --vae",
            });
        }
        Picture::from_planes(width, height, &values, profile.nearest_bytes)
            .ok_or_else(|| Error::field("width", width, "a decoder of three channels"))
    }
}
