//! The encoder that learns together with the denoiser: a bidirectional transformer over token ids.
//!
//! Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, appendix E.2: embeddings of
//! tokens and positions are added; each layer is self-attention, then a feed-forward block, both normalised before and
//! added after; a last norm. Heads are 64 wide whatever the width of a token. Parameter names are those of the published
//! checkpoints below `cond_stage_model.transformer`, without the head that predicts tokens, which is never used.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use latent_ops as ops;
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, at_least_one};
use crate::layers::{Embedding, Gap, LayerNorm, Linear};

/// A bidirectional transformer over token ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenTransformerConfig {
    /// Token ids: 30522 for BERT's words, 8192 for the published layouts.
    pub vocabulary: usize,
    /// The longest sequence.
    pub positions: usize,
    /// Width of a token.
    pub width: usize,
    /// Layers of attention and feed-forward.
    pub layers: usize,
    /// Attention heads.
    #[serde(default = "eight")]
    pub heads: usize,
    /// Width of a head, which need not divide `width`.
    #[serde(default = "sixty_four")]
    pub head_width: usize,
}

fn eight() -> usize {
    8
}

fn sixty_four() -> usize {
    64
}

impl TokenTransformerConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    pub fn init(&self, device: &Device) -> TokenTransformer {
        let (width, inner) = (self.width, self.heads * self.head_width);
        let attention = || SelfAttention {
            to_q: Linear::new(device, width, inner, false),
            to_k: Linear::new(device, width, inner, false),
            to_v: Linear::new(device, width, inner, false),
            to_out: Linear::new(device, inner, width, true),
            heads: self.heads,
        };
        let feed_forward = || FeedForward {
            net: (
                vec![Linear::new(device, width, 4 * width, true)],
                Gap {},
                Linear::new(device, 4 * width, width, true),
            ),
        };
        let layers = (0..self.layers).flat_map(|_| {
            let norm = || LayerNorm::new(device, width);
            [
                (norm(), Block::Attention(attention())),
                (norm(), Block::FeedForward(feed_forward())),
            ]
        });
        TokenTransformer {
            token_emb: Embedding::new(device, self.vocabulary, width),
            pos_emb: Positions {
                emb: Embedding::new(device, self.positions, width),
            },
            attn_layers: Layers {
                layers: layers.collect(),
            },
            norm: LayerNorm::new(device, width),
            config: self.clone(),
        }
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that is zero.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (field, value) in [
            ("vocabulary", self.vocabulary),
            ("positions", self.positions),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("head_width", self.head_width),
        ] {
            at_least_one(field, value)?;
        }
        Ok(())
    }
}

/// A bidirectional transformer over token ids, built by [`TokenTransformerConfig::init`].
#[derive(Module, Debug)]
pub struct TokenTransformer {
    /// By token id.
    pub token_emb: Embedding,
    /// By position.
    pub pos_emb: Positions,
    /// The layers.
    pub attn_layers: Layers,
    /// After the last layer.
    pub norm: LayerNorm,
    #[module(skip)]
    config: TokenTransformerConfig,
}

/// The embedding of positions.
#[derive(Module, Debug)]
pub struct Positions {
    /// One row for each position.
    pub emb: Embedding,
}

/// The layers: attention at even numbers, feed-forward at odd ones.
#[derive(Module, Debug)]
pub struct Layers {
    /// Each with the norm before it.
    pub layers: Vec<(LayerNorm, Block)>,
}

/// What a layer does.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a few dozen of them, whose weights lie elsewhere
pub enum Block {
    /// Looks at every token.
    Attention(SelfAttention),
    /// Looks at one token.
    FeedForward(FeedForward),
}

/// Self-attention without a mask.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Queries.
    pub to_q: Linear,
    /// Keys.
    pub to_k: Linear,
    /// Values.
    pub to_v: Linear,
    /// Output.
    pub to_out: Linear,
    #[module(skip)]
    heads: usize,
}

/// Two linear layers, four times as wide between, with GELU.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// First layer (a list of one: published files number it), drop-out that is not there, second layer.
    pub net: (Vec<Linear>, Gap, Linear),
}

impl Block {
    fn forward(&self, h: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Attention(a) => {
                let q = a.to_q.forward(h.clone());
                let k = a.to_k.forward(h.clone());
                let v = a.to_v.forward(h);
                let mixed = ops::multi_head_attention(q, k, v, a.heads, false);
                a.to_out.forward_add(mixed, residual)
            }
            Self::FeedForward(f) => {
                let (first, _, second) = &f.net;
                second.forward_add(ops::gelu(first[0].forward(h)), residual)
            }
        }
    }
}

impl TokenTransformer {
    /// What the network is made of.
    pub fn config(&self) -> &TokenTransformerConfig {
        &self.config
    }

    /// The states of all tokens, through the last norm, f32.
    ///
    /// # Shapes
    ///
    /// ids `[batch, length]` with length ≤ `positions` → `[batch, length, width]`
    ///
    /// # Panics
    ///
    /// Where an id is not in the vocabulary or the sequence is too long; callers validate what comes from users.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = ids.dims();
        let positions = self.pos_emb.emb.weight.val().narrow(0, 0, length);
        let x = self.token_emb.forward(ids) + positions.unsqueeze();
        let layers = self.attn_layers.layers.iter();
        let x = layers.fold(x, |x, (norm, block)| {
            block.forward(norm.forward(x.clone()), x)
        });
        self.norm.forward(x).cast(DType::F32)
    }
}
