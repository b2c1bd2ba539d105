//! A loaded model: the networks of one checkpoint with everything needed to run them.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use latent_checkpoint::{
    Checkpoint, Files, LoadOptions, Part, PartConfig, Report, SchedulerConfig,
};
use latent_diffusion::{BetaSchedule, NoiseSchedule, Prediction};
use latent_models::{
    Autoencoder, ClipText, ConditionerConfig, Form, Moments, Padding, UNet, UNetConfig,
};
use latent_text::{Chunk, ClipTokenizer, Dialect, Pad, WeightRule};

use crate::condition::Reader;
use crate::error::{Error, Result};
use crate::family::{Family, LatentFormat};
use crate::picture::Picture;
use crate::request::{Request, Size};

/// The files a model is opened from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFiles {
    /// A single file or a diffusers folder.
    pub model: PathBuf,
    /// Where `model` is; the others are on disk.
    pub built_in: Files,
    /// An autoencoder to use instead of the model's own.
    pub vae: Option<PathBuf>,
    /// A text encoder to use instead of the model's own.
    pub text_encoder: Option<PathBuf>,
}

impl From<PathBuf> for ModelFiles {
    fn from(model: PathBuf) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }
}

/// What a model that was trained here is drawn with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// Of the picture.
    pub size: Size,
    /// 1 is none.
    pub guidance: f64,
    /// Sampling steps.
    pub steps: Option<usize>,
}

/// How far opening has come: which part, parameters read, parameters in all.
pub type Progress<'a> = &'a mut dyn FnMut(&'static str, usize, usize);

/// The networks of one checkpoint, ready to run.
#[derive(Debug)]
pub struct Model {
    /// What is written into pictures as the model's name: the file name without its ending.
    pub name: String,
    /// The first ten hexadecimal digits of the file's SHA-256, where the caller has computed it.
    pub hash: Option<String>,
    /// The same two of a VAE that was opened on its own.
    pub vae: Option<(String, Option<String>)>,
    /// The family it belongs to.
    pub family: Family,
    /// Its latent: the family's, with the scale that the autoencoder's own configuration states.
    pub latent: LatentFormat,
    /// The denoiser.
    pub unet: UNet,
    /// Pictures ↔ latents; `None` where the denoiser draws pixels.
    pub autoencoder: Option<Autoencoder>,
    /// Text → states; `None` in a model without text, or that reads text by its own [`condition`](Self::condition).
    pub text: Option<ClipText>,
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
    /// How its publisher says it is sampled.
    pub scheduler: SchedulerConfig,
    /// What its output means.
    pub prediction: Prediction,
    /// Where it runs.
    pub device: Device,
}

/// The type the autoencoder runs in beside networks of `dtype`: f16 overflows in its decoder, so it keeps f32 there.
pub fn autoencoder_dtype(dtype: DType) -> DType {
    if dtype == DType::F16 {
        DType::F32
    } else {
        dtype
    }
}

impl Model {
    /// Opens a checkpoint and loads its networks to `device` as `dtype` (F32, F16 or BF16).
    ///
    /// # Errors
    /// Files that cannot be read, that do not hold a whole model, or that no [`Family`] of this version fits; a `dtype`
    /// that the device cannot compute in.
    pub fn open(
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
        progress: Progress<'_>,
    ) -> Result<(Self, Vec<Report>)> {
        if !device.supports_dtype(dtype) {
            return Err(Error::field(
                "dtype",
                dtype.name(),
                "this device cannot compute in it; take another, f32 is always there",
            ));
        }
        let main = match files.built_in {
            Files::Disk => Checkpoint::open(&files.model)?,
            memory => Checkpoint::open_in(memory, &files.model)?,
        };
        let other = |path: &Option<PathBuf>| path.as_ref().map(Checkpoint::open).transpose();
        let (vae, text_encoder) = (other(&files.vae)?, other(&files.text_encoder)?);
        let vae_from = vae.as_ref().unwrap_or(&main);
        let text_from = text_encoder.as_ref().unwrap_or(&main);

        let options = LoadOptions::new(device.clone(), dtype);
        let vae_options = LoadOptions::new(device.clone(), autoencoder_dtype(dtype));
        // A model that was trained here says so, and may do without some networks.
        let trained = main.scheduler().trained_here().cloned();
        let has = |from: &Checkpoint, part| {
            trained.is_none() || from.parts().iter().any(|found| found.part == part)
        };
        let (mut text, mut autoencoder, mut condition) = (None, None, None);
        let mut reports = Vec::new();
        if has(text_from, Part::TextEncoder) {
            let (network, report) = text_from.load_text_encoder(&options, &mut |done, all| {
                progress("text encoder", done, all)
            })?;
            text = Some(network);
            reports.push(report);
        }
        let (unet, report) =
            main.load_unet(&options, &mut |done, all| progress("U-Net", done, all))?;
        reports.push(report);
        let mut scale = (None, None);
        if has(vae_from, Part::Autoencoder) {
            if let PartConfig::Autoencoder {
                scale: s, shift, ..
            } = &vae_from.part(Part::Autoencoder)?.config
            {
                scale = (*s, *shift);
            }
            let (network, report) = vae_from.load_autoencoder(&vae_options, &mut |done, all| {
                progress("autoencoder", done, all)
            })?;
            autoencoder = Some(network);
            reports.push(report);
        }
        if trained.is_some() && has(&main, Part::Conditioner) {
            // Small, and its tables of words overflow nothing: in f32 whatever the others run in.
            let options = LoadOptions::new(device.clone(), DType::F32);
            let (network, report) = main.load_conditioner(&options, &mut |done, all| {
                progress("conditioner", done, all)
            })?;
            let folder = files.model.join("conditioner");
            condition = Some(Reader::open(network, main.files(), &folder, device)?);
            reports.push(report);
        }
        let networks = Networks {
            unet,
            autoencoder,
            text,
            condition,
        };
        let model = Self::of(networks, main.scheduler().clone());
        let mut model = model.map_err(|reason| Error::Model {
            path: files.model.clone(),
            reason,
        })?;
        model.latent.scale = scale.0.unwrap_or(model.latent.scale);
        model.latent.shift = scale.1.unwrap_or(model.latent.shift);
        model.name = stem(&files.model);
        model.vae = files.vae.as_deref().map(|path| (stem(path), None));
        Ok((model, reports))
    }

    /// A model of networks that are already loaded.
    ///
    /// # Errors
    /// A sentence that says why these networks and settings cannot be run together.
    pub fn new(
        unet: UNet,
        autoencoder: Autoencoder,
        text: ClipText,
        scheduler: SchedulerConfig,
    ) -> Result<Self, String> {
        let networks = Networks {
            unet,
            autoencoder: Some(autoencoder),
            text: Some(text),
            condition: None,
        };
        Self::of(networks, scheduler)
    }

    fn of(networks: Networks, scheduler: SchedulerConfig) -> Result<Self, String> {
        let Networks {
            unet,
            autoencoder,
            text,
            condition,
        } = networks;
        let settings = scheduler.trained_here();
        let vae = autoencoder.as_ref().map(Autoencoder::config);
        let family = match (settings, vae, &text) {
            (None, Some(vae), Some(text)) => Family::of(unet.config(), vae, text.config())?,
            _ => {
                let size = settings.and_then(|s| s.get("size")?.as_u64());
                let size = size.map_or(64, |size| {
                    (size as usize).clamp(8, crate::request::MAX_SIDE)
                });
                check_trained(unet.config(), text.as_ref(), condition.as_ref())?;
                Family::trained(unet.config(), vae, size)?
            }
        };
        let guidance = settings.and_then(|s| s.get("guidance")?.as_f64());
        let steps = settings.and_then(|s| s.get("steps")?.as_u64());
        let device = unet.conv_norm_out.weight.val().device();
        Ok(Self {
            name: String::new(),
            hash: None,
            vae: None,
            family,
            latent: family.latent,
            schedule: noise_schedule(&scheduler)?,
            prediction: scheduler
                .prediction_type
                .parse()
                .map_err(|e| format!("{e}"))?,
            unet,
            autoencoder,
            text,
            condition,
            guidance: guidance.filter(|g| g.is_finite() && *g >= 0.0),
            steps: steps.map(|steps| steps.clamp(1, 1000) as usize),
            tokenizer: ClipTokenizer::new(),
            scheduler,
            device,
        })
    }

    /// What the model's maker would choose where a request leaves it open. `None` in models that were not trained here,
    /// for which the documented defaults hold.
    ///
    /// # Errors
    /// A small picture (`upscale`) that cannot be read.
    pub fn defaults(&self, request: &Request) -> Result<Option<Defaults>> {
        if self.scheduler.trained_here().is_none() {
            return Ok(None);
        }
        let size = match (self.conditioner(), &request.upscale) {
            (Some(ConditionerConfig::LowResolution { factor }), Some(path)) => {
                let small = Picture::read(path)?.size();
                Size {
                    width: small.width.saturating_mul(*factor),
                    height: small.height.saturating_mul(*factor),
                }
            }
            _ => Size {
                width: self.family.size,
                height: self.family.size,
            },
        };
        Ok(Some(Defaults {
            size,
            guidance: self.guidance.unwrap_or(1.0),
            steps: self.steps,
        }))
    }

    /// The condition of a model that was trained here.
    pub fn conditioner(&self) -> Option<&ConditionerConfig> {
        self.condition.as_ref().map(Reader::config)
    }

    /// The distribution of a picture's latent, not scaled: `[batch, 3, height, width]` → `[batch, channels, …]`.
    pub(crate) fn encode(&self, image: Tensor<4>, padding: Padding) -> Moments {
        match &self.autoencoder {
            Some(autoencoder) => autoencoder.clone().with_padding(padding).encode(image),
            None => Moments {
                logvar: image.full_like(-30.0),
                mean: image,
            },
        }
    }

    /// The model with its networks packed for this machine's kernels: faster, and no longer to be trained, saved or
    /// cast. `size` is what pictures will mostly have; others run too. On a GPU nothing changes.
    pub fn packed(mut self, form: Form, size: Size) -> Self {
        let by = self.latent.downsample.max(1);
        let latent = [size.height.div_ceil(by), size.width.div_ceil(by)];
        self.text = self.text.map(ClipText::packed);
        self.unet = self.unet.packed(form, latent);
        self.autoencoder = self.autoencoder.map(|a| a.packed(Form::Plain, latent));
        self
    }

    /// Frees the text encoder's weights, for a model that will encode no more.
    pub(crate) fn drop_text_encoder(&mut self) {
        self.text = None;
    }

    /// Frees the denoiser's weights, for a model that will only decode.
    pub(crate) fn drop_denoiser(&mut self) {
        // Parameters that are only declared take no memory.
        self.unet = self.unet.config().init(&self.device);
    }

    /// Whether the denoiser takes a mask and a masked picture beside the latent.
    pub fn inpaints(&self) -> bool {
        match self.conditioner() {
            Some(conditioner) => matches!(conditioner, ConditionerConfig::Inpainting { .. }),
            None => {
                let channels = self.latent.channels + self.family.inpaint_channels();
                self.unet.config().in_channels == channels
            }
        }
    }

    /// Text states of texts that one prompt goes through: each `[1, 77 · chunks, width]`.
    ///
    /// `skip` is the number of layers left out at the end. A1111 encodes such texts as one batch, which shows: the
    /// shorter are filled up with empty chunks, and the mean that weights must keep is that of the whole batch.
    ///
    /// # Errors
    /// Texts beyond the limits of `latent-text`.
    pub fn encode_texts(
        &self,
        texts: &[&str],
        dialect: Dialect,
        rule: WeightRule,
        skip: usize,
    ) -> Result<Vec<Tensor<3>>, latent_text::PromptError> {
        let chunks =
            |text: &str| Ok(latent_text::chunks(&self.tokenizer, text, dialect, Pad::End)?.chunks);
        let empty = chunks("")?;
        let mut rows = Vec::with_capacity(texts.len());
        for text in texts {
            rows.push(chunks(text)?);
        }
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        for row in &mut rows {
            while row.len() < longest {
                row.extend(empty.first().cloned());
            }
        }
        let mut encoded: Vec<Vec<Tensor<3>>> = vec![Vec::with_capacity(longest); rows.len()];
        for at in 0..longest {
            let column: Vec<&Chunk> = rows.iter().map(|row| &row[at]).collect();
            let states = self.weighted(&column, empty.first(), rule, skip);
            for (text, states) in encoded.iter_mut().zip(states) {
                text.push(states);
            }
        }
        Ok(encoded.into_iter().map(|e| Tensor::cat(e, 1)).collect())
    }

    /// The states of one chunk of each text, weights applied.
    fn weighted(
        &self,
        chunks: &[&Chunk],
        empty: Option<&Chunk>,
        rule: WeightRule,
        skip: usize,
    ) -> Vec<Tensor<3>> {
        let mut states: Vec<Tensor<3>> = Vec::with_capacity(chunks.len());
        for (i, chunk) in chunks.iter().enumerate() {
            let known = chunks[..i].iter().position(|c| c.ids == chunk.ids);
            states.push(known.map_or_else(|| self.states(chunk, skip), |k| states[k].clone()));
        }
        let plain = |chunk: &&&Chunk| chunk.weights.iter().all(|w| *w == 1.0);
        if rule == WeightRule::None || chunks.iter().all(|c| plain(&c)) {
            return states;
        }
        let weights = |chunk: &Chunk| {
            let tokens = chunk.weights.len();
            let weights = TensorData::new(chunk.weights.clone(), [1, tokens, 1]);
            Tensor::<3>::from_data(weights, &self.device)
        };
        match (rule, empty) {
            (WeightRule::InterpolateFromEmpty, Some(empty)) => {
                let empty = self.states(empty, skip);
                let pairs = states.into_iter().zip(chunks);
                pairs
                    .map(|(s, chunk)| (s - empty.clone()) * weights(chunk) + empty.clone())
                    .collect()
            }
            (WeightRule::MeanRestoring, _) => {
                let before: f64 = states.iter().map(mean).sum();
                let pairs = states.into_iter().zip(chunks);
                let states: Vec<_> = pairs.map(|(s, chunk)| s * weights(chunk)).collect();
                let after: f64 = states.iter().map(mean).sum();
                if after == 0.0 {
                    return states;
                }
                states.into_iter().map(|s| s * (before / after)).collect()
            }
            _ => states,
        }
    }

    fn states(&self, chunk: &Chunk, skip: usize) -> Tensor<3> {
        let ids: Vec<i64> = chunk.ids.iter().map(|id| i64::from(*id)).collect();
        let ids = TensorData::new(ids, [1, chunk.ids.len()]);
        let ids = Tensor::<2, Int>::from_data(ids, &self.device);
        match &self.text {
            Some(text) => text.forward(ids, skip),
            None => Tensor::zeros([1, chunk.ids.len(), 1], &self.device),
        }
    }

    /// The scaled latent of an encoded picture.
    pub(crate) fn scale_in(&self, encoded: Tensor<4>) -> Tensor<4> {
        (encoded - self.latent.shift) * self.latent.scale
    }

    /// What the decoder takes for a latent.
    pub(crate) fn scale_out(&self, latent: Tensor<4>) -> Tensor<4> {
        latent / self.latent.scale + self.latent.shift
    }
}

/// The mean of all values, summed in one order whatever the number of threads.
fn mean(x: &Tensor<3>) -> f64 {
    let data = x.to_data().convert::<f32>();
    let sum: f64 = data.iter::<f32>().map(f64::from).sum();
    sum / data.num_elements().max(1) as f64
}

/// Networks of one model.
struct Networks {
    unet: UNet,
    autoencoder: Option<Autoencoder>,
    text: Option<ClipText>,
    condition: Option<Reader>,
}

/// Whether the denoiser of a model that was trained here takes what the others give.
fn check_trained(
    unet: &UNetConfig,
    text: Option<&ClipText>,
    condition: Option<&Reader>,
) -> Result<(), String> {
    if let Some(reader) = condition {
        let text = text.map(|text| text.config().width);
        return match reader.config() {
            ConditionerConfig::FrozenText { width, .. } if text != Some(*width) => Err(format!(
                "its condition is text states of width {width}, and its text encoder gives {text:?}"
            )),
            config => config.validate(unet).map_err(|e| e.to_string()),
        };
    }
    match text.map(|text| text.config().width) {
        width if width != unet.context => Err(format!(
            "its U-Net looks at tokens of width {:?}, and its text encoder gives {width:?}",
            unet.context
        )),
        _ => Ok(()),
    }
}

fn stem(path: &Path) -> String {
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned())
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
