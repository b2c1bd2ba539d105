//! Samplers: rules that walk a σ ladder from noise to a latent.

mod kind;

pub use kind::Sampler;
