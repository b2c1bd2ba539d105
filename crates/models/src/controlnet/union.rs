//! ControlNets for several kinds of pictures ("ControlNet++", "Union"): they are told which kind it is.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use latent_ops as ops;
use serde::{Deserialize, Serialize};

use crate::layers::{LayerNorm, Linear, parameter};
use crate::walk::layers;

/// What such a network has more than others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnionConfig {
    /// Kinds of pictures.
    pub kinds: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Numbers in the sinusoid that says of a kind whether the picture is of it.
    pub sinusoid: usize,
}

/// One transformer layer.
///
/// Its attention runs across the pictures of a batch in the published code, whose library takes the sequence first. A
/// picture drawn alone attends to itself, and so does every picture here.
#[derive(Module, Debug)]
pub struct UnionLayer {
    /// Attention.
    pub attn: UnionAttention,
    /// Before attention.
    pub ln_1: LayerNorm,
    /// Feed-forward.
    pub mlp: UnionMlp,
    /// Before the feed-forward layer.
    pub ln_2: LayerNorm,
}

/// Attention, of which the values and the output are needed.
#[derive(Module, Debug)]
pub struct UnionAttention {
    /// Queries, keys and values: `[3 · width, width]`.
    pub in_proj_weight: Param<Tensor<2>>,
    /// `[3 · width]`.
    pub in_proj_bias: Param<Tensor<1>>,
    /// Output.
    pub out_proj: Linear,
}

/// Two linear layers with the quick GELU between them.
#[derive(Module, Debug)]
pub struct UnionMlp {
    /// To four times the width.
    pub c_fc: Linear,
    /// Back.
    pub c_proj: Linear,
}

impl UnionLayer {
    pub(super) fn new(device: &Device, width: usize) -> Self {
        Self {
            attn: UnionAttention {
                in_proj_weight: parameter(device, [3 * width, width]),
                in_proj_bias: parameter(device, [3 * width]),
                out_proj: Linear::new(device, width, width, true),
            },
            ln_1: LayerNorm::new(device, width),
            mlp: UnionMlp {
                c_fc: Linear::new(device, width, 4 * width, true),
                c_proj: Linear::new(device, 4 * width, width, true),
            },
            ln_2: LayerNorm::new(device, width),
        }
    }

    /// # Shapes
    ///
    /// `[batch, width]` → the same
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let [_, width] = x.dims();
        let weight = self.attn.in_proj_weight.val().narrow(0, 2 * width, width);
        let bias = self.attn.in_proj_bias.val().narrow(0, 2 * width, width);
        let values = ops::linear(self.ln_1.forward(x.clone()), weight, Some(bias));
        let x = self.attn.out_proj.forward_add(values, x);
        let inner = ops::quick_gelu(self.mlp.c_fc.forward(self.ln_2.forward(x.clone())));
        self.mlp.c_proj.forward_add(inner, x)
    }
}

layers!(UnionAttention { out_proj; in_proj_weight, in_proj_bias });
layers!(UnionMlp { c_fc, c_proj });
layers!(UnionLayer {
    attn,
    ln_1,
    mlp,
    ln_2
});
