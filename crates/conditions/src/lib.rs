//! The conditions of models that were trained here: plain values → what a conditioner reads.
//!
//! A request for a picture and an example of a data set say the same things (a class, a text, boxes, a map of classes, a
//! small picture, the name of a picture that others are near to). Both fill a [`Given`]; a [`Reader`] makes a
//! [`Condition`](latent_models::Condition) of a batch of them. So a model is drawn from with exactly what it learnt from, and a
//! new condition is one field and one arm here.
//!
//! What is not read here: the states of a text encoder that was trained before, which come from prompts in drawing and from a
//! cache in training, and are handed over made; and the latent of a masked picture, which each side encodes in its own way
//! and [`masked_channels`] puts together.
//!
//! Rejected: reading in `latent-models`, which would have to know tokenizers and files; and a trait that requests and examples
//! implement, since they differ in what they own and not in what they do.

mod files;
mod given;
mod reader;
mod vectors;

pub use files::{CLASSES, FileProblem, Files, NEIGHBOURS, VOCABULARY, class_names, vocabulary_at};
pub use given::{Field, Given, Pixels, Problem, masked_channels};
pub use reader::Reader;
pub use vectors::Vectors;
