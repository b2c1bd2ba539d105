//! ControlNets: a copy of a U-Net's way down and middle, which looks at a further picture and says what is to be added to
//! the U-Net's states.
//!
//! Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", 2023. Parameter names are those of
//! diffusers' `ControlNetModel`. The parts of the U-Net are the U-Net's own, and so is the walk through them.

mod config;
mod hint;
mod network;
mod union;

pub use config::ControlNetConfig;
pub use hint::HintEmbedding;
pub use network::{ControlInput, ControlNet};
pub use union::{UnionAttention, UnionConfig, UnionLayer, UnionMlp};
