//! The on-disk forms: one file of tensors, or a folder of components.

use std::path::Path;

use crate::Error;

mod candidate;
mod files;
pub mod folder;
pub mod hash;
mod mmap;
pub mod pickle;
mod safetensors;
mod sniff;
mod tensor;
mod tensor_file;
mod torch;
mod torch_legacy;
mod torch_zip;
mod weights;
pub mod write;
mod write_folder;

pub use files::Files;
pub(crate) use folder::is_plain_name;
pub use folder::{Component, Folder, Variant};
pub use tensor::{Dtype, TensorInfo};
pub use tensor_file::{FileFormat, TensorFile};
pub use weights::Weights;

/// A model on disk, opened: nothing but names, shapes and settings has been read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Source {
    /// One file of tensors.
    File(TensorFile),
    /// A diffusers folder, or one component of it.
    Folder(Folder),
}

impl Source {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Folder(folder) => folder.path(),
        }
    }
}

/// Opens a file (`.safetensors`, `.ckpt`, `.pt`, `.pth`, `.bin`; told apart by content, not by name) or a diffusers
/// folder.
///
/// # Errors
/// Anything of [`Error`] that concerns reading; the message names the file.
pub fn open(path: impl AsRef<Path>) -> Result<Source, Error> {
    let path = path.as_ref();
    let kind = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    if kind.is_dir() {
        Folder::open(path).map(Source::Folder)
    } else {
        TensorFile::open(path).map(Source::File)
    }
}
