//! The transformer that predicts noise (or velocity, or the picture) in the latent space.
//!
//! A latent is cut into square patches, each of which is a token. Peebles and Xie, "Scalable Diffusion Models with
//! Transformers" (DiT), arXiv 2212.09748; with attention to a context and one modulation for all blocks, Chen et al.,
//! "PixArt-α", arXiv 2310.00426. Parameter names are those that the authors of both publish, which agree with each other;
//! diffusers' do not, and have a copy of the time's embedder in each block. The name of a pooled text's embedder
//! (`y_embedder.mlp`) and of the norms of queries and keys (`ln_q`, `ln_k`) are those of Stable Diffusion 3.

mod block;
mod config;
mod network;
mod positions;

pub use block::{Attention, Block, CrossAttention, Mlp};
pub use config::{Modulation, Positions, TransformerConfig};
pub use network::{FinalLayer, LabelEmbedder, PatchEmbedder, TimeEmbedder, Transformer};

/// ε of all norms.
const EPS: f64 = 1e-6;
/// Numbers in the sinusoid of the time.
const SINUSOID: usize = 256;
