//! A file's bytes: mapped into memory, or owned where they came from elsewhere.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::Mmap;

use crate::Error;

/// The bytes of one file.
#[derive(Debug)]
pub(super) enum Bytes {
    /// Pages of the file, read when they are touched.
    Mapped(Mmap),
    /// Bytes in memory.
    Owned(Vec<u8>),
    /// Bytes of the program.
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps `path`, which must be a regular file.
    pub(super) fn map(path: &Path) -> Result<Self, Error> {
        // Before opening: to open a pipe is to wait for its writer.
        let kind = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
        if !kind.is_file() {
            return Err(Error::Unrecognised {
                path: path.to_owned(),
                found: "it is not a regular file".into(),
            });
        }
        if kind.len() == 0 {
            return Ok(Self::Owned(Vec::new()));
        }
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        // SAFETY: the mapping is private and read-only, and only `u8`s are read from it, so any content is valid.
        // What stays outside our control is another program that rewrites or truncates the file while it is
        // mapped: then values change, or the process receives SIGBUS. Every program that maps checkpoints
        // accepts this; the alternative, a copy, doubles the memory that loading needs.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path, "map into memory"))?;
        Ok(Self::Mapped(map))
    }

    /// Gives the pages of `range` back to the system; they are read from the file again when touched.
    pub(super) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self
            && range.start < range.end
            && range.end <= map.len()
        {
            // SAFETY: DONTNEED drops pages. On a private read-only mapping of a file none of them can be dirty, so
            // the next access finds the same bytes in the file. The range lies inside the mapping.
            // Advice may be refused; nothing depends on it.
            let _ = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    range.start,
                    range.len(),
                )
            };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }
}
