//! A graph as ComfyUI's clients send it: nodes by id, whose inputs are values or `[node, output]`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::refusal::{Reason, Refusal};
use super::table::{self, Class};

/// So many nodes are read.
const NODES: usize = 200;

/// A graph of known nodes.
#[derive(Debug)]
pub struct Graph {
    nodes: BTreeMap<String, Node>,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// What it is.
    pub class: &'static Class,
    inputs: Map<String, Value>,
}

/// What became of reading.
pub type Result<T> = std::result::Result<T, Box<Refusal>>;

impl Graph {
    /// Reads a graph.
    ///
    /// # Errors
    /// No graph; a node that is not known, by its id and class.
    pub fn read(prompt: &Value) -> Result<Self> {
        let nodes = prompt.as_object().filter(|nodes| !nodes.is_empty());
        let nodes =
            nodes.ok_or_else(|| Refusal::whole(Reason::NoPrompt, "expected an object of nodes"))?;
        if nodes.len() > NODES {
            let told = format!("{} nodes: expected at most {NODES}", nodes.len());
            return Err(Refusal::whole(Reason::Invalid, told));
        }
        let read = nodes.iter().map(|(id, node)| {
            let name = node.get("class_type").and_then(Value::as_str);
            let name = name.ok_or_else(|| Refusal::unknown(id, "", node))?;
            let class = table::find(name).ok_or_else(|| Refusal::unknown(id, name, node))?;
            let inputs = node.get("inputs").and_then(Value::as_object);
            let node = Node {
                id: id.clone(),
                class,
                inputs: inputs.cloned().unwrap_or_default(),
            };
            Ok((id.clone(), node))
        });
        let nodes = read.collect::<Result<_>>()?;
        Ok(Self { nodes })
    }

    /// The nodes that give pictures out, in the order of their ids.
    ///
    /// # Errors
    /// There is none.
    pub fn outputs(&self) -> Result<Vec<&Node>> {
        let outputs: Vec<_> = self
            .nodes
            .values()
            .filter(|node| node.class.gives)
            .collect();
        match outputs.is_empty() {
            true => Err(Refusal::whole(
                Reason::NoOutputs,
                "expected SaveImage, PreviewImage or SaveImageWebsocket",
            )),
            false => Ok(outputs),
        }
    }

    /// The names of the files that its nodes load.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let loaders = self.nodes.values().filter(|node| node.class.loads);
        loaders.filter_map(|node| node.inputs.get("image")?.as_str())
    }

    /// Where an input comes from, which is to be of that kind.
    ///
    /// # Errors
    /// Nothing, or something of another kind.
    pub fn link(&self, node: &Node, input: &'static str, kind: &'static str) -> Result<&Node> {
        let value = node.inputs.get(input);
        let value = value.ok_or_else(|| node.refused(input, Reason::Missing, input))?;
        let pair = value.as_array().map(Vec::as_slice);
        let found = match pair {
            Some([Value::String(id), output]) => self.nodes.get(id).zip(output.as_u64()),
            _ => None,
        };
        let bad = || {
            node.refused(
                input,
                Reason::BadLink,
                format!("{input} is {value}: expected [node, output] of a node that is there"),
            )
        };
        let (from, output) = found.ok_or_else(bad)?;
        let output = usize::try_from(output).map_err(|_| bad())?;
        let given = from.class.outputs.get(output).copied().ok_or_else(bad)?;
        if given != kind {
            let told = format!("{input}, received_type({given}) mismatch input_type({kind})");
            return Err(node.refused(input, Reason::Mismatch, told));
        }
        Ok(from)
    }
}

impl Node {
    /// A refusal of one of its inputs.
    pub fn refused(&self, input: &str, reason: Reason, details: impl Into<String>) -> Box<Refusal> {
        Refusal::of(self, input, reason, details)
    }

    fn stated(&self, input: &str) -> Option<&Value> {
        self.inputs.get(input).filter(|value| !value.is_null())
    }

    fn value(&self, input: &str) -> Result<&Value> {
        let value = self.stated(input);
        value.ok_or_else(|| self.refused(input, Reason::Missing, input))
    }

    fn wrong(&self, input: &str, value: &Value, expected: &str) -> Box<Refusal> {
        let told = format!("{input} is {value}: expected {expected}");
        self.refused(input, Reason::WrongType, told)
    }

    /// A text.
    ///
    /// # Errors
    /// None, or something else.
    pub fn text(&self, input: &str) -> Result<&str> {
        let value = self.value(input)?;
        value
            .as_str()
            .ok_or_else(|| self.wrong(input, value, "a text"))
    }

    /// A number, also one written as a text, as ComfyUI reads them.
    ///
    /// # Errors
    /// None, or something else.
    pub fn number(&self, input: &str) -> Result<f64> {
        let value = self.value(input)?;
        let read = match value {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_f64(),
        };
        let read = read.filter(|number: &f64| number.is_finite());
        read.ok_or_else(|| self.wrong(input, value, "a number"))
    }

    /// A whole number from `least`.
    ///
    /// # Errors
    /// None, or something else.
    pub fn whole(&self, input: &str, least: u64) -> Result<u64> {
        let value = self.value(input)?;
        let read = match value {
            Value::String(text) => text.trim().parse().ok(),
            value => value.as_u64().or_else(|| {
                let number = value.as_f64().filter(|n| (0.0..1e15).contains(n));
                number.map(|number| number as u64)
            }),
        };
        let read = read.ok_or_else(|| self.wrong(input, value, "a whole number"))?;
        if read < least {
            let told = format!("{input} is {read}: expected at least {least}");
            return Err(self.refused(input, Reason::OutOfRange, told));
        }
        Ok(read)
    }

    /// One of some words; the first where none is stated.
    ///
    /// # Errors
    /// Another.
    pub fn choice(&self, input: &str, words: &[&'static str]) -> Result<&'static str> {
        let Some(value) = self.stated(input) else {
            return Ok(words[0]);
        };
        let word = value.as_str();
        let found = words.iter().find(|known| Some(**known) == word);
        found.copied().ok_or_else(|| {
            let told = format!("{input}: {value} not in {words:?}");
            self.refused(input, Reason::NotInList, told)
        })
    }
}
