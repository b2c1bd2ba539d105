//! One opened file of tensors, whatever its form.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mmap::Bytes;
use super::torch_zip::Packed;
use super::{Dtype, TensorInfo, safetensors, sniff, torch_legacy, torch_zip};
use crate::Error;

/// How a file holds its tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// A JSON header and raw values.
    Safetensors,
    /// A zip archive with a pickle and one entry per storage: torch 1.6 and later.
    TorchZip,
    /// Pickles in sequence with raw storages behind them: torch before 1.6.
    TorchLegacy,
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::TorchZip => "torch zip",
            Self::TorchLegacy => "torch legacy",
        })
    }
}

/// One file of tensors. Values stay on disk until [`TensorFile::bytes`] asks for them.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    format: FileFormat,
    bytes: Bytes,
    tensors: Vec<TensorInfo>,
    places: Vec<Place>,
    index: HashMap<String, usize>,
    metadata: BTreeMap<String, String>,
    outside: Vec<String>,
}

/// What a reader of one format found; every range and stride has been checked against the file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) tensors: Vec<(TensorInfo, Place)>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) outside: Vec<String>,
}

/// Where a tensor's values are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) storage: Storage,
    /// The first element, counted in elements from the storage's start.
    pub(super) offset: usize,
    /// Elements between neighbours, per dimension; `None` when the tensor is contiguous.
    pub(super) strides: Option<Vec<usize>>,
    pub(super) big_endian: bool,
}

/// A run of elements that tensors are views of.
#[derive(Debug, Clone)]
pub(super) enum Storage {
    /// These bytes of the file.
    Plain(Range<usize>),
    /// A compressed entry of a zip archive.
    Packed(Packed),
}

impl TensorFile {
    /// Opens `path` and reads its header. The form is told by the content.
    ///
    /// # Errors
    /// When the file cannot be read, is of no known form, or is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        Self::read(path, Bytes::map(path)?)
    }

    /// Reads a file whose bytes are in memory; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> Result<Self, Error> {
        Self::read(path.as_ref(), Bytes::Owned(bytes))
    }

    pub(super) fn read(path: &Path, bytes: Bytes) -> Result<Self, Error> {
        let format = sniff::format(path, &bytes)?;
        let contents = match format {
            FileFormat::Safetensors => safetensors::read(path, &bytes)?,
            FileFormat::TorchZip => torch_zip::read(path, &bytes)?,
            FileFormat::TorchLegacy => torch_legacy::read(path, &bytes)?,
        };
        let mut file = Self {
            path: path.to_owned(),
            format,
            bytes,
            tensors: Vec::with_capacity(contents.tensors.len()),
            places: Vec::with_capacity(contents.tensors.len()),
            index: HashMap::with_capacity(contents.tensors.len()),
            metadata: contents.metadata,
            outside: contents.outside,
        };
        for (info, place) in contents.tensors {
            let taken = file.index.insert(info.name.clone(), file.tensors.len());
            if taken.is_some() {
                return Err(Error::tensor(path, &info.name, "appears twice"));
            }
            file.tensors.push(info);
            file.places.push(place);
        }
        Ok(file)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its form.
    pub fn format(&self) -> FileFormat {
        self.format
    }

    /// The file's length in bytes.
    pub fn file_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Every tensor, in the file's order. Of a torch checkpoint that has a `state_dict`, those of the state dict.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// What the file says about tensor `name`.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        Some(&self.tensors[*self.index.get(name)?])
    }

    /// Text stored beside the tensors: a safetensors header's `__metadata__`, or the numbers and strings at the top of
    /// a torch checkpoint (`global_step`, `epoch`, …) as text.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Names of tensors of a torch checkpoint that lie outside its `state_dict`: an optimiser's state. They are not
    /// weights and are not read.
    pub fn outside(&self) -> &[String] {
        &self.outside
    }

    /// The values of tensor `name`: little-endian, contiguous, row-major. Borrowed from the mapped file where they
    /// lie there in that form.
    ///
    /// # Errors
    /// When there is no such tensor, or a compressed entry of a zip archive is damaged.
    pub fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, Error> {
        let at = self.position(name)?;
        let (info, place) = (&self.tensors[at], &self.places[at]);
        let storage = match &place.storage {
            Storage::Plain(range) => Cow::Borrowed(&self.bytes[range.clone()]),
            Storage::Packed(packed) => Cow::Owned(
                packed
                    .read(&self.bytes)
                    .map_err(|problem| Error::tensor(&self.path, name, problem))?,
            ),
        };
        let size = info.dtype.size();
        let mut values = match &place.strides {
            None => cut(storage, place.offset * size, info.byte_len()),
            Some(strides) => Cow::Owned(gather(&storage, info, place.offset, strides)),
        };
        if place.big_endian && size > 1 {
            for element in values.to_mut().chunks_exact_mut(size) {
                element.reverse();
            }
        }
        Ok(values)
    }

    /// Lets the system drop the pages that reading tensor `name` brought in, so that loading a file does not hold both
    /// the file and the model in memory. Reading it again is allowed. Unknown names are ignored.
    pub fn release(&self, name: &str) {
        let Some(&at) = self.index.get(name) else {
            return;
        };
        let (info, place) = (&self.tensors[at], &self.places[at]);
        match (&place.storage, &place.strides) {
            (Storage::Plain(range), None) => {
                let start = range.start + place.offset * info.dtype.size();
                self.bytes.release(start..start + info.byte_len());
            }
            (Storage::Plain(range), Some(_)) => self.bytes.release(range.clone()),
            (Storage::Packed(_), _) => {}
        }
    }

    fn position(&self, name: &str) -> Result<usize, Error> {
        let missing = || Error::MissingTensor {
            path: self.path.clone(),
            tensor: crate::error::shown(name),
        };
        self.index.get(name).copied().ok_or_else(missing)
    }
}

fn cut(bytes: Cow<'_, [u8]>, start: usize, len: usize) -> Cow<'_, [u8]> {
    match bytes {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[start..start + len]),
        Cow::Owned(mut bytes) => {
            bytes.truncate(start + len);
            bytes.drain(..start);
            Cow::Owned(bytes)
        }
    }
}

/// Copies a strided view into row-major order.
fn gather(storage: &[u8], info: &TensorInfo, offset: usize, strides: &[usize]) -> Vec<u8> {
    let size = info.dtype.size();
    let count = info.elements();
    let mut values = Vec::with_capacity(count * size);
    let mut position = vec![0usize; info.shape.len()];
    let mut element = offset;
    for _ in 0..count {
        values.extend_from_slice(&storage[element * size..(element + 1) * size]);
        for axis in (0..position.len()).rev() {
            position[axis] += 1;
            element += strides[axis];
            if position[axis] < info.shape[axis] {
                break;
            }
            element -= strides[axis] * info.shape[axis];
            position[axis] = 0;
        }
    }
    values
}

impl Place {
    /// A contiguous little-endian run at `range` of the file.
    pub(super) fn plain(range: Range<usize>) -> Self {
        Self {
            storage: Storage::Plain(range),
            offset: 0,
            strides: None,
            big_endian: false,
        }
    }

    /// Checks that a view of `shape` and `strides` at `offset` stays inside `elements`, and whether it is contiguous.
    pub(super) fn check_view(
        dtype: Dtype,
        shape: &[usize],
        strides: &[usize],
        offset: usize,
        elements: usize,
    ) -> Result<Option<Vec<usize>>, String> {
        if shape.len() != strides.len() {
            let (a, b) = (shape.len(), strides.len());
            return Err(format!("{a} dimensions but {b} strides"));
        }
        let count = super::tensor::checked_elements(shape, dtype.size())
            .ok_or_else(|| format!("shape {shape:?} overflows"))?;
        if count == 0 {
            return Ok(None);
        }
        let mut last = offset;
        let (mut contiguous, mut expected) = (true, 1usize);
        for (&n, &stride) in shape.iter().zip(strides).rev() {
            last = (n - 1)
                .checked_mul(stride)
                .and_then(|step| last.checked_add(step))
                .ok_or_else(|| format!("strides {strides:?} overflow"))?;
            contiguous &= n == 1 || stride == expected;
            expected *= n;
        }
        if last >= elements {
            return Err(format!(
                "shape {shape:?} with strides {strides:?} at offset {offset} needs {} elements of a storage of {elements}",
                last.saturating_add(1)
            ));
        }
        Ok((!contiguous).then(|| strides.to_vec()))
    }
}
