//! IP-Adapters: pictures as prompts. What an encoder of pictures makes of one becomes tokens, and each attention on the
//! context looks at them too, by keys and values of their own (Ye et al., "IP-Adapter: Text Compatible Image Prompt Adapter
//! for Text-to-Image Diffusion Models", 2023).
//!
//! Parameter names are those of the published files, but that attentions are counted one by one, where files count those of
//! pixels on themselves too.

mod config;
mod network;
mod projection;

pub use config::{IpAdapterConfig, ProjectionConfig};
pub use network::{IpAdapter, IpAttention};
pub use projection::{
    ImageProjection, LinearProjection, MlpProjection, PerceiverAttention, Resampler,
};
