//! What `latent info` tells of every small file: where it is, what it holds, its hashes.

use std::path::Path;

use latent_checkpoint::{ModelError, TensorFile, TensorInfo, file::hash::sha256};
use latent_pipeline::request::Name;
use serde_json::{Value, json};

use crate::{args::InfoArgs, failure::Failure, files::bytes};

/// See [the module](self).
pub struct Told<'a> {
    path: &'a Path,
    container: String,
    size: u64,
    metadata: std::collections::BTreeMap<String, String>,
    hash: Option<String>,
    /// Where they are asked for.
    tensors: Option<Vec<TensorInfo>>,
}

impl<'a> Told<'a> {
    /// Of a file, as far as the arguments ask.
    ///
    /// # Errors
    /// One that cannot be read.
    pub fn of(args: &InfoArgs, path: &'a Path, file: &TensorFile) -> Result<Self, Failure> {
        let hash = args.hash.then(|| sha256(path, &mut |_, _| {}));
        Ok(Self {
            path,
            container: file.format().to_string(),
            size: file.file_len(),
            metadata: file.metadata().clone(),
            hash: hash.transpose().map_err(ModelError::from)?,
            tensors: args.tensors.then(|| file.tensors().to_vec()),
        })
    }

    /// For programs, beside what is told of the kind.
    pub fn json(&self, mut told: Value) -> Value {
        told["path"] = json!(Name::from(self.path));
        told["container"] = json!(self.container);
        told["size"] = json!(self.size);
        told["metadata"] = json!(self.metadata);
        told["sha256"] = json!(self.hash);
        if let Some(tensors) = &self.tensors {
            let row = tensors
                .iter()
                .map(|t| json!({"name": t.name, "dtype": t.dtype.name(), "shape": t.shape}));
            told["tensors"] = row.collect();
        }
        told
    }

    /// For a person, around what is told of the kind.
    pub fn text(&self, facts: &str) -> String {
        let line = |name: &str, value: &str| format!("  {name:<16} {value}\n");
        let mut text = format!("{}\n{facts}", self.path.display());
        text += &line("container", &self.container);
        text += &line("size", &bytes(self.size));
        if let Some(hash) = &self.hash {
            text += &line("SHA-256", hash);
            text += &line("A1111's hash", hash.get(..12).unwrap_or(hash));
        }
        for (key, value) in &self.metadata {
            let value: String = value.chars().take(200).collect();
            text += &line(
                "metadata",
                &format!("{} = {}", key.escape_debug(), value.escape_debug()),
            );
        }
        for tensor in self.tensors.iter().flatten() {
            let (dtype, shape, name) = (
                tensor.dtype.name(),
                &tensor.shape,
                tensor.name.escape_debug(),
            );
            text += &format!("  {dtype:<5} {shape:?} {name}\n");
        }
        text
    }
}
