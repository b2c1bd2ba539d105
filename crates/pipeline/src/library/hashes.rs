//! Hashes of files that were computed before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::picture::files::write_atomic;
use crate::request::Name;

/// The hash that a file had when it had this size and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    path: Name,
    size: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    sha256: String,
}

/// Hashes of files, and the file in which they are kept.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    file: Option<PathBuf>,
    known: Vec<Known>,
}

impl Hashes {
    /// Those of `file`; a file that is not there or damaged holds none.
    pub fn read(file: Option<PathBuf>) -> Self {
        let known = file.as_deref().map(stored).unwrap_or_default();
        Self { file, known }
    }

    pub fn get(&self, path: &Path, size: u64, modified: SystemTime) -> Option<String> {
        let modified = nanoseconds(modified)?;
        let path = Name::from(path);
        let same = |k: &&Known| k.path == path && k.size == size && k.modified == modified;
        self.known.iter().find(same).map(|k| k.sha256.clone())
    }

    /// Takes a hash in, and writes the file with those that others have added to it. Where it cannot be written, the hash is
    /// computed again another time.
    pub fn keep(&mut self, path: &Path, size: u64, modified: SystemTime, sha256: &str) {
        let Some(modified) = nanoseconds(modified) else {
            return;
        };
        let path = Name::from(path);
        if let Some(file) = &self.file {
            let mut known = stored(file);
            let others: BTreeSet<Name> = known.iter().map(|k| k.path.clone()).collect();
            let own = self.known.drain(..);
            known.extend(own.filter(|k| !others.contains(&k.path)));
            self.known = known;
        }
        self.known.retain(|k| k.path != path);
        self.known.push(Known {
            path,
            size,
            modified,
            sha256: sha256.to_owned(),
        });
        if let Err(e) = self.write() {
            tracing::warn!("the hash is not kept: {e}");
        }
    }

    fn write(&self) -> Result<(), Box<dyn std::error::Error>> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write_atomic(file, &serde_json::to_vec_pretty(&self.known)?, true)?;
        Ok(())
    }
}

fn stored(file: &Path) -> Vec<Known> {
    let Ok(bytes) = std::fs::read(file) else {
        return Vec::new();
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|e| {
        tracing::warn!(
            "{} is damaged, and the hashes in it are computed anew: {e}",
            file.display()
        );
        Vec::new()
    })
}

fn nanoseconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}
