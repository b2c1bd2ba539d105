//! Numbers on disk that took a network to make, by the hash of what made them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use sha2::{Digest, Sha256};

use crate::Error;

/// A folder of f32 numbers, one file for each key. A file is written whole or not at all.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// In that folder, which is made when something is put there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(&key[..2]).join(key)
    }

    /// The `count` numbers of a key of [`hash`], if they are there.
    pub fn get(&self, key: &str, count: usize) -> Option<Vec<f32>> {
        let bytes = fs::read(self.path(key)).ok()?;
        let (words, rest) = bytes.as_chunks::<4>();
        let whole = rest.is_empty() && words.len() == count;
        whole.then(|| words.iter().map(|&word| f32::from_le_bytes(word)).collect())
    }

    /// Keeps the numbers of a key.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put(&self, key: &str, numbers: &[f32]) -> Result<(), Error> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(Path::new(""));
        let written = || -> std::io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.write_all(&bytes)?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        written().map_err(Error::io(&path, "write"))
    }
}

/// The SHA-256 of parts, in hexadecimal digits. Where one part ends and the next begins counts.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The hash of a network: of all its parameters' numbers.
pub fn hash_of<M: Module>(module: &M) -> String {
    struct Hasher(Sha256);
    impl ModuleVisitor for Hasher {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            for number in data.iter::<f32>() {
                self.0.update(number.to_le_bytes());
            }
        }
    }
    let mut hasher = Hasher(Sha256::new());
    module.visit(&mut hasher);
    hash(&[hasher.0.finalize().as_slice()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"));
        let key = hash(&[b"network", b"picture"]);
        assert_ne!(key, hash(&[b"networkp", b"icture"]));
        let numbers = [1.5, -0.0, f32::MIN_POSITIVE / 2.0];
        assert_eq!(cache.get(&key, 3), None);
        cache.put(&key, &numbers).unwrap();
        let back = cache.get(&key, 3).unwrap();
        assert_eq!(back.map_bits(), numbers.to_vec().map_bits());
        assert_eq!(cache.get(&key, 2), None);
    }

    trait Bits {
        fn map_bits(self) -> Vec<u32>;
    }

    impl Bits for Vec<f32> {
        fn map_bits(self) -> Vec<u32> {
            self.into_iter().map(f32::to_bits).collect()
        }
    }
}
