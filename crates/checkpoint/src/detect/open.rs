//! Opening a model: a file or folder together with what was found out about it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::size::check_size;
use super::{
    DetectError, PartConfig, SchedulerConfig, Shapes, autoencoder_config, autoencoder_from_json,
    clip_config, clip_from_json, latent_scale_from_json, unet_config, unet_from_json,
};
use crate::file::{Files, Folder, Source, TensorFile, TensorInfo, Variant, Weights};
use crate::names::{Found, Part, Scheme, find};
use crate::report::ModelError;

/// A training configuration beside a `.ckpt` is read up to this many bytes.
const MAX_YAML: u64 = 1 << 20;

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
    /// Which network.
    pub part: Part,
    /// Who named its tensors.
    pub scheme: Scheme,
    /// What their names begin with.
    pub prefix: &'static str,
    /// How it is built.
    pub config: PartConfig,
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
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) others: Vec<String>,
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
        let weights = Weights::from(file);
        let mut scheduler = match metadata.get("latent.scheduler") {
            None => SchedulerConfig::stable_diffusion(),
            Some(text) => SchedulerConfig::from_text(text).map_err(at(&path))?,
        };
        if let Some(betas) = numbers(&weights, "betas")? {
            scheduler.trained_with(&betas);
        }
        let yaml = sidecar(&path);
        let has = |name: &str| weights.get(name).is_some();
        scheduler.marked(&metadata, has, yaml.as_deref());
        let scale = numbers(&weights, "scale_factor")?;
        let scale = scale.and_then(|values| values.first().copied());
        let found = find(has);
        if found.is_empty() {
            return Err(nothing_known(&path, &weights));
        }
        let mut parts = Vec::with_capacity(found.len());
        for found in found {
            let mut config = config_of(&weights, &metadata, &found).map_err(at(&path))?;
            if let PartConfig::Autoencoder {
                scale: slot @ None, ..
            } = &mut config
            {
                *slot = scale.filter(|scale| scale.is_finite() && *scale > 0.0);
            }
            check_size(&config).map_err(at(&path))?;
            let index = parts.len();
            parts.push(detected(&found, config, (0, index)));
        }
        Ok(Self {
            path,
            files: Files::Disk,
            form: Form::SingleFile,
            weights: vec![weights],
            parts,
            scheduler,
            metadata,
            others: Vec::new(),
        })
    }

    fn from_folder(folder: &Folder, variant: &Variant) -> Result<Self, ModelError> {
        let path = folder.path().to_owned();
        let mut checkpoint = Self {
            path: path.clone(),
            files: folder.files(),
            form: Form::Folder,
            weights: Vec::new(),
            parts: Vec::new(),
            scheduler: SchedulerConfig::stable_diffusion(),
            metadata: BTreeMap::new(),
            others: Vec::new(),
        };
        for component in folder.components() {
            let part = match component.class.as_str() {
                "UNet2DConditionModel" | "UNet2DModel" | "LatentUNet" => Part::Unet,
                "AutoencoderKL" | "VQModel" | "LatentAutoencoder" => Part::Autoencoder,
                "LatentConditioner" => Part::Conditioner,
                "CLIPTextModel" | "CLIPTextModelWithProjection" => match component.name.as_str() {
                    "text_encoder_2" => Part::TextEncoder2,
                    _ => Part::TextEncoder,
                },
                class => {
                    match &component.config {
                        Some(config) if component.name == "scheduler" => {
                            let path = component.path.join("scheduler_config.json");
                            checkpoint.scheduler =
                                SchedulerConfig::from_json(config).map_err(at(&path))?;
                        }
                        _ => checkpoint
                            .others
                            .push(format!("{} ({class})", component.name)),
                    }
                    continue;
                }
            };
            let Some(json) = &component.config else {
                let problem = "config.json is missing, so the network's size is unknown";
                return Err(ModelError::Request {
                    path: component.path.clone(),
                    problem: problem.into(),
                });
            };
            let config = config_from(part, json).map_err(at(&component.path))?;
            check_size(&config).map_err(at(&component.path))?;
            let weights = component.weights(variant)?;
            let has = |name: &str| weights.get(name).is_some();
            let known = match part {
                // Its parameters have their own names whatever it is made of.
                Part::Conditioner => Some(Found {
                    component: part,
                    scheme: Scheme::Diffusers,
                    prefix: "",
                }),
                _ => find(has)
                    .into_iter()
                    .find(|found| same_kind(found.component, part)),
            };
            let Some(found) = known else {
                return Err(nothing_known(weights.path(), &weights));
            };
            let found = Found {
                component: part,
                ..found
            };
            let at = (checkpoint.weights.len(), checkpoint.parts.len());
            checkpoint.parts.push(detected(&found, config, at));
            for file in weights.files() {
                checkpoint.metadata.extend(file.metadata().clone());
            }
            checkpoint.weights.push(weights);
        }
        match checkpoint.parts.is_empty() {
            false => Ok(checkpoint),
            true => Err(ModelError::NothingKnown {
                path,
                names: checkpoint.others,
            }),
        }
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

    /// Network `part`.
    ///
    /// # Errors
    /// When there is none; the message lists what there is.
    pub fn part(&self, part: Part) -> Result<&DetectedPart, ModelError> {
        let found = self.parts.iter().find(|found| found.part == part);
        found.ok_or_else(|| ModelError::NoPart {
            path: self.path.clone(),
            wanted: part,
            found: self
                .parts
                .iter()
                .map(|found| found.part.to_string())
                .collect(),
        })
    }

    /// Noise schedule and prediction type, as the folder states them or the file lets them be told.
    pub fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    /// Text stored in the weight files.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// A folder's components that are not read here, each with its class.
    pub fn other_components(&self) -> &[String] {
        &self.others
    }

    /// Every weight file, with its tensors.
    pub fn weights(&self) -> &[Weights] {
        &self.weights
    }

    pub(crate) fn weights_of(&self, part: &DetectedPart) -> &Weights {
        &self.weights[part.weights]
    }
}

/// A folder may keep a text encoder of either number under either class.
fn same_kind(a: Part, b: Part) -> bool {
    let text = |part| matches!(part, Part::TextEncoder | Part::TextEncoder2);
    a == b || (text(a) && text(b))
}

fn detected(found: &Found, config: PartConfig, (weights, index): (usize, usize)) -> DetectedPart {
    DetectedPart {
        part: found.component,
        scheme: found.scheme,
        prefix: found.prefix,
        config,
        weights,
        index,
    }
}

fn at(path: &Path) -> impl FnOnce(DetectError) -> ModelError {
    let path = path.to_owned();
    move |source| ModelError::Detect { path, source }
}

fn nothing_known(path: &Path, weights: &Weights) -> ModelError {
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

fn pairs(tensors: &[TensorInfo]) -> impl Iterator<Item = (&str, &[usize])> {
    tensors
        .iter()
        .map(|info| (info.name.as_str(), info.shape.as_slice()))
}

/// The metadata key under which a file states the configuration of `part`, where its tensors do not.
pub(crate) fn config_metadata_key(part: Part) -> &'static str {
    match part {
        Part::Unet => "latent.unet",
        Part::Autoencoder => "latent.autoencoder",
        Part::TextEncoder => "latent.text_encoder",
        Part::TextEncoder2 => "latent.text_encoder_2",
        Part::Conditioner => "latent.conditioner",
    }
}

/// The configuration of one network of a single file: as stated in the metadata, else from its tensors.
fn config_of(
    weights: &Weights,
    metadata: &BTreeMap<String, String>,
    found: &Found,
) -> Result<PartConfig, DetectError> {
    let key = config_metadata_key(found.component);
    let Some(text) = metadata.get(key) else {
        return detect_part(&Shapes::new(pairs(weights.tensors()), found.prefix), found);
    };
    let settings = |problem: String| DetectError::Settings { what: key, problem };
    let config: PartConfig = serde_json::from_str(text).map_err(|e| settings(e.to_string()))?;
    match (&config, found.component) {
        (PartConfig::Unet(config), Part::Unet) => config.validate()?,
        (PartConfig::Autoencoder { network, .. }, Part::Autoencoder) => network.validate()?,
        (PartConfig::TextEncoder(config), Part::TextEncoder | Part::TextEncoder2) => {
            config.validate()?;
        }
        _ => return Err(settings("it describes another network".into())),
    }
    Ok(config)
}

/// What the classes in `config.json` begin with where a network's settings are this project's own and stand under
/// `network`: `LatentUNet`, `LatentAutoencoder`, `LatentConditioner`.
pub(crate) const OWN_CLASS: &str = "Latent";

/// The configuration of the network `found` from its tensors.
pub(crate) fn detect_part(shapes: &Shapes<'_>, found: &Found) -> Result<PartConfig, DetectError> {
    match found.component {
        Part::Unet => unet_config(shapes, found.scheme).map(PartConfig::Unet),
        Part::Autoencoder => Ok(PartConfig::Autoencoder {
            network: autoencoder_config(shapes, found.scheme)?,
            scale: None,
            shift: None,
        }),
        Part::TextEncoder | Part::TextEncoder2 => {
            clip_config(shapes, found.scheme).map(PartConfig::TextEncoder)
        }
        Part::Conditioner => Err(DetectError::Settings {
            what: "a conditioner",
            problem: "its tensors do not say how it is built".into(),
        }),
    }
}

/// The settings of a network that diffusers has no class for.
fn own_config<T: serde::de::DeserializeOwned>(json: &Value) -> Result<T, DetectError> {
    let network = json.get("network").cloned().unwrap_or_default();
    serde_json::from_value(network).map_err(|e| DetectError::Settings {
        what: "config.json",
        problem: format!("`network`: {e}"),
    })
}

fn config_from(part: Part, json: &Value) -> Result<PartConfig, DetectError> {
    let class = json.get("_class_name").and_then(Value::as_str);
    let own = class.is_some_and(|class| class.starts_with(OWN_CLASS));
    match part {
        Part::Unet if own => {
            let config: latent_models::UNetConfig = own_config(json)?;
            config.validate()?;
            Ok(PartConfig::Unet(config))
        }
        Part::Autoencoder if own => {
            let (scale, shift) = latent_scale_from_json(json)?;
            let network: latent_models::AutoencoderConfig = own_config(json)?;
            network.validate()?;
            Ok(PartConfig::Autoencoder {
                network,
                scale,
                shift,
            })
        }
        Part::Conditioner => own_config(json).map(PartConfig::Conditioner),
        Part::Unet => unet_from_json(json).map(PartConfig::Unet),
        Part::Autoencoder => {
            let (scale, shift) = latent_scale_from_json(json)?;
            Ok(PartConfig::Autoencoder {
                network: autoencoder_from_json(json)?,
                scale,
                shift,
            })
        }
        Part::TextEncoder | Part::TextEncoder2 => clip_from_json(json).map(PartConfig::TextEncoder),
    }
}

/// The values of a small tensor of numbers, if it is there.
fn numbers(weights: &Weights, name: &str) -> Result<Option<Vec<f64>>, ModelError> {
    let Some(info) = weights.get(name).filter(|info| info.dtype.is_float()) else {
        return Ok(None);
    };
    if info.elements() > 100_000 {
        return Ok(None);
    }
    let bytes = weights.bytes(name)?;
    Ok(crate::load::to_f32(&bytes, info.dtype)
        .map(|values| values.into_iter().map(f64::from).collect()))
}

/// The text of `name.yaml` beside `name.ckpt`.
fn sidecar(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path.with_extension("yaml")).ok()?;
    file.take(MAX_YAML).read_to_string(&mut text).ok()?;
    Some(text)
}
