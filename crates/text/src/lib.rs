//! From a prompt to token ids: CLIP's tokenizer and the prompt languages of A1111, ComfyUI and diffusers. No tensors.
//!
//! A prompt goes through two functions. [`parse`] settles what is asked for at each step: it takes apart `AND` and
//! writes out scheduled texts, before sampling starts, so that a picture encodes every text once. [`chunks`] turns one
//! such text into what the text encoder reads, ids and weights in chunks of 77. How weights act on the encoder's output
//! is a [`WeightRule`], described here and computed where there are tensors.
//!
//! ```
//! use latent_text::{ClipTokenizer, Dialect, Pad, chunks, parse};
//!
//! let tokenizer = ClipTokenizer::new();
//! let prompt = parse("a [cat:dog:3], (asleep:1.2)", 20, Dialect::A1111)?;
//! let first = &prompt.parts[0].schedule[0];
//! assert_eq!((first.text.as_str(), first.until), ("a cat, (asleep:1.2)", 4));
//!
//! let encoded = chunks(&tokenizer, &first.text, Dialect::A1111, Pad::End)?;
//! assert_eq!(encoded.chunks[0].ids[..6], [49406, 320, 2368, 267, 10749, 49407]);
//! assert_eq!(encoded.chunks[0].weights[..6], [1.0, 1.0, 1.0, 1.0, 1.2, 1.0]);
//! # Ok::<(), latent_text::PromptError>(())
//! ```
//!
//! The three programs read the same characters differently, so the [`Dialect`] is an argument and nothing is shared
//! that is not the same. Where they are odd, this crate is odd in the same way, because people have prompts that rely
//! on it; the oddities are named below.
//!
//! Rejected: one grammar with options (the dialects differ in what an unbalanced bracket means, not only in features);
//! a tree that the sampler walks at each step (texts are what can be cached); errors for stray brackets (no program has
//! them, prompts are full of emoticons). Parsers keep a stack or count their depth, and all sizes are limited
//! ([`limits`]), so no text overflows a stack or fills memory.
//!
//! # A1111
//!
//! Version 1.10 with its default options. In the order of reading:
//!
//! **Comments.** `#` and the rest of its line go away ([`strip_comments`]).
//!
//! **Composition.** `AND` as a whole word, anywhere, splits the prompt; a part may end in its weight. Negative prompts
//! have neither ([`parse_negative`]).
//!
//! ```ebnf
//! prompt   = part, { "AND", part } ;
//! part     = text, [ spaces, ":", spaces, weight ], spaces ;
//! weight   = [ "+" | "-" ], ( digits, [ "." ] | [ digits ], ".", digits ) ;
//! ```
//!
//! **Scheduling** of each part:
//!
//! ```ebnf
//! part     = { item | stray } ;
//! stray    = "(" | ")" | "[" | "]" | ":" ;
//! items    = { item } ;
//! item     = plain | emphasis | switch | cycle ;
//! plain    = ( character - ( stray | "|" | "\" ) | "\", character - newline ), { … } ;
//! emphasis = "(", items, [ ":", items ], ")" | "[", items, "]" ;
//! switch   = "[", [ items, ":" ], items, ":", spaces, number, spaces, "]" ;
//! cycle    = "[", items, "|", items, { "|", items }, "]" ;
//! number   = [ "+" | "-" ], ( digits, [ ".", [ digits ] ] | ".", digits ), [ ( "e" | "E" ), [ "+" | "-" ], digits ] ;
//! ```
//!
//! - `[from:to:when]` is `from` and later `to`; `[to:when]` and `[from::when]` leave one of them out. A `when` with a dot
//!   is a fraction of the steps, any size; one without is a step. (Before 1.6, and with "use old prompt editing
//!   timelines", 1 was the border between the two.)
//! - `[a|b|c]` takes turns, a step each; one may be empty.
//! - Steps are counted from 1 in the prompt and from 0 by the sampler, and compared with ≤. So `[a:b:3]` shows `a` for
//!   four steps, and `[a|b]` begins a, a, b, a.
//! - A bracket that cannot be part of an item is a stray, and then so is each bracket around it. Where a text can be read
//!   both ways the item wins. (A1111 itself decides that case by hash values that change at each start, where an item
//!   touches a stray: `[a:b:3]]`.)
//! - A text outside this grammar has no scheduling at all: a `|` that is not in a cycle, a backslash at the end of the
//!   text or of a line.
//!
//! **Attention** in each text:
//!
//! ```ebnf
//! text     = { "(" | "[" | close | escape | break | character } ;
//! close    = ")" | "]" | ":", spaces, [ "+" | "-" ], digits-and-dots, spaces, ")" ;
//! escape   = "\", [ "(" | ")" | "[" | "]" | "\" ] ;
//! break    = spaces, "BREAK", spaces ;
//! ```
//!
//! - `)` multiplies what is since the last open `(` by 1.1, `:1.3)` by the number, `]` what is since the last open `[` by
//!   1/1.1. Round and square brackets need not nest in each other. One left open acts to the end; a `close` that closes
//!   nothing is text.
//! - A backslash before anything else vanishes.
//! - `BREAK` as a whole word ends the chunk, but in brackets it is the word "BREAK" with a weight of −1 times theirs:
//!   unless that comes to −1, as in `(a BREAK b:1)`.
//!
//! **Cleaning** of each stretch of text before it becomes ids, as the package `ftfy` does it: HTML entities, ligatures,
//! full-width and half-width forms, curly quotes, line breaks, control characters and byte order marks become plain.
//! Weights and schedules were read before that, so a full-width bracket is text.
//!
//! **Chunks** hold 75 ids. When one is full and its last comma is at most 20 ids back, what follows the comma moves to the
//! next chunk.
//!
//! # ComfyUI
//!
//! As of its commit 4bd7a40 (the tokenizer of 2025 and later), without custom nodes.
//!
//! ```ebnf
//! text     = { group | character | "\(" | "\)" } ;
//! group    = "(", text, [ ":", number ], ")" ;
//! ```
//!
//! - A group multiplies by 1.1; with a number (as Python's `float` reads it, after the last colon) its weight is the
//!   number, whatever is around it. A group that is left open at the end of the text is text; after a `)` too many, as
//!   many more `(` are text before one opens a group again.
//! - Each stretch of one weight is tokenized by itself. If it has fewer than 8 ids and does not fit, it goes to the next
//!   chunk whole; else it is split where the chunk ends.
//!
//! # diffusers
//!
//! No language. What exceeds 75 ids is cut, and [`Encoded::truncated`] says what it was.
//!
//! # Pseudo-words
//!
//! A text may name vectors that take the place of token embeddings (textual inversion): [`PseudoWords`].
//!
//! - A1111 compares ids: a name is found wherever its ids stand in a stretch of one weight, whatever the case, the longest
//!   name first. Vectors that do not fit begin a chunk. Where a full chunk is cut back to its last comma, vectors behind the
//!   comma stay in it, now behind the end of its text, and the next chunk has id 0 in their place: A1111 moves ids and weights
//!   and forgets the vectors.
//! - ComfyUI reads `embedding:NAME` at the start of a stretch or behind a space or a line break; the name goes on to white
//!   space, and commas at its end are text. Fewer than 8 vectors stay together, more are split where the chunk ends.
//! - diffusers adds a token to the tokenizer. It is found whatever the case and inside of words too; the tokens of the further
//!   vectors are put behind it only where it stands in the text letter by letter and has no capital ones. (A text that holds
//!   `NAME` and `NAME_1` side by side is garbled by diffusers; here each stands for what it names.)
//!
//! # What is not here
//!
//! `<lora:…>` and other extra networks, styles, wildcards, A1111's digits
//! beyond ASCII in weights, `ftfy`'s repair of text that was decoded in the wrong encoding, the second reading of HTML
//! entities (also without their semicolon) that A1111 does for OpenCLIP's encoders.

pub use chunk::{Chunk, Encoded, Pad, chunks};
pub use error::{PromptError, UnknownName};
pub use names::{Dialect, WeightRule};
pub use prompt::{Part, Pass, Prompt, Scheduled, parse, parse_negative, text_at};
pub use pseudo::PseudoWords;
pub use tokenizer::{BOS, ClipTokenizer, EOS, LENGTH, TEXT_LENGTH};
pub use word_piece::{TextTokenizer, VocabularyError, WordPiece};
pub use words::strip_comments;

mod attention;
mod chunk;
mod clean;
mod comfy;
mod error;
pub mod limits;
mod names;
mod prompt;
mod pseudo;
mod schedule;
mod tokenizer;
mod word_piece;
mod words;
