//! Writing folders of files: all of it, or nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::write::{Existing, parent, sync_folder};
use crate::Error;

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
