//! Numbers on disk that took a network to make, by the hash of what made them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use sha2::{Digest, Sha256};

use crate::Error;

/// A folder of numbers, one file for each key. A file is written whole or not at all.
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

    /// The `size` bytes of a key of [`hash`], if they are there.
    fn bytes(&self, key: &str, size: usize) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(key)).ok()?;
        (bytes.len() == size).then_some(bytes)
    }

    fn put_bytes(&self, key: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(Path::new(""));
        let written = || -> std::io::Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(bytes)?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        written().map_err(Error::io(&path, "write"))
    }

    /// The `count` numbers of a key of [`hash`], if they are there.
    pub fn get(&self, key: &str, count: usize) -> Option<Vec<f32>> {
        let bytes = self.bytes(key, 4 * count)?;
        let (words, _) = bytes.as_chunks::<4>();
        Some(words.iter().map(|&word| f32::from_le_bytes(word)).collect())
    }

    /// Keeps the numbers of a key.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put(&self, key: &str, numbers: &[f32]) -> Result<(), Error> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.put_bytes(key, &bytes)
    }

    /// The small numbers of a key.
    pub fn get_small(&self, key: &str, count: usize) -> Option<Small> {
        let bytes = self.bytes(key, 4 + count)?;
        let (unit, numbers) = bytes.split_first_chunk::<4>()?;
        Some(Small {
            unit: f32::from_le_bytes(*unit),
            numbers: numbers.iter().map(|&byte| byte as i8).collect(),
        })
    }

    /// Keeps them.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn put_small(&self, key: &str, small: &Small) -> Result<(), Error> {
        let numbers = small.numbers.iter().map(|&number| number as u8);
        let bytes: Vec<u8> = small
            .unit
            .to_le_bytes()
            .into_iter()
            .chain(numbers)
            .collect();
        self.put_bytes(key, &bytes)
    }
}

/// What belongs to keys, in their order: what is there already, and what `make` makes of the others, given their places. Only
/// what is to be kept, as `keep` says, is looked for and put.
///
/// # Errors
/// Those of `put`.
pub fn known_or_made<T>(
    keys: &[String],
    keep: &[bool],
    get: impl Fn(&str) -> Option<T>,
    make: impl FnOnce(&[usize]) -> Vec<T>,
    put: impl Fn(&str, &T) -> Result<(), Error>,
) -> Result<Vec<T>, Error> {
    let kept = |(key, keep): (&String, &bool)| get(key).filter(|_| *keep);
    let mut known: Vec<Option<T>> = keys.iter().zip(keep).map(kept).collect();
    let missing: Vec<usize> = (0..keys.len()).filter(|&i| known[i].is_none()).collect();
    if !missing.is_empty() {
        for (&i, made) in missing.iter().zip(make(&missing)) {
            if keep[i] {
                put(&keys[i], &made)?;
            }
            known[i] = Some(made);
        }
    }
    Ok(known.into_iter().flatten().collect())
}

/// Numbers in eight bits each: a quarter of the space.
#[derive(Debug, Clone, PartialEq)]
pub struct Small {
    /// What 1 stands for.
    unit: f32,
    numbers: Vec<i8>,
}

impl Small {
    /// The nearest to those; the largest of them is right.
    pub fn of(numbers: &[f32]) -> Self {
        let largest = numbers.iter().fold(0f32, |most, v| most.max(v.abs()));
        let unit = largest / 127.0;
        let nearest = |v: &f32| {
            if unit > 0.0 {
                (v / unit).round() as i8
            } else {
                0
            }
        };
        Self {
            unit,
            numbers: numbers.iter().map(nearest).collect(),
        }
    }

    /// What they stand for.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        self.numbers
            .iter()
            .map(|&number| f32::from(number) * self.unit)
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

    #[test]
    fn small_numbers_are_near_and_come_back_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let numbers = [-3.0f32, 0.0, 0.011, 1.5, 2.99];
        let small = Small::of(&numbers);
        for (got, want) in small.numbers().zip(numbers) {
            assert!(
                (got - want).abs() <= 0.5 * 3.0 / 127.0 + 1e-6,
                "{got} {want}"
            );
        }
        let key = hash(&[b"map"]);
        assert_eq!(cache.get_small(&key, 5), None);
        cache.put_small(&key, &small).unwrap();
        assert_eq!(cache.get_small(&key, 5), Some(small));
        assert_eq!(cache.get_small(&key, 4), None);
        assert!(Small::of(&[0.0; 3]).numbers().all(|v| v == 0.0));
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
