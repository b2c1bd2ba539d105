//! VGG (Simonyan and Zisserman, "Very Deep Convolutional Networks", 2015), without its classifier.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, Padding};
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, at_least_one};
use crate::layers::{Conv2d, Gap};

/// The means of red, green and blue that the published weights were trained with, of 0..255.
const MEAN: [f32; 3] = [122.679, 116.669, 104.007];

/// Convolutions at one resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VggBlock {
    /// Channels of each.
    pub channels: usize,
    /// How many.
    pub convolutions: usize,
}

/// What a VGG is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VggConfig {
    /// Finest first; each after the first works at half the resolution of the one before.
    pub blocks: Vec<VggBlock>,
}

impl VggConfig {
    /// The network, with parameters that are zeros when read before they are loaded.
    pub fn init(&self, device: &Device) -> Vgg {
        let mut features = Vec::new();
        let mut input = 3;
        for (i, block) in self.blocks.iter().enumerate() {
            if i > 0 {
                features.push(Layer::Pool(Gap {}));
            }
            for _ in 0..block.convolutions {
                features.push(Layer::Conv(Conv2d::new(device, input, block.channels, 3)));
                features.push(Layer::Relu(Gap {}));
                input = block.channels;
            }
        }
        Vgg { features }
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("number of blocks", self.blocks.len())?;
        for (i, block) in self.blocks.iter().enumerate() {
            at_least_one(&format!("blocks[{i}].channels"), block.channels)?;
            at_least_one(&format!("blocks[{i}].convolutions"), block.convolutions)?;
        }
        Ok(())
    }
}

/// One step of a [`Vgg`].
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a handful of values, and burn has no modules in boxes
pub enum Layer {
    /// 3×3.
    Conv(Conv2d),
    /// The positive part, after every convolution.
    Relu(Gap),
    /// The largest of every 2×2 pixels, between blocks.
    Pool(Gap),
}

/// A VGG's features, built by [`VggConfig::init`]. The parameters' names are torchvision's.
#[derive(Module, Debug)]
pub struct Vgg {
    /// One after another.
    pub features: Vec<Layer>,
}

impl Vgg {
    /// What each block gives (relu1_2, relu2_2, relu3_3, …), for a picture in −1..1.
    ///
    /// # Shapes
    ///
    /// `[batch, 3, height, width]` → `[batch, channels, h, w]` of each block, each half as large
    pub fn features(&self, picture: Tensor<4>) -> Vec<Tensor<4>> {
        let shift = Tensor::<1>::from_data(MEAN.map(|mean| 127.5 - mean), &picture.device());
        let mut x = picture * 127.5 + shift.reshape([1, 3, 1, 1]);
        let mut found = Vec::new();
        for layer in &self.features {
            x = match layer {
                Layer::Conv(conv) => conv.forward(x, Padding::Zero),
                Layer::Relu(_) => ops::relu(x),
                Layer::Pool(_) => {
                    let [kept, x] = ops::fork(x);
                    found.push(kept);
                    ops::max_2x2(x)
                }
            };
        }
        found.push(x);
        found
    }

    /// Channels, height and width of each of the [`features`](Self::features) of a picture of that size.
    pub(super) fn maps(&self, [height, width]: [usize; 2]) -> Vec<[usize; 3]> {
        let mut map = [3, height, width];
        let mut found = Vec::new();
        for layer in &self.features {
            match layer {
                Layer::Conv(conv) => map[0] = conv.weight.dims()[0],
                Layer::Relu(_) => {}
                Layer::Pool(_) => {
                    found.push(map);
                    map = [map[0], map[1] / 2, map[2] / 2];
                }
            }
        }
        found.push(map);
        found
    }

    /// The shortest side of a picture that has features in every block.
    pub fn smallest(&self) -> usize {
        let pools = self
            .features
            .iter()
            .filter(|layer| matches!(layer, Layer::Pool(_)));
        1 << pools.count()
    }
}
