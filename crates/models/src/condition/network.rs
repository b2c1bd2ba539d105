//! The network of a condition.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::config::{ConditionerConfig, Entry};
use super::spatial::SpatialRescaler;
use super::transformer::TokenTransformer;
use crate::denoiser::Given;
use crate::layers::{Embedding, Gap, Linear};

/// A batch of conditions, as numbers.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Token ids, or the number of a class as a single token: `[batch, length]`.
    Ids(Tensor<2, Int>),
    /// Vectors that a frozen encoder has made: `[batch, tokens, width]`.
    Vectors(Tensor<3>),
    /// A picture of the latent's size, or, for a semantic map, one channel for each class at the picture's size:
    /// `[batch, channels, height, width]`.
    Picture(Tensor<4>),
}

impl Condition {
    /// The same on another device.
    #[must_use]
    pub fn moved_to(self, device: &Device) -> Self {
        match self {
            Self::Ids(ids) => Self::Ids(ids.to_device(device)),
            Self::Vectors(vectors) => Self::Vectors(vectors.to_device(device)),
            Self::Picture(picture) => Self::Picture(picture.to_device(device)),
        }
    }
}

/// What the denoiser is given beside the noisy latent.
#[derive(Debug, Clone, Default)]
pub struct Conditioned {
    /// Tokens to look at, `[batch, tokens, width]`.
    pub context: Option<Tensor<3>>,
    /// Added to the time embedding, `[batch, width]`.
    pub vector: Option<Tensor<2>>,
    /// More channels: `[batch, channels, height, width]`, or `[batch, channels, 1, 1]` for the same at every pixel.
    pub concat: Option<Tensor<4>>,
}

impl Conditioned {
    /// What the denoiser reads beside its picture.
    pub fn given(&self) -> Given {
        Given {
            context: self.context.clone(),
            vector: self.vector.clone(),
            guidance: None,
        }
    }

    /// `x` with the channels that are concatenated to it.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height, width]` → `[batch, channels + more, height, width]`
    pub fn beside(&self, x: Tensor<4>) -> Tensor<4> {
        let Some(extra) = &self.concat else { return x };
        let [batch, _, height, width] = x.dims();
        let channels = extra.dims()[1];
        let extra = extra.clone().expand([batch, channels, height, width]);
        latent_ops::cat_channels(vec![x, extra])
    }
}

/// A condition's network, built by [`ConditionerConfig::init`].
#[derive(Module, Debug)]
pub struct Conditioner {
    /// What reads the condition.
    pub encoder: Encoder,
    /// Of the mean vector to the channels that are concatenated.
    pub projection: Option<Linear>,
    #[module(skip)]
    config: ConditionerConfig,
}

/// What reads a condition.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Encoder {
    /// A row for each class.
    Class(Embedding),
    /// A transformer over tokens.
    Tokens(TokenTransformer),
    /// Of a picture of labels.
    Spatial(SpatialRescaler),
    /// Nothing: the condition is used as it is.
    Identity(Gap),
}

impl Conditioner {
    pub(super) fn new(config: &ConditionerConfig, device: &Device) -> Self {
        let encoder = match config {
            ConditionerConfig::Class { rows, width, .. } => {
                Encoder::Class(Embedding::new(device, *rows, *width))
            }
            ConditionerConfig::Text { transformer, .. }
            | ConditionerConfig::Layout { transformer, .. } => {
                Encoder::Tokens(transformer.init(device))
            }
            ConditionerConfig::SemanticMap {
                classes,
                channels,
                stages,
            } => Encoder::Spatial(SpatialRescaler::new(device, *classes, *channels, *stages)),
            _ => Encoder::Identity(Gap {}),
        };
        let projection = match config.entry() {
            Some((Entry::Concatenation(channels), width)) => {
                Some(Linear::new(device, width, channels, true))
            }
            _ => None,
        };
        Self {
            encoder,
            projection,
            config: config.clone(),
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &ConditionerConfig {
        &self.config
    }

    /// What the denoiser is given for a batch of conditions, f32.
    ///
    /// # Shapes
    ///
    /// See [`Condition`] and [`Conditioned`].
    ///
    /// # Panics
    ///
    /// Where the condition is of another kind than the network reads, or an id is not in its table; callers validate
    /// what comes from users.
    pub fn forward(&self, condition: Condition) -> Conditioned {
        let shares = match (&condition, self.config.entry()) {
            (Condition::Ids(ids), Some((Entry::CrossAttentionAndPooled, _))) => Some(shares(ids)),
            _ => None,
        };
        let vectors = match (&self.encoder, condition) {
            (Encoder::Class(table), Condition::Ids(ids)) => table.forward(ids).cast(DType::F32),
            (Encoder::Tokens(transformer), Condition::Ids(ids)) => transformer.forward(ids),
            (Encoder::Identity(_), Condition::Vectors(vectors)) => vectors,
            (Encoder::Spatial(rescaler), Condition::Picture(map)) => {
                return Conditioned::concat(rescaler.forward(map));
            }
            (Encoder::Identity(_), Condition::Picture(picture)) => {
                return Conditioned::concat(picture);
            }
            (_, condition) => panic!("{:?} is given {condition:?}", self.config),
        };
        let mean = |vectors: Tensor<3>| {
            let [batch, _, width] = vectors.dims();
            vectors.mean_dim(1).reshape([batch, width])
        };
        match (self.config.entry(), &self.projection) {
            (Some((Entry::Concatenation(channels), _)), Some(projection)) => {
                let dtype = projection.weight.val().dtype();
                let mixed = projection.forward(mean(vectors).cast(dtype));
                let [batch, _] = mixed.dims();
                Conditioned::concat(mixed.cast(DType::F32).reshape([batch, channels, 1, 1]))
            }
            (Some((Entry::AdaptiveNorm, _)), _) => Conditioned {
                vector: Some(mean(vectors)),
                ..Conditioned::default()
            },
            (Some((Entry::CrossAttentionAndPooled, _)), _) => Conditioned {
                vector: Some(match shares {
                    Some(shares) => {
                        let [batch, _, width] = vectors.dims();
                        let sum = (vectors.clone() * shares).sum_dim(1);
                        sum.reshape([batch, width])
                    }
                    None => mean(vectors.clone()),
                }),
                context: Some(vectors),
                ..Conditioned::default()
            },
            _ => Conditioned {
                context: Some(vectors),
                ..Conditioned::default()
            },
        }
    }
}

/// What each token counts in the pooled state of its text: 1/√n for the n tokens before the padding, which is the run of equal
/// tokens at the end, and 0 for the padding. So a short text is not drowned in padding, and a word counts as much as it can:
/// the sum of n states that have nothing in common is as large as one of them.
///
/// # Shapes
///
/// ids `[batch, length]` → `[batch, length, 1]`
fn shares(ids: &Tensor<2, Int>) -> Tensor<3> {
    let [batch, length] = ids.dims();
    let numbers: Vec<i64> = ids.to_data().iter::<i64>().collect();
    let row = |row: &[i64]| {
        let end = row.iter().rev().take_while(|id| Some(*id) == row.last());
        // An end of one token may be a word, and so may a text that is nothing but one token.
        let count = match end.count() {
            1 => length,
            padding if padding == length => length,
            padding => length - padding,
        };
        let share = 1.0 / (count as f32).sqrt();
        (0..length).map(move |at| if at < count { share } else { 0.0 })
    };
    let shares: Vec<f32> = numbers.chunks(length).flat_map(row).collect();
    Tensor::from_data(TensorData::new(shares, [batch, length, 1]), &ids.device())
}

impl Conditioned {
    fn concat(picture: Tensor<4>) -> Self {
        Self {
            concat: Some(picture),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_has_no_share() {
        let device = Device::flex();
        // A text with padding, one without, one that is a class alone.
        for (ids, want) in [
            (
                vec![2, 7, 9, 3, 0, 0, 0],
                vec![0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 0.0],
            ),
            (vec![2, 7, 9, 3], vec![0.5; 4]),
            (vec![5], vec![1.0]),
        ] {
            let shape = [1, ids.len()];
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, shape), &device);
            let found: Vec<f32> = shares(&ids).into_data().iter::<f32>().collect();
            assert_eq!(found, want);
        }
    }
}
