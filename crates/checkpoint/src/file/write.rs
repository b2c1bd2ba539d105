//! Writing files of tensors.
//!
//! Every file is written under a temporary name in the folder it will lie in, flushed to the disk, and renamed when it
//! is whole. A full disk, a refused write or an error of the caller's leaves nothing behind. Values are asked for one
//! tensor at a time, so that memory holds one tensor and not the model.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::TensorInfo;
use super::pickle::writer::Writer;
pub use super::write_folder::FolderWriter;
use crate::Error;

/// What to do when the output is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// [`Error::Exists`].
    Refuse,
    /// Replace it once the new one is whole.
    Replace,
}

/// Writes a safetensors file. `bytes` gives each tensor's values, little-endian and row-major; it is called once per
/// tensor, in the order of `tensors`, which is the order in the file.
///
/// # Errors
/// When the output exists and may not be replaced, cannot be written, a name appears twice, or the values have another
/// length than the shape says; and the errors of `bytes`.
pub fn safetensors<'a, E: From<Error>>(
    path: &Path,
    tensors: &[TensorInfo],
    metadata: &BTreeMap<String, String>,
    existing: Existing,
    mut bytes: impl FnMut(&TensorInfo) -> Result<Cow<'a, [u8]>, E>,
) -> Result<(), E> {
    check_names(path, tensors)?;
    let mut header = serde_json::Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut end = 0usize;
    for info in tensors {
        let start = end;
        end += info.byte_len();
        let entry =
            json!({"dtype": info.dtype.name(), "shape": info.shape, "data_offsets": [start, end]});
        header.insert(info.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // The published writer pads with spaces so that the values start at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut output = Output::create(path, existing)?;
    output.write(&(header.len() as u64).to_le_bytes())?;
    output.write(&header)?;
    for info in tensors {
        let values = bytes(info)?;
        check_len(path, info, &values)?;
        output.write(&values)?;
    }
    Ok(output.finish()?)
}

/// Writes a JSON file, indented as diffusers indents them.
///
/// # Errors
/// When the output exists and may not be replaced, or cannot be written.
pub fn json(path: &Path, value: &Value, existing: Existing) -> Result<(), Error> {
    let mut output = Output::create(path, existing)?;
    output.write(format!("{value:#}\n").as_bytes())?;
    output.finish()
}

/// How a torch file is laid out.
#[derive(Debug, Clone, Copy)]
pub enum TorchLayout<'a> {
    /// `{"state_dict": {name: tensor, …}, key: text, …}`: a single-file `.ckpt`.
    Checkpoint(&'a BTreeMap<String, String>),
    /// `{name: tensor, …}`: the `.bin` of a diffusers folder.
    Bare,
}

/// Writes a file as torch 1.6 and later do (`.ckpt`, `.pt`, `.bin`), which `torch.load(weights_only=True)` accepts.
/// `bytes` is called as by [`safetensors()`]. Tensors do not share storages.
///
/// # Errors
/// As [`safetensors()`].
pub fn torch_zip<'a, E: From<Error>>(
    path: &Path,
    tensors: &[TensorInfo],
    layout: TorchLayout<'_>,
    existing: Existing,
    mut bytes: impl FnMut(&TensorInfo) -> Result<Cow<'a, [u8]>, E>,
) -> Result<(), E> {
    check_names(path, tensors)?;
    let pickle = pickled(path, tensors, layout)?;
    let mut output = Output::create(path, existing)?;
    let mut zip = ZipWriter::new(&mut output.file);
    let mut entries = || -> Result<(), E> {
        entry(path, &mut zip, "data.pkl", &pickle)?;
        entry(path, &mut zip, "byteorder", b"little")?;
        for (key, info) in tensors.iter().enumerate() {
            let values = bytes(info)?;
            check_len(path, info, &values)?;
            entry(path, &mut zip, &format!("data/{key}"), &values)?;
        }
        Ok(entry(path, &mut zip, "version", b"3\n")?)
    };
    if let Err(e) = entries() {
        // Dropping the writer would try to complete the archive, and print when it cannot.
        std::mem::forget(zip);
        return Err(e);
    }
    zip.finish()
        .map_err(|e| Error::io(path, "write")(e.into()))?;
    Ok(output.finish()?)
}

/// Adds one uncompressed entry, aligned as torch aligns them so that it can be mapped.
fn entry(
    path: &Path,
    zip: &mut ZipWriter<&mut BufWriter<NamedTempFile>>,
    name: &str,
    content: &[u8],
) -> Result<(), Error> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(64)
        .large_file(content.len() > (u32::MAX >> 1) as usize);
    zip.start_file(format!("archive/{name}"), options)
        .map_err(|e| Error::io(path, "write")(e.into()))?;
    zip.write_all(content).map_err(Error::io(path, "write"))
}

fn pickled(path: &Path, tensors: &[TensorInfo], layout: TorchLayout<'_>) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::new();
    writer.op(b'}').op(b'(');
    if let TorchLayout::Checkpoint(metadata) = layout {
        if metadata.contains_key("state_dict") {
            let problem = "a setting may not be called `state_dict`: the tensors are";
            return Err(Error::torch(path, problem));
        }
        for (key, text) in metadata {
            writer.text(key).text(text);
        }
        writer.text("state_dict").op(b'}').op(b'(');
    }
    for (key, info) in tensors.iter().enumerate() {
        writer.text(&info.name);
        let storage = info.dtype.torch_storage();
        // Types that never had a storage class are kept as bytes, and the tensor says its type.
        let (function, (module, class), elements) = match storage {
            Some(class) => ("_rebuild_tensor_v2", ("torch", class), info.elements()),
            None => (
                "_rebuild_tensor_v3",
                ("torch.storage", "UntypedStorage"),
                info.byte_len(),
            ),
        };
        let mut strides = vec![1; info.shape.len()];
        for axis in (1..strides.len()).rev() {
            strides[axis - 1] = strides[axis] * info.shape[axis].max(1);
        }
        writer.global("torch._utils", function).op(b'(');
        writer.op(b'(').text("storage").global(module, class);
        writer.text(&key.to_string()).text("cpu").size(elements);
        writer.op(b't').op(b'Q'); // the storage, by reference
        writer.size(0).sizes(&info.shape).sizes(&strides);
        writer.op(0x89); // needs no gradient
        writer
            .global("collections", "OrderedDict")
            .op(b')')
            .op(b'R'); // no hooks
        if storage.is_none() {
            writer.global("torch", info.dtype.torch_name());
        }
        writer.op(b't').op(b'R');
    }
    if let TorchLayout::Checkpoint(_) = layout {
        writer.op(b'u');
    }
    writer.op(b'u');
    Ok(writer.finish())
}

/// A file in the making.
struct Output {
    path: PathBuf,
    existing: Existing,
    file: BufWriter<NamedTempFile>,
}

impl Output {
    fn create(path: &Path, existing: Existing) -> Result<Self, Error> {
        if path.is_dir() {
            return Err(Error::Folder {
                path: path.to_owned(),
                problem: "a file is to be written here".into(),
            });
        }
        if existing == Existing::Refuse && fs::symlink_metadata(path).is_ok() {
            return Err(Error::Exists {
                path: path.to_owned(),
            });
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".latent-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Those of a new file; the system's mask is applied.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder
            .tempfile_in(parent(path))
            .map_err(Error::io(path, "create a temporary file beside it"))?;
        Ok(Self {
            path: path.to_owned(),
            existing,
            file: BufWriter::with_capacity(1 << 20, file),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(Error::io(&self.path, "write"))
    }

    fn finish(self) -> Result<(), Error> {
        let path = &self.path;
        let file = self
            .file
            .into_inner()
            .map_err(|e| Error::io(path, "write")(e.into_error()))?;
        file.as_file()
            .sync_all()
            .map_err(Error::io(path, "write to the disk"))?;
        let kept = match self.existing {
            Existing::Replace => file.persist(path),
            Existing::Refuse => file.persist_noclobber(path),
        };
        kept.map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::io(path, "rename the finished file to it")(e.error),
        })?;
        sync_folder(parent(path));
        Ok(())
    }
}

/// Makes a rename last. Not every system lets a folder be opened for this, and the file itself is safe already.
pub(super) fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn check_names(path: &Path, tensors: &[TensorInfo]) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for info in tensors {
        if info.name == "__metadata__" || !seen.insert(&info.name) {
            return Err(Error::tensor(path, &info.name, "this name is taken"));
        }
    }
    Ok(())
}

fn check_len(path: &Path, info: &TensorInfo, values: &[u8]) -> Result<(), Error> {
    match values.len() == info.byte_len() {
        true => Ok(()),
        false => {
            let (got, want) = (values.len(), info.byte_len());
            let problem = format!("{got} bytes of values for a shape that takes {want}");
            Err(Error::tensor(path, &info.name, problem))
        }
    }
}
