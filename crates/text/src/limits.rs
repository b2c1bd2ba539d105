//! The sizes beyond which a prompt is refused.

use crate::PromptError;

/// The longest prompt, in bytes.
pub const MAX_PROMPT: usize = 1 << 20;
/// The most brackets open at once, closed later or not.
pub const MAX_DEPTH: usize = 256;
/// The most sampling steps a prompt is scheduled over.
pub const MAX_STEPS: usize = 10_000;
/// The most bytes that the texts of a schedule may have together.
pub const MAX_SCHEDULE: usize = 64 << 20;

/// Refuses a prompt above [`MAX_PROMPT`].
pub(crate) fn check_length(prompt: &str) -> Result<(), PromptError> {
    let bytes = prompt.len();
    if bytes > MAX_PROMPT {
        return Err(PromptError::TooLong { bytes });
    }
    Ok(())
}

/// Refuses a bracket that opens level `depth` (1 is the outermost).
pub(crate) fn check_depth(depth: usize, position: usize) -> Result<(), PromptError> {
    if depth > MAX_DEPTH {
        return Err(PromptError::TooDeep { position });
    }
    Ok(())
}
