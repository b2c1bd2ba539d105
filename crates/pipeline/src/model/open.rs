//! Opening the files of a model.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use latent_checkpoint::load::plan;
use latent_checkpoint::{
    Checkpoint, Files, Kind, LoadOptions, Network, Report, Role, StoredAutoencoder,
};
use latent_diffusion::Prediction;
use latent_models::{AutoencoderTinyConfig, ClipTextConfig, ConditionerConfig, UNetConfig};

use super::pending::Pending;
use super::{Compressor, Model, Parts, Progress, probe};
use crate::condition::Reader;
use crate::error::{Error, Result};
use crate::family;

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
    /// What the denoiser predicts, in the place of what the files say.
    pub prediction: Option<Prediction>,
}

impl From<PathBuf> for ModelFiles {
    fn from(model: PathBuf) -> Self {
        Self {
            model,
            ..Self::default()
        }
    }
}

/// The type that networks asked for as `dtype` are computed in: a CPU has no arithmetic in f16, and converting at every
/// operation is slower than f32.
fn computed(dtype: DType, device: &Device) -> DType {
    match dtype == DType::F16 && *device == Device::flex() {
        true => DType::F32,
        false => dtype,
    }
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
    /// Files that cannot be read, that do not hold a whole model, or that no [`Family`](crate::Family) of this version fits; a `dtype`
    /// that the device cannot compute in.
    pub fn open(
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
        progress: Progress<'_>,
    ) -> Result<(Self, Vec<Report>)> {
        Self::open_as(files, device, dtype, false, progress)
    }

    /// [`open`](Self::open) for one job alone: the denoiser is checked against its file now and loaded by
    /// [`run_once`](crate::run_once) when the texts are encoded and their encoders freed.
    ///
    /// # Errors
    /// As [`open`](Self::open)'s.
    pub fn open_in_turn(
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
        progress: Progress<'_>,
    ) -> Result<(Self, Vec<Report>)> {
        Self::open_as(files, device, dtype, true, progress)
    }

    fn open_as(
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
        in_turn: bool,
        progress: Progress<'_>,
    ) -> Result<(Self, Vec<Report>)> {
        if !device.supports_dtype(dtype) {
            return Err(Error::field(
                "dtype",
                dtype.name(),
                "a number type that this device can compute in; f32 is always there",
            ));
        }
        let (main, recognised) = family::open(&files.model, files.built_in)?;
        let family = recognised.family().map_err(|reason| Error::Model {
            path: files.model.clone(),
            reason,
        })?;
        let other = |path: &Option<PathBuf>| {
            let Some(path) = path else { return Ok(None) };
            let mut checkpoint = Checkpoint::open(path)?;
            if let Some(family) = family {
                family::settle(&mut checkpoint, family);
            }
            Ok::<_, Error>(Some(checkpoint))
        };
        let (vae, text_encoder) = (other(&files.vae)?, other(&files.text_encoder)?);
        let vae_from = vae.as_ref().unwrap_or(&main);

        let asked = dtype;
        let dtype = computed(asked, device);
        let options = LoadOptions::new(device.clone(), dtype);
        let vae_options = LoadOptions::new(device.clone(), autoencoder_dtype(dtype));
        let mut reports = Vec::new();
        let mut texts = Vec::new();
        // A model that was trained here says so, and may do without some networks.
        let roles = match family {
            Some(family) => family.texts.iter().map(|input| input.role).collect(),
            None => vec![Role::TEXT_ENCODER],
        };
        for role in roles {
            let own = text_encoder
                .as_ref()
                .filter(|other| other.find(role).is_some());
            let from = own.unwrap_or(&main);
            if family.is_none() && from.find(role).is_none() {
                continue;
            }
            let (network, report) =
                from.load::<ClipTextConfig>(role, &options, &mut |done, all| {
                    progress("text encoder", done, all)
                })?;
            texts.push((role, network));
            reports.push(report);
        }
        let role = Role::DENOISER;
        // A network that is asked for its prediction must be there.
        let asks = files.prediction.is_none()
            && family.is_some_and(|family| family.untold)
            && !main.states_prediction();
        let later = in_turn && !asks;
        let declared = UNetConfig::of(&main.part(role)?.config).filter(|_| later);
        let (unet, report) = match declared {
            Some(config) => {
                let plan = plan(&main, main.part(role)?, options.moving_average)?;
                (config.init(device), plan.report())
            }
            None => main.load::<UNetConfig>(role, &options, &mut |done, all| {
                progress("U-Net", done, all)
            })?,
        };
        reports.push(report);
        let (mut autoencoder, mut condition, mut stored) = (None, None, None);
        let role = Role::AUTOENCODER;
        if family.is_some() || vae_from.find(role).is_some() {
            let part = vae_from.part(role)?;
            let progress = &mut |done, all| progress("autoencoder", done, all);
            let (network, report) = match part.config {
                Network::AutoencoderTiny(_) => vae_from
                    .load::<AutoencoderTinyConfig>(role, &vae_options, progress)
                    .map(|(network, report)| (Compressor::from(network), report))?,
                _ => vae_from
                    .load::<StoredAutoencoder>(role, &vae_options, progress)
                    .map(|(network, report)| (Compressor::from(network), report))?,
            };
            stored = StoredAutoencoder::of(&part.config);
            autoencoder = Some(network);
            reports.push(report);
        }
        if family.is_none() && main.find(Role::CONDITIONER).is_some() {
            // Small, and its tables of words overflow nothing: in f32 whatever the others run in.
            let options = LoadOptions::new(device.clone(), DType::F32);
            let role = Role::CONDITIONER;
            let (network, report) =
                main.load::<ConditionerConfig>(role, &options, &mut |done, all| {
                    progress("conditioner", done, all)
                })?;
            condition = Some(Reader::open(network, &main, device)?);
            reports.push(report);
        }
        let parts = Parts {
            unet,
            autoencoder,
            texts,
            condition,
        };
        let model = Self::of(parts, main.scheduler().clone());
        let mut model = model.map_err(|reason| Error::Model {
            path: files.model.clone(),
            reason,
        })?;
        if let Some(asked) = files.prediction {
            model.prediction = asked;
        } else if asks {
            model.prediction = probe::prediction(&model.unet);
        }
        if let Some(stored) = stored {
            let latent = &mut model.latent;
            latent.scale = stored.scale.unwrap_or(latent.scale);
            latent.shift = stored.shift.unwrap_or(latent.shift);
            model.moments = stored.moments.clone();
        }
        model.notes = notes(&main, reports.iter().any(|report| report.moving_average));
        if asked != dtype {
            let why = "a CPU has no arithmetic in f16: the networks are computed in f32";
            model
                .notes
                .push(format!("{why}; --dtype bf16 takes half the memory"));
        }
        model.name = stem(&files.model);
        model.vae = files.vae.as_deref().map(|path| (stem(path), None));
        model.pending = later.then(|| Pending {
            checkpoint: main,
            options,
            form: None,
        });
        Ok((model, reports))
    }
}

/// What is left out of a checkpoint, and what is taken in its place.
fn notes(checkpoint: &Checkpoint, averaged: bool) -> Vec<String> {
    let mut notes = Vec::new();
    if averaged {
        notes.push(
            "the file holds the moving average of the U-Net alone, and it is drawn with".into(),
        );
    }
    let strangers = checkpoint.strangers();
    if let Some(first) = strangers.first() {
        notes.push(format!(
            "left out of {}: {} tensors that belong to none of its networks, such as `{first}`",
            checkpoint.path().display(),
            strangers.len()
        ));
    }
    notes
}

fn stem(path: &Path) -> String {
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned())
}
