//! From what is seen of a picture to tokens.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use latent_ops as ops;

use super::config::ProjectionConfig;
use crate::layers::{Gap, LayerNorm, Linear, parameter};

/// Numbers of a head.
const HEAD: usize = 64;
/// A feed-forward layer is so many times as wide inside.
const WIDER: usize = 4;

/// From what is seen of a picture to tokens, in the forms that were published.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "an adapter has one")]
pub enum ImageProjection {
    /// Of an embedding.
    Linear(LinearProjection),
    /// Of each state.
    Mlp(MlpProjection),
    /// Of all states.
    Resampler(Resampler),
}

/// A linear layer whose output is several tokens, each normalised.
#[derive(Module, Debug)]
pub struct LinearProjection {
    /// To all tokens at once.
    pub proj: Linear,
    /// Of each.
    pub norm: LayerNorm,
    #[module(skip)]
    tokens: usize,
}

/// Two linear layers with GELU between them, and a norm.
#[derive(Module, Debug)]
pub struct MlpProjection {
    /// Published files number them 0, 2, 3.
    pub proj: (Linear, Gap, Linear, LayerNorm),
}

/// Learnt tokens that attend to the states and to each other (Alayrac et al., "Flamingo", 2022, §3.1).
#[derive(Module, Debug)]
pub struct Resampler {
    /// The tokens at first, `[1, tokens, width]`.
    pub latents: Param<Tensor<3>>,
    /// Of the states, to the width inside.
    pub proj_in: Linear,
    /// To the context's width.
    pub proj_out: Linear,
    /// After that.
    pub norm_out: LayerNorm,
    /// Attention and a feed-forward layer (norm, linear, GELU, linear), by the numbers of published files.
    pub layers: Vec<(PerceiverAttention, (LayerNorm, Linear, Gap, Linear))>,
}

/// Attention of the tokens on the states and the tokens.
#[derive(Module, Debug)]
pub struct PerceiverAttention {
    /// Of the states.
    pub norm1: LayerNorm,
    /// Of the tokens.
    pub norm2: LayerNorm,
    /// Queries, without bias.
    pub to_q: Linear,
    /// Keys, then values, without bias.
    pub to_kv: Linear,
    /// Output, without bias.
    pub to_out: Linear,
    #[module(skip)]
    heads: usize,
}

impl ImageProjection {
    pub(super) fn new(config: &ProjectionConfig, context: usize, device: &Device) -> Self {
        match *config {
            ProjectionConfig::Linear { input, tokens } => Self::Linear(LinearProjection {
                proj: Linear::new(device, input, tokens * context, true),
                norm: LayerNorm::new(device, context),
                tokens,
            }),
            ProjectionConfig::Mlp { input } => Self::Mlp(MlpProjection {
                proj: (
                    Linear::new(device, input, input, true),
                    Gap {},
                    Linear::new(device, input, context, true),
                    LayerNorm::new(device, context),
                ),
            }),
            ProjectionConfig::Resampler {
                input,
                width,
                tokens,
                layers,
                heads,
            } => {
                let inner = heads * HEAD;
                let layer = |_| {
                    let attention = PerceiverAttention {
                        norm1: LayerNorm::new(device, width),
                        norm2: LayerNorm::new(device, width),
                        to_q: Linear::new(device, width, inner, false),
                        to_kv: Linear::new(device, width, 2 * inner, false),
                        to_out: Linear::new(device, inner, width, false),
                        heads,
                    };
                    let forward = (
                        LayerNorm::new(device, width),
                        Linear::new(device, width, WIDER * width, false),
                        Gap {},
                        Linear::new(device, WIDER * width, width, false),
                    );
                    (attention, forward)
                };
                Self::Resampler(Resampler {
                    latents: parameter(device, [1, tokens, width]),
                    proj_in: Linear::new(device, input, width, true),
                    proj_out: Linear::new(device, width, context, true),
                    norm_out: LayerNorm::new(device, context),
                    layers: (0..layers).map(layer).collect(),
                })
            }
        }
    }

    /// # Shapes
    ///
    /// an embedding `[batch, 1, input]`, or states `[batch, n, input]` → `[batch, tokens, context]`
    pub(super) fn forward(&self, seen: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Linear(linear) => {
                let [batch, _, _] = seen.dims();
                let all = linear.proj.forward(seen);
                let [_, _, width] = all.dims();
                let each = width / linear.tokens.max(1);
                linear
                    .norm
                    .forward(all.reshape([batch, linear.tokens, each]))
            }
            Self::Mlp(mlp) => {
                let (first, _, second, norm) = &mlp.proj;
                norm.forward(second.forward(ops::gelu(first.forward(seen))))
            }
            Self::Resampler(resampler) => resampler.forward(seen),
        }
    }
}

impl Resampler {
    fn forward(&self, seen: Tensor<3>) -> Tensor<3> {
        let [batch, _, _] = seen.dims();
        let states = self.proj_in.forward(seen);
        let latents = self.latents.val();
        let [_, tokens, width] = latents.dims();
        let latents = latents.expand([batch, tokens, width]);
        let layers = self.layers.iter();
        let latents = layers.fold(latents, |x, (attention, (norm, wide, _, narrow))| {
            let x = attention.forward(states.clone(), x);
            let inner = ops::gelu(wide.forward(norm.forward(x.clone())));
            narrow.forward_add(inner, x)
        });
        self.norm_out.forward(self.proj_out.forward(latents))
    }
}

impl PerceiverAttention {
    fn forward(&self, states: Tensor<3>, latents: Tensor<3>) -> Tensor<3> {
        let states = self.norm1.forward(states);
        let own = self.norm2.forward(latents.clone());
        let q = self.to_q.forward(own.clone());
        let both = self.to_kv.forward(Tensor::cat(vec![states, own], 1));
        let [_, _, width] = both.dims();
        let half = |start| both.clone().narrow(2, start, width / 2);
        let mixed = ops::multi_head_attention(q, half(0), half(width / 2), self.heads, false);
        self.to_out.forward_add(mixed, latents)
    }
}
