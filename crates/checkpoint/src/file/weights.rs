//! The weights of one component: a file, or several shards that are read as one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::{TensorFile, TensorInfo};
use crate::Error;

/// One or more files of tensors under one set of names.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<TensorFile>,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, Place>,
}

/// Where a tensor is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Among the files.
    file: usize,
    /// Among the tensors.
    tensor: usize,
    /// Where its name in the file begins.
    start: usize,
}

impl From<TensorFile> for Weights {
    fn from(file: TensorFile) -> Self {
        let tensors = file.tensors().to_vec();
        let index = tensors.iter().enumerate();
        let index = index.map(|(tensor, info)| {
            let place = Place {
                file: 0,
                tensor,
                start: 0,
            };
            (info.name.clone(), place)
        });
        Self {
            path: file.path().to_owned(),
            files: vec![file],
            index: index.collect(),
            tensors,
        }
    }
}

impl Weights {
    /// Joins shards; `path` is what messages call them together: their index file.
    ///
    /// # Errors
    /// When two shards hold a tensor of the same name.
    pub fn join(path: &Path, files: Vec<TensorFile>) -> Result<Self, Error> {
        Self::join_under(path, files.into_iter().map(|file| ("", file)).collect())
    }

    /// Joins files, the names of each with something before them.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn join_under(path: &Path, files: Vec<(&str, TensorFile)>) -> Result<Self, Error> {
        let mut weights = Self {
            path: path.to_owned(),
            files: Vec::new(),
            tensors: Vec::new(),
            index: HashMap::new(),
        };
        for (at, (start, file)) in files.into_iter().enumerate() {
            for info in file.tensors() {
                let info = TensorInfo {
                    name: format!("{start}{}", info.name),
                    ..info.clone()
                };
                let place = Place {
                    file: at,
                    tensor: weights.tensors.len(),
                    start: start.len(),
                };
                if let Some(other) = weights.index.insert(info.name.clone(), place) {
                    let other = weights.files[other.file].path().display().to_string();
                    let problem = format!("is also in {other}");
                    return Err(Error::tensor(file.path(), &info.name, problem));
                }
                weights.tensors.push(info);
            }
            weights.files.push(file);
        }
        Ok(weights)
    }

    /// The file, or the index file of the shards.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files: one, or the shards in the order of their names.
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }

    /// Every tensor, file after file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// What is known of tensor `name`.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        Some(&self.tensors[self.index.get(name)?.tensor])
    }

    /// The values of tensor `name`: see [`TensorFile::bytes`].
    ///
    /// # Errors
    /// As [`TensorFile::bytes`].
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, Error> {
        match self.index.get(name) {
            Some(at) => self.files[at.file].bytes(&name[at.start..]),
            None => Err(Error::MissingTensor {
                path: self.path.clone(),
                tensor: crate::error::shown(name),
            }),
        }
    }

    /// Drops the pages that reading tensor `name` brought in: see [`TensorFile::release`].
    pub fn release(&self, name: &str) {
        if let Some(at) = self.index.get(name) {
            self.files[at.file].release(&name[at.start..]);
        }
    }
}
