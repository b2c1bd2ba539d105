//! The stack machine.

use std::collections::HashMap;

use super::forbidden::is_forbidden;
use super::input::{Input, name_of};
use super::{Call, Global, Id, Limits, Node, Pickle, PickleError};

/// Reads the pickle at the start of `bytes`; what follows its end mark is left alone.
///
/// # Errors
/// When it is damaged, too large, or holds an opcode or a name that files of weights do not.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Pickle, PickleError> {
    let mut machine = Machine {
        input: Input::new(bytes, limits.bytes),
        limits,
        opcode: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        machine.opcode = machine.input.at();
        let code = machine.input.byte()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle {
                nodes: machine.nodes,
                root,
                len: machine.input.at(),
            });
        }
        machine.step(code)?;
    }
}

struct Machine<'a> {
    input: Input<'a>,
    limits: &'a Limits,
    /// Where the opcode being run is.
    opcode: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Done = Result<(), PickleError>;

impl<'a> Machine<'a> {
    /// Runs one opcode. The letters are those of Python's `pickletools`.
    fn step(&mut self, code: u8) -> Done {
        match code {
            0x80 => match self.input.byte()? {
                version @ 6.. => Err(PickleError::Protocol { version }),
                _ => Ok(()),
            },
            0x95 => self.input.take(8).map(drop), // FRAME: a hint to readers that buffer
            b'(' => self.mark(),
            b'0' => self.pop_or_mark(),
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' => self.int::<1>(|b| i64::from(b[0])),
            b'M' => self.int::<2>(|b| i64::from(u16::from_le_bytes(b))),
            b'J' => self.int::<4>(|b| i64::from(i32::from_le_bytes(b))),
            0x8a => self.long::<1>(),
            0x8b => self.long::<4>(),
            b'G' => {
                let value = f64::from_be_bytes(self.input.array()?);
                self.push(Node::Float(value))
            }
            0x8c => self.text::<1>(),
            b'X' => self.text::<4>(),
            0x8d => self.text::<8>(),
            b'U' => self.string::<1>(),
            b'T' => self.string::<4>(),
            b'C' => self.data::<1>(),
            b'B' => self.data::<4>(),
            0x8e | 0x96 => self.data::<8>(),
            b')' => self.push(Node::Tuple(Vec::new())),
            b't' => self.collect(Node::Tuple),
            0x85..=0x87 => self.short_tuple(usize::from(code - 0x84)),
            b']' => self.push(Node::List(Vec::new())),
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])
            }
            b'e' => {
                let values = self.since_mark()?;
                self.append(values)
            }
            b'}' => self.push(Node::Dict(Vec::new())),
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])
            }
            b'u' => {
                let pairs = self.since_mark()?;
                self.set_items(&pairs)
            }
            0x8f => self.push(Node::Set(Vec::new())),
            0x90 => self.add_items(),
            0x91 => self.collect(Node::Set),
            b'h' => self.recall::<1>(),
            b'j' => self.recall::<4>(),
            b'q' => self.store::<1>(),
            b'r' => self.store::<4>(),
            0x94 => {
                // Python numbers these by the memo's size; a bounded memo keeps that within 32 bits.
                let index = self.memo.len() as u32;
                self.memorise(index)
            }
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.global(module.to_owned(), name.to_owned())
            }
            0x93 => self.stack_global(),
            b'R' => self.call("a function and a tuple of its arguments"),
            0x81 => self.call("a class and a tuple of its arguments"),
            0x92 => {
                let keywords = self.pop()?;
                let arguments = self.pop()?;
                self.push(Node::Tuple(vec![arguments, keywords]))?;
                self.call("a class, a tuple and a dictionary of its arguments")
            }
            b'b' => self.build(),
            b'Q' => {
                let id = self.pop()?;
                self.push(Node::Persistent(id))
            }
            _ => Err(PickleError::Opcode {
                code,
                name: name_of(code),
                offset: self.opcode,
            }),
        }
    }

    // The stack.

    fn push(&mut self, node: Node) -> Done {
        if self.nodes.len() >= self.limits.nodes.min(u32::MAX as usize) {
            return Err(self.limit("values", self.limits.nodes));
        }
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node);
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Done {
        if self.stack.len() >= self.limits.stack {
            return Err(self.limit("values on the stack", self.limits.stack));
        }
        self.stack.push(id);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn underflow(&self) -> PickleError {
        PickleError::Underflow {
            offset: self.opcode,
        }
    }

    fn limit(&self, what: &'static str, limit: usize) -> PickleError {
        PickleError::Limit {
            what,
            limit,
            offset: self.opcode,
        }
    }

    fn wrong(&self, what: &'static str) -> PickleError {
        PickleError::Type {
            what,
            offset: self.opcode,
        }
    }

    fn top(&self) -> Result<Id, PickleError> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(self.underflow()),
        }
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn mark(&mut self) -> Done {
        if self.marks.len() >= self.limits.stack {
            return Err(self.limit("marks on the stack", self.limits.stack));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_or_mark(&mut self) -> Done {
        // POP at a mark removes the mark.
        if self.stack.len() == self.floor() && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn since_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        let height = self.marks.pop().ok_or_else(|| self.underflow())?;
        Ok(self.stack.split_off(height))
    }

    // Values.

    fn int<const N: usize>(&mut self, value: impl Fn([u8; N]) -> i64) -> Done {
        let bytes = self.input.array()?;
        self.push(Node::Int(value(bytes)))
    }

    fn long<const N: usize>(&mut self) -> Done {
        let bytes = self.input.counted::<N>()?;
        if bytes.len() > 8 {
            return self.push(Node::Long(bytes.to_vec()));
        }
        let fill = if bytes.last().is_some_and(|&b| b >= 0x80) {
            0xff
        } else {
            0
        };
        let mut wide = [fill; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)))
    }

    fn text<const N: usize>(&mut self) -> Done {
        let bytes = self.input.counted::<N>()?;
        let offset = self.opcode;
        let text = std::str::from_utf8(bytes).map_err(|_| PickleError::Utf8 { offset })?;
        self.push(Node::Text(text.to_owned()))
    }

    /// A Python 2 string: text in old files, and the bytes of numpy scalars.
    fn string<const N: usize>(&mut self) -> Done {
        let bytes = self.input.counted::<N>()?;
        self.push(match std::str::from_utf8(bytes) {
            Ok(text) => Node::Text(text.to_owned()),
            Err(_) => Node::Bytes(bytes.to_vec()),
        })
    }

    fn data<const N: usize>(&mut self) -> Done {
        let bytes = self.input.counted::<N>()?;
        self.push(Node::Bytes(bytes.to_vec()))
    }

    fn collect(&mut self, node: impl FnOnce(Vec<Id>) -> Node) -> Done {
        let values = self.since_mark()?;
        self.push(node(values))
    }

    fn short_tuple(&mut self, len: usize) -> Done {
        if self.stack.len() < self.floor() + len {
            return Err(self.underflow());
        }
        let values = self.stack.split_off(self.stack.len() - len);
        self.push(Node::Tuple(values))
    }

    // The memo.

    fn recall<const N: usize>(&mut self) -> Done {
        let index = self.input.number::<N>()? as u32;
        let offset = self.opcode;
        let found = self.memo.get(&index).copied();
        self.push_id(found.ok_or(PickleError::Memo { index, offset })?)
    }

    fn store<const N: usize>(&mut self) -> Done {
        let index = self.input.number::<N>()? as u32;
        self.memorise(index)
    }

    fn memorise(&mut self, index: u32) -> Done {
        if self.memo.len() >= self.limits.memo {
            return Err(self.limit("values in the memo", self.limits.memo));
        }
        let id = self.top()?;
        self.memo.insert(index, id);
        Ok(())
    }

    // Containers under the top of the stack.

    fn target(&mut self) -> Result<&mut Node, PickleError> {
        let id = self.top()?;
        Ok(&mut self.nodes[id.0 as usize])
    }

    fn append(&mut self, mut values: Vec<Id>) -> Done {
        let wrong = self.wrong("a list");
        match self.target()? {
            Node::List(list) => list.append(&mut values),
            Node::Call(call) => call.elements.append(&mut values),
            _ => return Err(wrong),
        }
        Ok(())
    }

    fn add_items(&mut self) -> Done {
        let mut values = self.since_mark()?;
        let wrong = self.wrong("a set");
        match self.target()? {
            Node::Set(set) => set.append(&mut values),
            Node::Call(call) => call.elements.append(&mut values),
            _ => return Err(wrong),
        }
        Ok(())
    }

    fn set_items(&mut self, pairs: &[Id]) -> Done {
        let (pairs, []) = pairs.as_chunks::<2>() else {
            return Err(self.wrong("a value for every key"));
        };
        let pairs = pairs.iter().map(|&[key, value]| (key, value));
        let wrong = self.wrong("a dictionary");
        match self.target()? {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Call(call) => call.items.extend(pairs),
            _ => return Err(wrong),
        }
        Ok(())
    }

    // Names and calls, recorded and not carried out.

    fn global(&mut self, module: String, name: String) -> Done {
        if is_forbidden(&module, &name) {
            return Err(PickleError::Forbidden {
                name: crate::error::shown(&format!("{module}.{name}")),
                offset: self.opcode,
            });
        }
        self.push(Node::Global(Box::new(Global { module, name })))
    }

    fn stack_global(&mut self) -> Done {
        let (name, module) = (self.pop()?, self.pop()?);
        let text = |id: Id| match &self.nodes[id.0 as usize] {
            Node::Text(text) => Some(text.clone()),
            _ => None,
        };
        match (text(module), text(name)) {
            (Some(module), Some(name)) => self.global(module, name),
            _ => Err(self.wrong("a module's name and a name in it")),
        }
    }

    fn call(&mut self, what: &'static str) -> Done {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let node = |id: Id| &self.nodes[id.0 as usize];
        let fits =
            matches!(node(arguments), Node::Tuple(_)) && matches!(node(function), Node::Global(_));
        if !fits {
            return Err(self.wrong(what));
        }
        self.push(Node::Call(Box::new(Call {
            function,
            arguments,
            state: None,
            items: Vec::new(),
            elements: Vec::new(),
        })))
    }

    fn build(&mut self) -> Done {
        let state = self.pop()?;
        let wrong = self.wrong("an object to give a state to");
        match self.target()? {
            Node::Call(call) => call.state = Some(state),
            _ => return Err(wrong),
        }
        Ok(())
    }
}
