//! CLIP's encoders of texts and of pictures.
//!
//! Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
//! Parameter names are those of transformers' `CLIPTextModelWithProjection` and
//! `CLIPVisionModelWithProjection` files.

mod normalizer;
mod text;
mod transformer;
mod vision;

pub use normalizer::{EmbeddingNormalizer, EmbeddingNormalizerConfig};
pub use text::{ClipText, ClipTextConfig, Embeddings, Take, TextModel, TextStates};
pub(crate) use transformer::LayerShape;
pub use transformer::{Activation, Layer, Mlp, SelfAttention, Transformer};
pub use vision::{ClipVision, ClipVisionConfig, Sees, VisionEmbeddings, VisionModel};
