//! The autoencoder between pictures and latents.
//!
//! Rombach et al. 2022, appendix G; the convolutional network is that of Esser et al., "Taming
//! Transformers for High-Resolution Image Synthesis", 2021. Parameter names are those of diffusers'
//! `AutoencoderKL` and `VQModel`.

mod config;
mod latent;
mod levels;
mod network;
mod strips;
mod tiny;

pub use config::{AutoencoderConfig, AutoencoderLevel};
pub use latent::{Moments, Quantized};
pub use network::{Autoencoder, Codebook, Decoder, DecoderBlock, Encoder, EncoderBlock, Middle};
pub use tiny::{AutoencoderTiny, AutoencoderTinyConfig, TinyBlock, TinyLayer, TinyLayers};

/// ε of every GroupNorm.
const NORM_EPS: f64 = 1e-6;
