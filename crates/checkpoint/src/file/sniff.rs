//! Which form a file is in, by its first bytes; and, for what is no model at all, what it is instead.

use std::path::Path;

use super::{FileFormat, safetensors};
use crate::Error;

pub(super) fn format(path: &Path, bytes: &[u8]) -> Result<FileFormat, Error> {
    // First, since the length of a header can begin with the byte that begins a pickle.
    if safetensors::recognise(bytes) {
        return Ok(FileFormat::Safetensors);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return Ok(FileFormat::TorchZip);
    }
    // PROTO and a protocol number.
    if bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|&version| version <= 5) {
        return Ok(FileFormat::TorchLegacy);
    }
    let unsupported = |what: &str| {
        Err(Error::Unsupported {
            path: path.to_owned(),
            what: what.to_owned(),
        })
    };
    if bytes.get(257..262) == Some(b"ustar") {
        return unsupported(
            "it is a tar archive, the form torch used before version 0.1.10; load it in torch and save it again",
        );
    }
    if bytes.starts_with(b"GGUF") {
        return unsupported(
            "it is a GGUF file, which is not read here; use the original safetensors file",
        );
    }
    if bytes.starts_with(b"\x89HDF\r\n") {
        return unsupported("it is an HDF5 file (Keras or TensorFlow); use the PyTorch weights");
    }
    let damaged_safetensors = path.extension().is_some_and(|e| e == "safetensors");
    match what_it_is(bytes) {
        // Its own reader says best what is wrong with it.
        None if damaged_safetensors => Ok(FileFormat::Safetensors),
        found => Err(Error::Unrecognised {
            path: path.to_owned(),
            found: found
                .unwrap_or("its first bytes are those of no format known here")
                .into(),
        }),
    }
}

/// Things that lie under the name of a model after a download went wrong.
fn what_it_is(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("it is empty");
    }
    let head = &bytes[..bytes.len().min(64)];
    let text = head.trim_ascii_start().to_ascii_lowercase();
    if text.starts_with(b"version https://git-lfs") {
        return Some("it is a Git LFS pointer; fetch the file itself with `git lfs pull`");
    }
    if text.starts_with(b"<!doctype") || text.starts_with(b"<html") || text.starts_with(b"<?xml") {
        return Some("it is a web page; the download failed");
    }
    if head.starts_with(b"\x89PNG")
        || head.starts_with(b"\xff\xd8\xff")
        || head.starts_with(b"RIFF")
    {
        return Some("it is a picture");
    }
    if head.iter().all(|&byte| byte == 0) {
        return Some("it begins with zeros; the download did not finish");
    }
    None
}
