//! Opening a model: a file or folder together with what was found out about it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::clues::{averaged_alone, config_of, moments, numbers, side, zeros};
use super::scheduler::{Edm, Marks};
use super::{Carried, SchedulerConfig, sidecar};
use crate::file::{Files, Folder, Source, TensorFile, Variant, Weights};
use crate::networks::{DetectError, Network, Role, Scheme, attachment_key, find, find_stated};
use crate::report::ModelError;

/// The metadata key under which a single file keeps the side of the latent square.
pub(crate) const SIDE: &str = "latent.sample_size";

/// How a model lies on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// One file with every network in it, or with one.
    SingleFile,
    /// A diffusers folder, or the folder of one component.
    Folder,
}

/// One network of a checkpoint.
#[derive(Clone, Debug)]
pub struct DetectedPart {
    /// What it is for.
    pub role: Role,
    /// Who named its tensors.
    pub scheme: Scheme,
    /// What their names begin with.
    pub prefix: &'static str,
    /// How it is built.
    pub config: Network,
    /// Which of [`Checkpoint::weights`] holds it.
    pub(crate) weights: usize,
    /// Its place among [`Checkpoint::parts`].
    pub(crate) index: usize,
}

/// Choices in opening a model.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Which of several weight files of a folder's component.
    pub variant: Variant,
}

/// A model on disk of which the networks and settings are known and no weight has been read.
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) path: PathBuf,
    pub(crate) files: Files,
    pub(crate) form: Form,
    pub(crate) weights: Vec<Weights>,
    pub(crate) parts: Vec<DetectedPart>,
    pub(crate) scheduler: SchedulerConfig,
    /// The scheduler's settings stand in the files.
    pub(super) stated: bool,
    pub(super) marks: Marks,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) others: Vec<String>,
    pub(crate) carried: Vec<Carried>,
    /// The side of the latent square that it draws by default, where something says it.
    pub(crate) side: Option<usize>,
    /// An empty negative prompt is zeros, where the index says it.
    pub(crate) zeros_for_empty: Option<bool>,
    pub(super) missing: Vec<Missing>,
}

/// Settings that a folder's index names and that are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The component's name in the index, which is its folder's: `scheduler`, ….
    pub name: String,
    /// Its class there.
    pub class: String,
}

impl Checkpoint {
    /// Opens the file or folder at `path` and finds out what it is.
    ///
    /// # Errors
    /// When it cannot be read, holds no known network, or a network's configuration cannot be told.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::detect(crate::open(path)?, &OpenOptions::default())
    }

    /// [`open`](Self::open) with choices.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, ModelError> {
        Self::detect(crate::open(path)?, options)
    }

    /// Opens the folder of a model that is built into the program.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(files: Files, path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::from_folder(&Folder::open_in(files, path)?, &Variant::default())
    }

    /// Finds out what `source` is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn detect(source: Source, options: &OpenOptions) -> Result<Self, ModelError> {
        match source {
            Source::File(file) => Self::from_file(file),
            Source::Folder(folder) => Self::from_folder(&folder, &options.variant),
        }
    }

    /// Finds out what a single file is.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_file(file: TensorFile) -> Result<Self, ModelError> {
        let path = file.path().to_owned();
        let metadata = file.metadata().clone();
        let weights = super::halves::weights(file)?;
        let stated = match metadata.get("latent.scheduler") {
            None => None,
            Some(text) => Some(SchedulerConfig::from_text(text).map_err(at(&path))?),
        };
        let yaml = sidecar::prediction(&path)?;
        let averaged = averaged_alone(&weights);
        let has = |name: &str| weights.get(name).is_some() || averaged.contains_key(name);
        let mut marks = Marks::of(&metadata, has, yaml);
        marks.betas = numbers(&weights, "betas")?;
        let moments = moments(&weights)?;
        if !moments.is_empty() {
            marks.edm = Some(Edm::playground());
        }
        let one = |name: &str| {
            Ok::<_, ModelError>(numbers(&weights, name)?.and_then(|v| v.first().copied()))
        };
        if let Some(highest) = one("edm_vpred.sigma_max")? {
            let lowest = one("edm_vpred.sigma_min")?.unwrap_or(0.002);
            marks.edm = Some(Edm::cosine([lowest, highest]));
        }
        let scale = numbers(&weights, "scale_factor")?;
        let scale = scale.and_then(|values| values.first().copied());
        if let Some(scale) = scale.filter(|scale| !(scale.is_finite() && *scale > 0.0)) {
            let problem = format!("it is {scale}; expected a finite number above 0");
            return Err(crate::Error::tensor(&path, "scale_factor", problem).into());
        }
        let side = side(&metadata).map_err(at(&path))?;
        let zeros_for_empty = zeros(&metadata).map_err(at(&path))?;
        let mut found = find(has);
        found.extend(find_stated(|key| metadata.get(key).map(String::as_str)));
        if found.is_empty() {
            return Err(nothing_known(&path, &weights));
        }
        let mut parts = Vec::with_capacity(found.len());
        for found in found {
            let config = config_of(&weights, &averaged, &metadata, &found);
            let mut config = config.map_err(at(&path))?;
            if let Network::Autoencoder(stored) = &mut config {
                stored.scale = stored.scale.or(scale);
                if stored.moments.is_empty() && !moments.is_empty() {
                    // Latents of unit deviation, halved: what goes with such moments.
                    (stored.scale, stored.moments) = (Some(0.5), moments.clone());
                }
            }
            parts.push(DetectedPart {
                role: found.role,
                scheme: found.scheme,
                prefix: found.prefix,
                config,
                weights: 0,
                index: parts.len(),
            });
        }
        let mut checkpoint = Self {
            path,
            files: Files::Disk,
            form: Form::SingleFile,
            weights: vec![weights],
            parts,
            scheduler: SchedulerConfig::stable_diffusion(),
            stated: stated.is_some(),
            marks,
            carried: Carried::of_metadata(&metadata),
            side,
            metadata,
            others: Vec::new(),
            zeros_for_empty,
            missing: Vec::new(),
        };
        match stated {
            Some(stated) => checkpoint.scheduler = stated,
            None => checkpoint.assume(SchedulerConfig::stable_diffusion()),
        }
        Ok(checkpoint)
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its files are.
    pub fn files(&self) -> Files {
        self.files
    }

    /// How it lies on disk.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The networks found.
    pub fn parts(&self) -> &[DetectedPart] {
        &self.parts
    }

    /// The networks found, to overwrite a configuration that the file leaves open (the number of heads, say).
    pub fn parts_mut(&mut self) -> &mut [DetectedPart] {
        &mut self.parts
    }

    /// Further files that networks need, by path in the folder (`conditioner/vocab.txt`): those beside the conditioner of a
    /// model that was trained here, or what a single file keeps of them.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn attachments(&self) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
        let folder = Role::CONDITIONER.folder();
        if self.form == Form::SingleFile {
            let start = attachment_key("");
            let texts = self.metadata.iter().filter_map(|(key, text)| {
                let name = key.strip_prefix(&start)?;
                Some((name.to_owned(), text.clone().into_bytes()))
            });
            return Ok(texts.collect());
        }
        let Some(part) = self.find(Role::CONDITIONER) else {
            return Ok(Vec::new());
        };
        let path = self.path.join(folder);
        let weights = format!("{}.safetensors", part.config.weights_stem());
        let written = ["config.json", weights.as_str()];
        let names = self.files.list(&path).unwrap_or_default().into_iter();
        names
            .filter(|name| !written.contains(&name.as_str()))
            .map(|name| {
                let bytes = self.files.read(&path.join(&name), u64::MAX, "the file")?;
                Ok((format!("{folder}/{name}"), bytes.into_owned()))
            })
            .collect()
    }

    /// A file of a component without weights: of `image_noising_scheduler`, say, its `scheduler_config.json`. `None` where
    /// the checkpoint has none.
    pub fn component(&self, name: &str, file: &str) -> Option<&[u8]> {
        let component = self.carried.iter().find(|carried| carried.name == name)?;
        let file = component.files.iter().find(|(name, _)| name == file)?;
        Some(&file.1)
    }

    /// One of the [`attachments`](Self::attachments), of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not there or too large.
    pub fn attachment(&self, name: &str, limit: u64) -> Result<Vec<u8>, ModelError> {
        if self.form == Form::Folder {
            let bytes = self.files.read(&self.path.join(name), limit, "the file")?;
            return Ok(bytes.into_owned());
        }
        let text = self.metadata.get(&attachment_key(name));
        let text = text.filter(|text| text.len() as u64 <= limit);
        text.map(|text| text.clone().into_bytes())
            .ok_or_else(|| ModelError::Request {
                path: self.path.clone(),
                problem: format!("its metadata does not hold `{name}`, which its networks need"),
            })
    }

    /// The network that plays `role`, if there is one.
    pub fn find(&self, role: Role) -> Option<&DetectedPart> {
        self.parts.iter().find(|found| found.role == role)
    }

    /// The network that plays `role`.
    ///
    /// # Errors
    /// When there is none; the message lists what there is.
    pub fn part(&self, role: Role) -> Result<&DetectedPart, ModelError> {
        self.find(role).ok_or_else(|| ModelError::NoPart {
            path: self.path.clone(),
            wanted: role,
            found: self.parts.iter().map(|p| p.role.to_string()).collect(),
        })
    }

    /// Noise schedule and prediction type, as the folder states them or the file lets them be told.
    pub fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// Takes `usual` for the settings that the files do not state, and what marks the files bear above it.
    pub fn assume(&mut self, usual: SchedulerConfig) {
        if !self.stated {
            self.scheduler = usual;
            self.scheduler.marked(&self.marks);
        }
    }

    /// Whether the files say what the denoiser predicts, by settings or by a mark.
    pub fn states_prediction(&self) -> bool {
        self.stated || self.marks.prediction.is_some() || self.marks.edm.is_some()
    }

    /// Takes another prediction than the files', `epsilon`, `v_prediction`, `sample` or `flow_prediction`.
    pub fn set_prediction(&mut self, prediction: &str) {
        self.scheduler.prediction_type = prediction.to_owned();
    }

    /// Takes `side` for that of the latent square that it draws by default where its files do not say.
    pub fn assume_side(&mut self, side: usize) {
        self.side.get_or_insert(side);
    }

    /// Whether the scheduler's settings stand in the files.
    pub(crate) fn states_scheduler(&self) -> bool {
        self.stated
    }

    /// Text stored in the weight files.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// A folder's components that are not read here, each with its class; those that are small are passed on by
    /// [`convert`](crate::convert()).
    pub fn other_components(&self) -> &[String] {
        &self.others
    }

    /// Settings that a folder's index names and that are not there: others are assumed.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Whether an empty negative prompt is zeros, where a folder's index says it.
    pub fn zeros_for_empty(&self) -> Option<bool> {
        self.zeros_for_empty
    }

    /// Every weight file, with its tensors.
    pub fn weights(&self) -> &[Weights] {
        &self.weights
    }

    pub(crate) fn weights_of(&self, part: &DetectedPart) -> &Weights {
        &self.weights[part.weights]
    }
}

pub(super) fn at(path: &Path) -> impl FnOnce(DetectError) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::Detect { path, source }
}

pub(super) fn nothing_known(path: &Path, weights: &Weights) -> ModelError {
    let names = weights.tensors().iter().take(5);
    let mut names: Vec<_> = names
        .map(|info| format!("`{}`", crate::error::shown(&info.name)))
        .collect();
    let count = weights.tensors().len();
    match count.saturating_sub(names.len()) {
        0 if count == 0 => names.push("no tensors".into()),
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    ModelError::NothingKnown {
        path: path.to_owned(),
        names,
    }
}
