//! Python pickles read as data.
//!
//! A pickle is a program for a small stack machine, and two of its instructions import and call anything at all. The
//! machine here has the instructions that files of weights use and no others. It imports nothing and calls nothing: a
//! class or function is its name ([`Node::Global`]), a call is a record of what would have been called with what
//! ([`Node::Call`]). The reader of torch files then looks for the few records that mean a tensor. Everything else (the
//! callbacks that training frameworks leave in their checkpoints) stays inert.
//!
//! Names that no file of weights has a reason to hold, such as `os.system`, are an error even so: whoever wrote them
//! meant harm to other programs, and the user should hear of it.
//!
//! Values live in one list and refer to each other by index, so that no depth of nesting and no cycle can exhaust the
//! stack, on reading or on dropping.

mod error;
mod forbidden;
mod input;
mod machine;
pub(super) mod writer;

pub use error::PickleError;
pub use machine::parse;

/// Bounds on what a pickle may take; the default is a hundred times what the largest checkpoints need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the pickle that are read.
    pub bytes: usize,
    /// Values made.
    pub nodes: usize,
    /// Values on the stack at once.
    pub stack: usize,
    /// Values in the memo.
    pub memo: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            nodes: 1 << 20,
            stack: 1 << 20,
            memo: 1 << 20,
        }
    }
}

/// The place of a value in its [`Pickle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u32);

/// One value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Node {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A longer integer: two's complement, little-endian.
    Long(Vec<u8>),
    /// A float.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes; a Python 2 string that is not UTF-8 too.
    Bytes(Vec<u8>),
    /// A tuple.
    Tuple(Vec<Id>),
    /// A list.
    List(Vec<Id>),
    /// A set.
    Set(Vec<Id>),
    /// A dictionary, in the order of insertion; a key that comes twice is there twice.
    Dict(Vec<(Id, Id)>),
    /// A class or function: its name.
    Global(Box<Global>),
    /// A call or the making of an object, not carried out.
    Call(Box<Call>),
    /// A reference to something outside the pickle; torch's storages are such.
    Persistent(Id),
}

/// The name of a class or function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// The module, such as `torch._utils`.
    pub module: String,
    /// The name in it.
    pub name: String,
}

/// A call that was not carried out, and what would have been done to its result.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The [`Node::Global`] to call.
    pub function: Id,
    /// The tuple of arguments.
    pub arguments: Id,
    /// The object's state (`__setstate__`, or its `__dict__`).
    pub state: Option<Id>,
    /// Entries set on the result: those of an `OrderedDict`.
    pub items: Vec<(Id, Id)>,
    /// Elements appended to the result.
    pub elements: Vec<Id>,
}

/// The values of one pickle.
#[derive(Debug, Clone, PartialEq)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Id,
    len: usize,
}

impl Pickle {
    /// What the pickle stands for.
    pub fn root(&self) -> Id {
        self.root
    }

    /// How many bytes it took, its end mark included.
    pub fn byte_len(&self) -> usize {
        self.len
    }

    /// Every value, in the order in which they were made.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The value at `id`.
    pub fn node(&self, id: Id) -> &Node {
        // Every id was made by pushing to the list, and the list only grows.
        &self.nodes[id.0 as usize]
    }

    /// The text at `id`, if it is text.
    pub fn text(&self, id: Id) -> Option<&str> {
        match self.node(id) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer at `id`, if it is one.
    pub fn int(&self, id: Id) -> Option<i64> {
        match self.node(id) {
            Node::Int(n) => Some(*n),
            _ => None,
        }
    }

    /// The elements of the tuple or list at `id`.
    pub fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.node(id) {
            Node::Tuple(ids) | Node::List(ids) => Some(ids),
            _ => None,
        }
    }

    /// Module and name of the class or function at `id`.
    pub fn global(&self, id: Id) -> Option<(&str, &str)> {
        match self.node(id) {
            Node::Global(global) => Some((&global.module, &global.name)),
            _ => None,
        }
    }

    /// The entries of the dictionary or `OrderedDict` at `id`.
    pub fn entries(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(entries) => Some(entries),
            Node::Call(call) => {
                let (module, name) = self.global(call.function)?;
                let is_dict = matches!(
                    (module, name),
                    ("collections", "OrderedDict" | "defaultdict" | "Counter")
                );
                is_dict.then_some(call.items.as_slice())
            }
            _ => None,
        }
    }

    /// The value under the text key `key` of the dictionary at `id`; the last one, as Python would keep.
    pub fn get(&self, id: Id, key: &str) -> Option<Id> {
        let mut entries = self.entries(id)?.iter().rev();
        entries
            .find(|(k, _)| self.text(*k) == Some(key))
            .map(|(_, value)| *value)
    }
}
