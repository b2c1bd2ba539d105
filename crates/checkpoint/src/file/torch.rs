//! What torch's pickles mean: which records are tensors, and of which storages they are views.
//!
//! Shared by the zip and the legacy layout, which differ only in where storages lie.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::pickle::{Id, Node, Pickle};
use super::tensor_file::{Contents, Place, Storage};
use super::{Dtype, TensorInfo};
use crate::Error;
use crate::error::shown;

/// More dimensions than any tensor of these models has.
const MAX_DIMENSIONS: usize = 16;
/// Nesting of dictionaries and lists that is followed.
const MAX_DEPTH: usize = 64;
/// The longest name of a tensor, in bytes.
const MAX_NAME: usize = 1024;
/// Text of a setting that is kept, in characters.
const MAX_SETTING: usize = 4096;

/// A storage as a pickle refers to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StorageRef<'a> {
    pub(super) key: &'a str,
    /// `None` for a storage of bytes, whose tensors say their type.
    pub(super) dtype: Option<Dtype>,
    /// How many elements; bytes where `dtype` is `None`.
    pub(super) elements: usize,
    /// The part of it that is meant, in elements: old files name views of storages.
    pub(super) view: Option<(usize, usize)>,
}

impl StorageRef<'_> {
    /// The length in bytes, unless it overflows.
    pub(super) fn byte_len(&self) -> Option<usize> {
        self.elements.checked_mul(self.dtype.map_or(1, Dtype::size))
    }
}

/// Finds a storage in the file: its bytes and whether they are big-endian. The length has been checked.
pub(super) trait Storages {
    fn find(&self, storage: &StorageRef<'_>) -> Result<Storage, String>;
    fn big_endian(&self) -> bool;
}

/// Reads the reference that a persistent id is, or says what is wrong with it.
pub(super) fn storage_ref(pickle: &Pickle, id: Id) -> Result<StorageRef<'_>, String> {
    let parts = pickle.sequence(id).unwrap_or_default();
    let [kind, class, key, _device, elements, rest @ ..] = parts else {
        return Err("a reference to something that is not a storage".into());
    };
    if pickle.text(*kind) != Some("storage") {
        return Err("a reference to something that is not a storage".into());
    }
    let (module, class) = pickle
        .global(*class)
        .ok_or("a storage without a storage class")?;
    let dtype = match (module, class) {
        ("torch.storage" | "torch", "UntypedStorage") => None,
        ("torch" | "torch.cuda", class) => {
            let dtype = Dtype::from_torch_storage(class);
            Some(dtype.ok_or_else(|| {
                format!("storage class `torch.{}` is not read here", shown(class))
            })?)
        }
        _ => {
            let (module, class) = (shown(module), shown(class));
            return Err(format!("`{module}.{class}` is not a storage class"));
        }
    };
    let size = |id: Id| pickle.int(id).and_then(|n| usize::try_from(n).ok());
    let key = pickle.text(*key).ok_or("a storage without a key")?;
    let elements =
        size(*elements).ok_or_else(|| format!("storage `{}` has no valid length", shown(key)))?;
    let view = match rest.first().map(|&view| (view, pickle.node(view))) {
        None | Some((_, Node::None)) => None,
        Some((view, _)) => match pickle.sequence(view).unwrap_or_default() {
            [_key, offset, len] => Some(
                size(*offset)
                    .zip(size(*len))
                    .ok_or("a storage view without a range")?,
            ),
            _ => return Err("a storage view without a range".into()),
        },
    };
    Ok(StorageRef {
        key,
        dtype,
        elements,
        view,
    })
}

/// Every tensor of the dictionary at the pickle's root, or of its `state_dict`.
///
/// `file_len` bounds what the tensors may take together: a few kilobytes that unfold to a terabyte are an attack.
pub(super) fn contents(
    path: &Path,
    pickle: &Pickle,
    storages: &dyn Storages,
    file_len: usize,
) -> Result<Contents, Error> {
    let root = pickle.root();
    if pickle.entries(root).is_none() {
        return Err(Error::torch(
            path,
            format!(
                "it holds {}, not a dictionary of tensors",
                describe(pickle, root)
            ),
        ));
    }
    let mut walk = Walk {
        path,
        pickle,
        storages,
        contents: Contents::default(),
        budget: file_len.saturating_mul(16).saturating_add(64 << 20),
        names: 64 << 20,
        seen: HashSet::new(),
    };
    match pickle.get(root, "state_dict") {
        Some(state) if pickle.entries(state).is_some() => {
            walk.tensors(state)?;
            walk.seen.insert(state);
            let inside = std::mem::take(&mut walk.contents.tensors);
            walk.tensors(root)?;
            let outside = std::mem::replace(&mut walk.contents.tensors, inside);
            walk.contents.outside = outside.into_iter().map(|(info, _)| info.name).collect();
        }
        _ => walk.tensors(root)?,
    }
    walk.contents.metadata = settings(pickle, root);
    Ok(walk.contents)
}

struct Walk<'a> {
    path: &'a Path,
    pickle: &'a Pickle,
    storages: &'a dyn Storages,
    contents: Contents,
    /// Bytes of values that may still be found.
    budget: usize,
    /// Bytes of names that may still be made.
    names: usize,
    /// Containers that were walked: each is walked once, so that sharing cannot multiply the work.
    seen: HashSet<Id>,
}

impl Walk<'_> {
    /// Adds every tensor below `root`, named by the keys on the way joined with dots, in the order of the file.
    fn tensors(&mut self, root: Id) -> Result<(), Error> {
        let mut todo = vec![(String::new(), root, 0)];
        while let Some((name, id, depth)) = todo.pop() {
            if self.is_tensor(id) {
                self.tensor(name, id)?;
                continue;
            }
            let first = todo.len();
            let children = self.children(id);
            if children.is_empty() || !self.seen.insert(id) {
                continue;
            }
            if depth >= MAX_DEPTH {
                return Err(Error::torch(
                    self.path,
                    format!("nested more than {MAX_DEPTH} deep at `{}`", shown(&name)),
                ));
            }
            for (key, child) in children {
                if !self.is_branch(child) {
                    continue;
                }
                let key = self.key(key);
                let name = match name.is_empty() {
                    true => key,
                    false => format!("{name}.{key}"),
                };
                if name.len() > MAX_NAME || name.len() > self.names {
                    let problem = format!("a name of {} bytes: `{}`", name.len(), shown(&name));
                    return Err(Error::torch(self.path, problem));
                }
                self.names -= name.len();
                todo.push((name, child, depth + 1));
            }
            todo[first..].reverse();
        }
        Ok(())
    }

    fn children(&self, id: Id) -> Vec<(Key, Id)> {
        let pickle = self.pickle;
        let numbered = |ids: &[Id]| {
            let children = ids.iter().enumerate();
            children.map(|(n, &id)| (Key::Number(n), id)).collect()
        };
        let keyed = |entries: &[(Id, Id)]| {
            let children = entries.iter();
            children.map(|&(key, id)| (Key::Value(key), id)).collect()
        };
        match pickle.node(id) {
            Node::Tuple(ids) | Node::List(ids) => numbered(ids),
            Node::Dict(entries) => keyed(entries),
            // An object: its entries, or what it was given as its state (`torch.nn.ParameterDict`).
            Node::Call(call) if !call.items.is_empty() => keyed(&call.items),
            Node::Call(call) => match call.state {
                Some(state) if pickle.entries(id).is_none() => {
                    keyed(pickle.entries(state).unwrap_or_default())
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Whether there can be a tensor at or below `id`; spares the names of everything else.
    fn is_branch(&self, id: Id) -> bool {
        matches!(
            self.pickle.node(id),
            Node::Tuple(_) | Node::List(_) | Node::Dict(_) | Node::Call(_)
        )
    }

    fn key(&self, key: Key) -> String {
        match key {
            Key::Number(n) => n.to_string(),
            Key::Value(id) => match self.pickle.node(id) {
                Node::Text(text) => text.clone(),
                Node::Int(n) => n.to_string(),
                _ => describe(self.pickle, id),
            },
        }
    }

    /// Whether `id` is the call of one of torch's functions that make tensors, known here or not.
    fn is_tensor(&self, id: Id) -> bool {
        let Node::Call(call) = self.pickle.node(id) else {
            return false;
        };
        match self.pickle.global(call.function) {
            Some(("torch._utils" | "torch._tensor", name)) => name.starts_with("_rebuild"),
            Some(("torch.storage", name)) => name == "_load_from_bytes",
            Some(("torch", name)) => name.ends_with("Tensor"),
            _ => false,
        }
    }

    fn tensor(&mut self, name: String, id: Id) -> Result<(), Error> {
        let found = self.view(id);
        let (dtype, shape, place) =
            found.map_err(|problem| Error::tensor(self.path, &name, problem))?;
        let info = TensorInfo { name, dtype, shape };
        let len = info.byte_len();
        if len > self.budget {
            let problem = "its values are far larger than the file that should hold them";
            return Err(Error::tensor(self.path, &info.name, problem));
        }
        self.budget -= len;
        self.contents.tensors.push((info, place));
        Ok(())
    }

    /// Reads `_rebuild_tensor_v2(storage, offset, shape, strides, …)` and its relatives.
    fn view(&self, id: Id) -> Result<(Dtype, Vec<usize>, Place), String> {
        let pickle = self.pickle;
        let mut id = id;
        // A parameter is a call around a tensor.
        for _ in 0..4 {
            let Node::Call(call) = pickle.node(id) else {
                return Err("a parameter without a tensor".into());
            };
            let (module, function) = pickle.global(call.function).unwrap_or_default();
            let arguments = pickle.sequence(call.arguments).unwrap_or_default();
            match (function, arguments) {
                ("_rebuild_parameter" | "_rebuild_parameter_with_state", [data, ..]) => id = *data,
                (
                    "_rebuild_tensor" | "_rebuild_tensor_v2",
                    [storage, offset, shape, strides, ..],
                ) => {
                    return self.place(*storage, *offset, *shape, *strides, None);
                }
                ("_rebuild_tensor_v3", [storage, offset, shape, strides, _, _, dtype, ..]) => {
                    let dtype = match pickle.global(*dtype) {
                        Some(("torch", name)) => Dtype::from_torch_name(name).ok_or_else(|| {
                            format!("dtype `torch.{}` is not read here", shown(name))
                        })?,
                        _ => return Err("it has no dtype".into()),
                    };
                    return self.place(*storage, *offset, *shape, *strides, Some(dtype));
                }
                _ => {
                    let (module, function) = (shown(module), shown(function));
                    let count = arguments.len();
                    return Err(format!(
                        "it is made by `{module}.{function}` with {count} arguments, which is not read here"
                    ));
                }
            }
        }
        Err("a parameter of a parameter of a parameter".into())
    }

    fn place(
        &self,
        storage: Id,
        offset: Id,
        shape: Id,
        strides: Id,
        dtype: Option<Dtype>,
    ) -> Result<(Dtype, Vec<usize>, Place), String> {
        let pickle = self.pickle;
        let Node::Persistent(reference) = pickle.node(storage) else {
            return Err("it has no storage".into());
        };
        let storage = storage_ref(pickle, *reference)?;
        let dtype = dtype.or(storage.dtype).ok_or("nothing says its dtype")?;

        let sizes = |id: Id, what: &str| {
            let ids = pickle.sequence(id).unwrap_or_default();
            if ids.len() > MAX_DIMENSIONS {
                return Err(format!("{} dimensions", ids.len()));
            }
            let size = |&id: &Id| pickle.int(id).and_then(|n| usize::try_from(n).ok());
            let sizes = ids.iter().map(size).collect::<Option<Vec<usize>>>();
            match (sizes, pickle.sequence(id)) {
                (Some(sizes), Some(_)) => Ok(sizes),
                _ => Err(format!("its {what} is not a tuple of sizes")),
            }
        };
        let shape = sizes(shape, "shape")?;
        let strides = sizes(strides, "stride")?;
        let mut offset = pickle
            .int(offset)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or("its offset is not a position")?;

        let mut elements = storage.byte_len().ok_or("its storage overflows")? / dtype.size();
        if let Some((start, len)) = storage.view {
            let end = start.checked_add(len).filter(|&end| end <= elements);
            elements = end.ok_or("its storage view leaves the storage")?;
            offset = offset
                .checked_add(start)
                .ok_or("its offset is not a position")?;
        }
        let strides = Place::check_view(dtype, &shape, &strides, offset, elements)?;
        let empty = shape.contains(&0);
        let place = Place {
            storage: match empty {
                // Whatever the storage is: nothing of it is read.
                true => Storage::Plain(0..0),
                false => self.storages.find(&storage)?,
            },
            offset: if empty { 0 } else { offset },
            strides,
            big_endian: self.storages.big_endian(),
        };
        Ok((dtype, shape, place))
    }
}

#[derive(Clone, Copy)]
enum Key {
    Number(usize),
    Value(Id),
}

/// Numbers and text at the top of a checkpoint, as text.
fn settings(pickle: &Pickle, root: Id) -> BTreeMap<String, String> {
    let entries = pickle.entries(root).unwrap_or_default().iter();
    let text = |&(key, value): &(Id, Id)| {
        let value = match pickle.node(value) {
            Node::Bool(value) => value.to_string(),
            Node::Int(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            Node::Text(value) => value.chars().take(MAX_SETTING).collect(),
            _ => return None,
        };
        Some((pickle.text(key)?.to_owned(), value))
    };
    entries.filter_map(text).collect()
}

/// What a value is, in words.
fn describe(pickle: &Pickle, id: Id) -> String {
    match pickle.node(id) {
        Node::None => "None".into(),
        Node::Bool(value) => value.to_string(),
        Node::Int(value) => value.to_string(),
        Node::Long(_) => "a long integer".into(),
        Node::Float(value) => value.to_string(),
        Node::Text(text) => shown(text),
        Node::Bytes(_) => "bytes".into(),
        Node::Tuple(_) => "a tuple".into(),
        Node::List(_) => "a list".into(),
        Node::Set(_) => "a set".into(),
        Node::Dict(_) => "a dictionary".into(),
        Node::Global(global) => shown(&format!("{}.{}", global.module, global.name)),
        Node::Call(call) => format!("an object of `{}`", describe(pickle, call.function)),
        Node::Persistent(_) => "a storage".into(),
    }
}
