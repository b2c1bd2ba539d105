//! One run, one folder.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::Error;

const FILE: &str = ".lock";

/// Holds a folder for one run until it is dropped, or its process ends in any way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder, which is made where it is not there. File systems without locks let everybody in.
    ///
    /// # Errors
    /// [`Error::Locked`] where another run holds it; [`Error::NoFolder`] where it is a file; a folder that cannot be written.
    pub fn take(folder: &Path) -> Result<Self, Error> {
        if folder.is_file() {
            return Err(Error::NoFolder {
                path: folder.to_owned(),
            });
        }
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let path = folder.join(FILE);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(Error::io(&path, "write"))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::Locked {
                path: folder.to_owned(),
            }),
            Err(TryLockError::Error(e)) if e.kind() != std::io::ErrorKind::Unsupported => {
                Err(Error::io(&path, "lock")(e))
            }
            _ => Ok(Self { _file: file }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        let held = Lock::take(&folder).unwrap();
        let error = Lock::take(&folder).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        drop(held);
        Lock::take(&folder).unwrap();
        let error = Lock::take(&folder.join(FILE)).unwrap_err();
        assert!(matches!(error, Error::NoFolder { .. }), "{error}");
    }
}
