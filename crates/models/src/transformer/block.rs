//! One block of a diffusion transformer.
#![allow(non_snake_case, reason = "`adaLN_modulation` is the published name")]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use latent_ops as ops;

use super::EPS;
use super::config::{Modulation, TransformerConfig};
use crate::layers::{Gap, Linear, RmsNorm, parameter};
use crate::walk::layers;

/// Multi-head attention among tokens.
#[derive(Module, Debug)]
pub struct Attention {
    /// Queries, keys and values side by side.
    pub qkv: Linear,
    /// Of the queries of each head.
    pub ln_q: Option<RmsNorm>,
    /// Of its keys.
    pub ln_k: Option<RmsNorm>,
    /// The output projection.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    fn new(device: &Device, config: &TransformerConfig) -> Self {
        let (width, heads) = (config.width, config.heads);
        let norm = || {
            let norm = || RmsNorm::new(device, width / heads.max(1), EPS);
            config.qk_norm.then(norm)
        };
        Self {
            qkv: Linear::new(device, width, 3 * width, true),
            ln_q: norm(),
            ln_k: norm(),
            proj: Linear::new(device, width, width, true),
            heads,
        }
    }

    /// # Shapes
    ///
    /// `[batch, tokens, width]` → the same
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.qkv.forward(x);
        let mixed = match (&self.ln_q, &self.ln_k) {
            (Some(ln_q), Some(ln_k)) => {
                let [batch, tokens, three] = qkv.dims();
                let width = three / 3;
                let part = |i: usize| qkv.clone().narrow(2, i * width, width);
                let normed = |norm: &RmsNorm, x: Tensor<3>| {
                    let heads = x.reshape([batch, tokens, self.heads, width / self.heads]);
                    norm.forward(heads).reshape([batch, tokens, width])
                };
                let (q, k) = (normed(ln_q, part(0)), normed(ln_k, part(1)));
                ops::multi_head_attention(q, k, part(2), self.heads, false)
            }
            _ => ops::self_attention(qkv, self.heads),
        };
        self.proj.forward(mixed)
    }
}

/// Multi-head attention of tokens on a context.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries.
    pub q_linear: Linear,
    /// Keys and values side by side.
    pub kv_linear: Linear,
    /// The output projection.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl CrossAttention {
    fn new(device: &Device, config: &TransformerConfig, context: usize) -> Self {
        let width = config.width;
        Self {
            q_linear: Linear::new(device, width, width, true),
            kv_linear: Linear::new(device, context, 2 * width, true),
            proj: Linear::new(device, width, width, true),
            heads: config.heads,
        }
    }

    /// Keys and values of a context, side by side.
    ///
    /// # Shapes
    ///
    /// `[batch, tokens, context]` → `[batch, tokens, 2·width]`
    pub fn keys_values(&self, context: Tensor<3>) -> Tensor<3> {
        self.kv_linear.forward(context)
    }

    /// x and its attention on the context whose [`keys_values`](Self::keys_values) these are.
    ///
    /// # Shapes
    ///
    /// x and output `[batch, tokens, width]`
    pub fn forward_add(&self, x: Tensor<3>, keys_values: Tensor<3>) -> Tensor<3> {
        let q = self.q_linear.forward(x.clone());
        let mixed = ops::cross_attention(q, keys_values, self.heads);
        self.proj.forward_add(mixed, x)
    }
}

/// Two layers with tanh-GELU between them.
#[derive(Module, Debug)]
pub struct Mlp {
    /// To the inner width.
    pub fc1: Linear,
    /// From it.
    pub fc2: Linear,
}

impl Mlp {
    pub(super) fn new(device: &Device, [input, inner, output]: [usize; 3]) -> Self {
        Self {
            fc1: Linear::new(device, input, inner, true),
            fc2: Linear::new(device, inner, output, true),
        }
    }

    /// # Shapes
    ///
    /// `[batch, tokens, in]` → `[batch, tokens, out]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.fc1.forward_tanh_gelu(x))
    }
}

/// The time as blocks read it.
#[derive(Debug, Clone)]
pub(super) struct Modulated {
    /// The embedding of the time and of what is added to it, `[batch, width]`.
    pub time: Tensor<2>,
    /// Its SiLU, `[batch, width]`.
    pub silu: Tensor<2>,
    /// What all blocks share, `[batch, 6, width]`, where they share it.
    pub shared: Option<Tensor<3>>,
}

/// The vectors of a modulation: `[batch, N, width]` → N of `[batch, width]`.
pub(super) fn vectors<const N: usize>(all: Tensor<3>) -> [Tensor<2>; N] {
    let [batch, _, width] = all.dims();
    std::array::from_fn(|i| all.clone().narrow(1, i, 1).reshape([batch, width]))
}

/// Attention among tokens, attention on the context, two layers; each added to what comes in.
#[derive(Module, Debug)]
pub struct Block {
    /// Among tokens.
    pub attn: Attention,
    /// On the context, neither normalised before nor weighed after.
    pub cross_attn: Option<CrossAttention>,
    /// Two layers, four times as wide inside.
    pub mlp: Mlp,
    /// The time to shifts, scales and gates, after SiLU, where blocks do not share them.
    pub adaLN_modulation: Option<(Gap, Linear)>,
    /// What is added to those that all blocks share, `[6, width]`.
    pub scale_shift_table: Option<Param<Tensor<2>>>,
}

impl Block {
    pub(super) fn new(device: &Device, config: &TransformerConfig, number: usize) -> Self {
        let width = config.width;
        let context = match config.context_projection {
            true => Some(width),
            false => config.context,
        };
        let context = context.filter(|_| config.looks(number));
        let own = config.modulation == Modulation::PerBlock;
        Self {
            attn: Attention::new(device, config),
            cross_attn: context.map(|context| CrossAttention::new(device, config, context)),
            mlp: Mlp::new(device, [width, 4 * width, width]),
            adaLN_modulation: own.then(|| (Gap {}, Linear::new(device, width, 6 * width, true))),
            scale_shift_table: (!own).then(|| parameter(device, [6, width])),
        }
    }

    /// Shift, scale and gate of the attention, then of the two layers: `[batch, width]` each.
    fn modulation(&self, time: &Modulated) -> [Tensor<2>; 6] {
        let [batch, width] = time.silu.dims();
        match (
            &self.adaLN_modulation,
            &self.scale_shift_table,
            &time.shared,
        ) {
            (Some((_, layer)), ..) => {
                let all = layer.forward(time.silu.clone());
                vectors(all.reshape([batch, 6, width]))
            }
            (None, Some(table), Some(shared)) => {
                vectors(shared.clone() + table.val().unsqueeze::<3>())
            }
            _ => unreachable!("a block has one of them, and the network what goes with it"),
        }
    }

    /// `keys_values` are of its [attention on the context](Self::cross_attn), where it has one.
    ///
    /// # Shapes
    ///
    /// x and output `[batch, tokens, width]`
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        time: &Modulated,
        keys_values: Option<&Tensor<3>>,
    ) -> Tensor<3> {
        let [shift, scale, gate, shift_mlp, scale_mlp, gate_mlp] = self.modulation(time);
        let h = ops::layer_norm_modulated(x.clone(), [scale, shift], EPS);
        let x = ops::gated_add(x, gate, self.attn.forward(h));
        let x = match (&self.cross_attn, keys_values) {
            (Some(attention), Some(keys_values)) => attention.forward_add(x, keys_values.clone()),
            _ => x,
        };
        let h = ops::layer_norm_modulated(x.clone(), [scale_mlp, shift_mlp], EPS);
        ops::gated_add(x, gate_mlp, self.mlp.forward(h))
    }
}

layers!(Attention { qkv, ln_q, ln_k, proj; heads });
layers!(CrossAttention { q_linear, kv_linear, proj; heads });
layers!(Mlp { fc1, fc2 });
layers!(Block { attn, cross_attn, mlp, adaLN_modulation; scale_shift_table });
