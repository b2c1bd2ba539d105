//! Attention on a context, and on what is beside it.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, Filter};

use super::extras::Pictures;
use super::reference::{References, Remembered, Seen};
use crate::hypernetwork::{Bend, bent};
use crate::layers::Linear;
use crate::walk::layers;

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
    pub(super) heads: usize,
}

impl CrossAttention {
    pub(super) fn new(device: &Device, channels: usize, context: usize, heads: usize) -> Self {
        Self {
            to_q: Linear::new(device, channels, channels, false),
            to_k: Linear::new(device, context, channels, false),
            to_v: Linear::new(device, context, channels, false),
            to_out: vec![Linear::new(device, channels, channels, true)],
            heads,
        }
    }

    /// What the queries look at: keys and values of what each are made of, a context or the pixels themselves.
    ///
    /// # Shapes
    ///
    /// twice `[batch, tokens, context]` → twice `[batch, tokens, channels]`
    pub fn keys_values(&self, [keys, values]: [Tensor<3>; 2]) -> KeysValues {
        KeysValues {
            keys: self.to_k.forward(keys),
            values: self.to_v.forward(values),
        }
    }

    /// The attention of `x` on them, plus `residual`.
    ///
    /// # Shapes
    ///
    /// x, residual and output `[batch, pixels, channels]`
    pub fn forward(&self, x: Tensor<3>, seen: KeysValues, residual: Tensor<3>) -> Tensor<3> {
        self.forward_beside(x, seen, std::iter::empty(), residual)
    }

    /// The attention of `x` on them and, each by itself, on what is beside them, summed up, where its mask lets it; plus
    /// `residual`.
    pub(super) fn forward_beside<'a>(
        &self,
        x: Tensor<3>,
        seen: KeysValues,
        beside: impl Iterator<Item = (&'a KeysValues, Option<Tensor<3>>)>,
        residual: Tensor<3>,
    ) -> Tensor<3> {
        let q = self.to_q.forward(x);
        let on = |q: Tensor<3>, seen: KeysValues| {
            ops::multi_head_attention(q, seen.keys, seen.values, self.heads, false)
        };
        let more = beside.map(|(seen, mask)| {
            let mixed = on(q.clone(), seen.clone());
            match mask {
                Some(mask) => {
                    let mask = mask.cast(mixed.dtype()).expand(mixed.shape());
                    mixed * mask
                }
                None => mixed,
            }
        });
        let more: Vec<_> = more.collect();
        let mixed = on(q, seen);
        let mixed = more.into_iter().fold(mixed, |sum, more| sum + more);
        self.to_out[0].forward_add(mixed, residual)
    }

    /// Each token attending to itself alone, of what values are made of, plus `residual`.
    pub(super) fn forward_identity(&self, x: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        self.to_out[0].forward_add(self.to_v.forward(x), residual)
    }
}

/// How much each token is attended to by all of them, on the mean of the heads: `[batch, tokens, channels]` twice →
/// `[batch, tokens]`, in f32.
pub(super) fn attended(q: Tensor<3>, k: Tensor<3>, heads: usize) -> Tensor<2> {
    let [batch, tokens, channels] = q.dims();
    let split = |x: Tensor<3>| {
        let width = channels / heads;
        let x = x.cast(DType::F32);
        x.reshape([batch, tokens, heads, width]).swap_dims(1, 2)
    };
    let scores = split(q).matmul(split(k).swap_dims(2, 3));
    let map = softmax(scores / ((channels / heads) as f64).sqrt(), 3);
    map.sum_dim(2).mean_dim(1).reshape([batch, tokens])
}

/// Keys and values of one attention, each `[batch, tokens, channels]`.
#[derive(Debug, Clone)]
pub struct KeysValues {
    /// What queries are compared with.
    pub keys: Tensor<3>,
    /// What is mixed.
    pub values: Tensor<3>,
}

/// What comes beside what attentions were trained with: keys and values beside the context's, by the number of the attention
/// that they are for, what bends the pixels that self-attention reads, and what it looks at beside them.
pub(crate) struct Beside<'a> {
    all: &'a [Pictures],
    /// Their masks at the pixels of the attentions that come next: `[1, pixels, 1]`.
    masks: Vec<Option<Tensor<3>>>,
    /// The height and width that these are for.
    grid: [usize; 2],
    /// The number of the transformer block that comes next.
    next: usize,
    bends: &'a [Bend],
    references: Option<&'a References>,
    /// Where it is asked for.
    remembered: Option<Remembered>,
}

impl<'a> Beside<'a> {
    pub fn new(all: &'a [Pictures], bends: &'a [Bend]) -> Self {
        Self {
            all,
            masks: vec![None; all.len()],
            grid: [0, 0],
            next: 0,
            bends,
            references: None,
            remembered: None,
        }
    }

    /// The same with references, and with a memory of what self-attention is given.
    pub fn with(self, references: Option<&'a References>, remember: bool) -> Self {
        Self {
            references,
            remembered: remember.then(Remembered::new),
            ..self
        }
    }

    /// What was remembered.
    pub fn remembered(self) -> Remembered {
        self.remembered.unwrap_or_default()
    }

    /// Remembers what the self-attention of the next block is given, or that it has none.
    pub(super) fn remember(&mut self, given: Option<&Tensor<3>>) {
        if let Some(remembered) = &mut self.remembered {
            remembered.push(given.cloned());
        }
    }

    /// What the self-attention of the next block looks at beside its own pixels.
    pub(super) fn references(&self) -> Option<Seen<'a>> {
        self.references?.at(self.next)
    }

    /// Nothing.
    pub fn nothing() -> Self {
        Self::new(&[], &[])
    }

    /// What self-attention makes keys and values of.
    pub(super) fn own(&self, h: Tensor<3>) -> [Tensor<3>; 2] {
        bent(self.bends, h)
    }

    /// The attentions that come next are on so many rows and columns of pixels.
    pub(super) fn enter(&mut self, grid: [usize; 2]) {
        if grid == self.grid {
            return;
        }
        self.grid = grid;
        for (mask, pictures) in self.masks.iter_mut().zip(self.all) {
            let fitted = pictures.mask.clone().map(|mask| {
                let mask = ops::resize(mask, grid, Filter::Bicubic);
                ops::to_tokens(mask)
            });
            *mask = fitted;
        }
    }

    /// Those of the next attention, with their masks.
    pub(super) fn of_next(
        &mut self,
    ) -> impl Iterator<Item = (&'a KeysValues, Option<Tensor<3>>)> + use<'a> {
        let at = self.next;
        self.next += 1;
        let all = self.all.iter().zip(self.masks.clone());
        all.filter_map(move |(one, mask)| Some((one.seen.get(at)?, mask)))
    }

    /// Passes by so many attentions.
    pub(super) fn skip(&mut self, count: usize) {
        self.next += count;
    }
}

layers!(CrossAttention { to_q, to_k, to_v, to_out; heads });
