//! Small things that are kept as a file: settings, styles.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value in memory, and its file of JSON, which is whole at any time.
#[derive(Debug)]
pub struct Kept<T> {
    file: PathBuf,
    written: bool,
    value: Mutex<T>,
}

impl<T: Clone + Default + Serialize + DeserializeOwned> Kept<T> {
    /// Reads it; the default where there is no file. Changes are `written`, or forgotten with the process.
    ///
    /// # Errors
    /// A file that cannot be read, or holds something else: it is named.
    pub fn open(folder: &Path, name: &str, written: bool) -> Result<Self, std::io::Error> {
        let file = folder.join(name);
        let named = |error: &dyn std::fmt::Display| {
            std::io::Error::other(format!("{}: {error}", file.display()))
        };
        let value = match std::fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| named(&e))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => T::default(),
            Err(error) => return Err(named(&error)),
        };
        let value = Mutex::new(value);
        Ok(Self {
            file,
            written,
            value,
        })
    }

    /// The value.
    pub fn get(&self) -> T {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        value.clone()
    }

    /// Changes it, in the file first.
    ///
    /// # Errors
    /// A file that cannot be written; nothing is changed then.
    pub fn set(&self, new: T) -> Result<(), std::io::Error> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        if self.written {
            self.write(&new)?;
        }
        *value = new;
        Ok(())
    }

    fn write(&self, new: &T) -> Result<(), std::io::Error> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, new)?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&self.file)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_there_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || Kept::<Vec<u32>>::open(folder.path(), "x.json", true);
        let kept = open().expect("nothing yet");
        assert!(kept.get().is_empty());
        kept.set(vec![1, 2]).expect("written");
        assert_eq!(open().expect("a file").get(), [1, 2]);
        let quiet = Kept::<Vec<u32>>::open(folder.path(), "x.json", false);
        let quiet = quiet.expect("a file");
        quiet.set(vec![3]).expect("held");
        assert_eq!(
            (quiet.get(), open().expect("a file").get()),
            (vec![3], vec![1, 2])
        );
        std::fs::write(folder.path().join("x.json"), "{").expect("written");
        let error = open().expect_err("no JSON").to_string();
        assert!(error.contains("x.json"), "{error}");
    }
}
