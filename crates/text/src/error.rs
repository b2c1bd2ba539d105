//! What a prompt can be refused for.

use crate::limits::{MAX_DEPTH, MAX_PROMPT, MAX_SCHEDULE, MAX_STEPS};

/// Why a prompt was refused. Positions are byte offsets into the text that was handed over.
///
/// The programs whose languages these are refuse nothing on purpose: where they would read on, so does this crate. What
/// is left is text on which they raise an exception, overflow their stack or never come back.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PromptError {
    /// The prompt is longer than any prompt.
    #[error("the prompt has {bytes} bytes; at most {MAX_PROMPT} are read: shorten it")]
    TooLong {
        /// Its size in bytes.
        bytes: usize,
    },
    /// Too many brackets are open at once.
    #[error(
        "the bracket at byte {position} is nested more than {MAX_DEPTH} deep: close some, or write `\\(` where a bracket is meant as text"
    )]
    TooDeep {
        /// Where the first bracket beyond the limit stands.
        position: usize,
    },
    /// The weight of `(text:weight)` is not a number.
    #[error(
        "`{text}` at byte {position} is not a weight: expected a number like 1.2, or `\\)` where the bracket is meant as text"
    )]
    Weight {
        /// Where it stands.
        position: usize,
        /// What was found in the place of the number.
        text: String,
    },
    /// Weights multiply to something that is not a finite 32-bit number.
    #[error("the weight of `{text}` is {weight}: nested weights multiply, use smaller ones")]
    WeightRange {
        /// The start of the weighted text.
        text: String,
        /// What its weights amount to.
        weight: f64,
    },
    /// The vectors of a pseudo-word do not go into one chunk, which they may not be parted by.
    #[error(
        "`{name}` stands for {vectors} vectors; A1111 takes at most 75 in one place: --compat comfyui splits them over several chunks"
    )]
    TooManyVectors {
        /// The word.
        name: String,
        /// How many it stands for.
        vectors: usize,
    },
    /// More sampling steps than can be meant.
    #[error("{steps} steps were asked for; a prompt is scheduled over at most {MAX_STEPS}")]
    Steps {
        /// The number asked for.
        steps: usize,
    },
    /// A scheduled prompt, written out for each step, would fill memory.
    #[error(
        "the prompt changes so often that its texts come to {bytes} bytes; at most {MAX_SCHEDULE} are written out: shorten it or use fewer steps"
    )]
    ScheduleTooLarge {
        /// The size reached.
        bytes: usize,
    },
}

/// A name that stands for nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{given}`: expected one of {expected}")]
pub struct UnknownName {
    /// What was being named.
    pub what: &'static str,
    /// The name given.
    pub given: String,
    /// The names there are.
    pub expected: &'static str,
}
