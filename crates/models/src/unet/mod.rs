//! The U-Net that predicts noise (or velocity, or the picture) in the latent space.
//!
//! Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, after the
//! ADM network of Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis", 2021.
//! Parameter names are those of diffusers' `UNet2DConditionModel`, in every variant: the
//! context-free attention of unconditional models and the resblock resamplers have the names that
//! diffusers gives to its blocks of the same structure.

mod alter;
mod attention;
mod config;
mod cross;
mod embedding;
mod extras;
mod freeu;
mod network;
mod part;
mod recompute;
mod reference;
mod resnet;
mod trunk;

pub use alter::{Alter, MIDDLE, SPOTS, Side, Spot, SpotError};
pub use attention::{
    AttentionBlock, FeedForward, GatedProjection, PixelProjection, PlainAttention,
    SpatialTransformer, TransformerBlock,
};
pub use config::{
    Attention, Depths, Heads, Labels, Level, Projection, Resample, TimeShift, UNetConfig, Way,
};
pub use cross::{CrossAttention, KeysValues};
pub use embedding::{TimestepEmbedding, guidance_sinusoid, timestep_sinusoid};
pub use extras::{Extras, Pictures, Residuals, between};
pub use freeu::{FreeU, FreeUStages};
pub use network::{ClassEmbedding, DownBlock, MidBlock, UNet, UpBlock};
pub use recompute::Outline;
pub use reference::{Reference, References, Remembered};
pub use resnet::{ResampleConv, Resampler, Resnet, Resolution};

pub(crate) use alter::Change;
pub(crate) use cross::Beside;
pub(crate) use part::Part;
pub(crate) use trunk::{Built, Trunk};

/// ε of the GroupNorms outside the transformers.
const NORM_EPS: f64 = 1e-5;
