//! Tokenizers and the prompt language.
pub use chunk::{Chunk, Encoded, chunks};
pub use error::{PromptError, UnknownName};
pub use names::{Dialect, WeightRule};
pub use prompt::{Part, Pass, Prompt, Scheduled, parse, parse_negative, text_at};
pub use tokenizer::{BOS, ClipTokenizer, EOS, LENGTH, TEXT_LENGTH};
pub use words::strip_comments;

mod attention;
mod chunk;
mod comfy;
mod error;
pub mod limits;
mod names;
mod nfc;
mod prompt;
mod schedule;
mod tokenizer;
mod words;
