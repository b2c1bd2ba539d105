//! Residual blocks and changes of resolution.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};

use super::config::{Resample, TimeShift, UNetConfig};
use crate::layers::{Conv2d, GroupNorm, Linear};

/// What a resblock does to the resolution, on both of its branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing.
    Keep,
    /// Averages squares of four pixels.
    Halve,
    /// Repeats each pixel.
    Double,
}

/// norm, SiLU, convolution; time; norm, SiLU, convolution; plus the input.
#[derive(Module, Debug)]
pub struct Resnet {
    /// Before the first convolution.
    pub norm1: GroupNorm,
    /// 3×3.
    pub conv1: Conv2d,
    /// The time embedding to one shift per channel, or to a scale and a shift. Autoencoders have none.
    pub time_emb_proj: Option<Linear>,
    /// Before the second convolution.
    pub norm2: GroupNorm,
    /// 3×3.
    pub conv2: Conv2d,
    /// 1×1, where the number of channels changes.
    pub conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    time_shift: TimeShift,
    #[module(skip)]
    resolution: Resolution,
}

impl Resnet {
    /// One block of a U-Net.
    pub(super) fn new(
        device: &Device,
        config: &UNetConfig,
        input: usize,
        output: usize,
        resolution: Resolution,
    ) -> Self {
        let shifts = match config.time_shift {
            TimeShift::Additive => output,
            TimeShift::ScaleShift => 2 * output,
        };
        let time = Linear::new(device, config.time_channels(), shifts, true);
        Self {
            time_emb_proj: Some(time),
            time_shift: config.time_shift,
            resolution,
            ..Self::without_time(device, config.norm_groups, input, output, super::NORM_EPS)
        }
    }

    /// One block of an autoencoder.
    pub fn without_time(
        device: &Device,
        groups: usize,
        input: usize,
        output: usize,
        eps: f64,
    ) -> Self {
        Self {
            norm1: GroupNorm::new(device, groups, input, eps),
            conv1: Conv2d::new(device, input, output, 3),
            time_emb_proj: None,
            norm2: GroupNorm::new(device, groups, output, eps),
            conv2: Conv2d::new(device, output, output, 3),
            conv_shortcut: (input != output).then(|| Conv2d::new(device, input, output, 1)),
            time_shift: TimeShift::Additive,
            resolution: Resolution::Keep,
        }
    }

    fn resample(&self, x: Tensor<4>) -> Tensor<4> {
        match self.resolution {
            Resolution::Keep => x,
            Resolution::Halve => ops::average_2x2(x),
            Resolution::Double => ops::nearest_2x(x),
        }
    }

    /// # Shapes
    ///
    /// - x `[batch, in, height, width]`; time `[batch, time channels]`, already through SiLU
    /// - output `[batch, out, height, width]`, height and width halved or doubled where the block does that
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>, padding: Padding) -> Tensor<4> {
        let h = self.resample(self.norm1.forward_silu(x.clone()));
        let mut h = self.conv1.forward(h, padding);
        let shifts = match (&self.time_emb_proj, time) {
            (Some(layer), Some(time)) => Some(layer.forward(time.clone())),
            _ => None,
        };
        // [batch, channels] → [batch, channels, 1, 1]
        let spread = |t: Tensor<2>| {
            let [batch, channels] = t.dims();
            t.reshape([batch, channels, 1, 1])
        };
        h = match (shifts, self.time_shift) {
            (None, _) => self.norm2.forward_silu(h),
            (Some(shift), TimeShift::Additive) => self.norm2.forward_silu(h + spread(shift)),
            (Some(both), TimeShift::ScaleShift) => {
                let [_, twice] = both.dims();
                let scale = both.clone().narrow(1, 0, twice / 2);
                let shift = both.narrow(1, twice / 2, twice / 2);
                ops::silu(self.norm2.forward(h) * (spread(scale) + 1.0) + spread(shift))
            }
        };
        let h = self.conv2.forward(h, padding);
        let x = self.resample(x);
        match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x, padding) + h,
            None => x + h,
        }
    }
}

/// A 3×3 convolution that halves or follows a doubling of the resolution.
#[derive(Module, Debug)]
pub struct ResampleConv {
    /// The convolution.
    pub conv: Conv2d,
}

/// The change of resolution after a level.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Resampler {
    /// By a convolution.
    Conv(ResampleConv),
    /// By a resblock.
    Resnet(Resnet),
}

impl Resampler {
    /// To half the resolution.
    pub(super) fn down(device: &Device, config: &UNetConfig, channels: usize) -> Self {
        match config.resample {
            Resample::Conv => Self::Conv(ResampleConv {
                conv: Conv2d::with_shape(device, channels, channels, 3, ConvShape::HALVE),
            }),
            Resample::Resnet => Self::Resnet(Resnet::new(
                device,
                config,
                channels,
                channels,
                Resolution::Halve,
            )),
        }
    }

    /// To twice the resolution.
    pub(super) fn up(device: &Device, config: &UNetConfig, channels: usize) -> Self {
        match config.resample {
            Resample::Conv => Self::Conv(ResampleConv {
                conv: Conv2d::new(device, channels, channels, 3),
            }),
            Resample::Resnet => Self::Resnet(Resnet::new(
                device,
                config,
                channels,
                channels,
                Resolution::Double,
            )),
        }
    }

    pub(super) fn halve(&self, x: Tensor<4>, time: &Tensor<2>, padding: Padding) -> Tensor<4> {
        match self {
            Self::Conv(down) => down.conv.forward(x, padding),
            Self::Resnet(block) => block.forward(x, Some(time), padding),
        }
    }

    /// To `size`, which is twice the height and width of `x` or one less (where an odd size was halved).
    pub(super) fn double(
        &self,
        x: Tensor<4>,
        time: &Tensor<2>,
        size: [usize; 2],
        padding: Padding,
    ) -> Tensor<4> {
        match self {
            Self::Conv(up) => up
                .conv
                .forward(ops::crop(ops::nearest_2x(x), size), padding),
            Self::Resnet(block) => ops::crop(block.forward(x, Some(time), padding), size),
        }
    }
}
