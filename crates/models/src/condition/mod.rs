//! Conditions: what a model is told about the picture, and the small networks that read it.
//!
//! A condition enters the denoiser in one of three ways: as tokens that every level looks at, as channels beside the
//! latent, or through the time embedding. [`ConditionerConfig`] says what is read and how it enters;
//! [`Conditioner::forward`] gives what [`Denoiser::forward`](crate::Denoiser::forward) takes.
//!
//! Sources: Rombach et al., arXiv 2112.10752, and the configurations of `CompVis/latent-diffusion`; Blattmann et al.,
//! arXiv 2204.11824, for pictures as neighbours. Rejected: one class for each pair of condition and way to enter.

mod config;
mod layout;
mod network;
mod spatial;
mod transformer;

pub use config::{CLIP_VOCABULARY, ConditionerConfig, Entry, Tokenizer};
pub use layout::{LayoutBox, LayoutTokens};
pub use network::{Condition, Conditioned, Conditioner, Encoder};
pub use spatial::SpatialRescaler;
pub use transformer::{TokenTransformer, TokenTransformerConfig};
