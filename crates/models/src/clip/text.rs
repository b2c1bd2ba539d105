//! The text encoder: a causal transformer over token ids.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::transformer::{Activation, LayerShape, Transformer};
use crate::error::{ConfigError, at_least_one, multiple_of};
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::walk::layers;

/// A CLIP text encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipTextConfig {
    /// Token ids: 49408 in every published model.
    pub vocabulary: usize,
    /// Width of a token.
    pub width: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward layers, usually four times `width`.
    pub intermediate: usize,
    /// Activation of the feed-forward layers.
    pub activation: Activation,
    /// The longest sequence: 77.
    pub positions: usize,
    /// Width of the pooled output's projection (`text_projection`), where the file has one.
    #[serde(default)]
    pub projection: Option<usize>,
}

impl ClipTextConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates
    /// nothing.
    ///
    /// The configuration should be [valid](Self::validate): the network of another panics when it
    /// is run.
    pub fn init(&self, device: &Device) -> ClipText {
        let shape = LayerShape {
            width: self.width,
            heads: self.heads,
            intermediate: self.intermediate,
            activation: self.activation,
            causal: true,
        };
        ClipText {
            text_model: TextModel {
                embeddings: Embeddings {
                    token_embedding: Embedding::new(device, self.vocabulary, self.width),
                    position_embedding: Embedding::new(device, self.positions, self.width),
                },
                encoder: Transformer::new(device, shape, self.layers),
                final_layer_norm: LayerNorm::new(device, self.width),
            },
            text_projection: self
                .projection
                .map(|width| Linear::new(device, self.width, width, false)),
            config: self.clone(),
        }
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("vocabulary", self.vocabulary)?;
        at_least_one("layers", self.layers)?;
        at_least_one("intermediate", self.intermediate)?;
        at_least_one("positions", self.positions)?;
        at_least_one("heads", self.heads)?;
        multiple_of("width", self.width, self.heads)?;
        self.projection
            .map_or(Ok(()), |width| at_least_one("projection", width))
    }
}

/// A CLIP text encoder, built by [`ClipTextConfig::init`].
#[derive(Module, Debug)]
pub struct ClipText {
    /// Everything but the projection.
    pub text_model: TextModel,
    /// Of the pooled output, without bias.
    pub text_projection: Option<Linear>,
    #[module(skip)]
    config: ClipTextConfig,
}

/// Which states of a text a model uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Take {
    /// Layers left out at the end; as many as there are, or more, give the embeddings. A1111 counts
    /// "Clip skip" from one: its n is n − 1 here.
    pub skip: usize,
    /// Through the final norm.
    pub normed: bool,
    /// The pooled state too, which takes all layers.
    pub pooled: bool,
}

/// What a text encoder makes of texts, f32.
#[derive(Debug, Clone)]
pub struct TextStates {
    /// Of every token: `[batch, length, width]`.
    pub states: Tensor<3>,
    /// Of each text, where it was [taken](Take::pooled): after all layers and the final norm, at the
    /// end of the text, through `text_projection` where there is one; `[batch, projection or width]`.
    pub pooled: Option<Tensor<2>>,
}

/// Embeddings, layers, last norm.
#[derive(Module, Debug)]
pub struct TextModel {
    /// Of tokens and positions.
    pub embeddings: Embeddings,
    /// The transformer.
    pub encoder: Transformer,
    /// After the last layer used.
    pub final_layer_norm: LayerNorm,
}

/// Token and position embeddings, which are added.
#[derive(Module, Debug)]
pub struct Embeddings {
    /// By token id.
    pub token_embedding: Embedding,
    /// By position.
    pub position_embedding: Embedding,
}

impl ClipText {
    /// What the network is made of.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.text_model.final_layer_norm.weight.val().dtype()
    }

    /// [`encode`](Self::encode)'s states `skip` layers before the last, through the final norm; 0
    /// gives `last_hidden_state`.
    pub fn forward(&self, ids: Tensor<2, Int>, skip: usize) -> Tensor<3> {
        let take = Take {
            skip,
            normed: true,
            pooled: false,
        };
        self.encode(ids, take).states
    }

    /// The states of a text that a model uses. No layer is run twice, and none after the last that
    /// is needed.
    ///
    /// The pooled state stands where the largest id does, the first of them: in CLIP's vocabulary
    /// the end of the text. Ids of embeddings that were put in must not be larger.
    ///
    /// # Shapes
    ///
    /// ids `[batch, length]` with length ≤ `positions`
    ///
    /// # Panics
    ///
    /// Where an id is not in the vocabulary or the sequence is too long; callers validate what
    /// comes from users.
    pub fn encode(&self, ids: Tensor<2, Int>, take: Take) -> TextStates {
        self.encode_with(ids, &[], take)
    }

    /// [`encode`](Self::encode) of one text with vectors in the place of the embeddings of some of its tokens, each with its
    /// position (textual inversion; Gal et al. 2022). Positions are added to them as to the others.
    ///
    /// # Shapes
    ///
    /// ids `[1, length]`; each vector has the network's width
    ///
    /// # Panics
    ///
    /// As `encode`'s; where a position is beyond the text or a vector of another width.
    pub fn encode_with(
        &self,
        ids: Tensor<2, Int>,
        vectors: &[(usize, &[f32])],
        take: Take,
    ) -> TextStates {
        let ends = if take.pooled { ends(&ids) } else { Vec::new() };
        self.encode_embedded(self.embed(ids, vectors), &ends, take)
    }

    /// [`encode`](Self::encode) of embeddings. `ends` gives the position of each text's pooled
    /// state; it is read only where that is [taken](Take::pooled).
    ///
    /// # Shapes
    ///
    /// `[batch, length, width]`, in the network's type
    pub fn encode_embedded(&self, embeddings: Tensor<3>, ends: &[usize], take: Take) -> TextStates {
        let encoder = &self.text_model.encoder;
        let count = encoder.layers.len();
        let used = count.saturating_sub(take.skip);
        let norm = &self.text_model.final_layer_norm;
        let states = encoder.through(0..used, embeddings);
        let pooled = take.pooled.then(|| {
            let last = encoder.through(used..count, states.clone());
            let row = |(text, &end)| last.clone().narrow(0, text, 1).narrow(1, end, 1);
            let rows = Tensor::cat(ends.iter().enumerate().map(row).collect(), 0);
            let pooled: Tensor<2> = norm.forward(rows).squeeze_dim(1);
            match &self.text_projection {
                Some(projection) => projection.forward(pooled),
                None => pooled,
            }
            .cast(DType::F32)
        });
        let states = match take.normed {
            true => norm.forward(states),
            false => states,
        };
        TextStates {
            states: states.cast(DType::F32),
            pooled,
        }
    }

    /// The embeddings that the first layer takes, positions added, with vectors in the place of tokens of the first text:
    /// `[batch, length, width]`, in the network's type.
    fn embed(&self, ids: Tensor<2, Int>, vectors: &[(usize, &[f32])]) -> Tensor<3> {
        let [_, length] = ids.dims();
        let embeddings = &self.text_model.embeddings;
        let mut tokens = embeddings.token_embedding.forward(ids);
        let width = self.config.width;
        for &(position, vector) in vectors {
            let data = TensorData::new(vector.to_vec(), [1, 1, width]);
            let vector = Tensor::<3>::from_data(data, &tokens.device()).cast(tokens.dtype());
            tokens = tokens.slice_assign([0..1, position..position + 1, 0..width], vector);
        }
        let positions = embeddings
            .position_embedding
            .weight
            .val()
            .narrow(0, 0, length);
        tokens + positions.unsqueeze()
    }
}

/// Where the largest id of each text stands, the first of them.
fn ends(ids: &Tensor<2, Int>) -> Vec<usize> {
    let [_, length] = ids.dims();
    let numbers: Vec<i64> = ids.to_data().iter::<i64>().collect();
    let end = |row: &[i64]| {
        let largest = row.iter().max();
        row.iter().position(|id| Some(id) == largest).unwrap_or(0)
    };
    numbers.chunks(length.max(1)).map(end).collect()
}

layers!(Embeddings {
    token_embedding,
    position_embedding
});
layers!(TextModel {
    embeddings,
    encoder,
    final_layer_norm
});
layers!(ClipText { text_model, text_projection; config });
