//! The frozen first stage: pictures to latents and back.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use image::RgbImage;
use latent_checkpoint::{Checkpoint, LoadOptions, Part, PartConfig};
use latent_models::{Autoencoder, Moments};

use super::cache::{Cache, hash, hash_of};
use crate::Error;
use crate::pictures::picture as tensor_of;

/// What turns pictures into the latents that the denoiser learns, and does not learn itself.
#[derive(Debug)]
pub struct FirstStage {
    /// `None`: pixels are the latents.
    autoencoder: Option<(Autoencoder, String)>,
    /// A latent is this many times what the encoder gives.
    scale: f64,
    cache: Option<Cache>,
    device: Device,
}

impl FirstStage {
    /// None: the denoiser learns pixels.
    pub fn pixels(device: &Device) -> Self {
        Self {
            autoencoder: None,
            scale: 1.0,
            cache: None,
            device: device.clone(),
        }
    }

    /// That autoencoder, f32, on a device that records no gradients.
    ///
    /// # Errors
    /// A scale that is not a number above 0.
    pub fn new(autoencoder: Autoencoder, scale: f64, device: &Device) -> Result<Self, Error> {
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::setting("model.scale", scale, "a number above 0"));
        }
        let hash = hash_of(&autoencoder);
        Ok(Self {
            autoencoder: Some((autoencoder, hash)),
            scale,
            cache: None,
            device: device.clone(),
        })
    }

    /// The autoencoder of a checkpoint, with the scale that it states or `scale`.
    ///
    /// # Errors
    /// A checkpoint without autoencoder, or no scale at all.
    pub fn open(path: &Path, scale: Option<f64>, device: &Device) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(path)?;
        let stated = match &checkpoint.part(Part::Autoencoder)?.config {
            PartConfig::Autoencoder { scale, .. } => *scale,
            _ => None,
        };
        let Some(scale) = scale.or(stated) else {
            let expected = "the factor that brings latents to unit variance: the autoencoder does not state it";
            return Err(Error::setting("model.scale", "nothing", expected));
        };
        let options = LoadOptions::new(device.clone(), DType::F32);
        let (autoencoder, _) = checkpoint.load_autoencoder(&options, &mut |_, _| {})?;
        Self::new(autoencoder, scale, device)
    }

    /// With encoded pictures kept in a folder.
    pub fn cached(self, folder: &Path) -> Self {
        Self {
            cache: Some(Cache::new(folder.join("latents"))),
            ..self
        }
    }

    /// Its autoencoder.
    pub fn autoencoder(&self) -> Option<&Autoencoder> {
        self.autoencoder.as_ref().map(|(network, _)| network)
    }

    /// The factor on what the encoder gives.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Channels of a latent.
    pub fn channels(&self) -> usize {
        self.autoencoder().map_or(3, |a| a.config().latent_channels)
    }

    /// Pixels along a side of a latent's pixel.
    pub fn downsampling(&self) -> usize {
        self.autoencoder().map_or(1, |a| a.config().downsampling())
    }

    /// Mean and logarithm of the variance of each picture's latent, times the scale.
    ///
    /// # Errors
    /// Pictures of different sizes, or of a size that does not halve often enough; a cache that cannot be written.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height / downsampling, width / downsampling]`
    pub fn encode(&self, pictures: &[(&str, &RgbImage)]) -> Result<Moments, Error> {
        let first = pictures
            .first()
            .map(|(_, p)| p.dimensions())
            .unwrap_or_default();
        let by = self.downsampling() as u32;
        for (id, picture) in pictures {
            let (width, height) = picture.dimensions();
            let problem = if (width, height) != first {
                format!(
                    "{width}×{height} beside {}×{}: a batch has pictures of one size; set `data.size`",
                    first.0, first.1
                )
            } else if width % by != 0 || height % by != 0 || width * height == 0 {
                format!(
                    "{width}×{height}: both must be multiples of {by}, the factor of the first stage"
                )
            } else {
                continue;
            };
            return Err(Error::Example {
                id: (*id).to_owned(),
                problem,
            });
        }
        let encoded = pictures.iter().map(|(_, picture)| self.encode_one(picture));
        let (means, logvars): (Vec<_>, Vec<_>) =
            encoded.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        Ok(Moments {
            mean: Tensor::cat(means, 0),
            logvar: Tensor::cat(logvars, 0),
        })
    }

    fn encode_one(&self, picture: &RgbImage) -> Result<(Tensor<4>, Tensor<4>), Error> {
        let Some((autoencoder, network)) = &self.autoencoder else {
            let x = tensor_of(picture, &self.device);
            let logvar = x.full_like(-30.0);
            return Ok((x, logvar));
        };
        let (width, height) = picture.dimensions();
        let by = self.downsampling();
        let shape = [
            1,
            self.channels(),
            height as usize / by,
            width as usize / by,
        ];
        let count: usize = shape.iter().product();
        // The picture as it is encoded: crop and flip are in its pixels.
        let key = hash(&[network.as_bytes(), &width.to_le_bytes(), picture.as_raw()]);
        let known = self
            .cache
            .as_ref()
            .and_then(|cache| cache.get(&key, 2 * count));
        let numbers = match known {
            Some(numbers) => numbers,
            None => {
                let Moments { mean, logvar } = autoencoder.encode(tensor_of(picture, &self.device));
                let both = [mean, logvar].map(|x| x.into_data().iter::<f32>().collect::<Vec<_>>());
                let numbers = both.concat();
                if let Some(cache) = &self.cache {
                    cache.put(&key, &numbers)?;
                }
                numbers
            }
        };
        let tensor = |numbers: &[f32]| {
            Tensor::<4>::from_data(TensorData::new(numbers.to_vec(), shape), &self.device)
        };
        let (mean, logvar) = numbers.split_at(count);
        let logvar = tensor(logvar) + 2.0 * self.scale.ln();
        Ok((tensor(mean) * self.scale, logvar))
    }

    /// The pictures of latents, about −1..=1.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height, width]` → `[batch, 3, height · downsampling, width · downsampling]`
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        match self.autoencoder() {
            Some(autoencoder) => autoencoder.decode(latents / self.scale),
            None => latents,
        }
    }
}
