//! A tiny autoencoder that is distilled from a large one: previews, and decoding in little time.
//!
//! `madebyollin/taesd`, with the parameter names of diffusers' `AutoencoderTiny`. It works in the
//! latents that the denoiser works in, which are scaled already.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, at_least_one};
use crate::layers::{Conv2d, Gap};
use crate::walk::layers;

/// A tiny autoencoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderTinyConfig {
    /// Channels of a picture: 3.
    pub channels: usize,
    /// Channels of a latent: 4, or 16 for later models.
    pub latent_channels: usize,
    /// Channels of every layer between: 64.
    pub width: usize,
    /// Blocks of each level of the encoder, finest level first.
    pub encoder_blocks: Vec<usize>,
    /// Blocks of each level of the decoder, coarsest level first.
    pub decoder_blocks: Vec<usize>,
}

impl AutoencoderTinyConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates
    /// nothing.
    ///
    /// The configuration should be [valid](Self::validate): the network of another panics when it
    /// is run.
    pub fn init(&self, device: &Device) -> AutoencoderTiny {
        AutoencoderTiny {
            encoder: self.encoder(device),
            decoder: self.decoder(device),
            config: self.clone(),
            padding: Padding::Zero,
        }
    }

    /// Pixels per latent number along each side: 8.
    pub fn downsampling(&self) -> usize {
        1 << self.decoder_blocks.len().saturating_sub(1)
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("channels", self.channels)?;
        at_least_one("latent_channels", self.latent_channels)?;
        at_least_one("width", self.width)?;
        let (encoder, decoder) = (&self.encoder_blocks, &self.decoder_blocks);
        if !(1..=16).contains(&decoder.len()) {
            let expected = "the blocks of 1 to 16 levels";
            return Err(ConfigError::new("decoder_blocks", decoder, expected));
        }
        if encoder.len() != decoder.len() {
            let expected = format!("as many levels as the decoder's {}", decoder.len());
            return Err(ConfigError::new("encoder_blocks", encoder, expected));
        }
        Ok(())
    }

    fn encoder(&self, device: &Device) -> TinyLayers {
        let width = self.width;
        let mut layers = Vec::new();
        for (level, blocks) in self.encoder_blocks.iter().enumerate() {
            layers.push(TinyLayer::Conv(match level {
                0 => Conv2d::new(device, self.channels, width, 3),
                _ => Conv2d::with_shape(device, width, width, 3, ConvShape::HALVE).without_bias(),
            }));
            layers.extend((0..*blocks).map(|_| TinyLayer::Block(TinyBlock::new(device, width))));
        }
        let last = Conv2d::new(device, width, self.latent_channels, 3);
        layers.push(TinyLayer::Conv(last));
        TinyLayers { layers }
    }

    fn decoder(&self, device: &Device) -> TinyLayers {
        let width = self.width;
        let levels = self.decoder_blocks.len();
        let first = Conv2d::new(device, self.latent_channels, width, 3);
        let mut layers = vec![TinyLayer::Conv(first), TinyLayer::Relu(Gap {})];
        for (level, blocks) in self.decoder_blocks.iter().enumerate() {
            layers.extend((0..*blocks).map(|_| TinyLayer::Block(TinyBlock::new(device, width))));
            if level + 1 < levels {
                let conv = Conv2d::new(device, width, width, 3).without_bias();
                layers.push(TinyLayer::Place(Gap {}));
                layers.push(TinyLayer::Double(conv));
            }
        }
        let last = Conv2d::new(device, width, self.channels, 3);
        layers.push(TinyLayer::Conv(last));
        TinyLayers { layers }
    }
}

/// A tiny autoencoder, built by [`AutoencoderTinyConfig::init`].
#[derive(Module, Debug)]
pub struct AutoencoderTiny {
    /// Pictures to latents.
    pub encoder: TinyLayers,
    /// Latents to pictures.
    pub decoder: TinyLayers,
    #[module(skip)]
    config: AutoencoderTinyConfig,
    #[module(skip)]
    padding: Padding,
}

/// Layers one after another, numbered in published files.
#[derive(Module, Debug)]
pub struct TinyLayers {
    /// One after another.
    pub layers: Vec<TinyLayer>,
}

/// A layer of a tiny autoencoder.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum TinyLayer {
    /// 3×3.
    Conv(Conv2d),
    /// Three convolutions.
    Block(TinyBlock),
    /// max(x, 0).
    Relu(Gap),
    /// The number of a layer without parameters that the next one does too.
    Place(Gap),
    /// 3×3 of the picture twice as large by repetition.
    Double(Conv2d),
}

/// Three 3×3 convolutions with activations between, plus the input, and an activation.
#[derive(Module, Debug)]
pub struct TinyBlock {
    /// Convolutions and activations in turn: published files number them.
    pub conv: (Conv2d, Gap, Conv2d, Gap, Conv2d),
}

impl TinyBlock {
    fn new(device: &Device, width: usize) -> Self {
        let conv = || Conv2d::new(device, width, width, 3);
        Self {
            conv: (conv(), Gap {}, conv(), Gap {}, conv()),
        }
    }

    fn forward(&self, x: Tensor<4>, padding: Padding) -> Tensor<4> {
        let (first, _, second, _, third) = &self.conv;
        let [h, x] = ops::fork(x);
        let h = ops::relu(first.forward(h, padding));
        let h = ops::relu(second.forward(h, padding));
        ops::relu(third.forward_add(h, padding, x))
    }
}

impl TinyLayers {
    fn forward(&self, x: Tensor<4>, padding: Padding) -> Tensor<4> {
        self.layers.iter().fold(x, |h, layer| match layer {
            TinyLayer::Conv(conv) => conv.forward(h, padding),
            TinyLayer::Block(block) => block.forward(h, padding),
            TinyLayer::Relu(_) => ops::relu(h),
            TinyLayer::Place(_) => h,
            TinyLayer::Double(conv) => {
                let [_, _, height, width] = h.dims();
                conv.forward_doubled(h, padding, [2 * height, 2 * width])
            }
        })
    }

    fn dtype(&self) -> DType {
        let biases = self.layers.iter().find_map(|layer| match layer {
            TinyLayer::Conv(conv) => conv.bias.as_ref(),
            _ => None,
        });
        biases.map_or(DType::F32, |bias| bias.val().dtype())
    }
}

impl AutoencoderTiny {
    /// What the network is made of.
    pub fn config(&self) -> &AutoencoderTinyConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.decoder.dtype()
    }

    /// The same network with another treatment of the picture's edges (tileable pictures). Copies
    /// no parameter.
    pub fn with_padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// The latent of a picture in −1..1, scaled as the denoiser takes it.
    ///
    /// # Shapes
    ///
    /// - image `[batch, channels, height, width]`, both a multiple of
    ///   [`AutoencoderTinyConfig::downsampling`]
    /// - output `[batch, latent_channels, height / downsampling, width / downsampling]`, f32
    ///
    /// # Panics
    ///
    /// Where the shape differs from this; callers validate what comes from users.
    pub fn encode(&self, image: Tensor<4>) -> Tensor<4> {
        // It was trained on pictures in 0..1.
        let x = ((image + 1.0) / 2.0).cast(self.dtype());
        self.encoder.forward(x, self.padding).cast(DType::F32)
    }

    /// The picture of a latent as the denoiser makes it, about −1..1 and not clamped. Numbers of the
    /// latent are first bent to −3..3.
    ///
    /// # Shapes
    ///
    /// - z `[batch, latent_channels, height, width]`
    /// - output `[batch, channels, height · downsampling, width · downsampling]`, f32
    ///
    /// # Panics
    ///
    /// Where the shape differs from this; callers validate what comes from users.
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let z = ((z / 3.0).tanh() * 3.0).cast(self.dtype());
        let picture = self.decoder.forward(z, self.padding).cast(DType::F32);
        picture * 2.0 - 1.0
    }
}

layers!(TinyBlock { conv });
layers!(
    enum TinyLayer {
        Conv,
        Block,
        Relu,
        Place,
        Double,
    }
);
layers!(TinyLayers { layers });
layers!(AutoencoderTiny { encoder, decoder; config, padding });
