//! What makes latents of pictures and pictures of latents.

use burn::tensor::{DType, Tensor};
use latent_models::{
    Autoencoder, AutoencoderConfig, AutoencoderTiny, Form, Moments, Padding, parameter_count,
};

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

impl Compressor {
    /// What a whole one is made of, by which families are told.
    pub fn config(&self) -> Option<&AutoencoderConfig> {
        match self {
            Self::Whole(network) => Some(network.config()),
            Self::Tiny(_) => None,
        }
    }

    /// Channels of a latent.
    pub fn channels(&self) -> usize {
        match self {
            Self::Whole(network) => network.config().latent_channels,
            Self::Tiny(network) => network.config().latent_channels,
        }
    }

    /// Pixels per latent number along each side.
    pub fn downsampling(&self) -> usize {
        match self {
            Self::Whole(network) => network.config().downsampling(),
            Self::Tiny(network) => network.config().downsampling(),
        }
    }

    /// Whether its latents are those that the denoiser takes, not to be scaled.
    pub fn scales_itself(&self) -> bool {
        matches!(self, Self::Tiny(_))
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Whole(network) => network.dtype(),
            Self::Tiny(network) => network.dtype(),
        }
    }

    /// How many numbers its parameters hold.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Whole(network) => parameter_count(network),
            Self::Tiny(network) => parameter_count(network),
        }
    }

    /// Channels at the picture's own size where the decoder is widest.
    pub fn finest(&self) -> usize {
        match self {
            Self::Whole(network) => {
                let levels = &network.config().levels;
                let second = levels.get(1).or(levels.last());
                second.map_or(0, |level| level.channels)
            }
            Self::Tiny(network) => network.config().width,
        }
    }

    /// The same with another treatment of the picture's edges.
    pub fn with_padding(self, padding: Padding) -> Self {
        match self {
            Self::Whole(network) => Self::Whole(network.with_padding(padding)),
            Self::Tiny(network) => Self::Tiny(network.with_padding(padding)),
        }
    }

    /// With packed weights, for latents of about `size` (height, width).
    pub fn packed(self, size: [usize; 2]) -> Self {
        match self {
            Self::Whole(network) => Self::Whole(network.packed(Form::Plain, size)),
            Self::Tiny(network) => Self::Tiny(network.packed(size)),
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

    /// The same in less memory, `rows` of the latent at a time. A tiny one takes little as it is.
    pub fn decode_in_strips(&self, z: Tensor<4>, rows: usize) -> Tensor<4> {
        match self {
            Self::Whole(network) => network.decode_in_strips(z, rows),
            Self::Tiny(network) => network.decode(z),
        }
    }
}
