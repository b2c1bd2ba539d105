//! Diffusers folders: `model_index.json` and one subfolder per component.
//!
//! Opening reads the JSON files only; a component's weights are opened when asked for, so that a missing safety
//! checker does not stand in the way of a picture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::candidate::Candidate;
use super::{Files, Weights};
use crate::Error;
use crate::error::shown;

/// The longest settings file accepted, in bytes.
const MAX_CONFIG: u64 = 4 << 20;
/// The longest shard index accepted, in bytes.
const MAX_INDEX: u64 = 32 << 20;
/// The settings file of a component: of a network, a scheduler, an image processor, a tokenizer.
const CONFIGS: [&str; 4] = [
    "config.json",
    "scheduler_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
];

/// Which of several weight files of one component to read: `….fp16.safetensors` is the variant `fp16`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Variant {
    /// The plain files; where there are none, `fp16`; where there is neither, the only variant there is.
    #[default]
    Auto,
    /// The files without a variant.
    Plain,
    /// The files of this variant.
    Named(String),
}

/// A diffusers folder, or the folder of a single component.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    files: Files,
    index: Option<Value>,
    components: Vec<Component>,
}

/// One component of a folder: a network, a scheduler, a tokenizer.
#[derive(Debug)]
pub struct Component {
    /// The name in `model_index.json`, which is the subfolder's: `unet`, `vae`, `text_encoder`, `scheduler`, … Of a
    /// folder that is a single component: after the class in its `config.json`, or the folder's own name.
    pub name: String,
    /// The library named in `model_index.json`, such as `diffusers`; empty when there is no index.
    pub library: String,
    /// The class: `UNet2DConditionModel`, `PNDMScheduler`, …; empty when nothing says it.
    pub class: String,
    /// The subfolder, which may be missing.
    pub path: PathBuf,
    /// Its `config.json`, `scheduler_config.json`, `preprocessor_config.json` or `tokenizer_config.json`.
    pub config: Option<Value>,
    files: Files,
}

impl Folder {
    /// Reads the settings of the folder at `path`.
    ///
    /// # Errors
    /// When there is neither a `model_index.json` nor a `config.json`, when one of the settings files is not a JSON
    /// object, or when a component's name would lead out of the folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_in(Files::Disk, path)
    }

    /// [`open`](Self::open) among other files than those of the disk.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(files: Files, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let index_path = path.join("model_index.json");
        if files.is_file(&index_path) {
            let index = read_object(files, &index_path, MAX_CONFIG)?;
            let components = components(files, path, &index_path, &index)?;
            return Ok(Self {
                path: path.to_owned(),
                files,
                index: Some(index),
                components,
            });
        }
        let Some(config) = config(files, path)? else {
            // One that may not be looked into has neither, too.
            files.list(path).map_err(Error::io(path, "list"))?;
            let problem = "it has neither model_index.json nor config.json; \
                           give a diffusers folder, or one weight file of this folder";
            return Err(folder_error(path, problem));
        };
        let class = class_of(&config);
        let own = path.file_name().map(|name| name.to_string_lossy());
        let name = match class.as_str() {
            "UNet2DConditionModel" | "UNet2DModel" => "unet".into(),
            "AutoencoderKL" | "VQModel" => "vae".into(),
            "CLIPTextModel" => "text_encoder".into(),
            _ => own.unwrap_or_default().into_owned(),
        };
        Ok(Self {
            path: path.to_owned(),
            files,
            index: None,
            components: vec![Component {
                files,
                name,
                library: String::new(),
                class,
                path: path.to_owned(),
                config: Some(config),
            }],
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its files are.
    pub fn files(&self) -> Files {
        self.files
    }

    /// `model_index.json`, unless the folder is a single component.
    pub fn index(&self) -> Option<&Value> {
        self.index.as_ref()
    }

    /// The components that `model_index.json` names (those it sets to null left out), in its order.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The component called `name`.
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.components.iter().find(|part| part.name == name)
    }
}

impl Component {
    /// The variants among this component's weight files, sorted; "" stands for the plain files.
    ///
    /// # Errors
    /// When the subfolder cannot be read.
    pub fn variants(&self) -> Result<Vec<String>, Error> {
        let mut found: Vec<_> = self.candidates()?.into_iter().map(|c| c.variant).collect();
        found.dedup();
        Ok(found)
    }

    /// Opens the weights: `.safetensors` rather than `.bin`, the shards of an index as one.
    ///
    /// # Errors
    /// When there are none of that variant, a shard is missing or lies outside the folder, a shard lacks a tensor that
    /// the index promises, or a file is damaged.
    pub fn weights(&self, variant: &Variant) -> Result<Weights, Error> {
        let candidates = self.candidates()?;
        let has = |name: &str| candidates.iter().any(|c| c.variant == name);
        let names: BTreeSet<_> = candidates.iter().map(|c| c.variant.as_str()).collect();
        let wanted = match variant {
            Variant::Plain => "",
            Variant::Named(name) => name,
            Variant::Auto if has("") => "",
            Variant::Auto if has("fp16") => "fp16",
            Variant::Auto => names.first().filter(|_| names.len() == 1).unwrap_or(&""),
        };
        let Some(chosen) = candidates.iter().find(|c| c.variant == wanted) else {
            let there: Vec<_> = names
                .iter()
                .map(|name| if name.is_empty() { "plain" } else { name })
                .collect();
            let there = match there.is_empty() {
                true => "there are no weight files".to_owned(),
                false => format!("there is {}", there.join(", ")),
            };
            let wanted = if wanted.is_empty() { "plain" } else { wanted };
            let problem = format!(
                "no {} weights (.safetensors or .bin); {there}",
                shown(wanted)
            );
            return Err(folder_error(&self.path, problem));
        };
        let path = self.path.join(&chosen.file);
        match chosen.sharded {
            true => shards(self.files, &self.path, &path),
            false => self.files.tensors(&path).map(Weights::from),
        }
    }

    /// The weight files, best first within each variant.
    fn candidates(&self) -> Result<Vec<Candidate>, Error> {
        let names = match self.files.list(&self.path) {
            Ok(names) => names,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let problem = "the folder is missing, though model_index.json names it";
                return Err(folder_error(&self.path, problem));
            }
            Err(e) => return Err(Error::io(&self.path, "list")(e)),
        };
        let parsed = names.iter().filter_map(|name| Candidate::parse(name));
        let mut found: Vec<Candidate> = parsed.collect();
        found.sort();
        Ok(found)
    }
}

fn components(
    files: Files,
    path: &Path,
    index_path: &Path,
    index: &Value,
) -> Result<Vec<Component>, Error> {
    let mut components = Vec::new();
    for (name, value) in index.as_object().into_iter().flatten() {
        // Other entries are settings: `_class_name`, `requires_safety_checker`, …
        let Some([library, class]) = value.as_array().map(Vec::as_slice) else {
            continue;
        };
        let (Some(library), Some(class)) = (library.as_str(), class.as_str()) else {
            continue;
        };
        if !is_plain_name(name) {
            let problem = format!("component `{}` is not the name of a subfolder", shown(name));
            return Err(Error::Json {
                path: index_path.to_owned(),
                problem,
            });
        }
        let path = path.join(name);
        let config = config(files, &path)?;
        components.push(Component {
            name: name.clone(),
            library: library.to_owned(),
            class: class.to_owned(),
            path,
            config,
            files,
        });
    }
    Ok(components)
}

fn config(files: Files, folder: &Path) -> Result<Option<Value>, Error> {
    let paths = CONFIGS.iter().map(|name| folder.join(name));
    match paths.into_iter().find(|path| files.is_file(path)) {
        Some(path) => read_object(files, &path, MAX_CONFIG).map(Some),
        None => Ok(None),
    }
}

/// `_class_name` of diffusers or the first of transformers' `architectures`.
fn class_of(config: &Value) -> String {
    let class = config
        .get("_class_name")
        .or_else(|| config.get("architectures")?.get(0));
    class.and_then(Value::as_str).unwrap_or("").to_owned()
}

fn shards(files: Files, folder: &Path, index_path: &Path) -> Result<Weights, Error> {
    let bad = |problem: String| Error::Json {
        path: index_path.to_owned(),
        problem,
    };
    let index = read_object(files, index_path, MAX_INDEX)?;
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| bad("it has no `weight_map` object".into()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file
            .as_str()
            .ok_or_else(|| bad(format!("the shard of `{}` is not text", shown(tensor))))?;
        if !is_plain_name(file) {
            let problem = format!("shard `{}` lies outside the folder", shown(file));
            return Err(bad(problem));
        }
        names.insert(file);
    }
    let mut parts = Vec::with_capacity(names.len());
    for name in names {
        let path = folder.join(name);
        if !files.is_file(&path) {
            return Err(bad(format!("shard `{}` is missing", shown(name))));
        }
        parts.push(files.tensors(&path)?);
    }
    let weights = Weights::join(index_path, parts)?;
    match map.keys().find(|name| weights.get(name).is_none()) {
        Some(name) => {
            let problem = "the index promises it, no shard has it";
            Err(Error::tensor(index_path, name, problem))
        }
        None => Ok(weights),
    }
}

/// Whether `name` names something directly inside a folder, on every system.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', ':', '\0'])
}

/// Reads a JSON object of `limit` bytes at most.
fn read_object(files: Files, path: &Path, limit: u64) -> Result<Value, Error> {
    let text = files.read(path, limit, "the settings file")?;
    let bad = |problem: String| Error::Json {
        path: path.to_owned(),
        problem,
    };
    let value: Value = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(bad("it is not a JSON object".into())),
    }
}

fn folder_error(path: &Path, problem: impl Into<String>) -> Error {
    Error::Folder {
        path: path.to_owned(),
        problem: problem.into(),
    }
}
