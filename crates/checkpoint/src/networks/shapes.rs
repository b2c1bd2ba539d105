//! Names and shapes of one network's tensors.

use std::collections::HashMap;

use super::DetectError;

/// The tensors of one network: names without the prefix, and shapes.
#[derive(Debug)]
pub struct Shapes<'a> {
    prefix: &'a str,
    map: HashMap<&'a str, &'a [usize]>,
}

impl<'a> Shapes<'a> {
    /// Those of `tensors` whose name begins with `prefix`.
    pub fn new(tensors: impl Iterator<Item = (&'a str, &'a [usize])>, prefix: &'a str) -> Self {
        let inside = tensors.filter_map(|(name, shape)| Some((name.strip_prefix(prefix)?, shape)));
        Self {
            prefix,
            map: inside.collect(),
        }
    }

    /// The shape of tensor `name`.
    pub fn get(&self, name: &str) -> Option<&'a [usize]> {
        self.map.get(name).copied()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn any(&self, name: &str) -> Result<&'a [usize], DetectError> {
        self.get(name).ok_or_else(|| DetectError::Missing {
            tensor: self.full(name),
        })
    }

    pub(crate) fn need(&self, name: &str, dims: usize) -> Result<&'a [usize], DetectError> {
        let shape = self.any(name)?;
        if shape.len() == dims {
            return Ok(shape);
        }
        Err(DetectError::Shape {
            tensor: self.full(name),
            found: shape.to_vec(),
            expected: format!("{dims} dimensions"),
        })
    }

    /// How many of the names `name(0)`, `name(1)`, … exist without a gap.
    pub(crate) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..self.map.len())
            .take_while(|&i| self.has(&name(i)))
            .count()
    }
}
