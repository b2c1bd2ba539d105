//! A loaded model: the networks of one checkpoint with everything needed to run them.

pub(crate) mod adapted;
mod asked;
mod compressor;
mod controls;
mod encoders;
mod given;
mod images;
mod ip_adapters;
mod merged;
mod open;
mod part;
mod probe;
mod turns;

use burn::tensor::{Device, Tensor, TensorData};
use latent_checkpoint::{Role, SchedulerConfig};
use latent_diffusion::{BetaSchedule, NoiseSchedule, Prediction};
use latent_models::{
    ClipText, ClipTextConfig, ConditionerConfig, Denoiser, DenoiserConfig, Form, Interface,
    Moments, Padding, UNetConfig,
};
use latent_text::ClipTokenizer;

use crate::condition::Reader;
use crate::error::Result;
use crate::family::{Beside, Family, LatentFormat, Networks, STABLE_DIFFUSION_1, TextInput};
use crate::request::{Request, Size};
use crate::resources::Resources;

pub use adapted::{Adapted, AdapterUse, Calls, about, family_of, published};
pub use compressor::{Compressor, CompressorConfig};
pub use controls::{ControlModel, ControlNetwork, StyleModel};
pub use encoders::NetworkFiles;
pub use images::{ImageEncoder, ImageSettings, NoiseAugmentor};
pub use ip_adapters::IpModel;
pub use merged::{Merged, Other, merge};
pub use open::{ModelFiles, autoencoder_dtype};
pub use part::{Held, Net, Part, Source};
pub use probe::predicted;
pub use turns::Stage;

/// What a model is drawn with where a request leaves it open. `None`: the documented default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Of the picture.
    pub size: Size,
    /// 1 is none.
    pub guidance: Option<f64>,
    /// Sampling steps.
    pub steps: Option<usize>,
}

/// How far opening has come: which part, parameters read, parameters in all.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, usize, usize);

/// The networks of one checkpoint. Each is in memory, or is read when it is needed.
#[derive(Debug)]
pub struct Model {
    /// What is written into pictures as the model's name: the file name without its ending.
    pub name: String,
    /// The first ten hexadecimal digits of the file's SHA-256, where the caller has computed it.
    pub hash: Option<String>,
    /// The same two of a VAE that was opened on its own.
    pub vae: Option<(String, Option<String>)>,
    /// What is merged into its weights.
    pub adapters: Vec<Adapted>,
    /// The model that finishes what this one begins: its denoiser and its text encoders, and its autoencoder where that decodes.
    pub refiner: Option<Box<Self>>,
    /// What is to be said of the files that it was opened from.
    pub notes: Vec<String>,
    /// The family it belongs to.
    pub family: Family,
    /// Its latent: the family's, with the scale that the autoencoder's own configuration states.
    pub latent: LatentFormat,
    /// Mean and deviation of each latent channel, which are taken out before the scale; empty in most models.
    pub moments: Vec<(f64, f64)>,
    /// The denoiser.
    pub denoiser: Part<Denoiser>,
    /// What holds a drawing to pictures.
    pub controls: Vec<ControlModel>,
    /// What shows the denoiser pictures as prompts.
    pub ip_adapters: Vec<IpModel>,
    /// Pictures ↔ latents; `None` where the denoiser draws pixels.
    pub autoencoder: Option<Part<Compressor>>,
    /// Text → states, in the order in which they are joined; none in a model without text, or that reads text by its own
    /// [`condition`](Self::condition).
    pub texts: Vec<TextEncoder>,
    /// What looks at pictures, in a model that does (unCLIP).
    pub image_encoder: Option<ImageEncoder>,
    /// What noises their embeddings.
    pub augmentor: Option<NoiseAugmentor>,
    /// What reads the condition of a model that was trained here.
    pub condition: Option<Reader>,
    /// The guidance that the model's maker draws with.
    pub guidance: Option<f64>,
    /// The sampling steps that the model's maker draws with.
    pub steps: Option<usize>,
    /// Text → tokens.
    pub tokenizer: ClipTokenizer,
    /// The noise it was trained with.
    pub schedule: NoiseSchedule,
    /// The noise of the small picture that an upscaler is given, where its files state it; as the denoiser's where they do not.
    pub low_resolution: Option<NoiseSchedule>,
    /// How its publisher says it is sampled.
    pub scheduler: SchedulerConfig,
    /// What its output means.
    pub prediction: Prediction,
    /// Where it runs.
    pub device: Device,
    /// Only one stage's networks are in memory at a time.
    pub(crate) in_turn: bool,
}

/// A text encoder, and what the model takes of it.
#[derive(Debug)]
pub struct TextEncoder {
    /// What is taken.
    pub input: TextInput,
    /// The network.
    pub network: Part<ClipText>,
}

impl Model {
    /// A model of networks that are already loaded.
    ///
    /// # Errors
    /// A sentence that says why these networks and settings cannot be run together.
    pub fn new(
        denoiser: impl Into<Denoiser>,
        autoencoder: impl Into<Compressor>,
        texts: Vec<(Role, ClipText)>,
        scheduler: SchedulerConfig,
    ) -> Result<Self, String> {
        let denoiser: Denoiser = denoiser.into();
        let device = denoiser.device();
        let texts = texts.into_iter();
        let networks = Parts {
            device,
            denoiser: denoiser.into(),
            autoencoder: Some(autoencoder.into().into()),
            texts: texts.map(|(role, text)| (role, text.into())).collect(),
            condition: None,
        };
        Self::of(networks, scheduler)
    }

    fn of(parts: Parts, scheduler: SchedulerConfig) -> Result<Self, String> {
        let Parts {
            device,
            denoiser,
            autoencoder,
            texts,
            condition,
        } = parts;
        let settings = scheduler.trained_here();
        let compressor = autoencoder.as_ref().map(Part::config);
        let vae = compressor.and_then(CompressorConfig::whole);
        let family = match settings {
            None => {
                let networks = Networks {
                    unet: denoiser.config().unet(),
                    transformer: denoiser.config().transformer(),
                    autoencoder: vae,
                    texts: texts.iter().map(|(_, text)| text.config()).collect(),
                };
                let family = networks.family().map_err(|unknown| unknown.to_string())?;
                if let Some(reason) = family.undrawn {
                    return Err(format!("it is of the family {}: {reason}", family.name));
                }
                *family
            }
            Some(settings) => {
                let size = settings.get("size").and_then(serde_json::Value::as_u64);
                let size = size.map_or(64, |size| {
                    (size as usize).clamp(8, crate::request::MAX_SIDE)
                });
                let text = texts.first().map(|(_, text)| text.config());
                check_trained(denoiser.config(), text, condition.as_ref())?;
                Family::trained(&denoiser.config().interface(), vae, size)?
            }
        };
        let mut latent = family.latent;
        if let Some(compressor) = compressor {
            let (channels, downsample) = (compressor.channels(), compressor.downsampling());
            if (channels, downsample) != (latent.channels, latent.downsample) {
                return Err(format!(
                    "its latents have {} channels at 1/{} size, and those of the autoencoder {channels} at 1/{downsample}",
                    latent.channels, latent.downsample
                ));
            }
            if compressor.scales_itself() {
                (latent.scale, latent.shift) = (1.0, 0.0);
            }
        }
        let guidance = settings.and_then(|s| s.get("guidance")?.as_f64());
        let steps = settings.and_then(|s| s.get("steps")?.as_u64());
        let texts = texts.into_iter().map(|(role, network)| {
            let inputs = family.texts.iter();
            let input = inputs.clone().find(|input| input.role == role);
            let input = input.or(inputs.clone().next());
            TextEncoder {
                input: *input.unwrap_or(&STABLE_DIFFUSION_1.texts[0]),
                network,
            }
        });
        Ok(Self {
            name: String::new(),
            hash: None,
            vae: None,
            adapters: Vec::new(),
            refiner: None,
            controls: Vec::new(),
            ip_adapters: Vec::new(),
            notes: Vec::new(),
            latent,
            moments: Vec::new(),
            schedule: noise_schedule(&scheduler)?,
            prediction: prediction(&scheduler)?,
            denoiser,
            autoencoder,
            texts: texts.collect(),
            family,
            image_encoder: None,
            augmentor: None,
            low_resolution: None,
            condition,
            guidance: guidance.filter(|g| g.is_finite() && *g >= 0.0),
            steps: steps.map(|steps| steps.clamp(1, 1000) as usize),
            tokenizer: ClipTokenizer::new(),
            scheduler,
            device,
            in_turn: false,
        })
    }

    /// What is drawn where a request leaves it open: the size that the family draws best at, or that goes with a small
    /// picture; what the maker of a model that was trained here draws with; the few steps of a network that is told the
    /// guidance.
    ///
    /// # Errors
    /// A small picture (`upscale`) that cannot be read.
    pub fn defaults(&self, request: &Request, resources: &dyn Resources) -> Result<Defaults> {
        let factor = match self.conditioner() {
            Some(ConditionerConfig::LowResolution { factor }) => Some(*factor),
            _ => (self.family.beside == Beside::Small).then_some(self.latent.downsample),
        };
        let size = match (factor, &request.condition.upscale) {
            (Some(factor), Some(name)) => {
                let small = resources.picture(name)?.size();
                Size {
                    width: small.width.saturating_mul(factor),
                    height: small.height.saturating_mul(factor),
                }
            }
            _ => Size {
                width: self.family.size,
                height: self.family.size,
            },
        };
        let told = self.denoiser.config().interface().guidance.is_some();
        let own = self.scheduler.trained_here().is_some();
        Ok(Defaults {
            size,
            guidance: match (own, told) {
                (true, _) => Some(self.guidance.unwrap_or(1.0)),
                (false, true) => Some(8.5),
                (false, false) => None,
            },
            steps: self.steps.or(told.then_some(4)),
        })
    }

    /// What the denoiser is made of, for what acts inside of U-Nets alone.
    ///
    /// # Errors
    /// A denoiser that is none, as a sentence.
    pub(crate) fn unet(&self) -> Result<&UNetConfig, String> {
        let config = self.denoiser.config();
        config.unet().ok_or_else(|| {
            format!(
                "it acts inside of a U-Net, and the denoiser of the model ({}) is a {}: draw without it",
                self.family.name,
                config.name()
            )
        })
    }

    /// What the sides of pictures are multiples of while they are drawn.
    pub fn multiple(&self) -> usize {
        self.latent.downsample * self.denoiser.config().multiple()
    }

    /// The condition of a model that was trained here.
    pub fn conditioner(&self) -> Option<&ConditionerConfig> {
        self.condition.as_ref().map(Reader::config)
    }

    /// The distribution of a picture's latent, not scaled: `[batch, 3, height, width]` → `[batch, channels, …]`.
    ///
    /// # Errors
    /// An autoencoder whose weights cannot be read.
    pub(crate) fn encode(&self, image: Tensor<4>, padding: Padding) -> Result<Moments> {
        Ok(match self.compressor()? {
            Some(autoencoder) => {
                let autoencoder = Compressor::clone(&autoencoder);
                autoencoder.with_padding(padding).encode(image)
            }
            None => Moments {
                logvar: image.full_like(-30.0),
                mean: image,
            },
        })
    }

    /// The model with its networks packed for this machine's kernels, now or when they are read: faster, and no longer to be
    /// trained, saved or cast. They are packed for the size that its family draws best at, so that a picture does not
    /// depend on what the process draws besides; others run too. On a GPU nothing changes.
    pub fn packed(self, form: Form) -> Self {
        let latent = self.nominal_latent();
        let texts = self.texts.into_iter().map(|text| TextEncoder {
            network: text.network.packed(form, latent),
            ..text
        });
        Self {
            texts: texts.collect(),
            denoiser: self.denoiser.packed(form, latent),
            controls: self
                .controls
                .into_iter()
                .map(|control| control.packed(form, latent))
                .collect(),
            ip_adapters: self
                .ip_adapters
                .into_iter()
                .map(|ip| ip.packed(form, latent))
                .collect(),
            autoencoder: self.autoencoder.map(|a| a.packed(form, latent)),
            image_encoder: self.image_encoder.map(|e| e.packed(form, latent)),
            refiner: self.refiner.map(|refiner| Box::new(refiner.packed(form))),
            ..self
        }
    }

    /// Rows and columns of a latent of the size that the family draws best at.
    pub(crate) fn nominal_latent(&self) -> [usize; 2] {
        [self.family.size.div_ceil(self.latent.downsample.max(1)); 2]
    }

    /// What decodes a finished latent: the refiner where it has an autoencoder, or else this model.
    pub(crate) fn decoder(&self) -> &Self {
        let refiner = self.refiner.as_deref();
        let own = refiner.filter(|refiner| refiner.autoencoder.is_some());
        own.unwrap_or(self)
    }

    /// Whether the denoiser takes a mask and a masked picture beside the latent.
    pub fn inpaints(&self) -> bool {
        match self.conditioner() {
            Some(conditioner) => matches!(conditioner, ConditionerConfig::Inpainting { .. }),
            None => self.family.beside == Beside::Masked,
        }
    }

    /// The scaled latent of an encoded picture.
    pub(crate) fn scale_in(&self, encoded: Tensor<4>) -> Tensor<4> {
        let LatentFormat { scale, shift, .. } = self.latent;
        match self.spread_moments(&encoded) {
            Some([means, deviations]) => (encoded - means) * scale / deviations,
            None => (encoded - shift) * scale,
        }
    }

    /// What the decoder takes for a latent.
    pub(crate) fn scale_out(&self, latent: Tensor<4>) -> Tensor<4> {
        let LatentFormat { scale, shift, .. } = self.latent;
        match self.spread_moments(&latent) {
            Some([means, deviations]) => latent * deviations / scale + means,
            None => latent / scale + shift,
        }
    }

    /// Means and deviations of the channels in the shape of `like`, where the latent has them.
    fn spread_moments(&self, like: &Tensor<4>) -> Option<[Tensor<4>; 2]> {
        let moments = &self.moments;
        let spread = |value: fn(&(f64, f64)) -> f64| {
            let values: Vec<f32> = moments.iter().map(|m| value(m) as f32).collect();
            let data = TensorData::new(values, [1, moments.len(), 1, 1]);
            Tensor::<4>::from_data(data, &like.device()).expand(like.shape())
        };
        (!moments.is_empty()).then(|| [spread(|m| m.0), spread(|m| m.1)])
    }
}

/// Networks of one model.
struct Parts {
    device: Device,
    denoiser: Part<Denoiser>,
    autoencoder: Option<Part<Compressor>>,
    texts: Vec<(Role, Part<ClipText>)>,
    condition: Option<Reader>,
}

/// Whether the denoiser of a model that was trained here takes what the others give.
fn check_trained(
    denoiser: &DenoiserConfig,
    text: Option<&ClipTextConfig>,
    condition: Option<&Reader>,
) -> Result<(), String> {
    if let Some(reader) = condition {
        let text = text.map(|text| text.width);
        return match reader.config() {
            ConditionerConfig::FrozenText { width, .. } if text != Some(*width) => Err(format!(
                "its condition is text states of width {width}, and its text encoder gives {text:?}"
            )),
            config => config.validate(denoiser).map_err(|e| e.to_string()),
        };
    }
    let Interface { context, .. } = denoiser.interface();
    match text.map(|text| text.width) {
        width if width != context => Err(format!(
            "its denoiser looks at tokens of width {context:?}, and its text encoder gives {width:?}"
        )),
        _ => Ok(()),
    }
}

/// What the network's output means: diffusers' classes for EDM's forms say ε and v of these.
fn prediction(scheduler: &SchedulerConfig) -> Result<Prediction, String> {
    let stated: Prediction = scheduler
        .prediction_type
        .parse()
        .map_err(|e| format!("{e}"))?;
    let edm = scheduler.class_name.starts_with("EDM");
    Ok(match (edm, stated) {
        (true, Prediction::Epsilon) => Prediction::Edm,
        (true, Prediction::V) => Prediction::EdmV,
        (_, stated) => stated,
    })
}

fn noise_schedule(config: &SchedulerConfig) -> Result<NoiseSchedule, String> {
    let beta = match config.beta_schedule.as_str() {
        "linear" => BetaSchedule::Linear,
        "scaled_linear" => BetaSchedule::ScaledLinear,
        "squaredcos_cap_v2" => BetaSchedule::Cosine,
        "sigmoid" => BetaSchedule::Sigmoid,
        other => {
            return Err(format!(
                "the β schedule `{other}` is not supported; linear, scaled_linear, squaredcos_cap_v2 and sigmoid are"
            ));
        }
    };
    NoiseSchedule::new(
        beta,
        config.beta_start,
        config.beta_end,
        config.num_train_timesteps,
        config.rescale_betas_zero_snr,
    )
    .map_err(|e| format!("the noise schedule of scheduler_config.json: {e}"))
}
