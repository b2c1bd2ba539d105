//! The networks of latent diffusion: U-Nets and what is hung onto them, transformers, autoencoders, text encoders, conditioners.
//!
//! Each network is a configuration (plain data, with serde), which builds a module, which has a
//! `forward`. A configuration says what a network is made of and never which product it belongs to:
//! there is no version to test for. [`named`] holds the configurations of the published models as
//! values.
//!
//! Modules are lazy. `init` gives every parameter a shape and no storage, so that a network of
//! billions of parameters can be listed, counted and matched with a file for free; [`params::load`]
//! then fills it one tensor at a time.
//!
//! A parameter's path in the module is its name in the published diffusers or transformers file
//! (of a diffusion [`transformer`], in its authors'), and its layout is torch's. That makes one naming scheme the project's own and every other one a
//! table in `checkpoint`. Rejected: burn's own layers (`burn::nn`), whose linear weights are
//! transposed and whose initialisers draw random numbers that a loaded network throws away.
//!
//! Networks compute in the type of their parameters and return f32, which is what samplers work in.

pub mod autoencoder;
pub mod clip;
pub mod condition;
pub mod controlnet;
pub mod denoiser;
pub mod discriminator;
pub mod error;
mod exchange;
pub mod hypernetwork;
pub mod ip_adapter;
pub mod layers;
pub mod named;
mod pack;
pub mod params;
pub mod perceptual;
pub mod style_adapter;
pub mod t2i;
pub mod transformer;
pub mod unet;
pub mod walk;

pub use autoencoder::{
    Autoencoder, AutoencoderConfig, AutoencoderTiny, AutoencoderTinyConfig, Moments,
};
pub use clip::{
    ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, EmbeddingNormalizer,
    EmbeddingNormalizerConfig, Take, TextStates,
};
pub use condition::{Condition, Conditioned, Conditioner, ConditionerConfig};
pub use controlnet::{ControlNet, ControlNetConfig};
pub use denoiser::{
    Denoiser, DenoiserConfig, Given, GivenError, GivenStates, Input, Interface, Output,
};
pub use discriminator::{Discriminator, DiscriminatorConfig};
pub use error::{ConfigError, ParameterError};
pub use exchange::exchanged;
pub use hypernetwork::{Hypernetwork, HypernetworkConfig};
pub use ip_adapter::{IpAdapter, IpAdapterConfig};
pub use latent_ops::{Form, Padding};
pub use params::{cast, load, load_some, parameter_count, parameters};
pub use perceptual::{Perceptual, feature_distance};
pub use style_adapter::{StyleAdapter, StyleAdapterConfig};
pub use t2i::{T2iAdapter, T2iAdapterConfig};
pub use transformer::{Transformer, TransformerConfig};
pub use unet::{Outline, UNet, UNetConfig};
