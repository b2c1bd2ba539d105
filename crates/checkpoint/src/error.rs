//! What can be wrong with a model on disk. Every message names the file, and the tensor where there is one.

use std::io;
use std::path::{Path, PathBuf};

use crate::file::pickle::PickleError;

/// What is done to files that are given; all else is done to those that are written.
const READING: [&str; 5] = ["open", "read", "list", "map into memory", "read its size"];

/// Why a file or folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done: "open", "map into memory", …
        doing: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The first bytes are those of no format that this crate reads.
    #[error("{}: not a model file: {found}; expected .safetensors, .ckpt, .pt or .bin", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// What the bytes look like instead.
        found: String,
    },
    /// A known format that is not read here.
    #[error("{}: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The format, and what to do instead.
        what: String,
    },
    /// A safetensors file whose header is wrong.
    #[error("{}: bad safetensors file: {problem}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong, with numbers.
        problem: String,
    },
    /// A zip archive that is damaged or is not one that torch writes.
    #[error("{}: bad torch zip archive: {problem}", path.display())]
    Zip {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the entry's name.
        problem: String,
    },
    /// A pickle that is damaged, or that asks for more than data.
    #[error("{}: bad pickle in {part}: {source}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Which pickle of the file: an entry of the archive or a part of a legacy file.
        part: String,
        /// What is wrong and at which byte of the pickle.
        source: PickleError,
    },
    /// A well formed pickle that does not describe tensors as torch does.
    #[error("{}: bad torch checkpoint: {problem}", path.display())]
    Torch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// One tensor is wrong.
    #[error("{}: tensor `{tensor}`: {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What is wrong.
        problem: String,
    },
    /// A tensor was asked for that the file does not have.
    #[error("{}: no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The file or folder.
        path: PathBuf,
        /// The name asked for.
        tensor: String,
    },
    /// A JSON file that is not JSON, or not the JSON expected.
    #[error("{}: bad JSON file: {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        problem: String,
    },
    /// A folder that is not laid out as diffusers lays models out.
    #[error("{}: bad model folder: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        problem: String,
    },
    /// The file says it is larger than anything it could be.
    #[error("{}: {what} is {found}, above the limit of {limit}", path.display())]
    Limit {
        /// The file.
        path: PathBuf,
        /// What is too large, with its unit.
        what: String,
        /// How large the file says it is.
        found: u64,
        /// The largest size accepted.
        limit: u64,
    },
    /// The output is there already.
    #[error("{}: exists already; remove it, or give --overwrite", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            doing,
            source,
        }
    }

    /// Whether it is about a file that was to be written.
    pub fn is_of_output(&self) -> bool {
        match self {
            Self::Exists { .. } => true,
            Self::Io { doing, .. } => !READING.contains(doing),
            _ => false,
        }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, problem: impl Into<String>) -> Self {
        Self::Tensor {
            path: path.to_owned(),
            tensor: shown(tensor),
            problem: problem.into(),
        }
    }

    pub(crate) fn torch(path: &Path, problem: impl Into<String>) -> Self {
        Self::Torch {
            path: path.to_owned(),
            problem: problem.into(),
        }
    }

    /// The file or folder that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::Unrecognised { path, .. }
            | Self::Unsupported { path, .. }
            | Self::Safetensors { path, .. }
            | Self::Zip { path, .. }
            | Self::Pickle { path, .. }
            | Self::Torch { path, .. }
            | Self::Tensor { path, .. }
            | Self::MissingTensor { path, .. }
            | Self::Json { path, .. }
            | Self::Folder { path, .. }
            | Self::Limit { path, .. }
            | Self::Exists { path } => path,
        }
    }
}

/// A name out of a file, made fit for a message: control characters escaped, 200 characters at most.
pub(crate) fn shown(name: &str) -> String {
    let escaped = name.chars().flat_map(|c| {
        let plain = (!c.is_control()).then_some(c);
        plain.into_iter().chain(
            c.is_control()
                .then(|| c.escape_default())
                .into_iter()
                .flatten(),
        )
    });
    let mut text: String = escaped.take(200).collect();
    if text.chars().count() == 200 {
        text.push('…');
    }
    text
}
