//! What looks at pictures: CLIP's image encoder, and the noise that its embeddings get (Ramesh et al., "Hierarchical
//! text-conditional image generation with CLIP latents", 2204.06125; Stable Diffusion 2.1 unCLIP).

use burn::tensor::{Device, Tensor, TensorData};
use latent_checkpoint::{Checkpoint, SchedulerConfig};
use latent_diffusion::NoiseSchedule;
use latent_models::clip::Sees;
use latent_models::unet::timestep_sinusoid;
use latent_models::{ClipVision, EmbeddingNormalizer, Form};
use serde_json::{Value, json};

use super::{Model, Part, noise_schedule};
use crate::error::Result;
use crate::picture::Picture;
use crate::picture::resize::Filter;
use crate::request::{ResizeMode, Size};

/// Settings of an image encoder beside its weights. The default is what CLIP and unCLIP were trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSettings {
    /// Mean of red, green and blue, in 0..=1.
    pub mean: [f64; 3],
    /// Their deviation.
    pub std: [f64; 3],
    /// The noise of embeddings.
    pub noising: SchedulerConfig,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            mean: [0.48145466, 0.4578275, 0.40821073],
            std: [0.26862954, 0.26130258, 0.27577711],
            noising: SchedulerConfig {
                beta_schedule: "squaredcos_cap_v2".into(),
                ..SchedulerConfig::default()
            },
        }
    }
}

impl ImageSettings {
    /// Those of a checkpoint's `feature_extractor` and `image_noising_scheduler`, for an encoder of pictures of `side`
    /// pixels; the default where it has none.
    pub(super) fn of(checkpoint: &Checkpoint, side: usize) -> Result<Self, String> {
        let mut settings = Self::default();
        if let Some(noising) = noising(checkpoint, "image_noising_scheduler")? {
            settings.noising = noising;
        }
        let what = "feature_extractor/preprocessor_config.json";
        let Some(value) = read(checkpoint, "feature_extractor", "preprocessor_config.json")? else {
            return Ok(settings);
        };
        for (key, target) in [
            ("image_mean", &mut settings.mean),
            ("image_std", &mut settings.std),
        ] {
            if let Some(stated) = value.get(key) {
                let read: Option<[f64; 3]> = serde_json::from_value(stated.clone()).ok();
                let sound = read.filter(|v| v.iter().all(|v| v.is_finite() && *v > 0.0));
                *target = sound.ok_or_else(|| {
                    format!("{what}: `{key}` is {stated}; expected three numbers above 0")
                })?;
            }
        }
        // Of everything else there is one value in published models.
        let crop = json!({"height": side, "width": side});
        for (key, known) in [
            ("do_resize", vec![json!(true)]),
            ("do_center_crop", vec![json!(true)]),
            ("do_rescale", vec![json!(true)]),
            ("do_normalize", vec![json!(true)]),
            ("resample", vec![json!(3)]),
            ("size", vec![json!({"shortest_edge": side}), json!(side)]),
            ("crop_size", vec![crop, json!(side)]),
        ] {
            if let Some(stated) = value.get(key).filter(|stated| !known.contains(stated)) {
                let expected = &known[0];
                return Err(format!("{what}: `{key}` is {stated}; expected {expected}"));
            }
        }
        Ok(settings)
    }
}

/// A settings file of a component without weights, where the checkpoint has it.
fn read(checkpoint: &Checkpoint, component: &str, file: &str) -> Result<Option<Value>, String> {
    let bytes = checkpoint.component(component, file);
    let value = bytes.map(serde_json::from_slice::<Value>).transpose();
    value.map_err(|e| format!("{component}/{file}: {e}"))
}

/// The noise that the scheduler called `component` adds, where the checkpoint has it.
///
/// # Errors
/// Settings that cannot be used, as a sentence.
pub(super) fn noising(
    checkpoint: &Checkpoint,
    component: &str,
) -> Result<Option<SchedulerConfig>, String> {
    let value = read(checkpoint, component, "scheduler_config.json")?;
    let config = value.as_ref().map(SchedulerConfig::from_json).transpose();
    config.map_err(|e| format!("{component}: {e}"))
}

/// An image encoder, and what it is given.
#[derive(Debug)]
pub struct ImageEncoder {
    network: Part<ClipVision>,
    device: Device,
    mean: [f64; 3],
    std: [f64; 3],
}

impl ImageEncoder {
    /// With the settings that CLIP was trained with.
    pub(super) fn new(network: Part<ClipVision>, device: &Device) -> Self {
        let ImageSettings { mean, std, .. } = ImageSettings::default();
        Self {
            network,
            device: device.clone(),
            mean,
            std,
        }
    }

    /// What is seen of the middle of a picture: its embedding, `[1, 1, width]`, or states, `[1, 1 + patches, width]`; f32.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn seen(&self, picture: &Picture, sees: Sees) -> Result<Tensor<3>> {
        let network = self.network.get()?;
        let pixels = self.pixels(picture, ResizeMode::Crop);
        Ok(network.seen(pixels, sees))
    }

    /// The same of a picture whose numbers are all 0 as the network takes them.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn seen_of_zeros(&self, sees: Sees) -> Result<Tensor<3>> {
        let side = self.network.config().image;
        let zeros = Tensor::zeros([1, 3, side, side], &self.device);
        Ok(self.network.get()?.seen(zeros, sees))
    }

    /// Its network.
    pub fn network(&self) -> &Part<ClipVision> {
        &self.network
    }

    pub(super) fn packed(self, form: Form, latent: [usize; 2]) -> Self {
        Self {
            network: self.network.packed(form, latent),
            ..self
        }
    }

    /// A picture as the network takes it: fitted to its square with Pillow's bicubic filter, each colour less its mean and
    /// divided by its deviation. `[1, 3, side, side]`, f32
    pub fn pixels(&self, picture: &Picture, fit: ResizeMode) -> Tensor<4> {
        let side = self.network.config().image;
        let size = Size {
            width: side,
            height: side,
        };
        let picture = picture.fit(size, fit, Filter::Bicubic);
        let values = (0..3).flat_map(|colour| {
            let (mean, std) = (self.mean[colour], self.std[colour]);
            let bytes = picture.rgb().iter().skip(colour).step_by(3);
            bytes.map(move |byte| ((f64::from(*byte) / 255.0 - mean) / std) as f32)
        });
        let data = TensorData::new(values.collect::<Vec<_>>(), [1, 3, side, side]);
        Tensor::from_data(data, &self.device)
    }

    /// The embedding of a picture: `[1, width]`, f32.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn embed(&self, picture: &Picture, fit: ResizeMode) -> Result<Tensor<2>> {
        let network = self.network.get()?;
        Ok(network.forward(self.pixels(picture, fit)))
    }
}

/// Noise on embeddings, of a level that the denoiser is told.
#[derive(Debug)]
pub struct NoiseAugmentor {
    normalizer: EmbeddingNormalizer,
    schedule: NoiseSchedule,
}

impl NoiseAugmentor {
    /// The highest level.
    pub fn highest(&self) -> usize {
        self.schedule.alphas_cumprod().len().saturating_sub(1)
    }

    /// Embeddings with noise of that level, then the sinusoid of the level, as wide: √ᾱ·e + √(1 − ᾱ)·n of normalised
    /// embeddings. A level above the highest counts as the highest.
    ///
    /// # Shapes
    /// embedding `[1 or batch, width]`, noise of unit variance `[batch, width]` → `[batch, 2 · width]`
    pub fn augment(&self, embedding: Tensor<2>, noise: Tensor<2>, level: usize) -> Tensor<2> {
        let [batch, width] = noise.dims();
        let level = level.min(self.highest());
        let alpha = self.schedule.alphas_cumprod()[level];
        let clean = self.normalizer.normalized(embedding);
        let noised = clean.expand([batch, width]) * alpha.sqrt() + noise * (1.0 - alpha).sqrt();
        let noised = self.normalizer.restored(noised);
        let levels = Tensor::full([batch], level as f64, &noised.device());
        Tensor::cat(vec![noised, timestep_sinusoid(levels, width)], 1)
    }
}

impl Model {
    /// The model with what looks at pictures.
    ///
    /// # Errors
    /// A sentence that says why these networks do not fit the denoiser.
    pub fn with_image_encoder(
        self,
        network: impl Into<Part<ClipVision>>,
        normalizer: EmbeddingNormalizer,
        settings: &ImageSettings,
    ) -> Result<Self, String> {
        let network = network.into();
        let (encoder, [_, statistics]) =
            (network.config().projection, normalizer.mean.val().dims());
        let told = self
            .denoiser
            .config()
            .interface()
            .labels
            .width()
            .unwrap_or(0);
        if encoder != statistics || 2 * encoder != told {
            return Err(format!(
                "its image encoder gives {encoder} numbers, their statistics are of {statistics}, and its denoiser takes an \
                 embedding and its noise level of {told} together"
            ));
        }
        Ok(Self {
            image_encoder: Some(ImageEncoder {
                network,
                device: self.device.clone(),
                mean: settings.mean,
                std: settings.std,
            }),
            augmentor: Some(NoiseAugmentor {
                normalizer,
                schedule: noise_schedule(&settings.noising)?,
            }),
            ..self
        })
    }
}
