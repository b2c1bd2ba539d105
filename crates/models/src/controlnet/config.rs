//! What a ControlNet is made of, as data.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{ControlNet, UnionConfig};
use crate::error::{ConfigError, at_least_one};
use crate::unet::UNetConfig;

/// A ControlNet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlNetConfig {
    /// The U-Net whose way down and middle it has. Its way up and its output channels are not looked at.
    pub unet: UNetConfig,
    /// Channels of the picture: three.
    #[serde(default = "three")]
    pub hint_channels: usize,
    /// Widths of the convolutions that the picture goes through; each after the first halves its sides.
    #[serde(default = "widths")]
    pub hint_widths: Vec<usize>,
    /// What it says is a mean over the picture, the same at every pixel ("global pool conditions").
    #[serde(default)]
    pub pooled: bool,
    /// It reads several kinds of pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub union: Option<UnionConfig>,
}

fn three() -> usize {
    3
}

fn widths() -> Vec<usize> {
    vec![16, 32, 96, 256]
}

impl ControlNetConfig {
    /// The ControlNet of a U-Net, as every published one has the rest.
    pub fn of(unet: UNetConfig) -> Self {
        Self {
            unet,
            hint_channels: three(),
            hint_widths: widths(),
            pooled: false,
            union: None,
        }
    }

    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    ///
    /// The configuration should be [valid](Self::validate).
    pub fn init(&self, device: &Device) -> ControlNet {
        ControlNet::new(self, device)
    }

    /// How many pixels of the picture along each side are one of the latent.
    pub fn downsampling(&self) -> usize {
        1 << self.hint_widths.len().saturating_sub(1)
    }

    /// How many tensors a U-Net of the same levels keeps on the way down.
    pub fn kept(&self) -> usize {
        let levels = &self.unet.levels;
        1 + levels
            .iter()
            .map(|level| level.resblocks + 1)
            .sum::<usize>()
            - 1
    }

    /// Why it does not go with a U-Net, as the first thing in which they differ; both in words.
    pub fn misfit(&self, unet: &UNetConfig) -> Option<[String; 2]> {
        let own = &self.unet;
        let levels = |config: &UNetConfig| -> Vec<[usize; 2]> {
            let levels = config.levels.iter();
            levels
                .map(|level| [level.channels, level.resblocks])
                .collect()
        };
        let words = |config: &UNetConfig| {
            let levels = levels(config);
            let levels = levels
                .iter()
                .map(|[channels, resblocks]| format!("{resblocks}×{channels}"));
            format!("levels of {}", levels.collect::<Vec<_>>().join(", "))
        };
        let context = |width: Option<usize>| match width {
            Some(width) => format!("text states of width {width}"),
            None => "no text states".to_owned(),
        };
        let vector = |config: &UNetConfig| match config.labels.width() {
            Some(width) => format!("a vector of width {width} beside the time"),
            None => "no vector beside the time".to_owned(),
        };
        if levels(own) != levels(unet) || own.model_channels != unet.model_channels {
            return Some([words(own), words(unet)]);
        }
        // A network without attention looks at no text.
        if own.context.is_some() && own.context != unet.context {
            return Some([context(own.context), context(unet.context)]);
        }
        if own.labels.width().is_some() && own.labels != unet.labels {
            return Some([vector(own), vector(unet)]);
        }
        if own.in_channels != unet.out_channels && own.in_channels != unet.in_channels {
            let words = |channels| format!("a latent of {channels} channels");
            return Some([words(own.in_channels), words(unet.out_channels)]);
        }
        None
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.unet.validate()?;
        at_least_one("hint_channels", self.hint_channels)?;
        if self.hint_widths.is_empty() {
            return Err(ConfigError::new(
                "hint_widths",
                "empty",
                "at least one width",
            ));
        }
        for width in &self.hint_widths {
            at_least_one("hint_widths", *width)?;
        }
        if let Some(union) = self.union {
            at_least_one("union.kinds", union.kinds)?;
            at_least_one("union.sinusoid", union.sinusoid)?;
        }
        Ok(())
    }
}
