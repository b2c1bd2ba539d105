//! The frozen first stage: pictures to latents and back.

use std::path::Path;
use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use image::RgbImage;
use latent_checkpoint::{Checkpoint, Kind, LoadOptions, Role, StoredAutoencoder};
use latent_models::{Autoencoder, Moments, cast};

use super::cache::{Cache, hash, hash_of, known_or_made};
use crate::Error;
use crate::pictures::stack;

/// What turns pictures into the latents that the denoiser learns, and does not learn itself.
#[derive(Debug)]
pub struct FirstStage {
    /// `None`: pixels are the latents.
    autoencoder: Option<Autoencoder>,
    /// What encodes, the autoencoder, perhaps in a smaller type; and its hash, once a cache needs it.
    encoder: Option<(Autoencoder, OnceLock<String>)>,
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
            encoder: None,
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
        Ok(Self {
            encoder: Some((autoencoder.clone(), OnceLock::new())),
            autoencoder: Some(autoencoder),
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
        let stored = StoredAutoencoder::of(&checkpoint.part(Role::AUTOENCODER)?.config);
        let stated = stored.and_then(|stored| stored.scale);
        let Some(scale) = scale.or(stated) else {
            let expected = "the factor that brings latents to unit variance: the autoencoder does not state it";
            return Err(Error::setting("model.scale", "nothing", expected));
        };
        let options = LoadOptions::new(device.clone(), DType::F32);
        let (autoencoder, _) =
            checkpoint.load::<StoredAutoencoder>(Role::AUTOENCODER, &options, &mut |_, _| {})?;
        Self::new(autoencoder, scale, device)
    }

    /// With encoded pictures kept in a folder.
    pub fn cached(self, folder: &Path) -> Self {
        Self {
            cache: Some(Cache::new(folder.join("latents"))),
            ..self
        }
    }

    /// Encoding by weights and activations of that type: half the time in bf16, a hundredth of the latents' deviation away.
    pub fn encoding_in(self, dtype: DType) -> Self {
        let network = self.autoencoder.clone();
        let encoder = network.map(|network| (cast(network, dtype), OnceLock::new()));
        Self { encoder, ..self }
    }

    /// Its autoencoder.
    pub fn autoencoder(&self) -> Option<&Autoencoder> {
        self.autoencoder.as_ref()
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

    /// Mean and logarithm of the variance of each picture's latent, times the scale. `keep` says which pictures come again:
    /// where there is a cache, theirs are kept, and no others, or the cache would grow with every step.
    ///
    /// # Errors
    /// Pictures of different sizes, or of a size that does not halve often enough; a cache that cannot be written.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height / downsampling, width / downsampling]`
    pub fn encode(&self, pictures: &[(&str, &RgbImage)], keep: &[bool]) -> Result<Moments, Error> {
        self.fits(pictures)?;
        let (Some((network, its_hash)), Some(cache), Some((_, first))) =
            (&self.encoder, &self.cache, pictures.first())
        else {
            let pictures: Vec<&RgbImage> = pictures.iter().map(|(_, picture)| *picture).collect();
            return Ok(self.scaled(self.moments(&pictures)));
        };
        let [channels, height, width] = self.shape(first);
        let pictures: Vec<&RgbImage> = pictures.iter().map(|(_, picture)| *picture).collect();
        // The picture as it is encoded: crop and flip are in its pixels.
        let network = its_hash.get_or_init(|| hash_of(network)).as_bytes();
        let key = |p: &&RgbImage| hash(&[network, &p.width().to_le_bytes(), p.as_raw()]);
        let keys: Vec<String> = pictures.iter().map(key).collect();
        let count = channels * height * width;
        let made = |missing: &[usize]| {
            let new: Vec<&RgbImage> = missing.iter().map(|&i| pictures[i]).collect();
            let Moments { mean, logvar } = self.moments(&new);
            let both = Tensor::cat(vec![mean, logvar], 1).into_data();
            let both: Vec<f32> = both.iter::<f32>().collect();
            both.chunks_exact(2 * count).map(<[f32]>::to_vec).collect()
        };
        let get = |key: &str| cache.get(key, 2 * count);
        let put = |key: &str, numbers: &Vec<f32>| cache.put(key, numbers);
        let numbers = known_or_made(&keys, keep, get, made, put)?.concat();
        let shape = [keys.len(), 2 * channels, height, width];
        let both = Tensor::<4>::from_data(TensorData::new(numbers, shape), &self.device);
        Ok(self.scaled(Moments {
            mean: both.clone().narrow(1, 0, channels),
            logvar: both.narrow(1, channels, channels),
        }))
    }

    /// # Errors
    /// Pictures of different sizes, or of a size that does not halve often enough.
    fn fits(&self, pictures: &[(&str, &RgbImage)]) -> Result<(), Error> {
        let first = pictures.first().map(|(_, p)| p.dimensions());
        let first = first.unwrap_or_default();
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
        Ok(())
    }

    /// Channels, height and width of a picture's latent.
    fn shape(&self, picture: &RgbImage) -> [usize; 3] {
        let by = self.downsampling();
        let side = |pixels: u32| pixels as usize / by;
        [
            self.channels(),
            side(picture.height()),
            side(picture.width()),
        ]
    }

    /// What the encoder gives.
    fn moments(&self, pictures: &[&RgbImage]) -> Moments {
        let x = stack(pictures, &self.device);
        match &self.encoder {
            Some((encoder, _)) => encoder.encode(x),
            None => Moments {
                logvar: x.full_like(-30.0),
                mean: x,
            },
        }
    }

    fn scaled(&self, Moments { mean, logvar }: Moments) -> Moments {
        if self.autoencoder.is_none() {
            return Moments { mean, logvar };
        }
        Moments {
            mean: mean * self.scale,
            logvar: logvar + 2.0 * self.scale.ln(),
        }
    }

    /// What its decoder's first levels make of latents, coarsest first: see [`Autoencoder::levels`]. Computed in the type of
    /// the encoder, on the device of the latents.
    ///
    /// # Panics
    /// Where pixels are the latents.
    pub(super) fn levels(&self, latents: Tensor<4>, count: usize) -> Vec<Tensor<4>> {
        let (network, _) = self.encoder.as_ref().expect("an autoencoder");
        let device = latents.device().inner();
        let moved = (device != self.device).then(|| network.clone().to_device(&device));
        let network = moved.as_ref().unwrap_or(network);
        network.levels(latents / self.scale, count)
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
