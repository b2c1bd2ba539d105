//! safetensors: eight bytes of header length, a JSON header, the values.
//!
//! The published crate decides what a well formed file is. Before it a pass of our own reads the same header, because
//! the crate keeps the last of two tensors of one name and its errors do not all say which tensor is wrong.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use ::safetensors::SafeTensors;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::tensor::checked_elements;
use super::tensor_file::{Contents, Place};
use super::{Dtype, TensorInfo};
use crate::Error;
use crate::error::shown;

/// The longest header accepted, in bytes: a hundred times that of the largest model of this kind.
const MAX_HEADER: u64 = 32 << 20;

/// Whether `bytes` begin as a safetensors file does.
pub(super) fn recognise(bytes: &[u8]) -> bool {
    header_len(bytes).is_some_and(|n| n <= MAX_HEADER) && bytes.get(8) == Some(&b'{')
}

fn header_len(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Contents, Error> {
    let bad = |problem: String| Error::Safetensors {
        path: path.to_owned(),
        problem,
    };
    let len = header_len(bytes).ok_or_else(|| {
        bad(format!(
            "the file has {} bytes, the header length alone takes 8",
            bytes.len()
        ))
    })?;
    if len > MAX_HEADER {
        return Err(Error::Limit {
            path: path.to_owned(),
            what: "the safetensors header's length in bytes".into(),
            found: len,
            limit: MAX_HEADER,
        });
    }
    let start = 8 + len as usize;
    let text = bytes.get(8..start).ok_or_else(|| {
        bad(format!(
            "truncated: the header takes {len} bytes, {} are there",
            bytes.len() - 8
        ))
    })?;
    let header: Header = serde_json::from_slice(text)
        .map_err(|e| bad(format!("the header is not a JSON object: {e}")))?;

    let data = bytes.len() - start;
    let mut contents = Contents::default();
    let mut seen = HashSet::with_capacity(header.0.len());
    let mut found = Vec::with_capacity(header.0.len());
    for (name, value) in &header.0 {
        if !seen.insert(name) {
            return Err(Error::tensor(path, name, "appears twice in the header"));
        }
        if name == "__metadata__" {
            let entries = value
                .as_object()
                .ok_or_else(|| bad("`__metadata__` is not an object".into()))?;
            for (key, value) in entries {
                let text = value
                    .as_str()
                    .ok_or_else(|| bad(format!("metadata `{}` is not text", shown(key))))?;
                contents.metadata.insert(key.clone(), text.to_owned());
            }
        } else {
            let entry =
                tensor(name, value).map_err(|problem| Error::tensor(path, name, problem))?;
            found.push(entry);
        }
    }

    found.sort_by_key(|(_, range)| (range.start, range.end));
    let mut end = 0;
    let mut before = "";
    for (info, range) in &found {
        if range.end > data {
            let problem = format!(
                "its values end at byte {} of {data}: the file is truncated or damaged",
                range.end
            );
            return Err(Error::tensor(path, &info.name, problem));
        }
        if range.start < end {
            let problem = format!("its values overlap those of `{}`", shown(before));
            return Err(Error::tensor(path, &info.name, problem));
        }
        if range.start > end {
            let problem = format!(
                "{} bytes before its values belong to no tensor",
                range.start - end
            );
            return Err(Error::tensor(path, &info.name, problem));
        }
        (end, before) = (range.end, &info.name);
    }
    if end < data {
        return Err(bad(format!(
            "{} bytes at its end belong to no tensor",
            data - end
        )));
    }
    SafeTensors::read_metadata(bytes).map_err(|e| bad(e.to_string()))?;

    contents.tensors = found
        .into_iter()
        .map(|(info, range)| (info, Place::plain(start + range.start..start + range.end)))
        .collect();
    Ok(contents)
}

/// One entry of the header.
fn tensor(name: &str, value: &Value) -> Result<(TensorInfo, Range<usize>), String> {
    let size = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let sizes = |key: &str| -> Option<Vec<usize>> {
        value.get(key)?.as_array()?.iter().map(size).collect()
    };

    let dtype = value
        .get("dtype")
        .and_then(Value::as_str)
        .ok_or("the header gives no dtype")?;
    let dtype = Dtype::from_name(dtype)
        .ok_or_else(|| format!("dtype `{}` is not read here", shown(dtype)))?;
    let shape = sizes("shape").ok_or("its shape is not a list of sizes")?;
    let [start, end] = sizes("data_offsets")
        .and_then(|offsets| <[usize; 2]>::try_from(offsets).ok())
        .ok_or("its data_offsets are not two byte positions")?;
    let count = checked_elements(&shape, dtype.size())
        .ok_or_else(|| format!("shape {shape:?} overflows"))?;
    let bytes = end
        .checked_sub(start)
        .ok_or_else(|| format!("its data_offsets [{start}, {end}] run backwards"))?;
    if bytes != count * dtype.size() {
        return Err(format!(
            "shape {shape:?} of {dtype} takes {} bytes, its data_offsets hold {bytes}",
            count * dtype.size()
        ));
    }
    let name = name.to_owned();
    Ok((TensorInfo { name, dtype, shape }, start..end))
}

/// A JSON object with its keys in order, the repeated ones included.
struct Header(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Header(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
