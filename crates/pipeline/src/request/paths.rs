//! Paths in files: text, or where the system's name is no Unicode, its numbers, so that nothing of it is lost.
//!
//! A number is a byte on Unix and a UTF-16 unit on Windows, the forms in which those systems keep names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(unix)]
fn numbers(path: &Path) -> Vec<u16> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().copied().map(u16::from).collect()
}

#[cfg(unix)]
fn name(numbers: &[u16]) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    let bytes: Result<Vec<u8>, _> = numbers.iter().map(|n| u8::try_from(*n)).collect();
    bytes.ok().map(OsString::from_vec)
}

#[cfg(windows)]
fn numbers(path: &Path) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt;
    path.as_os_str().encode_wide().collect()
}

#[cfg(windows)]
fn name(numbers: &[u16]) -> Option<OsString> {
    use std::os::windows::ffi::OsStringExt;
    Some(OsString::from_wide(numbers))
}

#[cfg(not(any(unix, windows)))]
fn numbers(path: &Path) -> Vec<u16> {
    path.to_string_lossy().encode_utf16().collect()
}

#[cfg(not(any(unix, windows)))]
fn name(numbers: &[u16]) -> Option<OsString> {
    String::from_utf16(numbers).ok().map(Into::into)
}

/// A path as a JSON value: a string, or a list of numbers.
pub fn to_value(path: &Path) -> serde_json::Value {
    match path.to_str() {
        Some(text) => text.into(),
        None => numbers(path).into(),
    }
}

/// For `#[serde(with)]`.
pub(super) fn serialize<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(to_value).serialize(to)
}

/// For `#[serde(with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(PathBuf),
        Numbers(Vec<u16>),
    }
    const WRONG: &str =
        "a path is a text, or the list of the numbers of a name that is not Unicode";
    let wrong = |_| serde::de::Error::custom(WRONG);
    match Option::<Given>::deserialize(from).map_err(wrong)? {
        None => Ok(None),
        Some(Given::Text(path)) => Ok(Some(path)),
        Some(Given::Numbers(numbers)) => name(&numbers)
            .map(|name| Some(name.into()))
            .ok_or_else(|| serde::de::Error::custom(WRONG)),
    }
}

/// The same of a path that is always there.
pub(super) mod one {
    use super::*;

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to_value(path).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let path = super::deserialize(from)?;
        path.ok_or_else(|| serde::de::Error::custom("a path is null"))
    }
}
