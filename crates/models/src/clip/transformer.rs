//! The transformer of both encoders, and of [what is made as they are](crate::style_adapter).

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops as ops;
use serde::{Deserialize, Serialize};

use crate::layers::{LayerNorm, Linear};
use crate::walk::layers;

/// The activation of a feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x·sigmoid(1.702 x): OpenAI's models.
    QuickGelu,
    /// x·Φ(x) with the exact error function: OpenCLIP's models.
    Gelu,
}

/// What each layer is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LayerShape {
    pub width: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub activation: Activation,
    /// A token sees itself and those before it alone.
    pub causal: bool,
}

/// The transformer.
#[derive(Module, Debug)]
pub struct Transformer {
    /// One after another.
    pub layers: Vec<Layer>,
}

/// One transformer layer.
#[derive(Module, Debug)]
pub struct Layer {
    /// Self-attention.
    pub self_attn: SelfAttention,
    /// Before attention.
    pub layer_norm1: LayerNorm,
    /// Feed-forward.
    pub mlp: Mlp,
    /// Before the feed-forward layer.
    pub layer_norm2: LayerNorm,
}

/// Multi-head self-attention.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Queries.
    pub q_proj: Linear,
    /// Output.
    pub out_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    causal: bool,
}

/// Two linear layers with an activation between.
#[derive(Module, Debug)]
pub struct Mlp {
    /// To the intermediate width.
    pub fc1: Linear,
    /// Back.
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Transformer {
    pub(crate) fn new(device: &Device, shape: LayerShape, count: usize) -> Self {
        let LayerShape {
            width,
            intermediate,
            ..
        } = shape;
        let square = || Linear::new(device, width, width, true);
        let layer = |_| Layer {
            self_attn: SelfAttention {
                k_proj: square(),
                v_proj: square(),
                q_proj: square(),
                out_proj: square(),
                heads: shape.heads,
                causal: shape.causal,
            },
            layer_norm1: LayerNorm::new(device, width),
            mlp: Mlp {
                fc1: Linear::new(device, width, intermediate, true),
                fc2: Linear::new(device, intermediate, width, true),
                activation: shape.activation,
            },
            layer_norm2: LayerNorm::new(device, width),
        };
        Self {
            layers: (0..count).map(layer).collect(),
        }
    }

    /// # Shapes
    ///
    /// `[batch, tokens, width]` → the same
    pub(crate) fn through(&self, layers: Range<usize>, x: Tensor<3>) -> Tensor<3> {
        self.layers[layers]
            .iter()
            .fold(x, |x, layer| layer.forward(x))
    }
}

impl Layer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let attention = &self.self_attn;
        let h = self.layer_norm1.forward(x.clone());
        let q = attention.q_proj.forward(h.clone());
        let k = attention.k_proj.forward(h.clone());
        let v = attention.v_proj.forward(h);
        let h = ops::multi_head_attention(q, k, v, attention.heads, attention.causal);
        let x = attention.out_proj.forward_add(h, x);
        let h = self.mlp.fc1.forward(self.layer_norm2.forward(x.clone()));
        let h = match self.mlp.activation {
            Activation::QuickGelu => ops::quick_gelu(h),
            Activation::Gelu => ops::gelu(h),
        };
        self.mlp.fc2.forward_add(h, x)
    }
}

layers!(SelfAttention { k_proj, v_proj, q_proj, out_proj; heads, causal });
layers!(Mlp { fc1, fc2; activation });
layers!(Layer {
    self_attn,
    layer_norm1,
    mlp,
    layer_norm2
});
layers!(Transformer { layers });
