//! What tests and `latent selftest` compare against, and the weights they build models from.
//!
//! No published checkpoint is small, free and at hand in a clone, so test models are made of **recipe weights**: every
//! number is a hash of its tensor's published name and its flat index ([`recipe`]). A test names a model and a size and
//! has the same weights as the reference run that drew the golden, with no file. A golden therefore holds outputs only
//! ([`Golden`]). What was rejected: random weights from a seed (they tie tests to one generator and to the order in
//! which a model is built) and committed checkpoints (megabytes in history for every change).

pub mod golden;
pub mod hostile;
pub mod recipe;

pub use golden::{Golden, closeness, max_abs_difference};
