//! Torch's files since 1.6: a zip archive `NAME/data.pkl`, `NAME/data/0`, `NAME/data/1`, …, `NAME/byteorder`.
//!
//! Torch stores entries without compression, so that a storage is a range of the file and can be mapped. An archive that
//! was packed anew with compression is read too, each storage when it is asked for.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use zip::read::{ZipArchive, ZipArchiveMetadata, ZipReadOptions};
use zip::{CompressionMethod, result::ZipError};

use super::pickle::{self, Limits};
use super::tensor_file::{Contents, Storage};
use super::torch::{self, StorageRef, Storages};
use crate::Error;
use crate::error::shown;

/// Deflate cannot make more than 1032 bytes of one; an entry that claims more is a lie.
const MAX_RATIO: u64 = 1040;
/// More entries than any checkpoint has.
const MAX_ENTRIES: usize = 1 << 18;

/// A compressed entry.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    archive: Arc<ZipArchiveMetadata>,
    entry: usize,
    len: usize,
}

impl Packed {
    /// Inflates the entry out of `file`, never past the length it was accepted with.
    pub(super) fn read(&self, file: &[u8]) -> Result<Vec<u8>, String> {
        let mut reader = Cursor::new(file);
        let entry = self.archive.entry(self.entry).map_err(|e| e.to_string())?;
        let entry = entry
            .with_reader(&mut reader, ZipReadOptions::new())
            .map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        entry
            .take(self.len as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| e.to_string())?;
        match bytes.len() == self.len {
            true => Ok(bytes),
            false => Err(format!(
                "it inflates to another length than its {} bytes",
                self.len
            )),
        }
    }
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Contents, Error> {
    let bad = |problem: String| Error::Zip {
        path: path.to_owned(),
        problem,
    };
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| bad(reason(e)))?;
    if zip.len() > MAX_ENTRIES {
        return Err(Error::Limit {
            path: path.to_owned(),
            what: "the number of entries in the archive".into(),
            found: zip.len() as u64,
            limit: MAX_ENTRIES as u64,
        });
    }
    if zip.has_duplicate_names() {
        return Err(bad("two entries have the same name".into()));
    }

    let metadata = zip.metadata();
    let names: Vec<String> = (0..metadata.len())
        .filter_map(|at| Some(metadata.entry(at).ok()?.name().ok()?.into_owned()))
        .collect();
    let pickles: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix("data.pkl"))
        .filter(|prefix| {
            prefix.matches('/').count() <= 1 && (prefix.is_empty() || prefix.ends_with('/'))
        })
        .collect();
    let prefix = match pickles[..] {
        [prefix] => prefix.to_owned(),
        [] => return Err(bad(format!("no `data.pkl` in it: {}", whose(&names)))),
        _ => return Err(bad("more than one `data.pkl` in it".into())),
    };
    if names
        .iter()
        .any(|name| name.strip_prefix(&prefix) == Some("constants.pkl"))
    {
        return Err(Error::Unsupported {
            path: path.to_owned(),
            what: "it is a TorchScript program, not weights; save the model's state_dict instead"
                .into(),
        });
    }

    let limits = Limits::default();
    let name = format!("{prefix}data.pkl");
    let text = small(&mut zip, &name, limits.bytes).map_err(&bad)?;
    let pickle = pickle::parse(&text, &limits).map_err(|source| Error::Pickle {
        path: path.to_owned(),
        part: shown(&name),
        source,
    })?;
    let order = format!("{prefix}byteorder");
    let big_endian = match names.contains(&order) {
        false => false,
        true => match small(&mut zip, &order, 64).map_err(&bad)?.trim_ascii() {
            b"little" => false,
            b"big" => true,
            _ => {
                return Err(bad(format!(
                    "`{}` is neither little nor big",
                    shown(&order)
                )));
            }
        },
    };

    let mut storages = Archive {
        metadata,
        entries: HashMap::new(),
        big_endian,
    };
    let prefix = format!("{prefix}data/");
    for at in 0..zip.len() {
        let entry = zip.by_index_raw(at).map_err(|e| bad(reason(e)))?;
        let name = entry.name().map_err(|e| bad(reason(e)))?;
        if let Some(key) = name.strip_prefix(&prefix) {
            let found = Entry::new(at, &entry, bytes.len());
            let found =
                found.map_err(|problem| bad(format!("entry `{}`: {problem}", shown(&name))))?;
            storages.entries.insert(key.to_owned(), found);
        }
    }
    torch::contents(path, &pickle, &storages, bytes.len())
}

/// Reads an entry of `limit` bytes at most; its checksum is verified.
fn small(zip: &mut ZipArchive<Cursor<&[u8]>>, name: &str, limit: usize) -> Result<Vec<u8>, String> {
    let failed = |e: String| format!("entry `{}`: {e}", shown(name));
    let entry = zip.by_name(name).map_err(|e| failed(reason(e)))?;
    if entry.size() > limit as u64 {
        return Err(failed(format!(
            "it takes {} bytes, at most {limit} are read",
            entry.size()
        )));
    }
    let mut bytes = Vec::new();
    entry
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| failed(e.to_string()))?;
    match bytes.len() > limit {
        true => Err(failed(format!("it inflates to more than {limit} bytes"))),
        false => Ok(bytes),
    }
}

struct Archive {
    metadata: Arc<ZipArchiveMetadata>,
    entries: HashMap<String, Entry>,
    big_endian: bool,
}

struct Entry {
    at: usize,
    len: u64,
    /// Where it lies in the file, unless it is compressed.
    range: Option<Range<usize>>,
}

impl Entry {
    fn new<R: Read + ?Sized>(
        at: usize,
        entry: &zip::read::ZipFile<'_, R>,
        file_len: usize,
    ) -> Result<Self, String> {
        let len = entry.size();
        let packed = entry.compressed_size();
        let start = entry.data_start().ok_or("its data cannot be found")?;
        let end = start
            .checked_add(packed)
            .and_then(|end| usize::try_from(end).ok())
            .filter(|&end| end <= file_len)
            .ok_or_else(|| format!("its {packed} bytes do not fit in the file"))?;
        if entry.encrypted() {
            return Err("it is encrypted".into());
        }
        let range = match entry.compression() {
            CompressionMethod::Stored if packed != len => {
                return Err(format!("stored in {packed} bytes, though it has {len}"));
            }
            CompressionMethod::Stored => Some(start as usize..end),
            CompressionMethod::Deflated if len > packed.saturating_mul(MAX_RATIO) => {
                return Err(format!(
                    "{packed} compressed bytes cannot be {len}: a zip bomb"
                ));
            }
            CompressionMethod::Deflated => None,
            other => return Err(format!("compressed with {other}, which is not read here")),
        };
        Ok(Self { at, len, range })
    }
}

impl Storages for Archive {
    fn find(&self, storage: &StorageRef<'_>) -> Result<Storage, String> {
        let key = shown(storage.key);
        let entry = self
            .entries
            .get(storage.key)
            .ok_or_else(|| format!("its storage, entry `data/{key}`, is missing"))?;
        let wanted = storage.byte_len().ok_or("its storage overflows")?;
        if entry.len != wanted as u64 {
            return Err(format!(
                "its storage, entry `data/{key}`, has {} bytes instead of {wanted}",
                entry.len
            ));
        }
        Ok(match &entry.range {
            Some(range) => Storage::Plain(range.clone()),
            None => Storage::Packed(Packed {
                archive: self.metadata.clone(),
                entry: entry.at,
                len: wanted,
            }),
        })
    }

    fn big_endian(&self) -> bool {
        self.big_endian
    }
}

fn reason(error: ZipError) -> String {
    match error {
        ZipError::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "truncated: an entry or the directory at its end is cut off".into()
        }
        ZipError::InvalidArchive(what) if what.contains("EOCD") => {
            "truncated: the directory at its end is missing; the download did not finish".into()
        }
        other => other.to_string(),
    }
}

/// A guess at what an archive without weights is, from its first names.
fn whose(names: &[String]) -> String {
    let first: Vec<_> = names.iter().take(3).map(|name| shown(name)).collect();
    match first.is_empty() {
        true => "it is empty".into(),
        false => format!("it has {} entries: {}, …", names.len(), first.join(", ")),
    }
}
