//! Writing files of tensors.
//!
//! Every file is written under a temporary name in the folder it will lie in, flushed to the disk, and renamed when it
//! is whole. A full disk, a refused write or an error of the caller's leaves nothing behind. Values are asked for one
//! tensor at a time, so that memory holds one tensor and not the model.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::TensorInfo;
use crate::Error;

/// What to do when the output is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// [`Error::Exists`].
    Refuse,
    /// Replace it once the new one is whole.
    Replace,
}

/// Writes a safetensors file. `bytes` gives each tensor's values, little-endian and row-major; it is called once per
/// tensor, in the order of `tensors`, which is the order in the file.
///
/// # Errors
/// When the output exists and may not be replaced, cannot be written, a name appears twice, or the values have another
/// length than the shape says; and the errors of `bytes`.
pub fn safetensors<'a, E: From<Error>>(
    path: &Path,
    tensors: &[TensorInfo],
    metadata: &BTreeMap<String, String>,
    existing: Existing,
    mut bytes: impl FnMut(&TensorInfo) -> Result<Cow<'a, [u8]>, E>,
) -> Result<(), E> {
    check_names(path, tensors)?;
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut end = 0usize;
    for info in tensors {
        let start = end;
        end += info.byte_len();
        let entry =
            json!({"dtype": info.dtype.name(), "shape": info.shape, "data_offsets": [start, end]});
        header.insert(info.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // The published writer pads with spaces so that the values start at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut output = Output::create(path, existing)?;
    output.write(&(header.len() as u64).to_le_bytes())?;
    output.write(&header)?;
    for info in tensors {
        let values = bytes(info)?;
        check_len(path, info, &values)?;
        output.write(&values)?;
    }
    Ok(output.finish()?)
}

/// Writes a JSON file, indented as diffusers indents them.
///
/// # Errors
/// When the output exists and may not be replaced, or cannot be written.
pub fn json(path: &Path, value: &Value, existing: Existing) -> Result<(), Error> {
    let mut output = Output::create(path, existing)?;
    output.write(format!("{value:#}\n").as_bytes())?;
    output.finish()
}

/// A folder that is written under a temporary name and renamed when it is whole.
#[derive(Debug)]
pub struct FolderWriter {
    target: PathBuf,
    existing: Existing,
    temporary: tempfile::TempDir,
}

impl FolderWriter {
    /// Starts the folder `target`.
    ///
    /// # Errors
    /// When `target` exists and may not be replaced, or holds something other than a diffusers folder, or its parent
    /// cannot be written to.
    pub fn create(target: &Path, existing: Existing) -> Result<Self, Error> {
        check_target(target, existing)?;
        let parent = parent(target);
        let temporary = tempfile::Builder::new()
            .prefix(".latent-")
            .tempdir_in(parent)
            .map_err(Error::io(target, "create a temporary folder beside it"))?;
        Ok(Self {
            target: target.to_owned(),
            existing,
            temporary,
        })
    }

    /// Where to write a file of the folder: `file("unet/config.json")`. Subfolders are made on the way.
    ///
    /// # Errors
    /// When the subfolder cannot be made.
    pub fn file(&self, relative: impl AsRef<Path>) -> Result<PathBuf, Error> {
        let path = self.temporary.path().join(relative);
        let folder = parent(&path);
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        Ok(path)
    }

    /// Puts the folder in its place.
    ///
    /// # Errors
    /// When `target` has appeared meanwhile, or the rename is refused.
    pub fn finish(self) -> Result<(), Error> {
        let Self {
            target,
            existing,
            temporary,
        } = self;
        check_target(&target, existing)?;
        make_readable(temporary.path()).map_err(Error::io(&target, "set its permissions"))?;
        if target.is_dir() {
            // The old folder goes aside first, since a rename does not replace a folder that has files in it.
            let aside = tempfile::Builder::new()
                .prefix(".latent-old-")
                .tempdir_in(parent(&target))
                .map_err(Error::io(&target, "create a temporary folder beside it"))?;
            let old = aside.path().join("old");
            fs::rename(&target, &old).map_err(Error::io(&target, "move the old folder aside"))?;
            if let Err(e) = fs::rename(temporary.path(), &target) {
                fs::rename(&old, &target).map_err(Error::io(&target, "put the old folder back"))?;
                return Err(Error::io(&target, "rename the finished folder to it")(e));
            }
        } else {
            fs::rename(temporary.path(), &target)
                .map_err(Error::io(&target, "rename the finished folder to it"))?;
        }
        // Nothing is left under the temporary name.
        let _ = temporary.keep();
        sync_folder(parent(&target));
        Ok(())
    }
}

fn check_target(target: &Path, existing: Existing) -> Result<(), Error> {
    let Ok(kind) = fs::symlink_metadata(target) else {
        return Ok(());
    };
    let empty = kind.is_dir() && fs::read_dir(target).is_ok_and(|mut list| list.next().is_none());
    if empty {
        return Ok(());
    }
    if existing == Existing::Refuse {
        return Err(Error::Exists {
            path: target.to_owned(),
        });
    }
    match target.join("model_index.json").is_file() {
        true => Ok(()),
        false => Err(Error::Folder {
            path: target.to_owned(),
            problem: "it is in the way and is not a diffusers folder; it is not replaced".into(),
        }),
    }
}

/// Temporary folders are private to their user; a finished one has the permissions of a new folder.
fn make_readable(folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let probe = folder.join(".permissions");
        fs::create_dir(&probe)?;
        let mode = fs::metadata(&probe)?.permissions().mode();
        fs::remove_dir(&probe)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    }
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// A file in the making.
pub(super) struct Output {
    path: PathBuf,
    existing: Existing,
    file: BufWriter<NamedTempFile>,
}

impl Output {
    pub(super) fn create(path: &Path, existing: Existing) -> Result<Self, Error> {
        if path.is_dir() {
            return Err(Error::Folder {
                path: path.to_owned(),
                problem: "a file is to be written here".into(),
            });
        }
        if existing == Existing::Refuse && fs::symlink_metadata(path).is_ok() {
            return Err(Error::Exists {
                path: path.to_owned(),
            });
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".latent-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Those of a new file; the system's mask is applied.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder
            .tempfile_in(parent(path))
            .map_err(Error::io(path, "create a temporary file beside it"))?;
        Ok(Self {
            path: path.to_owned(),
            existing,
            file: BufWriter::with_capacity(1 << 20, file),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(Error::io(&self.path, "write"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The buffered file, for a writer of its own.
    pub(super) fn inner(&mut self) -> &mut BufWriter<NamedTempFile> {
        &mut self.file
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        let path = &self.path;
        let file = self
            .file
            .into_inner()
            .map_err(|e| Error::io(path, "write")(e.into_error()))?;
        file.as_file()
            .sync_all()
            .map_err(Error::io(path, "write to the disk"))?;
        let kept = match self.existing {
            Existing::Replace => file.persist(path),
            Existing::Refuse => file.persist_noclobber(path),
        };
        kept.map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::io(path, "rename the finished file to it")(e.error),
        })?;
        sync_folder(parent(path));
        Ok(())
    }
}

/// Makes a rename last. Not every system lets a folder be opened for this, and the file itself is safe already.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(super) fn check_names(path: &Path, tensors: &[TensorInfo]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for info in tensors {
        if info.name == "__metadata__" || !seen.insert(&info.name) {
            return Err(Error::tensor(path, &info.name, "this name is taken"));
        }
    }
    Ok(())
}

pub(super) fn check_len(path: &Path, info: &TensorInfo, values: &[u8]) -> Result<(), Error> {
    match values.len() == info.byte_len() {
        true => Ok(()),
        false => {
            let (got, want) = (values.len(), info.byte_len());
            let problem = format!("{got} bytes of values for a shape that takes {want}");
            Err(Error::tensor(path, &info.name, problem))
        }
    }
}
