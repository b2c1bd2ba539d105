//! Attention inside the U-Net: transformer blocks with context, and the plain block of
//! unconditional models.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, Padding};

use super::config::{Attention, Projection, UNetConfig};
use crate::layers::{Conv2d, GroupNorm, LayerNorm, Linear};

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

    /// # Shapes
    ///
    /// - x `[batch, pixels, channels]`, context `[batch, tokens, context]`
    /// - output: as x
    pub fn forward(&self, x: Tensor<3>, context: Option<Tensor<3>>) -> Tensor<3> {
        let context = context.unwrap_or_else(|| x.clone());
        let q = self.to_q.forward(x);
        let k = self.to_k.forward(context.clone());
        let v = self.to_v.forward(context);
        let mixed = ops::multi_head_attention(q, k, v, self.heads, false);
        self.to_out.iter().fold(mixed, |x, layer| layer.forward(x))
    }
}

/// The gated half of a feed-forward layer: a linear layer to twice the width, then a·gelu(b).
#[derive(Module, Debug)]
pub struct GatedProjection {
    /// To both halves at once.
    pub proj: Linear,
}

/// A place in a published layer list that holds no parameters (drop-out, which inference has not).
#[derive(Module, Debug)]
pub struct Gap {}

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

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.net.2.forward(ops::geglu(self.net.0.proj.forward(x)))
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

    fn forward(&self, x: Tensor<3>, context: Option<Tensor<3>>) -> Tensor<3> {
        let x = self.attn1.forward(self.norm1.forward(x.clone()), None) + x;
        let x = self.attn2.forward(self.norm2.forward(x.clone()), context) + x;
        self.ff.forward(self.norm3.forward(x.clone())) + x
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

    /// Token rows to pictures: `[b, h·w, c]` → `[b, c, h, w]`.
    fn leave(&self, x: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
        match self {
            Self::Conv(conv) => conv.forward(ops::to_picture(x, height, width), Padding::Zero),
            Self::Linear(linear) => ops::to_picture(linear.forward(x), height, width),
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
        let tokens = ops::to_tokens(self.group_norm.forward(x.clone()));
        let q = self.to_q.forward(tokens.clone());
        let k = self.to_k.forward(tokens.clone());
        let v = self.to_v.forward(tokens);
        let mixed = ops::multi_head_attention(q, k, v, self.heads, false);
        let out = self.to_out.iter().fold(mixed, |x, layer| layer.forward(x));
        ops::to_picture(out, height, width) + x
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

    /// # Shapes
    ///
    /// - x `[batch, channels, height, width]`, context `[batch, tokens, context]`
    /// - output: as x
    pub fn forward(&self, x: Tensor<4>, context: Option<Tensor<3>>) -> Tensor<4> {
        match self {
            Self::Plain(plain) => plain.forward(x),
            Self::Transformer(t) => {
                let [_, _, height, width] = x.dims();
                let tokens = t.proj_in.enter(t.norm.forward(x.clone()));
                let tokens = t.transformer_blocks.iter().fold(tokens, |tokens, block| {
                    block.forward(tokens, context.clone())
                });
                t.proj_out.leave(tokens, height, width) + x
            }
        }
    }
}
