//! Torch's files before 1.6: five pickles in sequence, then the storages.
//!
//! A magic number, a protocol number, facts about the machine, the object itself, and the list of storage keys; behind
//! them for each key, in that order, the number of elements in eight bytes and the elements. All of it is little-endian
//! whatever the machine was.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::pickle::{self, Limits, Node, Pickle};
use super::tensor_file::{Contents, Storage};
use super::torch::{self, StorageRef, Storages};
use crate::Error;
use crate::error::shown;

/// 0x1950A86A20F9469CFC6C, as a pickle holds it.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Contents, Error> {
    let mut reader = Pickles { path, bytes, at: 0 };
    let magic = reader.next("the magic number")?;
    match magic.node(magic.root()) {
        Node::Long(value) if *value == MAGIC => {}
        _ => {
            return Err(Error::Unrecognised {
                path: path.to_owned(),
                found:
                    "it is a Python pickle, but not one that torch wrote: the magic number is wrong"
                        .into(),
            });
        }
    }
    let protocol = reader.next("the protocol number")?;
    match protocol.int(protocol.root()) {
        Some(PROTOCOL) => {}
        other => {
            let found = other.map_or("no number".to_owned(), |n| n.to_string());
            let problem = format!("protocol {found}; {PROTOCOL} is the only one there was");
            return Err(Error::torch(path, problem));
        }
    }
    reader.next("the facts about the machine")?;
    let object = reader.next("the object")?;
    let keys = reader.next("the list of storages")?;
    let storages = storages(path, &object, &keys, bytes, reader.at)?;
    torch::contents(path, &object, &storages, bytes.len())
}

struct Pickles<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl Pickles<'_> {
    fn next(&mut self, part: &str) -> Result<Pickle, Error> {
        let rest = &self.bytes[self.at..];
        let pickle = pickle::parse(rest, &Limits::default()).map_err(|source| Error::Pickle {
            path: self.path.to_owned(),
            part: part.to_owned(),
            source,
        })?;
        self.at += pickle.byte_len();
        Ok(pickle)
    }
}

struct Ranges(HashMap<String, Range<usize>>);

/// Walks the storages behind the pickles. Their element types are said only where the object refers to them.
fn storages(
    path: &Path,
    object: &Pickle,
    keys: &Pickle,
    bytes: &[u8],
    start: usize,
) -> Result<Ranges, Error> {
    let mut known: HashMap<&str, StorageRef<'_>> = HashMap::new();
    for node in object.nodes() {
        if let Node::Persistent(id) = node
            && let Ok(storage) = torch::storage_ref(object, *id)
        {
            let other = known.entry(storage.key).or_insert(storage);
            if (other.dtype, other.elements) != (storage.dtype, storage.elements) {
                let problem = format!("storage `{}` is described in two ways", shown(storage.key));
                return Err(Error::torch(path, problem));
            }
        }
    }
    let listed = keys
        .sequence(keys.root())
        .ok_or_else(|| Error::torch(path, "the list of storages is not a list"))?;
    let mut ranges = HashMap::with_capacity(listed.len());
    let mut at = start;
    for &id in listed {
        let key = keys
            .text(id)
            .ok_or_else(|| Error::torch(path, "the key of a storage is not text"))?;
        let bad =
            |problem: String| Error::torch(path, format!("storage `{}` {problem}", shown(key)));
        let storage = known
            .get(key)
            .ok_or_else(|| bad("is listed, but no tensor uses it".into()))?;
        let count = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
        let count = u64::from_le_bytes(
            count.ok_or_else(|| bad("is cut off: the file is truncated".into()))?,
        );
        if count != storage.elements as u64 {
            let wanted = storage.elements;
            return Err(bad(format!("has {count} elements instead of {wanted}")));
        }
        at += 8;
        let end = storage.byte_len().and_then(|len| at.checked_add(len));
        let end = end.filter(|&end| end <= bytes.len()).ok_or_else(|| {
            bad(format!(
                "of {count} elements is cut off: the file is truncated"
            ))
        })?;
        if ranges.insert(key.to_owned(), at..end).is_some() {
            return Err(bad("is listed twice".into()));
        }
        at = end;
    }
    Ok(Ranges(ranges))
}

impl Storages for Ranges {
    fn find(&self, storage: &StorageRef<'_>) -> Result<Storage, String> {
        let range = self.0.get(storage.key);
        let missing = || format!("its storage `{}` is not in the file", shown(storage.key));
        Ok(Storage::Plain(range.ok_or_else(missing)?.clone()))
    }

    fn big_endian(&self) -> bool {
        false
    }
}
