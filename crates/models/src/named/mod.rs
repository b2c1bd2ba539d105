//! The published models' networks, as values.
//!
//! Configurations only: which weights go with one, and how it is sampled, is for the crates above.
//! Sources: the yaml files of `CompVis/latent-diffusion` (`configs/`, `models/`),
//! `CompVis/stable-diffusion` (`configs/`) and `Stability-AI/generative-models`
//! (`configs/inference/`).

mod autoencoders;
mod encoders;
mod perceptual;
mod unets;

pub use autoencoders::*;
pub use encoders::*;
pub use perceptual::*;
pub use unets::*;
