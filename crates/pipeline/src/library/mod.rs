//! The models that lie in given folders, by name and by hash.
//!
//! A library is looked through once, without opening a file; what a file holds ([`Library::about`]) and its hash
//! ([`Library::hash`]) are found when they are asked for. A name never becomes a path: it is compared with the names of
//! what was found, so that nobody who may only name a model reaches another file.

mod hashes;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use latent_checkpoint::file::hash::{sha256, short_hash};
use latent_checkpoint::{AdapterFile, Files, ModelError, TensorFile};
use serde::Serialize;

use crate::family::{self, Recognised};
use crate::model::about as adapter;
use crate::request::{Name, near};
use crate::resources::ResourceError;
use hashes::Hashes;

/// What is looked for in folders.
#[derive(Clone, Copy)]
struct Sought {
    /// Endings of files.
    endings: &'static [&'static str],
    /// The file that makes a folder one entry.
    index: &'static str,
}

const MODELS: Sought = Sought {
    endings: &["safetensors", "ckpt", "pt", "pth"],
    index: "model_index.json",
};
const ADAPTERS: Sought = Sought {
    endings: &["safetensors", "pt", "ckpt", "bin"],
    index: "adapter_config.json",
};
/// What a trainer called its LoRA, in the metadata of its file.
const ALIAS: &str = "ss_output_name";
/// Folders are looked into so deep, so that a link to a folder above ends.
pub(crate) const DEPTH: usize = 8;
/// So many names are told where none fits.
const TOLD: usize = 3;

/// A folder that cannot be looked through.
#[derive(Debug, thiserror::Error)]
#[error("cannot look through the folder of models {}: {source}; name one that is there (--models DIR)", path.display())]
pub struct LibraryError {
    /// The folder.
    pub path: PathBuf,
    /// Why.
    pub source: std::io::Error,
}

/// One model, or a network alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path below its folder, parts divided by `/`, with the ending.
    pub name: Name,
    /// The file, or the folder of a diffusers model.
    pub path: PathBuf,
    /// Bytes; of a folder, of all files of weights in it.
    pub size: u64,
    /// When it was written last; of a folder, nothing is known.
    modified: Option<SystemTime>,
}

/// What an entry holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// A model to draw with, of this family.
    Model(String),
    /// Networks without a denoiser: `vae alone`.
    Part(String),
    /// It is not to be drawn with; why.
    Unusable(String),
}

/// See [the module](self).
#[derive(Debug, Default)]
pub struct Library {
    entries: Vec<Entry>,
    hashes: Mutex<Hashes>,
}

impl Library {
    /// Looks through `folders`. Hashes are kept in the file `cache`, where one is given.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn open(folders: &[PathBuf], cache: Option<PathBuf>) -> Result<Self, LibraryError> {
        Self::of(MODELS, folders, cache)
    }

    /// The same for LoRAs and their kin.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn open_adapters(folders: &[PathBuf]) -> Result<Self, LibraryError> {
        Self::of(ADAPTERS, folders, None)
    }

    fn of(
        sought: Sought,
        folders: &[PathBuf],
        cache: Option<PathBuf>,
    ) -> Result<Self, LibraryError> {
        let mut entries = Vec::new();
        for folder in folders {
            let failed = |source| LibraryError {
                path: folder.clone(),
                source,
            };
            // Hashes are kept by path, whatever folder the program runs in.
            let folder = std::path::absolute(folder).map_err(failed)?;
            std::fs::read_dir(&folder).map_err(failed)?;
            look(sought, &folder, &folder, DEPTH, &mut entries);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mut seen = BTreeSet::new();
        entries.retain(|entry| seen.insert(entry.path.clone()));
        let cache = cache.filter(|_| !entries.is_empty());
        Ok(Self {
            hashes: Mutex::new(Hashes::read(cache)),
            entries,
        })
    }

    /// Everything found, by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The one that `name` means: its name, its name without the ending, its file's name in whatever folder, the same
    /// without the ending, each regardless of case where nothing fits otherwise; then the beginning of its hash, as far as
    /// hashes are known. A1111's title, `name [hash]`, is both.
    ///
    /// # Errors
    /// None or several, with the names that are near or fit.
    pub fn find(&self, name: &Name) -> Result<&Entry, ResourceError> {
        let title = name.as_str().and_then(titled);
        let found = match title {
            Some((title, hash)) => {
                let named = self.named(&title.into());
                let fits = |e: &&Entry| self.known(e).is_none_or(|own| own.starts_with(&hash));
                named.into_iter().filter(fits).collect()
            }
            None => self.named(name),
        };
        let found = match found.is_empty() {
            true => self.hashed(name.as_str().unwrap_or_default()),
            false => found,
        };
        match found[..] {
            [entry] => Ok(entry),
            [] => Err(ResourceError::Model {
                name: name.clone(),
                hint: self.hint(name),
            }),
            _ => Err(ResourceError::Ambiguous {
                name: name.clone(),
                fits: self.told(&found),
            }),
        }
    }

    /// The adapter that `name` means: as [`find`](Self::find), and where no file is called so, the one that its trainer called so
    /// (`ss_output_name`).
    ///
    /// # Errors
    /// None or several, with the names that are near or fit.
    pub fn find_adapter(&self, name: &Name) -> Result<&Entry, ResourceError> {
        let missing = match self.find(name) {
            Err(missing @ ResourceError::Model { .. }) => missing,
            found => return found,
        };
        let alias = |entry: &&Entry| {
            let file = TensorFile::open(&entry.path).ok();
            let own = file.as_ref().and_then(|file| file.metadata().get(ALIAS));
            own.is_some_and(|own| Some(own.as_str()) == name.as_str())
        };
        let found: Vec<&Entry> = self.entries.iter().filter(alias).collect();
        match found[..] {
            [entry] => Ok(entry),
            [] => Err(missing),
            _ => Err(ResourceError::Ambiguous {
                name: name.clone(),
                fits: self.told(&found),
            }),
        }
    }

    /// The model of which a picture says this name (without its ending, and without `,` and `:`) and this hash. One of
    /// another hash is not it.
    pub fn find_drawn(&self, name: Option<&str>, hash: Option<&str>) -> Option<&Entry> {
        let by_hash = hash.map(|hash| self.hashed(hash)).unwrap_or_default();
        if let [entry, ..] = by_hash[..] {
            return Some(entry);
        }
        let wanted = spelled(name?);
        let fits = |entry: &&Entry| {
            let stem = entry.path.file_stem().map(OsStr::to_string_lossy);
            let file = entry.path.file_name().map(OsStr::to_string_lossy);
            let named = |own: &str| spelled(own) == wanted;
            let known = self.known(entry);
            let other = known.zip(hash).is_some_and(|(own, hash)| {
                is_hash(hash) && !own.starts_with(&hash.to_ascii_lowercase())
            });
            (stem.is_some_and(|s| named(&s)) || file.is_some_and(|f| named(&f))) && !other
        };
        self.entries.iter().find(fits)
    }

    /// The one whose file this is.
    pub fn at(&self, path: &Path) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// The SHA-256 of an entry's file, where it was computed before and the file is the same in size and time.
    pub fn known(&self, entry: &Entry) -> Option<String> {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.get(&entry.path, entry.size, entry.modified?)
    }

    /// The SHA-256 of an entry's file, computed where it is not known and kept; `None` for a folder, which has none.
    /// `progress` is called with the bytes read and their number.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn hash(
        &self,
        entry: &Entry,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<String>, ModelError> {
        let Some(modified) = entry.modified else {
            return Ok(None);
        };
        if let Some(known) = self.known(entry) {
            return Ok(Some(known));
        }
        let hash = sha256(&entry.path, progress)?;
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.keep(&entry.path, entry.size, modified, &hash);
        Ok(Some(hash))
    }

    /// What an entry holds, from the names and shapes in it.
    pub fn about(&self, entry: &Entry) -> About {
        let opened = family::open(&entry.path, Files::Disk);
        match opened
            .as_ref()
            .map(|(checkpoint, found)| (checkpoint, found))
        {
            Err(e) => match AdapterFile::is_adapter(&entry.path).then(|| adapter(&entry.path)) {
                Some(Ok((_, family, _))) => {
                    let family = family.map_or(String::new(), |family| format!(" for {family}"));
                    About::Part(format!("LoRA{family} (--lora)"))
                }
                _ => About::Unusable(e.to_string()),
            },
            Ok((checkpoint, Recognised::Part)) => {
                let roles = checkpoint.parts().iter().map(|part| part.role.to_string());
                About::Part(format!("{} alone", roles.collect::<Vec<_>>().join(" and ")))
            }
            Ok((_, found)) => match found.family() {
                Ok(family) => About::Model(
                    family
                        .map_or("trained here", |family| family.name)
                        .to_owned(),
                ),
                Err(reason) => About::Unusable(reason),
            },
        }
    }

    /// Those that a name fits, by the closest of the rules that fit any.
    fn named(&self, name: &Name) -> Vec<&Entry> {
        type Rule = fn(&Entry, &Path) -> bool;
        const RULES: [Rule; 4] = [
            |entry, name| Path::new(entry.name.as_os_str()) == name,
            |entry, name| Path::new(entry.name.as_os_str()).with_extension("") == name,
            |entry, name| entry.path.file_name() == Some(name.as_os_str()),
            |entry, name| entry.path.file_stem() == Some(name.as_os_str()),
        ];
        const FOLDED: [Rule; 2] = [
            |entry, name| folded(entry.path.file_name()) == folded(Some(name.as_os_str())),
            |entry, name| folded(entry.path.file_stem()) == folded(Some(name.as_os_str())),
        ];
        let name = Path::new(name.as_os_str());
        let by = |rule: &Rule| -> Vec<&Entry> {
            let fits = self.entries.iter().filter(|entry| rule(entry, name));
            fits.collect()
        };
        let mut found = RULES.iter().chain(&FOLDED).map(by);
        found.find(|fits| !fits.is_empty()).unwrap_or_default()
    }

    /// Those whose known hash begins with `hash`, which must be ten digits or more.
    fn hashed(&self, hash: &str) -> Vec<&Entry> {
        if !is_hash(hash) {
            return Vec::new();
        }
        let hash = hash.to_ascii_lowercase();
        let fits = |entry: &&Entry| self.known(entry).is_some_and(|own| own.starts_with(&hash));
        self.entries.iter().filter(fits).collect()
    }

    /// What may help where nothing fits.
    fn hint(&self, name: &Name) -> String {
        if self.entries.is_empty() {
            return String::new();
        }
        let text = name.to_string();
        if is_hash(&text) {
            let known = |entry: &&Entry| entry.modified.is_some() && self.known(entry).is_none();
            let unknown = self.entries.iter().filter(known).count();
            if unknown > 0 {
                return format!(
                    "; the hashes of {unknown} models are not known yet: `latent models --hash` computes them"
                );
            }
        }
        let names: Vec<String> = self.entries.iter().map(|e| e.name.to_string()).collect();
        let mut likely = near(&text, names.iter().map(String::as_str));
        likely.truncate(TOLD);
        match likely.is_empty() {
            true => "; `latent models` lists those that there are".to_owned(),
            false => format!("; did you mean {}?", likely.join(", ")),
        }
    }

    /// Entries by name, or by path where names are the same.
    fn told(&self, entries: &[&Entry]) -> String {
        let names: BTreeSet<&Name> = entries.iter().map(|entry| &entry.name).collect();
        let told = entries
            .iter()
            .map(|entry| match names.len() == entries.len() {
                true => entry.name.to_string(),
                false => entry.path.display().to_string(),
            });
        told.collect::<Vec<_>>().join(", ")
    }
}

/// The first ten digits of a known hash, by which A1111 calls a model.
pub fn short(hash: &str) -> &str {
    short_hash(hash)
}

/// Appends what lies in `folder`. What cannot be looked into is left out, as are files of other endings.
fn look(sought: Sought, root: &Path, folder: &Path, depth: usize, found: &mut Vec<Entry>) {
    let Ok(list) = std::fs::read_dir(folder) else {
        tracing::warn!("cannot look into {}", folder.display());
        return;
    };
    for path in list.filter_map(|entry| Some(entry.ok()?.path())) {
        let Ok(about) = std::fs::metadata(&path) else {
            tracing::warn!("{} leads nowhere", path.display());
            continue;
        };
        let (size, modified) = match about.is_dir() {
            true if path.join(sought.index).is_file() => (weights(sought, &path), None),
            true if depth > 0 => {
                look(sought, root, &path, depth - 1, found);
                continue;
            }
            false if has_ending(&path, sought.endings) => (about.len(), about.modified().ok()),
            _ => continue,
        };
        let below = path.strip_prefix(root).unwrap_or(&path);
        found.push(Entry {
            name: slashed(below),
            path,
            size,
            modified,
        });
    }
}

/// Bytes of the files of weights in the folder of a diffusers model.
fn weights(sought: Sought, folder: &Path) -> u64 {
    let mut found = Vec::new();
    look(sought, folder, folder, 1, &mut found);
    found.iter().map(|entry| entry.size).sum()
}

/// Whether a file has one of these endings, whatever the case.
pub(crate) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| endings.iter().any(|e| ending.eq_ignore_ascii_case(e)))
}

/// A path below a folder with `/` between its parts, whatever the system has.
pub(crate) fn slashed(path: &Path) -> Name {
    let mut name = std::ffi::OsString::new();
    for part in path {
        if !name.is_empty() {
            name.push("/");
        }
        name.push(part);
    }
    name.into()
}

fn folded(name: Option<&OsStr>) -> Option<String> {
    name.map(|name| name.to_string_lossy().to_lowercase())
}

/// A name as A1111 writes it into pictures.
fn spelled(name: &str) -> String {
    name.replace([',', ':'], "")
}

/// The beginning of a SHA-256, ten digits at least.
fn is_hash(text: &str) -> bool {
    (10..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Name and hash of `name [hash]`.
fn titled(title: &str) -> Option<(&str, String)> {
    let (name, hash) = title.strip_suffix(']')?.rsplit_once(" [")?;
    is_hash(hash).then(|| (name, hash.to_ascii_lowercase()))
}
