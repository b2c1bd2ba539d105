//! Boxes as JSON: `[{"class": 3, "box": [0.1, 0.2, 0.5, 0.9]}, …]`.
//!
//! `box` is left, top, right, bottom in 0..=1 of width and height; `class` is a number, or a name where the data set
//! has a list of names.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, LabelledBox};

/// A box in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoxEntry {
    /// Its class, a number or a name.
    pub class: Class,
    /// Left, top, right, bottom.
    pub r#box: [f32; 4],
}

/// A class by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Class {
    /// Its number.
    Id(u32),
    /// Its name.
    Name(String),
}

impl Class {
    /// Reads a number, or a text that is a number or else a name.
    pub fn of_text(text: &str) -> Self {
        let text = text.trim();
        text.parse()
            .map_or_else(|_| Self::Name(text.to_owned()), Self::Id)
    }

    /// The number, which a name gets from its place among `names`.
    ///
    /// # Errors
    /// A name that is none of them, a number with no name where there are names.
    pub fn resolve(&self, of: &str, names: &[String]) -> Result<u32, Error> {
        match self {
            Self::Id(id) if names.is_empty() || (*id as usize) < names.len() => Ok(*id),
            Self::Id(id) => Err(Error::mismatch(
                of,
                format!(
                    "class {id} is not below {}, the number of classes",
                    names.len()
                ),
            )),
            Self::Name(name) => match names.iter().position(|known| known == name) {
                Some(id) => Ok(id as u32),
                None => Err(Error::mismatch(
                    of,
                    format!(
                        "the class {name:?} is none of the {} known: write its number, or list the names in classes.txt",
                        names.len()
                    ),
                )),
            },
        }
    }
}

/// Reads a list of boxes; `name` is what errors call it.
///
/// # Errors
/// Another form, numbers outside 0..=1, corners in the wrong order, an unknown class.
pub fn boxes(name: &str, value: Value, classes: &[String]) -> Result<Vec<LabelledBox>, Error> {
    let list: Vec<BoxEntry> = serde_json::from_value(value).map_err(|e| {
        Error::damaged(
            name,
            format!(
                "boxes: {e}; expected [{{\"class\": 3, \"box\": [left, top, right, bottom]}}, …]"
            ),
        )
    })?;
    let read = |entry: BoxEntry| {
        let [x0, y0, x1, y1] = entry.r#box;
        let inside = entry.r#box.iter().all(|v| (0.0..=1.0).contains(v));
        if !inside || x0 >= x1 || y0 >= y1 {
            return Err(Error::damaged(
                name,
                format!(
                    "the box {:?} is not left < right and top < bottom within 0..=1",
                    entry.r#box
                ),
            ));
        }
        Ok(LabelledBox {
            class: entry.class.resolve(name, classes)?,
            area: entry.r#box,
        })
    };
    list.into_iter().map(read).collect()
}
