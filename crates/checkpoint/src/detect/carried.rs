//! Components of a folder that are no networks of this project and are passed on as they are: a second schedule, the settings
//! of an image processor, the statistics of picture embeddings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::file::{Component, Files};

/// A component whose files are larger in all is a network, and is left out.
const LARGEST: u64 = 1 << 20;
/// The metadata key under which a single file keeps a component.
const KEY: &str = "latent.component/";

/// A component that is passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Its folder, which is its name in `model_index.json`.
    pub name: String,
    /// Its library there.
    pub library: String,
    /// Its class there.
    pub class: String,
    /// Its files, by name.
    pub files: Vec<(String, Vec<u8>)>,
}

/// A component in a file's metadata: only text has a place there.
#[derive(Serialize, Deserialize)]
struct Text {
    library: String,
    class: String,
    files: BTreeMap<String, String>,
}

impl Carried {
    /// That component with all of its files; `None` where it has none that can be read, or they are large.
    pub(super) fn of(component: &Component, files: Files) -> Option<Self> {
        let mut left = LARGEST;
        let mut found = Vec::new();
        for name in files.list(&component.path).ok()? {
            let path = component.path.join(&name);
            if !files.is_file(&path) {
                continue;
            }
            let bytes = files.read(&path, left, "the component").ok()?;
            left -= bytes.len() as u64;
            found.push((name, bytes.into_owned()));
        }
        found.sort();
        (!found.is_empty()).then(|| Self {
            name: component.name.clone(),
            library: component.library.clone(),
            class: component.class.clone(),
            files: found,
        })
    }

    /// Those that a single file's metadata keeps. What is not of the form in which they are written is no component.
    pub(super) fn of_metadata(metadata: &BTreeMap<String, String>) -> Vec<Self> {
        let components = metadata.iter().filter_map(|(key, text)| {
            let name = key.strip_prefix(KEY).filter(|name| plain(name))?;
            let text: Text = serde_json::from_str(text).ok()?;
            let files = text.files.into_iter().filter(|(name, _)| plain(name));
            Some(Self {
                name: name.to_owned(),
                library: text.library,
                class: text.class,
                files: files
                    .map(|(name, text)| (name, text.into_bytes()))
                    .collect(),
            })
        });
        components.collect()
    }

    /// Its entry in a single file's metadata; `None` where a file of it is not text.
    pub(crate) fn metadata(&self) -> Option<(String, String)> {
        let files = self.files.iter().map(|(name, bytes)| {
            let text = std::str::from_utf8(bytes).ok()?;
            Some((name.clone(), text.to_owned()))
        });
        let text = Text {
            library: self.library.clone(),
            class: self.class.clone(),
            files: files.collect::<Option<_>>()?,
        };
        Some((
            format!("{KEY}{}", self.name),
            serde_json::to_string(&text).ok()?,
        ))
    }
}

/// Whether `name` names something directly inside a folder.
fn plain(name: &str) -> bool {
    crate::file::is_plain_name(name)
}
