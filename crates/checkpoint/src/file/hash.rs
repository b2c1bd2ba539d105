//! The hashes by which checkpoints are known.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::Error;

/// SHA-256 of the whole file, as 64 lower-case hexadecimal digits.
///
/// `progress` is called with the bytes hashed so far and the file's length, every megabyte.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<String, Error> {
    sha256_from(path, 0, progress)
}

/// The same of what follows the header of a safetensors file, by which programs know a LoRA whatever its metadata says.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_of_body(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<String, Error> {
    let mut length = [0; 8];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut length));
    read.map_err(Error::io(path, "read"))?;
    sha256_from(path, u64::from_le_bytes(length).saturating_add(8), progress)
}

fn sha256_from(
    path: &Path,
    start: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    let total = file
        .metadata()
        .map_err(Error::io(path, "read its size"))?
        .len();
    let total = total.saturating_sub(start);
    file.seek(SeekFrom::Start(start))
        .map_err(Error::io(path, "read"))?;
    let mut state = Sha256::new();
    let mut block = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let n = file.read(&mut block).map_err(Error::io(path, "read"))?;
        if n == 0 {
            return Ok(hex(&state.finalize()));
        }
        state.update(&block[..n]);
        done += n as u64;
        progress(done, total);
    }
}

/// The "model hash" that A1111 writes into pictures: the first ten digits of [`sha256`]'s answer.
pub fn short_hash(sha256: &str) -> &str {
    sha256.get(..10).unwrap_or(sha256)
}

/// A1111's model hash before 2023: the first eight digits of the SHA-256 of the 64 KiB at 1 MiB. A file that ends
/// before gives the hash of nothing, as it did there.
///
/// # Errors
/// When the file cannot be read.
pub fn old_hash(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io(path, "open"))?;
    file.seek(SeekFrom::Start(0x10_0000))
        .map_err(Error::io(path, "read"))?;
    let mut part = Vec::new();
    file.take(0x1_0000)
        .read_to_end(&mut part)
        .map_err(Error::io(path, "read"))?;
    let mut digits = hex(&Sha256::digest(&part));
    digits.truncate(8);
    Ok(digits)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_known_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let mut calls = Vec::new();
        let hash = sha256(&path, &mut |done, total| calls.push((done, total))).unwrap();
        // FIPS 180-2, appendix B.1; and the hash of the empty message.
        assert!(hash.starts_with("ba7816bf8f01cfea") && hash.len() == 64);
        assert_eq!(short_hash(&hash), "ba7816bf8f");
        assert_eq!(calls, [(3, 3)]);
        assert_eq!(old_hash(&path).unwrap(), "e3b0c442");

        let mut long = vec![0; 0x10_0000];
        long.extend_from_slice(b"abc");
        std::fs::write(&path, long).unwrap();
        assert_eq!(old_hash(&path).unwrap(), "ba7816bf");
    }
}
