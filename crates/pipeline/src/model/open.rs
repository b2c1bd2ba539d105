//! Opening the files of a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, Device};
use latent_checkpoint::patch::Targets;
use latent_checkpoint::{
    AdapterFile, Checkpoint, Files, Kind, LoadOptions, ModelError, Report, Role, StoredAutoencoder,
};
use latent_diffusion::Prediction;
use latent_models::{ClipVision, EmbeddingNormalizerConfig};

use super::adapted::{Adapted, AdapterUse};
use super::images::noising;
use super::{
    ImageSettings, Model, Net, NetworkFiles, Part, Parts, Progress, Source, Stage, given,
    noise_schedule, probe,
};
use crate::condition::Reader;
use crate::error::{Error, Result};
use crate::family::{self, Beside, Family, Recognised, VectorInput};
use crate::refiner;
use crate::resources::Place;

/// The files a model is opened from.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// LoRAs and their kin that are merged into the weights.
    pub adapters: Vec<AdapterUse>,
    /// A model that finishes the pictures: its denoiser and its text encoders.
    pub refiner: Option<Place>,
    /// What holds drawings to pictures, one for each entry of [`Request::control`](crate::Request::control).
    pub controls: Vec<NetworkFiles>,
    /// IP-Adapters, one for each entry of [`Request::ip_adapter`](crate::Request::ip_adapter).
    pub ip_adapters: Vec<NetworkFiles>,
    /// The refiner's own autoencoder decodes, where it has one and `vae` names none.
    pub refiner_decodes: bool,
}

/// What is opened of a model.
#[derive(Debug, Clone, Copy)]
struct Opened {
    /// A denoiser that was read to be asked something stays in memory.
    keep: bool,
    autoencoder: Wanted,
}

/// Whether an autoencoder is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Needed,
    IfThere,
    Not,
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
    /// Files that cannot be read, that do not hold a whole model, or that no [`Family`] of this version fits; a `dtype`
    /// that the device cannot compute in.
    pub fn open(
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
        progress: Progress<'_>,
    ) -> Result<(Self, Vec<Report>)> {
        let opened = Opened {
            keep: true,
            autoencoder: Wanted::Needed,
        };
        let (model, reports) = Self::declare_with(files, device, dtype, opened)?;
        for part in Stage::ALL
            .into_iter()
            .flat_map(|stage| model.networks(stage))
        {
            part.read(&mut |done, all| progress(part.name(), done, all))?;
        }
        Ok((model, reports))
    }

    /// Opens a checkpoint as [`open`](Self::open) does, and reads no weights: names, shapes and types are checked, and each
    /// network is read when it is first needed.
    ///
    /// # Errors
    /// As [`open`](Self::open)'s.
    pub fn declare(
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
    ) -> Result<(Self, Vec<Report>)> {
        let opened = Opened {
            keep: false,
            autoencoder: Wanted::Needed,
        };
        Self::declare_with(files, device, dtype, opened)
    }

    fn declare_with(
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
        opened: Opened,
    ) -> Result<(Self, Vec<Report>)> {
        if !device.supports_dtype(dtype) {
            return Err(Error::field(
                "compute.dtype",
                dtype.name(),
                "a number type that this device can compute in; f32 is always there",
            ));
        }
        let source = family::open(&files.model, files.built_in);
        let source = source.map_err(|error| no_model(error, files))?;
        Self::declare_from(source, files, device, dtype, opened)
    }

    /// The same of a model whose files are open, with its family.
    fn declare_from(
        (main, recognised): (Checkpoint, Recognised),
        files: &ModelFiles,
        device: &Device,
        dtype: DType,
        opened: Opened,
    ) -> Result<(Self, Vec<Report>)> {
        let wrong = |reason| Error::Model {
            path: files.model.clone(),
            reason,
        };
        let family = recognised.family().map_err(wrong)?;
        let refiner = files.refiner.as_ref();
        let refiner = refiner.map(|place| Ok::<_, Error>((place, refiner_of(family, place)?)));
        let refiner = refiner.transpose()?;
        let vae = files.vae.as_deref();
        let vae = vae.map(|path| given::autoencoder(path, &main, family));
        let (vae, vae_note) = vae.transpose()?.unzip();
        let text_encoder = files.text_encoder.as_deref();
        let text_encoder = text_encoder.map(|path| given::text_encoder(path, &main, family));
        let text_encoder = text_encoder.transpose()?;
        let main = Arc::new(main);

        let asked = dtype;
        let dtype = computed(asked, device);
        let adapters = Adapted::all(&files.adapters)?;
        let mut opening = Opening::new(device, &adapters);
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
            if family.is_some() || from.find(role).is_some() {
                texts.push((role, opening.part(from, role, dtype)?));
            }
        }
        let denoiser = opening.part(&main, Role::DENOISER, dtype)?;
        let vae_from = vae.as_ref().unwrap_or(&main);
        let role = Role::AUTOENCODER;
        let vae_part = vae_from.find(role);
        let stored = vae_part.and_then(|part| StoredAutoencoder::of(&part.config));
        let wanted = match opened.autoencoder {
            Wanted::Needed => family.is_some() || vae_part.is_some(),
            Wanted::IfThere => vae_part.is_some(),
            Wanted::Not => false,
        };
        let autoencoder = wanted.then(|| opening.part(vae_from, role, autoencoder_dtype(dtype)));
        let condition = (family.is_none() && main.find(Role::CONDITIONER).is_some())
            .then(|| {
                // Small, and its tables of words overflow nothing: in f32 whatever the others run in.
                let network = opening.part(&main, Role::CONDITIONER, DType::F32)?;
                Reader::open(network, &main, device)
            })
            .transpose()?;
        let parts = Parts {
            device: device.clone(),
            denoiser,
            autoencoder: autoencoder.transpose()?,
            texts,
            condition,
        };
        let mut model = Self::of(parts, main.scheduler().clone()).map_err(wrong)?;
        if model.family.vector == VectorInput::Picture {
            let network = opening.part::<ClipVision>(&main, Role::IMAGE_ENCODER, dtype)?;
            // A few numbers, and so read at once.
            let options = LoadOptions::new(device.clone(), DType::F32);
            let (normalizer, report) = main.load::<EmbeddingNormalizerConfig>(
                Role::IMAGE_NORMALIZER,
                &options,
                &mut |_, _| {},
            )?;
            opening.reports.push(report);
            let settings = ImageSettings::of(&main, network.config().image).map_err(wrong)?;
            let with = model.with_image_encoder(network, normalizer, &settings);
            model = with.map_err(wrong)?;
        }
        if model.family.beside == Beside::Small {
            let stated = noising(&main, "low_res_scheduler").map_err(wrong)?;
            let schedule = stated.as_ref().map(noise_schedule).transpose();
            model.low_resolution = schedule.map_err(wrong)?;
        }
        if let Some(zeros) = main.zeros_for_empty() {
            model.family.zeros_for_empty = zeros;
        }
        let mut notes_of_adapters = Vec::new();
        for adapter in &adapters {
            adapter.check(&opening.targets, model.family.name, &mut notes_of_adapters)?;
        }
        let mut reports = opening.reports;
        model.adapters = adapters;
        reports.extend(model.open_controls(&files.controls, &main, dtype)?);
        reports.extend(model.open_ip_adapters(&files.ip_adapters, dtype)?);
        model.prediction = match files.prediction {
            Some(asked) => asked,
            // A network that is asked for its prediction must be there.
            None if family.is_some_and(|f| f.untold) && !main.states_prediction() => {
                let prediction = probe::prediction(&*model.denoiser()?);
                if !opened.keep {
                    model.release(Stage::Denoising);
                }
                prediction
            }
            None => model.prediction,
        };
        if let Some(stored) = stored {
            let latent = &mut model.latent;
            latent.scale = stored.scale.unwrap_or(latent.scale);
            latent.shift = stored.shift.unwrap_or(latent.shift);
            model.moments = stored.moments.clone();
        }
        model.notes = notes(&main, reports.iter().any(|report| report.moving_average));
        model.notes.extend(vae_note.flatten());
        model.notes.extend(notes_of_adapters);
        if asked != dtype {
            let why = "a CPU has no arithmetic in f16: the networks are computed in f32";
            model
                .notes
                .push(format!("{why}; --dtype bf16 takes half the memory"));
        }
        if let Some((place, source)) = refiner {
            let of_refiner = Opened {
                autoencoder: match files.refiner_decodes && files.vae.is_none() {
                    true => Wanted::IfThere,
                    false => Wanted::Not,
                },
                ..opened
            };
            reports.extend(model.open_refiner(source, place, asked, of_refiner)?);
        }
        model.name = stem(&files.model);
        model.vae = files.vae.as_deref().map(|path| (stem(path), None));
        Ok((model, reports))
    }

    /// Opens the model that finishes this one's pictures.
    fn open_refiner(
        &mut self,
        source: (Checkpoint, Recognised),
        place: &Place,
        dtype: DType,
        opened: Opened,
    ) -> Result<Vec<Report>> {
        let files = ModelFiles {
            built_in: place.files,
            ..ModelFiles::from(place.path.clone())
        };
        let (refiner, reports) = Self::declare_from(source, &files, &self.device, dtype, opened)?;
        check_latents(self, &refiner, &place.path)?;
        let new = refiner.notes.iter();
        let new: Vec<_> = new
            .filter(|note| !self.notes.contains(note))
            .cloned()
            .collect();
        self.notes.extend(new);
        self.refiner = Some(Box::new(refiner));
        Ok(reports)
    }
}

/// A LoRA in the place of a model is told so.
fn no_model(error: ModelError, files: &ModelFiles) -> Error {
    match files.built_in == Files::Disk && AdapterFile::is_adapter(&files.model) {
        true => Error::Model {
            path: files.model.clone(),
            reason:
                "it is a LoRA and no checkpoint: name the checkpoint by --model, and this by --lora"
                    .to_owned(),
        },
        false => error.into(),
    }
}

/// The files of the model at `place`, which must be one that can finish what one of `family` begins.
fn refiner_of(family: Option<&Family>, place: &Place) -> Result<(Checkpoint, Recognised)> {
    let (checkpoint, recognised) = family::open(&place.path, place.files)?;
    let theirs = recognised.family();
    let checked = theirs.and_then(|theirs| refiner::pair(family, theirs));
    match checked {
        Ok(()) => Ok((checkpoint, recognised)),
        Err(reason) => Err(Error::Model {
            path: place.path.clone(),
            reason,
        }),
    }
}

/// The same of what only opened models say.
fn check_latents(model: &Model, refiner: &Model, path: &Path) -> Result<()> {
    let flow = |model: &Model| model.prediction == Prediction::Flow;
    match model.moments == refiner.moments && flow(model) == flow(refiner) {
        true => Ok(()),
        false => Err(Error::Model {
            path: path.to_owned(),
            reason: format!(
                "it does not take the latents of {}: their means and deviations differ, or one of the two is a rectified flow",
                model.family.name
            ),
        }),
    }
}

/// Networks that are being declared.
struct Opening<'a> {
    device: &'a Device,
    adapters: &'a [Adapted],
    targets: Vec<Targets>,
    reports: Vec<Report>,
}

impl<'a> Opening<'a> {
    fn new(device: &'a Device, adapters: &'a [Adapted]) -> Self {
        Self {
            device,
            adapters,
            targets: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// The network of a checkpoint that plays `role`, to be read as `dtype`.
    fn part<N: Net>(
        &mut self,
        from: &Arc<Checkpoint>,
        role: Role,
        dtype: DType,
    ) -> Result<Part<N>> {
        let options = LoadOptions {
            patches: Adapted::patches(self.adapters, role, 0),
            ..LoadOptions::new(self.device.clone(), dtype)
        };
        let (part, report) = Part::open(Source {
            checkpoint: Arc::clone(from),
            role,
            options,
            changes: None,
        })?;
        if !self.adapters.is_empty() {
            self.targets
                .push(Targets::of(role, &from.part(role)?.config));
        }
        self.reports.push(report);
        Ok(part)
    }
}

/// What is left out of a checkpoint, and what is taken in its place.
fn notes(checkpoint: &Checkpoint, averaged: bool) -> Vec<String> {
    let mut notes = family::missing(checkpoint);
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

pub(super) fn stem(path: &Path) -> String {
    let name = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.map_or_else(|| "model".to_owned(), |n| n.to_string_lossy().into_owned())
}
