//! One adapter on disk: what its keys and its metadata say, before any model is looked at.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::keys::{self, Part, Parts};
use super::scale::{Scales, diffusers_scales, peft_scales};
use super::spelling::{Dialect, is_dead};
use crate::Error;
use crate::error::shown;
use crate::file::hash::{sha256, sha256_of_body};
use crate::file::{Dtype, FileFormat, TensorFile, TensorInfo, Weights};
use crate::load::{check_finite, stored, to_f32};
use crate::networks::Role;
use crate::report::ModelError;

/// PEFT's settings beside an adapter's weights.
pub const CONFIG: &str = "adapter_config.json";
const PEFT_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
/// The file in a folder that diffusers saved.
const DIFFUSERS_WEIGHTS: [&str; 2] = [
    "pytorch_lora_weights.safetensors",
    "pytorch_lora_weights.bin",
];
const ROLES: [Role; 3] = [Role::DENOISER, Role::TEXT_ENCODER, Role::TEXT_ENCODER_2];
/// Embeddings that a trainer put into the same file.
const BUNDLED: &str = "bundle_emb.";
/// Parts whose words other files have too: they alone make no adapter.
const COMMON: [Part; 2] = ["weight", "scale"];
/// The key of a kind whose strength goes with the time step.
const TIMED: &str = "lambda_layer";

/// An adapter as its file has it: keys, shapes, and what is said of them. Values stay on disk until a network is read.
#[derive(Debug)]
pub struct AdapterFile {
    path: PathBuf,
    weights: Weights,
    stems: BTreeMap<String, Parts>,
    unknown: Vec<String>,
    left_out: Vec<(String, &'static str)>,
    scales: Vec<Scales>,
    metadata: BTreeMap<String, String>,
}

impl AdapterFile {
    /// Opens a file (safetensors or torch) or a folder: one of PEFT's with `adapter_config.json`, one with such a folder for each
    /// network (`unet`, `text_encoder`, `text_encoder_2`), or one with `pytorch_lora_weights.safetensors`.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no tensors or none that is part of an adapter.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let (weights, scales) = match path.is_dir() {
            true => folder(path)?,
            false => (Weights::from(TensorFile::open(path)?), Vec::new()),
        };
        Self::of(path, weights, scales)
    }

    /// The adapter in a file that is open.
    ///
    /// # Errors
    /// As [`open`](Self::open)'s.
    pub fn from_file(file: TensorFile) -> Result<Self, ModelError> {
        let path = file.path().to_owned();
        Self::of(&path, Weights::from(file), Vec::new())
    }

    fn of(path: &Path, weights: Weights, mut scales: Vec<Scales>) -> Result<Self, ModelError> {
        let refused = |problem: String| ModelError::Request {
            path: path.to_owned(),
            problem,
        };
        let metadata: BTreeMap<String, String> = weights
            .files()
            .iter()
            .flat_map(|file| file.metadata().clone())
            .collect();
        scales.extend(diffusers_scales(&metadata).map_err(refused)?);
        if weights.tensors().is_empty() {
            return Err(refused("it holds no tensors".to_owned()));
        }
        let mut file = Self {
            path: path.to_owned(),
            stems: BTreeMap::new(),
            unknown: Vec::new(),
            left_out: Vec::new(),
            scales,
            metadata,
            weights,
        };
        let names: Vec<String> = file
            .weights
            .tensors()
            .iter()
            .map(|i| i.name.clone())
            .collect();
        for name in names {
            file.take(name)?;
        }
        file.check_timed()?;
        let parts = || file.stems.values().flat_map(BTreeMap::keys);
        let known = parts().any(|part| !COMMON.contains(part));
        match known {
            true => Ok(file),
            false => {
                let names = file.infos().take(3).map(|info| shown(&info.name));
                Err(refused(format!(
                    "it is no adapter of a kind that is read here: it has {}",
                    names.collect::<Vec<_>>().join(", ")
                )))
            }
        }
    }

    /// Puts one tensor where it belongs.
    fn take(&mut self, name: String) -> Result<(), ModelError> {
        if name.starts_with(BUNDLED) {
            self.left_out
                .push((name, "an embedding that the trainer put into the file"));
            return Ok(());
        }
        let Some((stem, part)) = keys::split(&name) else {
            self.unknown.push(name);
            return Ok(());
        };
        if is_dead(stem) {
            self.left_out.push((
                name,
                "dead: one release of diffusers wrote it and never read it",
            ));
            return Ok(());
        }
        let parts = self.stems.entry(stem.to_owned()).or_default();
        if let Some(other) = parts.insert(part, name.clone()) {
            return Err(self.wrong(format!(
                "`{}` and `{}` are the same part of one module",
                shown(&other),
                shown(&name)
            )));
        }
        Ok(())
    }

    fn check_timed(&self) -> Result<(), ModelError> {
        match self.unknown.iter().find(|name| name.ends_with(TIMED)) {
            Some(name) => Err(self.wrong(format!(
                "`{}` is of a T-LoRA, whose strength goes with the time step: no weights can be merged",
                shown(name)
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn wrong(&self, problem: String) -> ModelError {
        ModelError::Request {
            path: self.path.clone(),
            problem,
        }
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file or folder at `path` is an adapter.
    pub fn is_adapter(path: &Path) -> bool {
        Self::open(path).is_ok()
    }

    /// Every tensor.
    pub fn infos(&self) -> impl Iterator<Item = &TensorInfo> {
        self.weights.tensors().iter()
    }

    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        self.weights.files().iter().map(TensorFile::file_len).sum()
    }

    /// How many tensors it holds.
    pub fn tensors(&self) -> usize {
        self.weights.tensors().len()
    }

    /// Texts stored in the file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The first twelve digits of the hash by which A1111 knows it: what its trainer wrote of it (`sshs_model_hash`), or else the
    /// SHA-256 of what follows the header; of a torch file, of all of it. `None` of a folder. `progress` is called with the bytes
    /// read and their number.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn network_hash(
        &self,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<String>, Error> {
        const DIGITS: usize = 12;
        let [file] = self.weights.files() else {
            return Ok(None);
        };
        if self.path.is_dir() {
            return Ok(None);
        }
        let stated = self
            .metadata
            .get("sshs_model_hash")
            .and_then(|hash| hash.get(..DIGITS));
        if let Some(hash) = stated.filter(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Ok(Some(hash.to_owned()));
        }
        let mut hash = match file.format() {
            FileFormat::Safetensors => sha256_of_body(&self.path, progress)?,
            _ => sha256(&self.path, progress)?,
        };
        hash.truncate(DIGITS);
        Ok(Some(hash))
    }

    /// Tensors that are no part of any change known here.
    pub(super) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Tensors left unread, each with the reason.
    pub fn left_out(&self) -> &[(String, &'static str)] {
        &self.left_out
    }

    /// What alpha is for a module of a role, where the file has no tensor for it: alpha over rank.
    pub(super) fn scale_of(&self, role: Role, path: &str, rank: usize) -> Option<f64> {
        let mut scales = self.scales.iter();
        let own = scales.find(|scales| scales.role.is_none_or(|of| of == role))?;
        Some(own.factor(path, rank))
    }

    pub(super) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The module of this stem.
    pub(super) fn module(&self, stem: &str) -> Option<Module<'_>> {
        let (stem, parts) = self.stems.get_key_value(stem)?;
        Some(Module {
            file: self,
            stem,
            parts,
        })
    }

    /// Every module.
    pub(super) fn modules(&self) -> impl Iterator<Item = Module<'_>> {
        self.stems.iter().map(|(stem, parts)| Module {
            file: self,
            stem,
            parts,
        })
    }

    /// The spellings that its modules are in, the commonest first, with the number of modules.
    pub fn dialects(&self) -> Vec<(Dialect, usize)> {
        let mut counts: BTreeMap<Dialect, usize> = BTreeMap::new();
        for dialect in self.stems.keys().filter_map(|stem| Dialect::of(stem)) {
            *counts.entry(dialect).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

/// One module of an adapter's file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Module<'a> {
    pub file: &'a AdapterFile,
    pub stem: &'a str,
    pub parts: &'a Parts,
}

impl<'a> Module<'a> {
    pub fn has(&self, part: &str) -> bool {
        self.parts.contains_key(part)
    }

    /// What is known of a part that the module may have not.
    pub fn info(&self, part: &str) -> Option<&'a TensorInfo> {
        self.file.weights.get(self.parts.get(part)?)
    }

    /// The shape of a part; empty where there is none.
    pub fn shape(&self, part: &str) -> &'a [usize] {
        self.info(part).map_or(&[], |info| info.shape.as_slice())
    }

    fn bytes(&self, part: &str) -> Result<(&'a TensorInfo, Cow<'a, [u8]>), ModelError> {
        let name = self.parts.get(part).map_or("", String::as_str);
        let missing = || Error::MissingTensor {
            path: self.file.path.clone(),
            tensor: format!("{}.{part}", shown(self.stem)),
        };
        let info = self.info(part).ok_or_else(missing)?;
        Ok((info, self.file.weights.bytes(name)?))
    }

    /// The values of a part, which must be numbers.
    pub fn values(&self, part: &str) -> Result<Vec<f32>, ModelError> {
        let weights = &self.file.weights;
        let values = {
            let (info, bytes) = self.bytes(part)?;
            stored(weights, &info.name)?;
            check_finite(&bytes, info, weights)?;
            to_f32(&bytes, info.dtype).unwrap_or_default()
        };
        if let Some(name) = self.parts.get(part) {
            weights.release(name);
        }
        Ok(values)
    }

    /// The one number of a part, of whatever type; `None` where the module has it not.
    pub fn number(&self, part: &str) -> Result<Option<f64>, ModelError> {
        if !self.has(part) {
            return Ok(None);
        }
        let (info, bytes) = self.bytes(part)?;
        let weights = &self.file.weights;
        if info.elements() != 1 {
            let problem = format!("has the shape {:?}; it must be one number", info.shape);
            return Err(Error::tensor(&self.file.path, &info.name, problem).into());
        }
        if info.dtype.is_float() {
            check_finite(&bytes, info, weights)?;
            let value = to_f32(&bytes, info.dtype).and_then(|v| v.first().copied());
            return Ok(value.map(f64::from));
        }
        // Written little-endian; a switch is 0 or 1 in every type.
        let signed = matches!(info.dtype, Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64);
        let negative = signed && bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut whole = [if negative { 0xFF } else { 0 }; 8];
        whole[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
        Ok(Some(i64::from_le_bytes(whole) as f64))
    }
}

/// The weights of a folder, and what its settings say of alpha.
fn folder(path: &Path) -> Result<(Weights, Vec<Scales>), ModelError> {
    let first = |folder: &Path, names: [&str; 2]| {
        let mut files = names.iter().map(|name| folder.join(name));
        files.find(|file| file.is_file())
    };
    if let Some(file) = first(path, DIFFUSERS_WEIGHTS) {
        return Ok((Weights::from(TensorFile::open(&file)?), Vec::new()));
    }
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let role_of = |name: &str| ROLES.into_iter().find(|role| role.folder() == name);
    let alone = path.join(CONFIG).is_file().then(|| {
        let role = name.as_deref().and_then(role_of);
        (path.to_owned(), role)
    });
    let beside = ROLES.into_iter().filter_map(|role| {
        let folder = path.join(role.folder());
        folder
            .join(CONFIG)
            .is_file()
            .then_some((folder, Some(role)))
    });
    let folders: Vec<_> = alone.into_iter().chain(beside).collect();
    let (mut starts, mut files, mut scales) = (Vec::new(), Vec::new(), Vec::new());
    for (folder, role) in &folders {
        let file = first(folder, PEFT_WEIGHTS).ok_or_else(|| Error::Folder {
            path: folder.clone(),
            problem: format!("beside {CONFIG} there is no {}", PEFT_WEIGHTS.join(" or ")),
        })?;
        scales.push(peft_scales(&folder.join(CONFIG), *role)?);
        starts.push(role.map_or_else(String::new, |role| format!("{}/", role.folder())));
        files.push(TensorFile::open(&file)?);
    }
    if files.is_empty() {
        return Err(Error::Folder {
            path: path.to_owned(),
            problem: format!(
                "it holds no adapter: expected {}, or {CONFIG} beside {}",
                DIFFUSERS_WEIGHTS[0], PEFT_WEIGHTS[0]
            ),
        }
        .into());
    }
    let files = starts.iter().map(String::as_str).zip(files).collect();
    Ok((Weights::join_under(path, files)?, scales))
}
