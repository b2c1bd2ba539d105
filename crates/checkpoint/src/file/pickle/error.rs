//! What can be wrong with a pickle.

/// Why a pickle was not read. Offsets count bytes from the pickle's start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// An opcode that files of weights do not use.
    #[error(
        "opcode 0x{code:02x} ({name}) at byte {offset} is not one that files of weights use; it is not executed"
    )]
    Opcode {
        /// The byte.
        code: u8,
        /// Its name in Python's `pickletools`, or "unknown".
        name: &'static str,
        /// Where it is.
        offset: usize,
    },
    /// The pickle names a function that could harm the machine.
    #[error(
        "it asks for `{name}` at byte {offset}: this file would run code if Python loaded it; nothing was run, do not trust it"
    )]
    Forbidden {
        /// Module and name.
        name: String,
        /// Where it is.
        offset: usize,
    },
    /// A protocol newer than 5.
    #[error("protocol {version}; 0 to 5 are known")]
    Protocol {
        /// The protocol number.
        version: u8,
    },
    /// The bytes end inside the pickle.
    #[error("truncated: it ends at byte {offset}, where {wanted} more bytes are needed")]
    Truncated {
        /// Where the argument or opcode starts.
        offset: usize,
        /// How many bytes it needs.
        wanted: u64,
    },
    /// An opcode takes more from the stack than is there.
    #[error("nothing on the stack for the opcode at byte {offset}")]
    Underflow {
        /// Where the opcode is.
        offset: usize,
    },
    /// The memo has no such entry.
    #[error("memo entry {index}, asked for at byte {offset}, was never stored")]
    Memo {
        /// The entry.
        index: u32,
        /// Where the opcode is.
        offset: usize,
    },
    /// An opcode met a value of the wrong type.
    #[error("{what} expected at byte {offset}")]
    Type {
        /// What should have been there.
        what: &'static str,
        /// Where the opcode is.
        offset: usize,
    },
    /// A name or text that is not UTF-8.
    #[error("text at byte {offset} is not UTF-8")]
    Utf8 {
        /// Where the text starts.
        offset: usize,
    },
    /// More of something than [`super::Limits`] allows.
    #[error("more than {limit} {what} at byte {offset}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
        /// Where it was passed.
        offset: usize,
    },
}
