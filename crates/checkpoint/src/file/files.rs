//! Where the files of a folder are.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::TensorFile;
use super::mmap::Bytes;
use crate::Error;

/// Files by their paths: those of the disk, or some that are built into the program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Files {
    /// Those of the disk.
    #[default]
    Disk,
    /// Bytes by path, `/` between folders.
    Memory(&'static [(&'static str, &'static [u8])]),
}

impl Files {
    fn find(self, path: &Path) -> Option<&'static [u8]> {
        let Self::Memory(files) = self else {
            return None;
        };
        let found = files.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, bytes)| *bytes)
    }

    /// The bytes of a file that is there in memory.
    fn bytes(self, path: &Path) -> Result<&'static [u8], Error> {
        let missing = || Error::io(path, "open")(io::ErrorKind::NotFound.into());
        self.find(path).ok_or_else(missing)
    }

    /// Whether there is a regular file of that path.
    pub fn is_file(self, path: &Path) -> bool {
        match self {
            Self::Disk => fs::metadata(path).is_ok_and(|kind| kind.is_file()),
            Self::Memory(_) => self.find(path).is_some(),
        }
    }

    /// A file's content, of `limit` bytes at most.
    ///
    /// # Errors
    /// A file that is not there, cannot be read, or is longer: `what` says what the limit is for.
    pub fn read(self, path: &Path, limit: u64, what: &str) -> Result<Cow<'static, [u8]>, Error> {
        let (content, length) = match self {
            Self::Memory(_) => {
                let bytes = self.bytes(path)?;
                (Cow::Borrowed(bytes), bytes.len() as u64)
            }
            Self::Disk => {
                let file = File::open(path).map_err(Error::io(path, "open"))?;
                let mut content = Vec::new();
                file.take(limit.saturating_add(1))
                    .read_to_end(&mut content)
                    .map_err(Error::io(path, "read"))?;
                let length = match content.len() as u64 > limit {
                    true => fs::metadata(path).map_or(limit + 1, |kind| kind.len()),
                    false => content.len() as u64,
                };
                (Cow::Owned(content), length)
            }
        };
        match length > limit {
            false => Ok(content),
            true => Err(Error::Limit {
                path: path.to_owned(),
                what: format!("{what}'s length in bytes"),
                found: length,
                limit,
            }),
        }
    }

    /// The names of what is directly inside a folder; those that are not UTF-8 left out.
    pub(crate) fn list(self, folder: &Path) -> io::Result<Vec<String>> {
        match self {
            Self::Disk => fs::read_dir(folder)?
                .map(|entry| Ok(entry?.file_name().into_string().ok()))
                .filter_map(Result::transpose)
                .collect(),
            Self::Memory(files) => {
                let inside = |name: &&str| Path::new(name).parent() == Some(folder);
                let names = files.iter().map(|(name, _)| *name).filter(inside);
                let names: Vec<String> = names
                    .filter_map(|name| Some(Path::new(name).file_name()?.to_str()?.to_owned()))
                    .collect();
                match names.is_empty() {
                    true => Err(io::ErrorKind::NotFound.into()),
                    false => Ok(names),
                }
            }
        }
    }

    /// Opens a file of tensors; what is in memory is read where it is.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn tensors(self, path: &Path) -> Result<TensorFile, Error> {
        match self {
            Self::Disk => TensorFile::open(path),
            Self::Memory(_) => TensorFile::read(path, Bytes::Static(self.bytes(path)?)),
        }
    }
}
