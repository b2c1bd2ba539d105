//! What an autoencoder is made of, as data.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Autoencoder;
use crate::error::{ConfigError, at_least_one, levels_of};

/// A convolutional autoencoder with a KL-regularised or a vector-quantised latent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// Channels of the picture that is encoded.
    pub in_channels: usize,
    /// Channels of the picture that is decoded.
    pub out_channels: usize,
    /// Resolution levels, finest first; each after the first works at half the resolution of the
    /// one before.
    pub levels: Vec<AutoencoderLevel>,
    /// Resblocks of each level of the encoder; the decoder has one more.
    pub resblocks: usize,
    /// Single-head attention in the middle of encoder and decoder.
    pub middle_attention: bool,
    /// Channels that the encoder produces (twice as many where it gives mean and log-variance) and
    /// the decoder takes.
    pub z_channels: usize,
    /// Channels of the latent itself, between `quant_conv` and `post_quant_conv`.
    pub latent_channels: usize,
    /// The encoder gives mean and log-variance (KL) rather than one value per latent number (VQ).
    pub double_z: bool,
    /// A 1×1 convolution after the encoder.
    #[serde(default = "yes")]
    pub quant_conv: bool,
    /// A 1×1 convolution before the decoder.
    #[serde(default = "yes")]
    pub post_quant_conv: bool,
    /// Entries of the codebook that the decoder's input is rounded to; `None` in KL models.
    #[serde(default)]
    pub codebook: Option<usize>,
    /// Groups of every GroupNorm.
    #[serde(default = "thirty_two")]
    pub norm_groups: usize,
}

fn yes() -> bool {
    true
}

fn thirty_two() -> usize {
    32
}

/// One resolution of an [`AutoencoderConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderLevel {
    /// Channels at this resolution.
    pub channels: usize,
    /// Single-head attention after each resblock.
    #[serde(default)]
    pub attention: bool,
}

impl AutoencoderConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates
    /// nothing.
    ///
    /// The configuration should be [valid](Self::validate): the network of another panics when it
    /// is run.
    pub fn init(&self, device: &Device) -> Autoencoder {
        Autoencoder::new(self, device)
    }

    /// Pixels per latent number along each side: 8 in Stable Diffusion.
    pub fn downsampling(&self) -> usize {
        1 << self.levels.len().saturating_sub(1)
    }

    /// Channels of what the encoder gives before any split into mean and log-variance.
    pub(crate) fn encoder_channels(&self) -> usize {
        self.z_channels * self.moments()
    }

    /// Two where the encoder gives mean and log-variance, else one.
    pub(crate) fn moments(&self) -> usize {
        if self.double_z { 2 } else { 1 }
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("in_channels", self.in_channels)?;
        at_least_one("out_channels", self.out_channels)?;
        at_least_one("norm_groups", self.norm_groups)?;
        at_least_one("resblocks", self.resblocks)?;
        at_least_one("z_channels", self.z_channels)?;
        at_least_one("latent_channels", self.latent_channels)?;
        let channels = self.levels.iter().map(|level| level.channels);
        levels_of(channels, self.norm_groups)?;
        let same = self.latent_channels == self.z_channels;
        if !(same || self.quant_conv && self.post_quant_conv) {
            let expected = format!(
                "{} (z_channels), because a quantising convolution is missing",
                self.z_channels
            );
            return Err(ConfigError::new(
                "latent_channels",
                self.latent_channels,
                expected,
            ));
        }
        match self.codebook {
            Some(_) if self.double_z => {
                let expected = "absent in a model that gives mean and log-variance (`double_z`)";
                Err(ConfigError::new("codebook", self.codebook, expected))
            }
            Some(entries) => at_least_one("codebook", entries),
            None => Ok(()),
        }
    }
}
