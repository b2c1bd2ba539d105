//! Embeddings of textual inversion that prompts may name: files in given folders, by name.
//!
//! A folder is listed once, and files are opened when a prompt names them; pictures alone are looked into, since what they
//! are called stands in them. A name never becomes a path: it is compared with the names of what was found.

mod inside;
mod named;

use std::path::{Path, PathBuf};

use latent_checkpoint::file::hash::sha256;
use latent_checkpoint::{Inversion, file::TensorFile};
use latent_text::Dialect;

use crate::error::{Error, Result};
use crate::library::{DEPTH, LibraryError, has_ending, slashed};
use crate::picture::files::read_bytes;

pub use inside::{KEY, in_picture};
pub use named::{Named, Used, made_for};

/// Endings of files of vectors: of two in one folder that have one name, the first here is meant, as in ComfyUI.
const ENDINGS: [&str; 3] = ["safetensors", "pt", "bin"];
/// The ending of pictures that may hold vectors.
const PICTURE: &str = "png";
/// What the name of a picture ends in, before its ending, that shows what an embedding draws.
const PREVIEW: &str = ".preview";
/// Digits of a hash in a picture's metadata.
const SHORT: usize = 12;

/// One file of vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What A1111 calls it: the file's name without the ending, or the name that stands in a picture.
    pub name: String,
    /// The path below its folder, parts divided by `/`, with the ending.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
}

/// See [the module](self).
#[derive(Debug, Clone, Default)]
pub struct Embeddings {
    entries: Vec<Entry>,
}

impl Embeddings {
    /// Looks through `folders` and those in them.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn open(folders: &[PathBuf]) -> Result<Self, LibraryError> {
        let mut entries: Vec<Entry> = Vec::new();
        for folder in folders {
            std::fs::read_dir(folder).map_err(|source| LibraryError {
                path: folder.clone(),
                source,
            })?;
            look(folder, folder, DEPTH, &mut entries);
        }
        entries.sort_by(|a, b| (&a.file, &a.path).cmp(&(&b.file, &b.path)));
        entries.dedup_by(|a, b| a.path == b.path);
        Ok(Self { entries })
    }

    /// Everything found, by file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How texts of this prompt language may name each entry, and its place among the [`entries`](Self::entries).
    fn spellings(&self, dialect: Dialect) -> Vec<(String, usize)> {
        let each = self.entries.iter().enumerate();
        each.flat_map(|(place, entry)| {
            let spellings = match dialect {
                Dialect::A1111 => vec![entry.name.clone()],
                Dialect::ComfyUi => entry.files(),
                // The token that the file brings, where it does.
                Dialect::Diffusers => {
                    let token = entry.read().ok().and_then(|read| read.about.token);
                    token.into_iter().chain([entry.name.clone()]).collect()
                }
            };
            spellings.into_iter().map(move |spelling| (spelling, place))
        })
        .collect()
    }

    /// Whether one has this name, whatever the case.
    pub(crate) fn knows(&self, name: &str) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.name.to_lowercase() == name.to_lowercase())
    }

    /// Whether ComfyUI's `embedding:NAME` means one of these.
    pub(crate) fn knows_file(&self, name: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.files().iter().any(|file| file == name))
    }

    /// The name nearest to one that is not there, as a half sentence.
    pub(crate) fn hint(&self, name: &str) -> String {
        let names = self.entries.iter().map(|entry| entry.name.as_str());
        match crate::request::near(name, names).first() {
            Some(near) => format!("; did you mean {near}?"),
            None => String::new(),
        }
    }
}

impl Entry {
    /// The vectors, and what the file says of them.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no vectors.
    pub fn read(&self) -> Result<Inversion> {
        read(&self.path)
    }

    /// The first twelve digits of the file's SHA-256, by which A1111 names it in pictures.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn hash(&self) -> Result<String> {
        let hash =
            sha256(&self.path, &mut |_, _| {}).map_err(latent_checkpoint::ModelError::from)?;
        Ok(hash[..SHORT.min(hash.len())].to_owned())
    }

    /// What ComfyUI calls it: its file, in its folder or by itself, with or without the ending.
    fn files(&self) -> Vec<String> {
        let stem = |name: &str| {
            name.rsplit_once('.')
                .map_or(name, |(stem, _)| stem)
                .to_owned()
        };
        let own = self.file.rsplit('/').next().unwrap_or(&self.file);
        let mut files = vec![
            self.file.clone(),
            stem(&self.file),
            own.to_owned(),
            stem(own),
        ];
        files.sort();
        files.dedup();
        files
    }
}

/// The vectors in a file: of weights, or a picture.
///
/// # Errors
/// A file that cannot be read, or holds no vectors.
pub fn read(path: &Path) -> Result<Inversion> {
    if !is_picture(path) {
        return Ok(Inversion::of(
            TensorFile::open(path).map_err(latent_checkpoint::ModelError::from)?,
        )?);
    }
    let unusable = |reason: String| Error::Embedding {
        path: path.to_owned(),
        reason,
    };
    let name = path.display().to_string();
    in_picture(&name, &read_bytes(path)?)
        .map_err(&unusable)?
        .ok_or_else(|| unusable("no textual inversion is in this picture".to_owned()))
}

fn is_picture(path: &Path) -> bool {
    has_ending(path, &[PICTURE])
}

/// Appends what lies in `folder`. What cannot be looked into is left out, as are files of other endings.
fn look(root: &Path, folder: &Path, depth: usize, found: &mut Vec<Entry>) {
    let Ok(list) = std::fs::read_dir(folder) else {
        tracing::warn!("cannot look into {}", folder.display());
        return;
    };
    let mut paths: Vec<_> = list.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let rank = |path: &PathBuf| {
        ENDINGS
            .iter()
            .position(|ending| has_ending(path, &[ending]))
    };
    // Files of vectors before pictures, which may only show what they draw.
    paths.sort_by_key(|path| (rank(path).unwrap_or(ENDINGS.len()), path.clone()));
    let first = found.len();
    for path in paths {
        if path.is_dir() {
            if depth > 0 {
                look(root, &path, depth - 1, found);
            }
            continue;
        }
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let Some(stem) = stem.filter(|_| has_ending(&path, &ENDINGS) || is_picture(&path)) else {
            continue;
        };
        let beside = |entry: &Entry| {
            entry.path.parent() == Some(folder) && entry.path.file_stem() == path.file_stem()
        };
        if found[first..].iter().any(beside) {
            continue;
        }
        let name = match is_picture(&path) {
            true => named_in_picture(&path, &stem),
            false => Some(stem),
        };
        if let Some(name) = name {
            found.push(Entry {
                name,
                file: slashed(path.strip_prefix(root).unwrap_or(&path)).to_string(),
                path,
            });
        }
    }
}

/// The name of the vectors in a picture; `None` where there are none.
fn named_in_picture(path: &Path, stem: &str) -> Option<String> {
    if stem.to_ascii_lowercase().ends_with(PREVIEW) {
        return None;
    }
    let bytes = read_bytes(path).ok()?;
    match in_picture(&path.display().to_string(), &bytes) {
        Ok(found) => Some(found?.about.name.unwrap_or_else(|| stem.to_owned())),
        // It says that there are some: what is wrong with them is told where they are named.
        Err(_) => Some(stem.to_owned()),
    }
}
