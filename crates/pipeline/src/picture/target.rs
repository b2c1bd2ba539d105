//! Where pictures are written: whole or not at all, under names that go on from those that are there.

use std::{
    ffi::OsStr,
    io::Write,
    path::{Path, PathBuf},
};

use super::files::PictureError;

/// Writes a file under a temporary name in the same folder, then renames it. An existing file is an error unless
/// `overwrite`; the folder must exist.
pub fn write_atomic(path: &Path, bytes: &[u8], overwrite: bool) -> Result<(), PictureError> {
    let error = |source| PictureError::Write {
        path: path.to_owned(),
        source,
    };
    let exists = || exists(path);
    check_free(path, overwrite)?;
    let mut file = temporary(path).map_err(error)?;
    file.write_all(bytes).map_err(error)?;
    file.as_file().sync_all().map_err(error)?;
    let kept = match overwrite {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    match kept {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists()),
        Err(e) => Err(error(e.error)),
    }
}

/// A file that takes the place of `path` later; it vanishes if it does not.
fn temporary(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".latent-")
        .permissions_like_a_new_file()
        .tempfile_in(folder_of(path))
        .map_err(without_path)
}

/// An error of the system, without the name of the temporary file, which `tempfile` puts behind its message.
fn without_path(error: std::io::Error) -> std::io::Error {
    let message = error.to_string();
    match message.split_once(" at path ") {
        Some((message, _)) => std::io::Error::new(error.kind(), message),
        None => error,
    }
}

fn exists(path: &Path) -> PictureError {
    PictureError::Exists {
        path: path.to_owned(),
    }
}

/// Whether there is no file in the way.
///
/// # Errors
/// One that exists and is not to be replaced, or a folder of that name.
pub fn check_free(path: &Path, overwrite: bool) -> Result<(), PictureError> {
    match path.symlink_metadata() {
        Ok(_) if !overwrite => Err(exists(path)),
        Ok(there) if there.is_dir() => Err(PictureError::Write {
            path: path.to_owned(),
            source: std::io::ErrorKind::IsADirectory.into(),
        }),
        _ => Ok(()),
    }
}

/// Whether [`write_atomic`] could write the file now: to be asked before the work whose result it will hold.
///
/// # Errors
/// The error that writing would end with: it exists, its folder does not, or the folder takes no files.
pub fn check_writable(path: &Path, overwrite: bool) -> Result<(), PictureError> {
    check_free(path, overwrite)?;
    temporary(path)
        .map(drop)
        .map_err(|source| PictureError::Write {
            path: path.to_owned(),
            source,
        })
}

/// `tempfile` makes files only their owner can read; a picture gets the rights any new file has.
trait Permissions {
    fn permissions_like_a_new_file(&mut self) -> &mut Self;
}

impl Permissions for tempfile::Builder<'_, '_> {
    #[cfg(unix)]
    fn permissions_like_a_new_file(&mut self) -> &mut Self {
        use std::os::unix::fs::PermissionsExt;
        // The umask is applied by the system.
        self.permissions(std::fs::Permissions::from_mode(0o666))
    }

    #[cfg(not(unix))]
    fn permissions_like_a_new_file(&mut self) -> &mut Self {
        self
    }
}

/// The files of a job of `count` pictures.
///
/// One picture takes the name as given. Several are numbered before the ending, `name-00001.png` on: the first number
/// follows the highest that the folder has for this name, so that a job run again writes beside the last one; with
/// `overwrite` it is 1. A name that is a folder (it exists as one, or ends in `/`) stands for `latent.png` in it, and is
/// numbered for one picture too.
pub fn numbered(path: &Path, count: usize, overwrite: bool) -> Vec<PathBuf> {
    let ends_in_slash = path.as_os_str().to_string_lossy().ends_with(['/', '\\']);
    let is_folder = path.is_dir() || ends_in_slash;
    let base = if is_folder {
        path.join("latent.png")
    } else {
        path.to_owned()
    };
    if count <= 1 && !is_folder {
        return vec![base];
    }
    let stem = base.file_stem().unwrap_or_default();
    let highest = match overwrite {
        true => 0,
        false => std::fs::read_dir(folder_of(&base))
            .into_iter()
            .flatten()
            .filter_map(|entry| number_of(&entry.ok()?.file_name(), stem))
            .max()
            .unwrap_or(0),
    };
    (1..=count.max(1))
        .map(|i| with_number(&base, highest.saturating_add(i)))
        .collect()
}

/// `name-00007.png` of `name.png`. Names need not be Unicode.
pub fn with_number(path: &Path, number: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number:05}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

/// The number of a file that is called `stem-00007` and an ending.
fn number_of(name: &OsStr, stem: &OsStr) -> Option<usize> {
    let name = Path::new(name).file_stem()?.as_encoded_bytes();
    let digits = name.strip_prefix(stem.as_encoded_bytes())?;
    let digits = std::str::from_utf8(digits.strip_prefix(b"-")?).ok()?;
    let plain = digits.len() >= 5 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
