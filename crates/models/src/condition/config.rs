//! Which condition a model takes, and how it enters the denoiser, as data.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::layout::LayoutTokens;
use super::network::Conditioner;
use super::transformer::TokenTransformerConfig;
use crate::denoiser::DenoiserConfig;
use crate::error::{ConfigError, at_least_one};
use crate::unet::Labels;

/// A condition and the network that reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ConditionerConfig {
    /// A class: one learnt vector for each.
    Class {
        /// Rows of the table: the classes and, where guidance was trained, one more at the end that stands for none.
        rows: usize,
        /// Width of a vector.
        width: usize,
        /// How it enters.
        #[serde(default)]
        entry: Entry,
    },
    /// Text, read by a transformer that learns with the denoiser.
    Text {
        /// Text to token ids.
        tokenizer: Tokenizer,
        /// The transformer.
        transformer: TokenTransformerConfig,
        /// How it enters.
        #[serde(default)]
        entry: Entry,
    },
    /// Text, read by an encoder that was trained before and stays as it is.
    FrozenText {
        /// Width of a token's state.
        width: usize,
        /// Tokens of every text.
        tokens: usize,
        /// How it enters.
        #[serde(default)]
        entry: Entry,
    },
    /// A map of class numbers, rescaled to the latent's size and concatenated.
    SemanticMap {
        /// Classes, one channel each.
        classes: usize,
        /// Channels that are concatenated.
        channels: usize,
        /// How often the map is halved.
        stages: usize,
    },
    /// A small picture, concatenated as it is.
    LowResolution {
        /// How many times larger the picture is along each side. The latent has the small picture's size.
        factor: usize,
    },
    /// A masked picture's latent and the mask, concatenated.
    Inpainting {
        /// Channels of a latent.
        latent_channels: usize,
    },
    /// Classes and boxes of objects, read as a sequence of tokens by a transformer that learns with the denoiser.
    Layout {
        /// Objects to tokens.
        tokens: LayoutTokens,
        /// The transformer.
        transformer: TokenTransformerConfig,
        /// How it enters.
        #[serde(default)]
        entry: Entry,
    },
    /// Vectors that a frozen encoder made of pictures like the one to be drawn.
    Neighbours {
        /// Pictures.
        count: usize,
        /// Width of a vector.
        width: usize,
        /// How they enter.
        #[serde(default)]
        entry: Entry,
    },
}

/// How vectors enter the denoiser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// As tokens that every level looks at.
    #[default]
    CrossAttention,
    /// Their mean, projected to this many channels, the same at every pixel of the latent.
    Concatenation(usize),
    /// Their mean, added to the time embedding, which scales and shifts the normalisations of a transformer and of a U-Net
    /// with [`TimeShift::ScaleShift`](crate::unet::TimeShift::ScaleShift).
    AdaptiveNorm,
    /// As tokens, and their sum over the root of their number, without those of the padding, added to the time embedding, as the pooled
    /// text of SDXL: what holds for the whole picture reaches every block at once.
    CrossAttentionAndPooled,
}

/// Text to token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tokenizer {
    /// CLIP's byte pairs, 49408 tokens.
    Clip,
    /// Pieces of words of a vocabulary file, as BERT's 30522.
    WordPiece,
}

impl ConditionerConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    pub fn init(&self, device: &Device) -> Conditioner {
        Conditioner::new(self, device)
    }

    /// How vectors enter, and how wide they are; `None` for pictures, which are always concatenated.
    pub fn entry(&self) -> Option<(Entry, usize)> {
        match self {
            Self::Class { width, entry, .. }
            | Self::FrozenText { width, entry, .. }
            | Self::Neighbours { width, entry, .. } => Some((*entry, *width)),
            Self::Text {
                transformer, entry, ..
            }
            | Self::Layout {
                transformer, entry, ..
            } => Some((*entry, transformer.width)),
            _ => None,
        }
    }

    /// Channels that the denoiser takes beside the latent's.
    pub fn concatenated(&self) -> usize {
        match self {
            Self::SemanticMap { channels, .. } => *channels,
            Self::LowResolution { .. } => 3,
            Self::Inpainting { latent_channels } => latent_channels + 1,
            _ => match self.entry() {
                Some((Entry::Concatenation(channels), _)) => channels,
                _ => 0,
            },
        }
    }

    /// Checks that the network can be built and that `denoiser` takes what it gives.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self, denoiser: &DenoiserConfig) -> Result<(), ConfigError> {
        let positive = |pairs: &[(&str, usize)]| {
            pairs.iter().try_for_each(|(field, value)| {
                at_least_one(&format!("conditioner.{field}"), *value)
            })
        };
        match self {
            Self::Class { rows, width, .. } => positive(&[("rows", *rows), ("width", *width)])?,
            Self::FrozenText { width, tokens, .. } => {
                positive(&[("width", *width), ("tokens", *tokens)])?;
            }
            Self::Neighbours { width, count, .. } => {
                positive(&[("width", *width), ("count", *count)])?;
            }
            Self::SemanticMap {
                classes, channels, ..
            } => positive(&[("classes", *classes), ("channels", *channels)])?,
            Self::LowResolution { factor } => positive(&[("factor", *factor)])?,
            Self::Inpainting { latent_channels } => {
                positive(&[("latent_channels", *latent_channels)])?;
            }
            Self::Text {
                tokenizer,
                transformer,
                ..
            } => {
                transformer.validate()?;
                if *tokenizer == Tokenizer::Clip && transformer.vocabulary != CLIP_VOCABULARY {
                    return Err(ConfigError::new(
                        "conditioner.transformer.vocabulary",
                        transformer.vocabulary,
                        format!("{CLIP_VOCABULARY}, CLIP's"),
                    ));
                }
            }
            Self::Layout {
                tokens,
                transformer,
                ..
            } => {
                transformer.validate()?;
                positive(&[("tokens.classes", tokens.classes)])?;
                positive(&[("tokens.objects", tokens.objects)])?;
                if transformer.positions < tokens.length() {
                    return Err(ConfigError::new(
                        "conditioner.transformer.positions",
                        transformer.positions,
                        format!("at least {}, the tokens of a layout", tokens.length()),
                    ));
                }
                if transformer.vocabulary <= tokens.classes {
                    return Err(ConfigError::new(
                        "conditioner.transformer.vocabulary",
                        transformer.vocabulary,
                        format!("more than the {} classes", tokens.classes),
                    ));
                }
            }
        }
        self.fits(denoiser)
    }

    fn fits(&self, denoiser: &DenoiserConfig) -> Result<(), ConfigError> {
        let takes = denoiser.interface();
        let field = |name: &str| format!("{}.{name}", denoiser.name());
        let channels = takes.out_channels + self.concatenated();
        if takes.in_channels != channels {
            return Err(ConfigError::new(
                field("in_channels"),
                takes.in_channels,
                format!("{channels}: the latent's and what the condition adds to it"),
            ));
        }
        let (context, vector) = match self.entry() {
            Some((Entry::CrossAttention, width)) => (Some(width), None),
            Some((Entry::AdaptiveNorm, width)) => (None, Some(width)),
            Some((Entry::CrossAttentionAndPooled, width)) => (Some(width), Some(width)),
            _ => (None, None),
        };
        let said = |width: Option<usize>| width.map_or("absent".to_owned(), |w| w.to_string());
        if takes.context != context {
            return Err(ConfigError {
                field: field("context"),
                value: said(takes.context),
                expected: match context {
                    Some(width) => format!("{width}, the width of the condition's tokens"),
                    None => "absent: the condition has no tokens to look at".to_owned(),
                },
            });
        }
        if takes.guidance.is_some() {
            return Err(ConfigError {
                field: field("guidance"),
                value: said(takes.guidance),
                expected: "absent: a condition has no guidance scale".to_owned(),
            });
        }
        let labels = vector.map_or(Labels::None, Labels::Vector);
        if takes.labels != labels {
            return Err(ConfigError::new(
                field("labels"),
                takes.labels,
                format!("{labels:?}, the condition's vector"),
            ));
        }
        Ok(())
    }
}

/// Token ids of CLIP.
pub const CLIP_VOCABULARY: usize = 49408;
