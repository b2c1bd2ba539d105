//! A test by eye: can a stranger name what a model draws?
//!
//! [`write()`] draws every prompt of a list, hides real held-out drawings among them, shuffles all and writes them under numbers, on
//! one sheet and one by one, into a folder that says nothing else. What they are stands in `key.json` beside that folder.
//! Somebody who has seen neither prompts nor key writes a line for each number, and [`score`] opens the key.
//!
//! How many of the real ones are named says how much the reader's words are worth.

mod answers;
mod key;
mod write;

pub use answers::{Read, Score, Shares, score};
pub use key::{Key, Kind, Picture};
pub use write::{ByEye, write};

/// The folder that is shown to the stranger, and what is kept from them.
const SHOWN: &str = "pictures";
const SHEET: &str = "sheet.png";
const KEY: &str = "key.json";
const SCORE: &str = "score.json";
