//! A small dual encoder of pictures and captions, which learns from the training split alone.
//!
//! Contrastive: of a batch, every picture should be nearest to its own caption and every caption to its own picture
//! (Radford et al. 2021, "Learning transferable visual models from natural language supervision"). Captions that occur
//! twice in a batch are not held against each other. A convolutional network looks at pictures of 64×64 pixels, a
//! transformer over words reads captions; both learn from nothing but the training split, so that it knows the words and
//! the drawings of this data set and no others.
//!
//! It is a measuring device and no more: R-precision of real test pictures says how far it can be trusted.

mod learn;
mod network;
mod words;

pub(crate) use learn::BATCH;
pub use learn::{Encoder, Teaching};
pub use words::{Vocabulary, words};
