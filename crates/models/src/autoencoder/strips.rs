//! Decoding in strips: the same picture in less memory.
//!
//! The large tensors of a decoder are those of its last levels. Here they are held as horizontal
//! strips; each layer works on one strip with one row of its neighbours on either side, and the
//! statistics of a normalisation are gathered over all strips before it is applied. Nothing is
//! approximated: the result differs from [`Autoencoder::decode`] by the rounding of the statistics
//! alone, so there is no seam to hide. What it saves are the copies that each layer makes of a
//! whole level. Rejected: decoding overlapping tiles by themselves and blending them, whose
//! normalisations see only their tile, so that tiles differ in contrast.

use burn::tensor::{DType, Tensor};
use latent_ops::{self as ops, Padding};

use super::{Autoencoder, Decoder, DecoderBlock};
use crate::layers::{Conv2d, GroupNorm};
use crate::unet::{PlainAttention, Resnet};

/// A feature map cut into strips from top to bottom, each `[batch, channels, rows, width]`.
struct Strips(Vec<Tensor<4>>);

impl Autoencoder {
    /// [`decode`](Self::decode) with every level above the coarsest held in strips of about `rows`
    /// of its rows. `go_on` is asked before each level; `None` where it says no.
    ///
    /// # Shapes
    ///
    /// As [`decode`](Self::decode). `rows` of 0 counts as 1.
    pub fn decode_in_strips(
        &self,
        z: Tensor<4>,
        rows: usize,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Option<Tensor<4>> {
        let z = self.before_decoder(z);
        let pixels = self
            .decoder
            .forward_in_strips(z, rows.max(1), self.padding(), go_on)?;
        Some(pixels.cast(DType::F32))
    }
}

impl Decoder {
    fn forward_in_strips(
        &self,
        z: Tensor<4>,
        rows: usize,
        padding: Padding,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Option<Tensor<4>> {
        let h = self.conv_in.forward(z, padding);
        let h = self.mid_block.forward(h, padding);
        let mut h = Strips::cut(h, rows);
        for block in &self.up_blocks {
            if !go_on() {
                return None;
            }
            h = h.level(block, padding);
            for up in &block.upsamplers {
                h = h.double(rows).conv(&up.conv, padding, |t| t);
            }
        }
        let norm = h.norm(&self.conv_norm_out);
        Some(h.conv(&self.conv_out, padding, norm).join())
    }
}

impl Strips {
    fn cut(h: Tensor<4>, rows: usize) -> Self {
        Self(h.split(rows, 2))
    }

    fn join(self) -> Tensor<4> {
        Tensor::cat(self.0, 2)
    }

    fn level(mut self, block: &DecoderBlock, padding: Padding) -> Self {
        for (i, resnet) in block.resnets.iter().enumerate() {
            self = self.resnet(resnet, padding);
            if let Some(attention) = block.attentions.get(i) {
                self = self.attention(attention);
            }
        }
        self
    }

    fn attention(self, attention: &PlainAttention) -> Self {
        let rows = self.0[0].dims()[2];
        Self::cut(attention.forward(self.join()), rows)
    }

    fn resnet(self, resnet: &Resnet, padding: Padding) -> Self {
        let first = self.norm(&resnet.norm1);
        let inside = Self(self.0.clone()).conv(&resnet.conv1, padding, first);
        let second = inside.norm(&resnet.norm2);
        let added = inside.conv(&resnet.conv2, padding, second);
        let sums = self
            .0
            .into_iter()
            .zip(added.0)
            .map(|(x, h)| match &resnet.conv_shortcut {
                Some(shortcut) => shortcut.forward(x, padding) + h,
                None => x + h,
            });
        Self(sums.collect())
    }

    /// Twice the size by repetition, cut again so that strips keep their height.
    fn double(self, rows: usize) -> Self {
        Self(
            self.0
                .into_iter()
                .flat_map(|strip| ops::nearest_2x(strip).split(rows, 2))
                .collect(),
        )
    }

    /// The convolution of `before(h)`; its kernel is 3×3, so each strip is given one row of its
    /// neighbours.
    fn conv(
        self,
        conv: &Conv2d,
        padding: Padding,
        before: impl Fn(Tensor<4>) -> Tensor<4>,
    ) -> Self {
        let count = self.0.len();
        let row = |i: usize, last: bool| {
            let height = self.0[i].dims()[2];
            before(
                self.0[i]
                    .clone()
                    .narrow(2, if last { height - 1 } else { 0 }, 1),
            )
        };
        let wraps = padding.wraps_y();
        let out = (0..count).map(|i| {
            let strip = before(self.0[i].clone());
            let blank = || strip.clone().narrow(2, 0, 1).zeros_like();
            let above = match i {
                0 if wraps => row(count - 1, true),
                0 => blank(),
                _ => row(i - 1, true),
            };
            let below = match i + 1 {
                next if next < count => row(next, false),
                _ if wraps => row(0, false),
                _ => blank(),
            };
            let height = strip.dims()[2];
            // The rows that the convolution itself pads lie outside the two that were added, and
            // are cut off.
            conv.forward(Tensor::cat(vec![above, strip, below], 2), padding)
                .narrow(2, 1, height)
        });
        Self(out.collect())
    }

    /// The normalisation by statistics over all strips, followed by SiLU, as a function of any part
    /// of them.
    fn norm<'a>(&self, norm: &'a GroupNorm) -> impl Fn(Tensor<4>) -> Tensor<4> + use<'a> {
        let [batch, channels, _, _] = self.0[0].dims();
        let groups = norm.groups();
        let per_group = channels / groups;
        let flat = |strip: &Tensor<4>| {
            let [_, _, rows, width] = strip.dims();
            strip
                .clone()
                .cast(DType::F32)
                .reshape([batch, groups, per_group, rows * width])
        };
        let mean = |t: Tensor<4>| t.mean_dim(3).mean_dim(2);
        let total: usize = self.0.iter().map(|s| s.dims()[2]).sum();
        let over_strips = |value: &dyn Fn(Tensor<4>) -> Tensor<4>| {
            let parts = self
                .0
                .iter()
                .map(|s| value(flat(s)) * (s.dims()[2] as f64 / total as f64));
            parts.reduce(|a, b| a + b).expect("at least one strip")
        };
        let centre = over_strips(&|s| mean(s));
        let variance = over_strips(&|s| mean((s - centre.clone()).square()));
        let factor = (variance + norm.eps()).sqrt().recip();
        let by_channel = |t: Tensor<1>| t.cast(DType::F32).reshape([1, groups, per_group, 1]);
        let scale = factor * by_channel(norm.weight.val());
        let shift = by_channel(norm.bias.val()) - centre * scale.clone();
        let scale = scale.reshape([batch, channels, 1, 1]);
        let shift = shift.reshape([batch, channels, 1, 1]);
        move |part| {
            let dtype = part.dtype();
            ops::silu(part.cast(DType::F32) * scale.clone() + shift.clone()).cast(dtype)
        }
    }
}
