//! From a picture to states as wide as the U-Net's first.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};

use super::ControlNetConfig;
use crate::layers::Conv2d;
use crate::walk::layers;

/// Convolutions of 3×3 with SiLU between them, of which every second one halves the sides.
#[derive(Module, Debug)]
pub struct HintEmbedding {
    /// From the picture.
    pub conv_in: Conv2d,
    /// One that keeps width and size, then one to the next width at half the size, and so on.
    pub blocks: Vec<Conv2d>,
    /// To the U-Net's width.
    pub conv_out: Conv2d,
}

impl HintEmbedding {
    pub(super) fn new(config: &ControlNetConfig, device: &Device) -> Self {
        let widths = &config.hint_widths;
        let first = widths.first().copied().unwrap_or(1);
        let last = widths.last().copied().unwrap_or(1);
        let pairs = widths.windows(2);
        let blocks = pairs.flat_map(|pair| {
            let halves = ConvShape::HALVE;
            [
                Conv2d::new(device, pair[0], pair[0], 3),
                Conv2d::with_shape(device, pair[0], pair[1], 3, halves),
            ]
        });
        Self {
            conv_in: Conv2d::new(device, config.hint_channels, first, 3),
            blocks: blocks.collect(),
            conv_out: Conv2d::new(device, last, config.unet.model_channels, 3),
        }
    }

    /// # Shapes
    ///
    /// `[batch, hint channels, height, width]` → `[batch, model channels, height / 2ⁿ, width / 2ⁿ]`
    pub(super) fn forward(&self, hint: Tensor<4>, padding: Padding) -> Tensor<4> {
        let h = ops::silu(self.conv_in.forward(hint, padding));
        let blocks = self.blocks.iter();
        let h = blocks.fold(h, |h, block| ops::silu(block.forward(h, padding)));
        self.conv_out.forward(h, padding)
    }
}

layers!(HintEmbedding {
    conv_in,
    blocks,
    conv_out
});
