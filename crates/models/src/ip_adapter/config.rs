//! What an IP-Adapter is made of, as data.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::IpAdapter;
use crate::clip::Sees;
use crate::error::{ConfigError, at_least_one};
use crate::unet::UNetConfig;

/// An IP-Adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpAdapterConfig {
    /// From what is seen of a picture to tokens.
    pub projection: ProjectionConfig,
    /// Width of the tokens: the U-Net's context.
    pub context: usize,
    /// Channels of each attention on the context: those of the way down, of the way up, of the middle.
    pub attentions: Vec<usize>,
}

/// From what is seen of a picture to tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectionConfig {
    /// A linear layer and a norm.
    Linear {
        /// Width of the picture's embedding.
        input: usize,
        /// How many tokens it becomes.
        tokens: usize,
    },
    /// Two linear layers and a norm, for each state.
    Mlp {
        /// Width of the states.
        input: usize,
    },
    /// Learnt tokens that attend to the states, layer by layer.
    Resampler {
        /// Width of the states.
        input: usize,
        /// Width inside.
        width: usize,
        /// How many tokens.
        tokens: usize,
        /// Layers.
        layers: usize,
        /// Heads of 64 numbers.
        heads: usize,
    },
}

impl ProjectionConfig {
    /// What it takes.
    pub fn sees(&self) -> Sees {
        match *self {
            Self::Linear { input, .. } => Sees::Embedding(input),
            Self::Mlp { input } | Self::Resampler { input, .. } => Sees::States(input),
        }
    }
}

impl IpAdapterConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    ///
    /// The configuration should be [valid](Self::validate).
    pub fn init(&self, device: &Device) -> IpAdapter {
        IpAdapter::new(self, device)
    }

    /// Why it does not go with a U-Net, as the first thing in which they differ; both in words.
    pub fn misfit(&self, unet: &UNetConfig) -> Option<[String; 2]> {
        if Some(self.context) != unet.context {
            let words = |width: Option<usize>| match width {
                Some(width) => format!("tokens of width {width}"),
                None => "no tokens".to_owned(),
            };
            return Some([words(Some(self.context)), words(unet.context)]);
        }
        let [down, middle, up] = unet.attentions_on_context();
        let wanted: Vec<usize> = [down, up, middle].concat();
        let words = |all: &[usize]| {
            let parts = all.chunk_by(|a, b| a == b);
            let parts = parts.map(|part| format!("{}×{}", part.len(), part[0]));
            format!(
                "attentions of {} channels",
                parts.collect::<Vec<_>>().join(", ")
            )
        };
        (wanted != self.attentions).then(|| [words(&self.attentions), words(&wanted)])
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("context", self.context)?;
        at_least_one("attentions (how many)", self.attentions.len())?;
        for channels in &self.attentions {
            at_least_one("attentions", *channels)?;
        }
        match self.projection {
            ProjectionConfig::Linear { input, tokens } => {
                at_least_one("projection.input", input)?;
                at_least_one("projection.tokens", tokens)
            }
            ProjectionConfig::Mlp { input } => at_least_one("projection.input", input),
            ProjectionConfig::Resampler {
                input,
                width,
                tokens,
                layers,
                heads,
            } => {
                at_least_one("projection.input", input)?;
                at_least_one("projection.width", width)?;
                at_least_one("projection.tokens", tokens)?;
                at_least_one("projection.layers", layers)?;
                at_least_one("projection.heads", heads)
            }
        }
    }
}
