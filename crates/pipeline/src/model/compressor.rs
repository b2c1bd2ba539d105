//! What makes latents of pictures and pictures of latents.

use burn::tensor::{DType, Tensor};
use latent_checkpoint::{Checkpoint, ModelError, Network, Role, StoredAutoencoder};
use latent_models::{
    Autoencoder, AutoencoderConfig, AutoencoderTiny, AutoencoderTinyConfig, Form, Moments, Padding,
    parameter_count,
};

use super::part::{Net, Source};

/// Pictures ↔ latents.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a model holds one of them")]
pub enum Compressor {
    /// The network that the denoiser was trained with.
    Whole(Autoencoder),
    /// A small one that was distilled from it. It works in latents that are scaled already.
    Tiny(AutoencoderTiny),
}

impl From<Autoencoder> for Compressor {
    fn from(network: Autoencoder) -> Self {
        Self::Whole(network)
    }
}

impl From<AutoencoderTiny> for Compressor {
    fn from(network: AutoencoderTiny) -> Self {
        Self::Tiny(network)
    }
}

/// What a [`Compressor`] is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum CompressorConfig {
    /// Of the network that the denoiser was trained with.
    Whole(AutoencoderConfig),
    /// Of a small one.
    Tiny(AutoencoderTinyConfig),
}

impl CompressorConfig {
    /// What a whole one is made of, by which families are told.
    pub fn whole(&self) -> Option<&AutoencoderConfig> {
        match self {
            Self::Whole(config) => Some(config),
            Self::Tiny(_) => None,
        }
    }

    /// Channels of a latent.
    pub fn channels(&self) -> usize {
        match self {
            Self::Whole(config) => config.latent_channels,
            Self::Tiny(config) => config.latent_channels,
        }
    }

    /// Pixels per latent number along each side.
    pub fn downsampling(&self) -> usize {
        match self {
            Self::Whole(config) => config.downsampling(),
            Self::Tiny(config) => config.downsampling(),
        }
    }

    /// Whether its latents are those that the denoiser takes, not to be scaled.
    pub fn scales_itself(&self) -> bool {
        matches!(self, Self::Tiny(_))
    }

    /// Channels at the picture's own size where the decoder is widest.
    pub fn finest(&self) -> usize {
        match self {
            Self::Whole(config) => {
                let second = config.levels.get(1).or(config.levels.last());
                second.map_or(0, |level| level.channels)
            }
            Self::Tiny(config) => config.width,
        }
    }
}

impl Net for Compressor {
    const NAME: &str = "autoencoder";
    type Config = CompressorConfig;

    fn config(&self) -> CompressorConfig {
        match self {
            Self::Whole(network) => CompressorConfig::Whole(network.config().clone()),
            Self::Tiny(network) => CompressorConfig::Tiny(network.config().clone()),
        }
    }

    fn dtype(&self) -> DType {
        match self {
            Self::Whole(network) => network.dtype(),
            Self::Tiny(network) => network.dtype(),
        }
    }

    fn parameters(&self) -> usize {
        match self {
            Self::Whole(network) => parameter_count(network),
            Self::Tiny(network) => parameter_count(network),
        }
    }

    fn packed(self, _: Form, latent: [usize; 2]) -> Self {
        match self {
            Self::Whole(network) => Self::Whole(network.packed(Form::Plain, latent)),
            Self::Tiny(network) => Self::Tiny(network.packed(latent)),
        }
    }

    fn stored(checkpoint: &Checkpoint, role: Role) -> Result<CompressorConfig, ModelError> {
        Ok(match &checkpoint.part(role)?.config {
            Network::AutoencoderTiny(config) => CompressorConfig::Tiny(config.clone()),
            _ => CompressorConfig::Whole(
                checkpoint
                    .config::<StoredAutoencoder>(role)?
                    .network
                    .clone(),
            ),
        })
    }

    fn read(source: &Source, progress: &mut dyn FnMut(usize, usize)) -> Result<Self, ModelError> {
        Ok(match source.checkpoint.part(source.role)?.config {
            Network::AutoencoderTiny(_) => {
                Self::Tiny(source.load::<AutoencoderTinyConfig>(progress)?)
            }
            _ => Self::Whole(source.load::<StoredAutoencoder>(progress)?),
        })
    }
}

impl Compressor {
    /// The same with another treatment of the picture's edges.
    pub fn with_padding(self, padding: Padding) -> Self {
        match self {
            Self::Whole(network) => Self::Whole(network.with_padding(padding)),
            Self::Tiny(network) => Self::Tiny(network.with_padding(padding)),
        }
    }

    /// The distribution of a picture's latent: `[batch, 3, height, width]` in −1..1 → `[batch, channels, …]`. Of a tiny
    /// one it is a point.
    pub fn encode(&self, image: Tensor<4>) -> Moments {
        match self {
            Self::Whole(network) => network.encode(image),
            Self::Tiny(network) => {
                let mean = network.encode(image);
                Moments {
                    logvar: mean.full_like(-30.0),
                    mean,
                }
            }
        }
    }

    /// The picture of a latent, about −1..1.
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Whole(network) => network.decode(z),
            Self::Tiny(network) => network.decode(z),
        }
    }

    /// The same in less memory, `rows` of the latent at a time; `None` where `go_on` says no. A tiny one takes little as it is.
    pub fn decode_in_strips(
        &self,
        z: Tensor<4>,
        rows: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Option<Tensor<4>> {
        match self {
            Self::Whole(network) => network.decode_in_strips(z, rows, go_on),
            Self::Tiny(network) => Some(network.decode(z)),
        }
    }
}
