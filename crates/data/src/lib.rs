//! Data sets: what a training run reads, and what it is made of.
//!
//! A [`Source`] knows how many pictures there are and reads one of them with what belongs to it: caption, class, mask,
//! boxes, a low-resolution partner. Folders, tables, tar shards and IDX files are all one table of places ([`open`]), so
//! that a format is an indexer of a page and nothing else. The [`Loader`] turns a source into batches: threads decode,
//! resize, crop and flip, a bounded number ahead of the reader.
//!
//! Everything a run sees is a function of (seed, position): the order of an epoch, crops, flips, which pictures share a
//! batch. There is no generator whose state would have to be saved, so [`Loader::at`] continues a run exactly, and
//! several processes can each read their part of the same batches.
//!
//! Files come from strangers. A picture that does not decode is skipped, counted and named, and another takes its place
//! by rule; nothing in a file can cause a panic or more memory than the limits of [`decode`].
//!
//! This crate has no tensors and compiles without burn, so that `latent data check` and the composer ([`compose`]) need
//! neither. Rejected: burn's data sets (their order cannot be resumed), the arrow stack for one column of paths, and
//! augmentation inside the training step, which would tie it to the number of threads.

pub mod build;
pub mod check;
pub mod compose;
pub mod config;
pub mod decode;
mod error;
mod example;
mod fit;
pub mod json;
mod loader;
mod plan;
pub mod random;
pub mod settings;
mod source;
mod store;

pub use config::DataConfig;
pub use error::Error;
pub use example::{Example, LabelledBox, Labels, Raw};
pub use fit::{Crop, Fit, buckets};
pub use loader::{Batch, Batches, Loader, LoaderOptions};
pub use plan::{Partial, Share};
pub use source::{About, Source, counted, open, printable};
