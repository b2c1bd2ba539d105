//! Encoder, decoder and what is between them.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};

use super::NORM_EPS;
use super::config::AutoencoderConfig;
use super::latent::{Moments, Quantized};
use crate::layers::{Conv2d, Embedding, GroupNorm};
use crate::unet::{PlainAttention, ResampleConv, Resnet};
use crate::walk::layers;

/// One level of the encoder.
#[derive(Module, Debug)]
pub struct EncoderBlock {
    /// One after another, each followed by its attention.
    pub resnets: Vec<Resnet>,
    /// As many as `resnets`, or none.
    pub attentions: Vec<PlainAttention>,
    /// One, except in the coarsest level.
    pub downsamplers: Vec<ResampleConv>,
}

/// One level of the decoder.
#[derive(Module, Debug)]
pub struct DecoderBlock {
    /// One more than in the encoder.
    pub resnets: Vec<Resnet>,
    /// As many as `resnets`, or none.
    pub attentions: Vec<PlainAttention>,
    /// One, except in the finest level.
    pub upsamplers: Vec<ResampleConv>,
}

/// The middle of encoder or decoder: resblock, attention, resblock.
#[derive(Module, Debug)]
pub struct Middle {
    /// One, or none.
    pub attentions: Vec<PlainAttention>,
    /// Two.
    pub resnets: Vec<Resnet>,
}

/// Pictures to latents.
#[derive(Module, Debug)]
pub struct Encoder {
    /// 3×3.
    pub conv_in: Conv2d,
    /// Finest level first.
    pub down_blocks: Vec<EncoderBlock>,
    /// At the coarsest level.
    pub mid_block: Middle,
    /// Before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// 3×3.
    pub conv_out: Conv2d,
}

/// Latents to pictures.
#[derive(Module, Debug)]
pub struct Decoder {
    /// 3×3.
    pub conv_in: Conv2d,
    /// At the coarsest level.
    pub mid_block: Middle,
    /// Coarsest level first.
    pub up_blocks: Vec<DecoderBlock>,
    /// Before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// 3×3.
    pub conv_out: Conv2d,
}

/// The codebook of a vector-quantised latent.
#[derive(Module, Debug)]
pub struct Codebook {
    /// One row per entry.
    pub embedding: Embedding,
}

/// An autoencoder, built by [`AutoencoderConfig::init`].
#[derive(Module, Debug)]
pub struct Autoencoder {
    /// Pictures to latents.
    pub encoder: Encoder,
    /// Latents to pictures.
    pub decoder: Decoder,
    /// 1×1, after the encoder.
    pub quant_conv: Option<Conv2d>,
    /// 1×1, before the decoder.
    pub post_quant_conv: Option<Conv2d>,
    /// In vector-quantised models.
    pub quantize: Option<Codebook>,
    #[module(skip)]
    config: AutoencoderConfig,
    #[module(skip)]
    padding: Padding,
}

struct Parts<'a> {
    device: &'a Device,
    config: &'a AutoencoderConfig,
}

impl Parts<'_> {
    fn resnet(&self, input: usize, output: usize) -> Resnet {
        Resnet::without_time(
            self.device,
            self.config.norm_groups,
            input,
            output,
            NORM_EPS,
        )
    }

    fn attention(&self, channels: usize) -> PlainAttention {
        PlainAttention::new(self.device, self.config.norm_groups, channels, 1, NORM_EPS)
    }

    fn norm(&self, channels: usize) -> GroupNorm {
        GroupNorm::new(self.device, self.config.norm_groups, channels, NORM_EPS)
    }

    fn middle(&self, channels: usize) -> Middle {
        let attention = self
            .config
            .middle_attention
            .then(|| self.attention(channels));
        Middle {
            attentions: attention.into_iter().collect(),
            resnets: vec![
                self.resnet(channels, channels),
                self.resnet(channels, channels),
            ],
        }
    }

    fn encoder(&self) -> Encoder {
        let Self { device, config } = self;
        let mut channels = config.levels.first().map_or(0, |level| level.channels);
        let conv_in = Conv2d::new(device, config.in_channels, channels, 3);
        let mut down_blocks = Vec::new();
        for (i, level) in config.levels.iter().enumerate() {
            let mut block = EncoderBlock {
                resnets: Vec::new(),
                attentions: Vec::new(),
                downsamplers: Vec::new(),
            };
            for _ in 0..config.resblocks {
                block.resnets.push(self.resnet(channels, level.channels));
                channels = level.channels;
                block
                    .attentions
                    .extend(level.attention.then(|| self.attention(channels)));
            }
            if i + 1 < config.levels.len() {
                let shape = ConvShape::HALVE_FROM_CORNER;
                let conv = Conv2d::with_shape(device, channels, channels, 3, shape);
                block.downsamplers.push(ResampleConv { conv });
            }
            down_blocks.push(block);
        }
        Encoder {
            conv_in,
            down_blocks,
            mid_block: self.middle(channels),
            conv_norm_out: self.norm(channels),
            conv_out: Conv2d::new(device, channels, config.encoder_channels(), 3),
        }
    }

    fn decoder(&self) -> Decoder {
        let Self { device, config } = self;
        let mut channels = config.levels.last().map_or(0, |level| level.channels);
        let conv_in = Conv2d::new(device, config.z_channels, channels, 3);
        let mid_block = self.middle(channels);
        let mut up_blocks = Vec::new();
        for (i, level) in config.levels.iter().enumerate().rev() {
            let mut block = DecoderBlock {
                resnets: Vec::new(),
                attentions: Vec::new(),
                upsamplers: Vec::new(),
            };
            for _ in 0..=config.resblocks {
                block.resnets.push(self.resnet(channels, level.channels));
                channels = level.channels;
                block
                    .attentions
                    .extend(level.attention.then(|| self.attention(channels)));
            }
            if i > 0 {
                let conv = Conv2d::new(device, channels, channels, 3);
                block.upsamplers.push(ResampleConv { conv });
            }
            up_blocks.push(block);
        }
        Decoder {
            conv_in,
            mid_block,
            up_blocks,
            conv_norm_out: self.norm(channels),
            conv_out: Conv2d::new(device, channels, config.out_channels, 3),
        }
    }
}

impl Middle {
    pub(super) fn forward(&self, mut h: Tensor<4>, padding: Padding) -> Tensor<4> {
        for (i, resnet) in self.resnets.iter().enumerate() {
            h = resnet.forward(h, None, padding);
            if let Some(attention) = self.attentions.get(i) {
                h = attention.forward(h);
            }
        }
        h
    }
}

pub(super) fn level(
    resnets: &[Resnet],
    attentions: &[PlainAttention],
    mut h: Tensor<4>,
    padding: Padding,
) -> Tensor<4> {
    for (i, resnet) in resnets.iter().enumerate() {
        h = resnet.forward(h, None, padding);
        if let Some(attention) = attentions.get(i) {
            h = attention.forward(h);
        }
    }
    h
}

impl Encoder {
    fn forward(&self, image: Tensor<4>, padding: Padding) -> Tensor<4> {
        let mut h = self.conv_in.forward(image, padding);
        for block in &self.down_blocks {
            h = level(&block.resnets, &block.attentions, h, padding);
            for down in &block.downsamplers {
                h = down.conv.forward(h, padding);
            }
        }
        let h = self.mid_block.forward(h, padding);
        self.conv_out
            .forward(self.conv_norm_out.forward_silu(h), padding)
    }
}

impl Decoder {
    /// All but the last convolution.
    fn features(&self, z: Tensor<4>, padding: Padding) -> Tensor<4> {
        let h = self.conv_in.forward(z, padding);
        let mut h = self.mid_block.forward(h, padding);
        for block in &self.up_blocks {
            h = level(&block.resnets, &block.attentions, h, padding);
            for up in &block.upsamplers {
                let [_, _, height, width] = h.dims();
                h = up.conv.forward_doubled(h, padding, [2 * height, 2 * width]);
            }
        }
        self.conv_norm_out.forward_silu(h)
    }
}

impl Autoencoder {
    pub(super) fn new(config: &AutoencoderConfig, device: &Device) -> Self {
        let parts = Parts { device, config };
        let (z, latent) = (config.z_channels, config.latent_channels);
        let moments = config.moments();
        Self {
            encoder: parts.encoder(),
            decoder: parts.decoder(),
            quant_conv: config
                .quant_conv
                .then(|| Conv2d::new(device, moments * z, moments * latent, 1)),
            post_quant_conv: config
                .post_quant_conv
                .then(|| Conv2d::new(device, latent, z, 1)),
            quantize: config.codebook.map(|entries| Codebook {
                embedding: Embedding::new(device, entries, latent),
            }),
            config: config.clone(),
            padding: Padding::Zero,
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &AutoencoderConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.decoder.conv_norm_out.weight.val().dtype()
    }

    /// The same network with another treatment of the picture's edges (tileable pictures). Copies
    /// no parameter.
    pub fn with_padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// The same network, of which only what decodes records gradients: not what makes latents, the entries of a codebook
    /// among it.
    #[must_use]
    pub fn with_frozen_encoder(self) -> Self {
        Self {
            encoder: self.encoder.no_grad(),
            quant_conv: self.quant_conv.no_grad(),
            quantize: self.quantize.no_grad(),
            ..self
        }
    }

    /// The latent of a picture in −1..1, before any scaling. A vector-quantised model's is not yet
    /// quantised.
    ///
    /// # Shapes
    ///
    /// - image `[batch, in_channels, height, width]`, both a multiple of
    ///   [`AutoencoderConfig::downsampling`]
    /// - output `[batch, latent_channels, height / downsampling, width / downsampling]`, f32
    ///
    /// # Panics
    ///
    /// Where the shape differs from this; callers validate what comes from users.
    pub fn encode(&self, image: Tensor<4>) -> Moments {
        let mut h = self.encoder.forward(image.cast(self.dtype()), self.padding);
        if let Some(conv) = &self.quant_conv {
            h = conv.forward(h, self.padding);
        }
        let h = h.cast(DType::F32);
        if !self.config.double_z {
            let logvar = h.full_like(-30.0);
            return Moments { mean: h, logvar };
        }
        let channels = self.config.latent_channels;
        Moments {
            mean: h.clone().narrow(1, 0, channels),
            logvar: h.narrow(1, channels, channels).clamp(-30.0, 20.0),
        }
    }

    /// The nearest codebook entry of each latent pixel; in a model without codebook, `z` itself.
    ///
    /// # Shapes
    ///
    /// `[batch, latent_channels, height, width]` → the same
    pub fn quantize(&self, z: Tensor<4>) -> Tensor<4> {
        match &self.quantize {
            Some(book) => ops::nearest_row_picture(z, book.embedding.weight.val()),
            None => z,
        }
    }

    /// The picture of a latent, about −1..1 and not clamped. A vector-quantised model rounds the
    /// latent first.
    ///
    /// # Shapes
    ///
    /// - z `[batch, latent_channels, height, width]`, not scaled
    /// - output `[batch, out_channels, height · downsampling, width · downsampling]`, f32
    ///
    /// # Panics
    ///
    /// Where the shape differs from this; callers validate what comes from users.
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        self.last_layer(self.features(self.quantize(z.cast(self.dtype()))))
    }

    /// Rounds a latent to the codebook for training (van den Oord et al., "Neural Discrete
    /// Representation Learning", 2017); `None` in a model without codebook.
    ///
    /// # Shapes
    ///
    /// z `[batch, latent_channels, height, width]`
    pub fn quantize_training(&self, z: Tensor<4>) -> Option<Quantized> {
        let book = self.quantize.as_ref()?.embedding.weight.val();
        let [_, _, height, width] = z.dims();
        let ids = ops::nearest_rows(z.clone(), book.clone());
        let rounded = ops::embedding(book, ids.clone());
        let before = ops::to_tokens(z);
        let distance = |a: Tensor<3>, b: Tensor<3>| (a - b).square().mean();
        let through = before.clone() + (rounded.clone() - before.clone()).detach();
        Some(Quantized {
            codebook_loss: distance(rounded.clone(), before.clone().detach()),
            commitment_loss: distance(before, rounded.detach()),
            latent: ops::to_picture(through, height, width),
            ids,
        })
    }

    /// What the decoder makes of a latent that is rounded already, before its last convolution.
    ///
    /// [`last_layer`](Self::last_layer) of it is the picture. The loss of the first stage is balanced
    /// by gradients at this layer, which is why it can be had alone.
    ///
    /// # Shapes
    ///
    /// `[batch, latent_channels, height, width]` → `[batch, channels of the finest level, height ·
    /// downsampling, width · downsampling]`
    pub fn features(&self, z: Tensor<4>) -> Tensor<4> {
        self.decoder
            .features(self.after_quantizing(z), self.padding)
    }

    /// The last convolution.
    ///
    /// # Shapes
    ///
    /// As `features` gives → `[batch, out_channels, height, width]`, f32
    pub fn last_layer(&self, h: Tensor<4>) -> Tensor<4> {
        self.decoder
            .conv_out
            .forward(h, self.padding)
            .cast(DType::F32)
    }

    /// The gradient of a loss with respect to the weight of the last convolution, from its gradient with
    /// respect to the picture. Nothing is recorded.
    ///
    /// # Shapes
    ///
    /// h as `features` gives, gradient as the picture → as the weight
    pub fn last_weight_gradient(&self, h: Tensor<4>, gradient: Tensor<4>) -> Tensor<4> {
        let weight = self.decoder.conv_out.weight.val().detach().require_grad();
        let [_, _, kernel, _] = weight.dims();
        let shape = ConvShape::same(kernel);
        let picture = ops::conv2d(h.detach(), weight.clone(), None, shape, self.padding);
        let picture = picture.cast(DType::F32);
        let mut gradients = (picture * gradient.detach()).sum().backward();
        let found = weight.grad_remove(&mut gradients);
        found.expect("a convolution's weight has a gradient")
    }

    /// What the decoder takes: the latent in the network's type, quantised and through
    /// `post_quant_conv`.
    pub(super) fn before_decoder(&self, z: Tensor<4>) -> Tensor<4> {
        self.after_quantizing(self.quantize(z.cast(self.dtype())))
    }

    pub(super) fn after_quantizing(&self, z: Tensor<4>) -> Tensor<4> {
        match &self.post_quant_conv {
            Some(conv) => conv.forward(z, self.padding),
            None => z,
        }
    }

    pub(super) fn padding(&self) -> Padding {
        self.padding
    }
}

layers!(EncoderBlock {
    resnets,
    attentions,
    downsamplers
});
layers!(DecoderBlock {
    resnets,
    attentions,
    upsamplers
});
layers!(Middle {
    attentions,
    resnets
});
layers!(Encoder {
    conv_in,
    down_blocks,
    mid_block,
    conv_norm_out,
    conv_out
});
layers!(Decoder {
    conv_in,
    mid_block,
    up_blocks,
    conv_norm_out,
    conv_out
});
layers!(Codebook { embedding });
layers!(Autoencoder {
    encoder, decoder, quant_conv, post_quant_conv, quantize;
    config, padding
});
