//! Attention inside the U-Net: transformer blocks with context, and the plain block of
//! unconditional models.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, Padding};

use super::alter::Change;
use super::config::{Heads, Projection, UNetConfig};
use super::cross::{Beside, CrossAttention, KeysValues, attended};
use crate::layers::{Conv2d, Gap, GroupNorm, LayerNorm, Linear};
use crate::walk::layers;

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
        let proj = Linear::new(device, channels, 2 * inner, true).gated();
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
    /// Self-attention; in levels that attend to the context alone, attention on that.
    pub attn1: CrossAttention,
    /// Before attention on the context.
    pub norm2: LayerNorm,
    /// Attention on the context.
    pub attn2: CrossAttention,
    /// Before the feed-forward layer.
    pub norm3: LayerNorm,
    /// Feed-forward.
    pub ff: FeedForward,
    #[module(skip)]
    context_only: bool,
}

impl TransformerBlock {
    fn new(device: &Device, at: Place, context: usize) -> Self {
        let Place {
            channels,
            context_only,
            ..
        } = at;
        let heads = at.heads.count(channels);
        let own = if context_only { context } else { channels };
        Self {
            context_only,
            norm1: LayerNorm::new(device, channels),
            attn1: CrossAttention::new(device, channels, own, heads),
            norm2: LayerNorm::new(device, channels),
            attn2: CrossAttention::new(device, channels, context, heads),
            norm3: LayerNorm::new(device, channels),
            ff: FeedForward::new(device, channels),
        }
    }

    /// Of what keys and values of a context are made of, for each attention on it in order.
    fn keys_values(&self, context: &[Tensor<3>; 2]) -> impl Iterator<Item = KeysValues> {
        let first = self
            .context_only
            .then(|| self.attn1.keys_values(context.clone()));
        first
            .into_iter()
            .chain([self.attn2.keys_values(context.clone())])
    }

    fn forward<'a>(
        &self,
        x: Tensor<3>,
        context: &mut impl Iterator<Item = &'a KeysValues>,
        (change, beside): (Change, &mut Beside<'_>),
    ) -> Tensor<3> {
        let mut seen = || {
            let next = context.next();
            next.expect("one for each attention on the context").clone()
        };
        let h = self.norm1.forward(x.clone());
        beside.remember((!self.context_only).then_some(&h));
        let x = match (self.context_only, change) {
            (true, _) => self.attn1.forward(h, seen(), x),
            (false, Change::Identity) => {
                let [_, values] = beside.own(h);
                self.attn1.forward_identity(values, x)
            }
            (false, _) => match beside.references() {
                Some(references) => references.attend(&self.attn1, h, x, beside),
                None => {
                    let seen = self.attn1.keys_values(beside.own(h.clone()));
                    self.attn1.forward(h, seen, x)
                }
            },
        };
        let h = self.norm2.forward(x.clone());
        let x = self.attn2.forward_beside(h, seen(), beside.of_next(), x);
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
        self.forward_changed(x, Change::Nothing)
    }

    fn forward_changed(&self, x: Tensor<4>, change: Change) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let [tokens, x] = ops::fork(x);
        let tokens = ops::to_tokens(self.group_norm.forward(tokens));
        let mixed = match change {
            Change::Identity => self.to_v.forward(tokens),
            _ => {
                let q = self.to_q.forward(tokens.clone());
                let k = self.to_k.forward(tokens.clone());
                let v = self.to_v.forward(tokens);
                ops::multi_head_attention(q, k, v, self.heads, false)
            }
        };
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

/// Where attention stands and how it is made there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub channels: usize,
    pub heads: Heads,
    /// Transformer blocks.
    pub depth: usize,
    /// The first attention of each block reads the context too.
    pub context_only: bool,
}

impl AttentionBlock {
    pub(super) fn new(device: &Device, config: &UNetConfig, at: Place) -> Self {
        let channels = at.channels;
        let Some(context) = config.context else {
            return Self::Plain(PlainAttention::new(
                device,
                config.norm_groups,
                channels,
                at.heads.count(channels),
                super::NORM_EPS,
            ));
        };
        let block = |_| TransformerBlock::new(device, at, context);
        Self::Transformer(SpatialTransformer {
            norm: GroupNorm::new(device, config.norm_groups, channels, 1e-6),
            proj_in: PixelProjection::new(device, channels, config.projection),
            transformer_blocks: (0..at.depth).map(block).collect(),
            proj_out: PixelProjection::new(device, channels, config.projection),
        })
    }

    /// Keys and values of a context for each attention on it, in order, from what either are made of.
    ///
    /// # Shapes
    ///
    /// twice `[batch, tokens, context]`
    pub fn keys_values(&self, context: &[Tensor<3>; 2]) -> Vec<KeysValues> {
        match self {
            Self::Plain(_) => Vec::new(),
            Self::Transformer(t) => t
                .transformer_blocks
                .iter()
                .flat_map(|block| block.keys_values(context))
                .collect(),
        }
    }

    /// How many [`keys_values`](Self::keys_values) makes.
    fn contexts(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Transformer(t) => {
                let blocks = t.transformer_blocks.iter();
                blocks
                    .map(|block| 1 + usize::from(block.context_only))
                    .sum()
            }
        }
    }

    /// `context` gives what [`keys_values`](Self::keys_values) made.
    ///
    /// # Shapes
    ///
    /// x and output `[batch, channels, height, width]`
    ///
    /// # Panics
    ///
    /// Where `context` gives less.
    pub(crate) fn forward<'a>(
        &self,
        x: Tensor<4>,
        context: &mut impl Iterator<Item = &'a KeysValues>,
        (change, beside): (Change, &mut Beside<'_>),
    ) -> Tensor<4> {
        match self {
            _ if change == Change::Skip => {
                // What it would have looked at is not the next one's.
                context.take(self.contexts()).for_each(drop);
                if let Self::Transformer(t) = self {
                    beside.skip(t.transformer_blocks.len());
                }
                x
            }
            Self::Plain(plain) => plain.forward_changed(x, change),
            Self::Transformer(t) => {
                let [_, _, height, width] = x.dims();
                beside.enter([height, width]);
                let [tokens, x] = ops::fork(x);
                let tokens = t.proj_in.enter(t.norm.forward(tokens));
                let blocks = t.transformer_blocks.iter();
                let tokens = blocks.fold(tokens, |x, block| {
                    block.forward(x, context, (change, beside))
                });
                t.proj_out.leave(tokens, x)
            }
        }
    }

    /// How much each pixel is attended to by all of them, in the first self-attention: `[batch, channels, height, width]` →
    /// `[batch, 1, height, width]`, 1 on average.
    pub(super) fn attended(&self, x: Tensor<4>, beside: &Beside<'_>) -> Tensor<4> {
        let [batch, _, height, width] = x.dims();
        let seen = match self {
            Self::Plain(plain) => {
                let tokens = ops::to_tokens(plain.group_norm.forward(x));
                let q = plain.to_q.forward(tokens.clone());
                attended(q, plain.to_k.forward(tokens), plain.heads)
            }
            Self::Transformer(t) => {
                let tokens = t.proj_in.enter(t.norm.forward(x));
                let Some(block) = t.transformer_blocks.first() else {
                    return Tensor::ones([batch, 1, height, width], &tokens.device());
                };
                let tokens = block.norm1.forward(tokens);
                let q = block.attn1.to_q.forward(tokens.clone());
                let [keys, _] = beside.own(tokens);
                let k = block.attn1.to_k.forward(keys);
                attended(q, k, block.attn1.heads)
            }
        };
        seen.reshape([batch, 1, height, width])
    }
}

layers!(GatedProjection { proj });
layers!(FeedForward { net });
layers!(TransformerBlock { norm1, attn1, norm2, attn2, norm3, ff; context_only });
layers!(
    enum PixelProjection {
        Conv,
        Linear,
    }
);
layers!(SpatialTransformer {
    norm,
    proj_in,
    transformer_blocks,
    proj_out
});
layers!(PlainAttention { group_norm, to_q, to_k, to_v, to_out; heads });
layers!(
    enum AttentionBlock {
        Transformer,
        Plain,
    }
);
