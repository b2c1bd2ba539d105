//! The discriminator that tells pictures from reconstructions, patch by patch.
//!
//! Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017, with the
//! parameter names of Esser et al., "Taming Transformers", 2021. Each number of the output judges one
//! patch: 70×70 pixels with three layers.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, at_least_one};
use crate::layers::{BatchNorm, BatchStatistics, Conv2d, Gap};

/// What a discriminator is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorConfig {
    /// Channels of the picture.
    pub in_channels: usize,
    /// Channels of the first layer; each further one has twice as many, at most eight times.
    pub channels: usize,
    /// Convolutions between the first and the last; all but one of them halve the size.
    pub layers: usize,
}

impl Default for DiscriminatorConfig {
    /// The published one: three layers, 64 channels.
    fn default() -> Self {
        Self {
            in_channels: 3,
            channels: 64,
            layers: 3,
        }
    }
}

impl DiscriminatorConfig {
    /// The network, with parameters that are zeros when read before they are loaded.
    pub fn init(&self, device: &Device) -> Discriminator {
        let conv = |input, output, stride| {
            let padding = [1; 4];
            Conv2d::with_shape(device, input, output, 4, ConvShape { stride, padding })
        };
        let leaky = || Layer::Leaky(Gap {});
        let mut main = vec![
            Layer::Conv(conv(self.in_channels, self.channels, 2)),
            leaky(),
        ];
        let mut input = self.channels;
        for layer in 1..=self.layers {
            let output = self.channels * (1 << layer.min(3));
            let stride = if layer < self.layers { 2 } else { 1 };
            // A bias would be taken out again by the normalisation.
            main.push(Layer::Conv(conv(input, output, stride).without_bias()));
            main.push(Layer::Norm(BatchNorm::new(device, output)));
            main.push(leaky());
            input = output;
        }
        main.push(Layer::Conv(conv(input, 1, 1)));
        Discriminator { main }
    }

    /// The shortest side of a picture that it can judge.
    pub fn smallest(&self) -> usize {
        // The last two convolutions take one pixel each; before them are `layers` halvings.
        3 << self.layers
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("in_channels", self.in_channels)?;
        at_least_one("channels", self.channels)?;
        at_least_one("layers", self.layers)?;
        if self.layers > 8 {
            return Err(ConfigError::new("layers", self.layers, "at most 8"));
        }
        Ok(())
    }
}

/// One step of a [`Discriminator`].
#[derive(Module, Debug)]
pub enum Layer {
    /// 4×4.
    Conv(Conv2d),
    /// After every convolution but the first and the last.
    Norm(BatchNorm),
    /// x where it is positive, x / 5 elsewhere: after every convolution but the last.
    Leaky(Gap),
}

/// A patch discriminator, built by [`DiscriminatorConfig::init`].
#[derive(Module, Debug)]
pub struct Discriminator {
    /// One after another.
    pub main: Vec<Layer>,
}

impl Discriminator {
    /// How real each patch looks, by the running statistics of the normalisations.
    ///
    /// # Shapes
    ///
    /// `[batch, in_channels, height, width]` → `[batch, 1, h, w]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.main.iter().fold(x, |x, layer| match layer {
            Layer::Conv(conv) => conv.forward(x, Padding::Zero),
            Layer::Norm(norm) => norm.forward(x),
            Layer::Leaky(_) => ops::leaky_relu(x),
        })
    }

    /// [`forward`](Self::forward) by the statistics of the batch, which come with it, one for each
    /// normalisation.
    pub fn forward_training(&self, x: Tensor<4>) -> (Tensor<4>, Vec<BatchStatistics>) {
        let mut seen = Vec::new();
        let x = self.main.iter().fold(x, |x, layer| match layer {
            Layer::Conv(conv) => conv.forward(x, Padding::Zero),
            Layer::Norm(norm) => {
                let (x, statistics) = norm.forward_training(x);
                seen.push(statistics);
                x
            }
            Layer::Leaky(_) => ops::leaky_relu(x),
        });
        (x, seen)
    }

    /// Brings the running statistics nearer to what [`forward_training`](Self::forward_training) saw.
    pub fn track(&mut self, statistics: Vec<BatchStatistics>) {
        let norms = self.main.iter_mut().filter_map(|layer| match layer {
            Layer::Norm(norm) => Some(norm),
            _ => None,
        });
        for (norm, statistics) in norms.zip(statistics) {
            norm.track(statistics);
        }
    }
}
