//! What a diffusion transformer is made of, as data.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Transformer;
use crate::denoiser::Interface;
use crate::error::{ConfigError, at_least_one, multiple_of};
use crate::unet::Labels;

/// A diffusion transformer.
///
/// Field by field it can say what the published configurations of DiT and of PixArt-α and -Σ without micro-conditions and
/// without compressed keys say. [`validate`](Self::validate) tells whether a network can be built from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerConfig {
    /// Channels that enter: the latent's and any that are concatenated to it.
    pub in_channels: usize,
    /// Channels that leave: the latent's, or twice as many in a network that also predicts variances.
    pub out_channels: usize,
    /// Side of a patch in latent numbers. The latent's sides are multiples of it.
    #[serde(default = "two")]
    pub patch: usize,
    /// Width of a token; a multiple of four.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of every attention; they divide the width.
    pub heads: usize,
    /// Width of the context tokens; `None` for a network that looks at none.
    #[serde(default)]
    pub context: Option<usize>,
    /// Every how many-th block looks at the context: 1 for all, 2 for the second, fourth, …
    #[serde(default = "one")]
    pub context_every: usize,
    /// Whether context tokens go through two layers to the network's width first, once for all blocks.
    #[serde(default)]
    pub context_projection: bool,
    /// What is added to the time embedding: a row of a table, or a vector through two layers.
    #[serde(default)]
    pub labels: Labels,
    /// How the time embedding reaches the blocks.
    #[serde(default)]
    pub modulation: Modulation,
    /// Where patches stand.
    #[serde(default)]
    pub positions: Positions,
    /// Whether queries and keys of the attention among patches are normalised in each head.
    #[serde(default)]
    pub qk_norm: bool,
}

fn one() -> usize {
    1
}

fn two() -> usize {
    2
}

/// How the time embedding becomes shifts, scales and gates of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modulation {
    /// By one layer for all blocks, and a table in each that is added: PixArt's adaLN-single.
    #[default]
    Shared,
    /// By a layer of each block: DiT's adaLN-zero.
    PerBlock,
}

/// The positions from which the sine table is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Patches are counted from 0: DiT's.
    #[default]
    Counted,
    /// From 0 to this number along each side however many patches there are: PixArt's.
    Stretched(usize),
}

impl TransformerConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    ///
    /// The configuration should be [valid](Self::validate): the network of another panics when it is run.
    pub fn init(&self, device: &Device) -> Transformer {
        Transformer::new(self, device)
    }

    /// Whether the block of this number, from 0, looks at the context.
    pub fn looks(&self, block: usize) -> bool {
        self.context.is_some() && (block + 1).is_multiple_of(self.context_every.max(1))
    }

    /// What goes in and out.
    pub fn interface(&self) -> Interface {
        Interface {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            context: self.context,
            labels: self.labels,
            guidance: None,
        }
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("in_channels", self.in_channels)?;
        at_least_one("out_channels", self.out_channels)?;
        at_least_one("patch", self.patch)?;
        at_least_one("depth", self.depth)?;
        at_least_one("heads", self.heads)?;
        multiple_of("width", self.width, 4)?;
        if !self.width.is_multiple_of(self.heads) {
            let expected = format!("a divisor of the width, {}", self.width);
            return Err(ConfigError::new("heads", self.heads, expected));
        }
        match self.context {
            Some(width) => {
                at_least_one("context", width)?;
                at_least_one("context_every", self.context_every)?;
                if self.context_every > self.depth {
                    let expected = format!("at most {}, the blocks", self.depth);
                    return Err(ConfigError::new(
                        "context_every",
                        self.context_every,
                        expected,
                    ));
                }
            }
            None => {
                let expected = "left out in a network without context";
                if self.context_every != 1 {
                    let found = self.context_every;
                    return Err(ConfigError::new("context_every", found, expected));
                }
                if self.context_projection {
                    return Err(ConfigError::new("context_projection", true, expected));
                }
            }
        }
        if let Positions::Stretched(span) = self.positions {
            at_least_one("positions.stretched", span)?;
        }
        match self.labels {
            Labels::None => Ok(()),
            Labels::Table(rows) => at_least_one("labels.table", rows),
            Labels::Vector(width) => at_least_one("labels.vector", width),
            Labels::Projection(_) => {
                let expected = "none, a table or a vector";
                Err(ConfigError::new("labels", self.labels, expected))
            }
        }
    }
}
