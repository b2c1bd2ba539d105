//! What a request calls a picture or a model.
//!
//! A name is no path. What it stands for is for the [`Resources`](crate::Resources) to say with which a request is run: on a
//! command line they take it for a path, in a service for an upload or for a model of the library. In files a name is text,
//! or where a system's file name is no Unicode, its numbers, so that nothing of it is lost. A number is a byte on Unix and a
//! UTF-16 unit on Windows, the forms in which those systems keep names.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[cfg(unix)]
fn numbers(name: &OsStr) -> Vec<u16> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = name.as_bytes();
    bytes.iter().copied().map(u16::from).collect()
}

#[cfg(unix)]
fn of_numbers(numbers: &[u16]) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    let bytes: Result<Vec<u8>, _> = numbers.iter().map(|n| u8::try_from(*n)).collect();
    bytes.ok().map(OsString::from_vec)
}

#[cfg(windows)]
fn numbers(name: &OsStr) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt;
    name.encode_wide().collect()
}

#[cfg(windows)]
fn of_numbers(numbers: &[u16]) -> Option<OsString> {
    use std::os::windows::ffi::OsStringExt;
    Some(OsString::from_wide(numbers))
}

#[cfg(not(any(unix, windows)))]
fn numbers(name: &OsStr) -> Vec<u16> {
    name.to_string_lossy().encode_utf16().collect()
}

#[cfg(not(any(unix, windows)))]
fn of_numbers(numbers: &[u16]) -> Option<OsString> {
    String::from_utf16(numbers).ok().map(Into::into)
}

/// The name of a given picture, file or model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(OsString);

impl Name {
    /// As text; `None` where it is no Unicode.
    pub fn as_str(&self) -> Option<&str> {
        self.0.to_str()
    }

    /// As the system spells it.
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// As a JSON value: a string, or a list of numbers.
    pub fn to_value(&self) -> serde_json::Value {
        match self.as_str() {
            Some(text) => text.into(),
            None => numbers(&self.0).into(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.is_empty() {
            true => f.write_str("\"\""),
            false => self.0.display().fmt(f),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<PathBuf> for Name {
    fn from(path: PathBuf) -> Self {
        Self(path.into())
    }
}

impl From<&Path> for Name {
    fn from(path: &Path) -> Self {
        Self(path.into())
    }
}

impl From<OsString> for Name {
    fn from(name: OsString) -> Self {
        Self(name)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Numbers(Vec<u16>),
        }
        let name = match Given::deserialize(from) {
            Ok(Given::Text(text)) => Some(text.into()),
            Ok(Given::Numbers(numbers)) => of_numbers(&numbers),
            Err(_) => None,
        };
        name.map(Self).ok_or_else(|| {
            serde::de::Error::custom(
                "a name is a text, or the list of the numbers of a file's name that is not Unicode",
            )
        })
    }
}
