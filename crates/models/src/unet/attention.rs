//! Attention inside the U-Net: transformer blocks with context, and the plain block of
//! unconditional models.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, Padding};

use super::config::{Attention, Projection, UNetConfig};
use crate::layers::{Conv2d, Gap, GroupNorm, LayerNorm, Linear};

/// Multi-head attention of `x` on a context, or on itself.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries, without bias.
    pub to_q: Linear,
    /// Keys, without bias.
    pub to_k: Linear,
    /// Values, without bias.
    pub to_v: Linear,
    /// The output projection, one element long: published files number it.
    pub to_out: Vec<Linear>,
    #[module(skip)]
    heads: usize,
}

impl CrossAttention {
    fn new(device: &Device, channels: usize, context: usize, heads: usize) -> Self {
        Self {
            to_q: Linear::new(device, channels, channels, false),
            to_k: Linear::new(device, context, channels, false),
            to_v: Linear::new(device, context, channels, false),
            to_out: vec![Linear::new(device, channels, channels, true)],
            heads,
        }
    }

    /// What the queries look at: keys and values of a context, or of the pixels themselves.
    ///
    /// # Shapes
    ///
    /// `[batch, tokens, context]` → twice `[batch, tokens, channels]`
    pub fn keys_values(&self, context: Tensor<3>) -> KeysValues {
        KeysValues {
            keys: self.to_k.forward(context.clone()),
            values: self.to_v.forward(context),
        }
    }

    /// The attention of `x` on them, plus `residual`.
    ///
    /// # Shapes
    ///
    /// x, residual and output `[batch, pixels, channels]`
    pub fn forward(&self, x: Tensor<3>, seen: KeysValues, residual: Tensor<3>) -> Tensor<3> {
        let q = self.to_q.forward(x);
        let mixed = ops::multi_head_attention(q, seen.keys, seen.values, self.heads, false);
        self.to_out[0].forward_add(mixed, residual)
    }
}

/// Keys and values of one attention, each `[batch, tokens, channels]`.
#[derive(Debug, Clone)]
pub struct KeysValues {
    /// What queries are compared with.
    pub keys: Tensor<3>,
    /// What is mixed.
    pub values: Tensor<3>,
}

/// The gated half of a feed-forward layer: a linear layer to twice the width, then a·gelu(b).
#[derive(Module, Debug)]
pub struct GatedProjection {
    /// To both halves at once.
    pub proj: Linear,
}

/// A feed-forward layer, four times as wide inside.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// Gated projection, nothing, output projection: published files number them 0, 1, 2.
    pub net: (GatedProjection, Gap, Linear),
}

impl FeedForward {
    fn new(device: &Device, channels: usize) -> Self {
        let inner = 4 * channels;
        let proj = Linear::new(device, channels, 2 * inner, true);
        Self {
            net: (
                GatedProjection { proj },
                Gap {},
                Linear::new(device, inner, channels, true),
            ),
        }
    }

    fn forward(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        let inner = self.net.0.proj.forward_geglu(x);
        self.net.2.forward_add(inner, residual)
    }
}

/// Self-attention, attention on the context, feed-forward; each normalised before and added after.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Before self-attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attn1: CrossAttention,
    /// Before attention on the context.
    pub norm2: LayerNorm,
    /// Attention on the context.
    pub attn2: CrossAttention,
    /// Before the feed-forward layer.
    pub norm3: LayerNorm,
    /// Feed-forward.
    pub ff: FeedForward,
}

impl TransformerBlock {
    fn new(device: &Device, channels: usize, context: usize, heads: usize) -> Self {
        Self {
            norm1: LayerNorm::new(device, channels),
            attn1: CrossAttention::new(device, channels, channels, heads),
            norm2: LayerNorm::new(device, channels),
            attn2: CrossAttention::new(device, channels, context, heads),
            norm3: LayerNorm::new(device, channels),
            ff: FeedForward::new(device, channels),
        }
    }

    fn forward(&self, x: Tensor<3>, context: &KeysValues) -> Tensor<3> {
        let h = self.norm1.forward(x.clone());
        let own = self.attn1.keys_values(h.clone());
        let x = self.attn1.forward(h, own, x);
        let h = self.norm2.forward(x.clone());
        let x = self.attn2.forward(h, context.clone(), x);
        self.ff.forward(self.norm3.forward(x.clone()), x)
    }
}

/// The projections around the transformer blocks, in either stored form.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum PixelProjection {
    /// A 1×1 convolution.
    Conv(Conv2d),
    /// A linear layer.
    Linear(Linear),
}

impl PixelProjection {
    fn new(device: &Device, channels: usize, projection: Projection) -> Self {
        match projection {
            Projection::Conv => Self::Conv(Conv2d::new(device, channels, channels, 1)),
            Projection::Linear => Self::Linear(Linear::new(device, channels, channels, true)),
        }
    }

    /// Pictures to token rows: `[b, c, h, w]` → `[b, h·w, c]`.
    fn enter(&self, x: Tensor<4>) -> Tensor<3> {
        match self {
            Self::Conv(conv) => ops::to_tokens(conv.forward(x, Padding::Zero)),
            Self::Linear(linear) => linear.forward(ops::to_tokens(x)),
        }
    }

    /// Token rows to pictures, plus `residual`: `[b, h·w, c]` → `[b, c, h, w]`.
    fn leave(&self, x: Tensor<3>, residual: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = residual.dims();
        match self {
            Self::Conv(conv) => {
                conv.forward_add(ops::to_picture(x, height, width), Padding::Zero, residual)
            }
            Self::Linear(linear) => {
                let sum = linear.forward_add(x, ops::to_tokens(residual));
                ops::to_picture(sum, height, width)
            }
        }
    }
}

/// Transformer blocks over the pixels of a picture.
#[derive(Module, Debug)]
pub struct SpatialTransformer {
    /// Before the blocks; ε = 1e-6.
    pub norm: GroupNorm,
    /// Into the blocks.
    pub proj_in: PixelProjection,
    /// One after another.
    pub transformer_blocks: Vec<TransformerBlock>,
    /// Out of the blocks.
    pub proj_out: PixelProjection,
}

/// Single-step self-attention over the pixels of a picture, with biases: the block of networks
/// without context.
#[derive(Module, Debug)]
pub struct PlainAttention {
    /// Before attention.
    pub group_norm: GroupNorm,
    /// Queries.
    pub to_q: Linear,
    /// Keys.
    pub to_k: Linear,
    /// Values.
    pub to_v: Linear,
    /// The output projection, one element long: published files number it.
    pub to_out: Vec<Linear>,
    #[module(skip)]
    heads: usize,
}

impl PlainAttention {
    /// `heads` heads over `channels` channels.
    pub fn new(device: &Device, groups: usize, channels: usize, heads: usize, eps: f64) -> Self {
        let linear = || Linear::new(device, channels, channels, true);
        Self {
            group_norm: GroupNorm::new(device, groups, channels, eps),
            to_q: linear(),
            to_k: linear(),
            to_v: linear(),
            to_out: vec![linear()],
            heads,
        }
    }

    /// # Shapes
    ///
    /// `[batch, channels, height, width]` → the same
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let [tokens, x] = ops::fork(x);
        let tokens = ops::to_tokens(self.group_norm.forward(tokens));
        let q = self.to_q.forward(tokens.clone());
        let k = self.to_k.forward(tokens.clone());
        let v = self.to_v.forward(tokens);
        let mixed = ops::multi_head_attention(q, k, v, self.heads, false);
        let out = self.to_out[0].forward_add(mixed, ops::to_tokens(x));
        ops::to_picture(out, height, width)
    }
}

/// Attention at one place of the U-Net.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum AttentionBlock {
    /// In a network with context.
    Transformer(SpatialTransformer),
    /// In a network without.
    Plain(PlainAttention),
}

impl AttentionBlock {
    pub(super) fn new(
        device: &Device,
        config: &UNetConfig,
        channels: usize,
        attention: Attention,
    ) -> Self {
        let heads = attention.heads.count(channels);
        let Some(context) = config.context else {
            return Self::Plain(PlainAttention::new(
                device,
                config.norm_groups,
                channels,
                heads,
                super::NORM_EPS,
            ));
        };
        let block = |_| TransformerBlock::new(device, channels, context, heads);
        Self::Transformer(SpatialTransformer {
            norm: GroupNorm::new(device, config.norm_groups, channels, 1e-6),
            proj_in: PixelProjection::new(device, channels, config.projection),
            transformer_blocks: (0..attention.depth).map(block).collect(),
            proj_out: PixelProjection::new(device, channels, config.projection),
        })
    }

    /// Keys and values of a context for each block with attention on it, in order.
    ///
    /// # Shapes
    ///
    /// `[batch, tokens, context]`
    pub fn keys_values(&self, context: &Tensor<3>) -> Vec<KeysValues> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Transformer(t) => t
                .transformer_blocks
                .iter()
                .map(|block| block.attn2.keys_values(context.clone()))
                .collect(),
        }
    }

    /// `context` gives what [`keys_values`](Self::keys_values) made, one for each block.
    ///
    /// # Shapes
    ///
    /// x and output `[batch, channels, height, width]`
    pub fn forward<'a>(
        &self,
        x: Tensor<4>,
        context: &mut impl Iterator<Item = &'a KeysValues>,
    ) -> Tensor<4> {
        match self {
            Self::Plain(plain) => plain.forward(x),
            Self::Transformer(t) => {
                let [tokens, x] = ops::fork(x);
                let tokens = t.proj_in.enter(t.norm.forward(tokens));
                let blocks = t.transformer_blocks.iter().zip(context);
                let tokens = blocks.fold(tokens, |x, (block, seen)| block.forward(x, seen));
                t.proj_out.leave(tokens, x)
            }
        }
    }
}
