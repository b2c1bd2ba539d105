//! The folder that holds the bytes of pictures, uploads and thumbnails.

use std::io;
use std::path::{Path, PathBuf};

use crate::{Format, Result, Ulid};

/// A folder of files that are there whole or not at all.
///
/// A picture lies at `pictures/<2 letters>/<id>.<png|jpg|webp>`, an upload at `inputs/<2 digits>/<sha256>`, a thumbnail, which can
/// be made again, at `thumbs/<2 letters>/<id>`. All names are made here from ids and hashes.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File).
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        todo!()
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Bytes that may still be written on the disk of a folder, as the system says.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn free(folder: &Path) -> io::Result<u64> {
        todo!()
    }

    /// The file of a picture.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File), also if there is none.
    pub async fn picture(&self, id: Ulid, format: Format) -> Result<Vec<u8>> {
        todo!()
    }

    /// The thumbnail of a picture, if one has been put here.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File).
    pub async fn thumb(&self, id: Ulid) -> Result<Option<Vec<u8>>> {
        todo!()
    }

    /// Keeps the thumbnail of a picture; its form is the caller's. It goes when the picture is purged.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File).
    pub async fn put_thumb(&self, id: Ulid, bytes: Vec<u8>) -> Result<()> {
        todo!()
    }
}
