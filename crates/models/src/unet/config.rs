//! What a U-Net is made of, as data.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::UNet;
use crate::error::{ConfigError, at_least_one, multiple_of};

/// A latent-diffusion U-Net.
///
/// Field by field it can say everything that the configurations of the latent-diffusion, Stable
/// Diffusion and SGM repositories say. [`validate`](Self::validate) tells whether a network can be
/// built from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels that enter: the latent's and any that are concatenated to it (mask, low-resolution
    /// picture, …).
    pub in_channels: usize,
    /// Channels that leave: the latent's.
    pub out_channels: usize,
    /// Channels of the sinusoidal time embedding and of the first convolution; the embedding is
    /// four times as wide.
    pub model_channels: usize,
    /// Resolution levels, finest first. Each after the first works at half the resolution of the
    /// one before.
    pub levels: Vec<Level>,
    /// Attention in the middle block, between its two resblocks; `None`: the middle block has one
    /// resblock pair only.
    pub middle: Option<Attention>,
    /// Width of the context tokens. With `None` attention is the plain self-attention block of
    /// unconditional models.
    #[serde(default)]
    pub context: Option<usize>,
    /// How a transformer block's input and output projections are stored.
    #[serde(default)]
    pub projection: Projection,
    /// How the time embedding enters a resblock.
    #[serde(default)]
    pub time_shift: TimeShift,
    /// How the resolution changes between levels.
    #[serde(default)]
    pub resample: Resample,
    /// What is added to the time embedding.
    #[serde(default)]
    pub labels: Labels,
    /// Groups of every GroupNorm.
    #[serde(default = "thirty_two")]
    pub norm_groups: usize,
}

fn thirty_two() -> usize {
    32
}

/// One resolution of a [`UNetConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Channels at this resolution.
    pub channels: usize,
    /// Resblocks on the way down; the way up has one more.
    pub resblocks: usize,
    /// Attention after each resblock, or none at this resolution.
    #[serde(default)]
    pub attention: Option<Attention>,
}

/// Attention at one resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// How the channels are divided into heads.
    pub heads: Heads,
    /// Transformer blocks one after another (1 or more; 1 in a network without context).
    pub depth: usize,
}

/// How channels are divided into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heads {
    /// This many heads; their width follows.
    Count(usize),
    /// Heads of this width; their number follows.
    Width(usize),
}

impl Heads {
    /// The number of heads that `channels` channels are divided into.
    pub fn count(self, channels: usize) -> usize {
        match self {
            Heads::Count(count) => count,
            Heads::Width(width) => channels / width.max(1),
        }
    }
}

/// How a transformer's input and output projections are stored: the same map, but tensors of
/// another shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// 1×1 convolutions, `[out, in, 1, 1]`.
    #[default]
    Conv,
    /// Linear layers, `[out, in]`.
    Linear,
}

/// How the time embedding enters a resblock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeShift {
    /// Added after the first convolution.
    #[default]
    Additive,
    /// Scales and shifts the second normalisation ("AdaGN").
    ScaleShift,
}

/// How the resolution changes between levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// A convolution of stride two; nearest-neighbour enlargement and a convolution.
    #[default]
    Conv,
    /// A resblock that averages or repeats pixels on both of its branches.
    Resnet,
}

/// What is added to the time embedding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Nothing.
    #[default]
    None,
    /// A row of a table with this many rows, by number (a class, a noise level).
    Table(usize),
    /// A vector of this width, through two linear layers (SDXL's pooled text and sizes).
    Vector(usize),
}

impl UNetConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates
    /// nothing.
    ///
    /// The configuration should be [valid](Self::validate): the network of another panics when it
    /// is run.
    pub fn init(&self, device: &Device) -> UNet {
        UNet::new(self, device)
    }

    /// Width of the time embedding.
    pub fn time_channels(&self) -> usize {
        4 * self.model_channels
    }

    /// The factor that the latent's height and width must be a multiple of for every level to halve
    /// exactly.
    pub fn downsampling(&self) -> usize {
        1 << self.levels.len().saturating_sub(1)
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
        multiple_of("model_channels", self.model_channels, self.norm_groups)?;
        if !self.model_channels.is_multiple_of(2) {
            return Err(ConfigError::new(
                "model_channels",
                self.model_channels,
                "even",
            ));
        }
        at_least_one("number of levels", self.levels.len())?;
        if self.levels.len() > 16 {
            return Err(ConfigError::new(
                "number of levels",
                self.levels.len(),
                "at most 16",
            ));
        }
        for (i, level) in self.levels.iter().enumerate() {
            multiple_of(
                &format!("levels[{i}].channels"),
                level.channels,
                self.norm_groups,
            )?;
            at_least_one(&format!("levels[{i}].resblocks"), level.resblocks)?;
            if let Some(attention) = level.attention {
                self.validate_attention(
                    &format!("levels[{i}].attention"),
                    attention,
                    level.channels,
                )?;
            }
        }
        if let (Some(middle), Some(last)) = (self.middle, self.levels.last()) {
            self.validate_attention("middle", middle, last.channels)?;
        }
        if let Some(width) = self.context {
            at_least_one("context", width)?;
        }
        match self.labels {
            Labels::None => Ok(()),
            Labels::Table(rows) => at_least_one("labels.table", rows),
            Labels::Vector(width) => at_least_one("labels.vector", width),
        }
    }

    fn validate_attention(
        &self,
        field: &str,
        attention: Attention,
        channels: usize,
    ) -> Result<(), ConfigError> {
        let divisor = match attention.heads {
            Heads::Count(n) | Heads::Width(n) => n,
        };
        if divisor == 0 || !channels.is_multiple_of(divisor) {
            let expected = format!("a divisor of the level's {channels} channels");
            return Err(ConfigError::new(
                format!("{field}.heads"),
                attention.heads,
                expected,
            ));
        }
        at_least_one(&format!("{field}.depth"), attention.depth)?;
        if self.context.is_none() && attention.depth != 1 {
            let expected = "1 in a network without context";
            return Err(ConfigError::new(
                format!("{field}.depth"),
                attention.depth,
                expected,
            ));
        }
        Ok(())
    }
}
