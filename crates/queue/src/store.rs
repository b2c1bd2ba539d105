//! What holds the bytes of pictures, uploads and thumbnails: a folder, or memory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::memory::Memory;
use crate::{Error, Format, Result, Ulid};

const PICTURES: &str = "pictures";
const INPUTS: &str = "inputs";
const THUMBS: &str = "thumbs";
/// Half-written files, on the same disk, so that a rename suffices.
const PARTS: &str = "parts";

/// A folder of files that are there whole or not at all; or the same in memory, of which nothing is written.
///
/// A picture lies at `pictures/<2 letters>/<id>.<png|jpg|webp>`, an upload at `inputs/<2 digits>/<sha256>`, a thumbnail, which can
/// be made again, at `thumbs/<2 letters>/<id>`. All names are made here from ids and hashes.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    memory: Option<Arc<Memory>>,
}

impl Store {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        for folder in [PICTURES, INPUTS, THUMBS, PARTS] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(at(&folder))?;
        }
        Ok(Self { root, memory: None })
    }

    /// Keeps at most so many bytes in memory, until the process ends.
    pub fn in_memory(most: u64) -> Self {
        Self {
            root: PathBuf::from("memory"),
            memory: Some(Arc::new(Memory::new(most))),
        }
    }

    /// Whether all of it ends with the process.
    pub fn is_in_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Bytes that may still be kept, where that is not for the disk to say.
    pub(crate) fn room(&self) -> Option<u64> {
        self.memory.as_ref().map(|memory| memory.free())
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
        fs4::available_space(folder)
    }

    /// The file of a picture.
    ///
    /// # Errors
    ///
    /// [`Error::File`], also if there is none.
    pub async fn picture(&self, id: Ulid, format: Format) -> Result<Vec<u8>> {
        self.read(self.picture_path(id, format)).await
    }

    /// The thumbnail of a picture, if one has been put here.
    ///
    /// # Errors
    ///
    /// [`Error::File`].
    pub async fn thumb(&self, id: Ulid) -> Result<Option<Vec<u8>>> {
        match self.read(self.thumb_path(id)).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the thumbnail of a picture; its form is the caller's. It goes when the picture is purged.
    ///
    /// # Errors
    ///
    /// [`Error::File`], [`Error::DiskFull`].
    pub async fn put_thumb(&self, id: Ulid, bytes: Vec<u8>) -> Result<()> {
        self.put(self.thumb_path(id), bytes).await
    }

    pub(crate) async fn put_picture(&self, id: Ulid, format: Format, bytes: Vec<u8>) -> Result<()> {
        self.put(self.picture_path(id, format), bytes).await
    }

    pub(crate) async fn put_input(&self, sha256: &str, bytes: Vec<u8>) -> Result<()> {
        self.put(self.input_path(sha256), bytes).await
    }

    /// The bytes of an upload that the tables name.
    pub(crate) async fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        self.read(self.input_path(sha256)).await
    }

    pub(crate) async fn remove_input(&self, sha256: &str) -> Result<()> {
        self.delete(self.input_path(sha256)).await.map(drop)
    }

    /// Removes a picture in whatever format, and its thumbnail. Returns whether there was a picture.
    pub(crate) async fn remove_picture(&self, id: Ulid) -> Result<bool> {
        self.delete(self.thumb_path(id)).await?;
        let mut found = false;
        for format in [Format::Png, Format::Jpeg, Format::WebP] {
            found |= self.delete(self.picture_path(id, format)).await?;
        }
        Ok(found)
    }

    /// Removes what was being written when the process ended.
    pub(crate) async fn remove_parts(&self) -> Result<()> {
        if self.is_in_memory() {
            return Ok(());
        }
        let folder = self.root.join(PARTS);
        blocking(move || {
            for path in list(&folder)? {
                remove(&path)?;
            }
            Ok(())
        })
        .await
    }

    /// The ids of all pictures that have a file, folder by folder.
    pub(crate) async fn pictures(&self) -> Result<Vec<Vec<Ulid>>> {
        let folder = self.root.join(PICTURES);
        if let Some(memory) = &self.memory {
            let paths = memory.below(&folder);
            return Ok(vec![paths.iter().filter_map(|path| id_of(path)).collect()]);
        }
        blocking(move || {
            let mut all = Vec::new();
            for shard in list(&folder)?.into_iter().filter(|path| path.is_dir()) {
                let ids: BTreeSet<_> = list(&shard)?
                    .iter()
                    .filter_map(|path| id_of(path))
                    .collect();
                all.push(ids.into_iter().collect());
            }
            Ok(all)
        })
        .await
    }

    async fn put(&self, path: PathBuf, bytes: Vec<u8>) -> Result<()> {
        let root = self.root.clone();
        if let Some(memory) = &self.memory {
            return match memory.put(path, bytes) {
                true => Ok(()),
                false => Err(Error::DiskFull { folder: root }),
            };
        }
        blocking(move || write(&root, &path, &bytes)).await
    }

    async fn read(&self, path: PathBuf) -> Result<Vec<u8>> {
        if let Some(memory) = &self.memory {
            let missing = || at(&path)(io::ErrorKind::NotFound.into());
            return memory.get(&path).ok_or_else(missing);
        }
        let root = self.root.clone();
        blocking(move || read_below(&root, &path).map_err(at(&path))).await
    }

    /// Returns whether there was one.
    async fn delete(&self, path: PathBuf) -> Result<bool> {
        if let Some(memory) = &self.memory {
            return Ok(memory.remove(&path));
        }
        blocking(move || remove(&path)).await
    }

    fn picture_path(&self, id: Ulid, format: Format) -> PathBuf {
        let name = format!("{id}.{}", format.extension());
        self.root.join(PICTURES).join(shard(id)).join(name)
    }

    fn thumb_path(&self, id: Ulid) -> PathBuf {
        self.root.join(THUMBS).join(shard(id)).join(id.to_string())
    }

    /// `sha256` has been checked to be digits.
    fn input_path(&self, sha256: &str) -> PathBuf {
        self.root.join(INPUTS).join(&sha256[..2]).join(sha256)
    }
}

/// Reads a file that lies below the folder, wherever links lead.
fn read_below(root: &Path, path: &Path) -> io::Result<Vec<u8>> {
    match path.canonicalize()?.starts_with(root.canonicalize()?) {
        true => fs::read(path),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The folder of an id: two letters of its random part that the pictures of a job share.
fn shard(id: Ulid) -> String {
    id.to_string()[10..12].to_owned()
}

fn id_of(path: &Path) -> Option<Ulid> {
    Ulid::from_string(path.file_stem()?.to_str()?).ok()
}

/// Writes to a temporary file, syncs it, renames it and syncs the folder, so that the name stands for all of the bytes
/// even after a power cut.
fn write(root: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull {
            folder: root.to_owned(),
        },
        _ => at(path)(error),
    };
    let folder = path.parent().unwrap_or(root);
    if !folder.is_dir() {
        fs::create_dir_all(folder).map_err(failed)?;
        sync_folder(folder.parent().unwrap_or(root)).map_err(failed)?;
    }
    let mut part = tempfile::NamedTempFile::new_in(root.join(PARTS)).map_err(failed)?;
    part.write_all(bytes).map_err(failed)?;
    part.as_file().sync_all().map_err(failed)?;
    part.persist(path).map_err(|e| failed(e.error))?;
    sync_folder(folder).map_err(failed)
}

/// Only systems that open folders as files can sync them; the others do it by themselves.
fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Returns whether there was one.
fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    entries
        .map(|entry| Ok(entry.map_err(at(folder))?.path()))
        .collect()
}

fn at(path: &Path) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::File {
        path: path.clone(),
        source,
    }
}

/// Runs file work where it holds up no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(at(Path::new(PARTS))(io::ErrorKind::Interrupted.into())),
        },
    }
}
