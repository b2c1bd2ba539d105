//! Pictures of labels made small enough to stand beside the latent.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, Padding};

use crate::layers::Conv2d;

/// Halves a picture some times, then mixes its channels by a 1×1 convolution without bias.
///
/// The published models take one channel for each class of a semantic map, 182, and give 3. Halving is bilinear, which
/// for a factor of exactly two is the mean of four pixels. The parameter is called as in the published checkpoints.
#[derive(Module, Debug)]
pub struct SpatialRescaler {
    /// 1×1.
    pub channel_mapper: Conv2d,
    #[module(skip)]
    stages: usize,
}

impl SpatialRescaler {
    /// From `input` channels to `output` channels, `stages` times halved.
    pub fn new(device: &Device, input: usize, output: usize, stages: usize) -> Self {
        Self {
            channel_mapper: Conv2d::new(device, input, output, 1).without_bias(),
            stages,
        }
    }

    /// # Shapes
    ///
    /// `[batch, in, height, width]` → `[batch, out, height / 2^stages, width / 2^stages]`, f32; height and width are
    /// multiples of 2^stages
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = (0..self.stages).fold(x, |x, _| ops::average_2x2(x));
        let dtype = self.channel_mapper.weight.val().dtype();
        let mixed = self.channel_mapper.forward(x.cast(dtype), Padding::Zero);
        mixed.cast(DType::F32)
    }
}
