//! Files that lie in memory and nowhere else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files by path, of so many bytes at most.
#[derive(Debug)]
pub(crate) struct Memory {
    most: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    files: HashMap<PathBuf, Vec<u8>>,
    bytes: u64,
}

impl Held {
    fn remove(&mut self, path: &Path) -> bool {
        let gone = self.files.remove(path);
        self.bytes -= gone.as_ref().map_or(0, |bytes| bytes.len() as u64);
        gone.is_some()
    }
}

impl Memory {
    pub(crate) fn new(most: u64) -> Self {
        let held = Mutex::default();
        Self { most, held }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that may still come in.
    pub(crate) fn free(&self) -> u64 {
        self.most.saturating_sub(self.held().bytes)
    }

    /// Puts a file in the place of what has its name. Returns false, and changes nothing, where there is no room.
    pub(crate) fn put(&self, path: PathBuf, bytes: Vec<u8>) -> bool {
        let mut held = self.held();
        let before = held.files.get(&path).map_or(0, |old| old.len() as u64);
        let after = held.bytes - before + bytes.len() as u64;
        if after > self.most {
            return false;
        }
        held.bytes = after;
        held.files.insert(path, bytes);
        true
    }

    pub(crate) fn get(&self, path: &Path) -> Option<Vec<u8>> {
        self.held().files.get(path).cloned()
    }

    /// Returns whether there was one.
    pub(crate) fn remove(&self, path: &Path) -> bool {
        self.held().remove(path)
    }

    /// The paths below a folder.
    pub(crate) fn below(&self, folder: &Path) -> Vec<PathBuf> {
        let held = self.held();
        let paths = held.files.keys().filter(|path| path.starts_with(folder));
        paths.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted() {
        let memory = Memory::new(10);
        let path = |name: &str| PathBuf::from(name);
        assert!(memory.put(path("a/x"), vec![1; 6]));
        assert!(!memory.put(path("a/y"), vec![1; 5]));
        assert!(memory.put(path("a/x"), vec![2; 4]));
        assert!(memory.put(path("b/y"), vec![1; 5]));
        assert_eq!(memory.free(), 1);
        assert_eq!(memory.get(&path("a/x")), Some(vec![2; 4]));
        assert_eq!(memory.below(Path::new("a")), [path("a/x")]);
        assert!(memory.remove(&path("a/x")) && !memory.remove(&path("a/x")));
        assert_eq!(memory.free(), 5);
    }
}
