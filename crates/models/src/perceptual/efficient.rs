//! EfficientNet (Tan and Le, 2019) in its "lite" form: no squeeze-and-excitation, activations within 0..6.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, at_least_one};
use crate::layers::{BatchNorm, Conv2d, Linear, parameter};

/// A run of blocks: how often, the kernel, the stride of the first, the expansion, the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Blocks.
    pub blocks: usize,
    /// Side of the depthwise kernels.
    pub kernel: usize,
    /// Of the first block.
    pub stride: usize,
    /// Times as many channels inside a block as it takes.
    pub expansion: usize,
    /// Channels that each block gives.
    pub channels: usize,
}

/// What an EfficientNet is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EfficientNetConfig {
    /// Channels of the first convolution, which halves the size.
    pub stem: usize,
    /// One after another.
    pub stages: Vec<Stage>,
    /// Features of a picture.
    pub features: usize,
    /// Classes.
    pub classes: usize,
}

impl EfficientNetConfig {
    /// The network, with parameters that are zeros when read before they are loaded.
    pub fn init(&self, device: &Device) -> EfficientNet {
        let mut blocks = Vec::new();
        let mut input = self.stem;
        for stage in &self.stages {
            for i in 0..stage.blocks {
                let stride = if i == 0 { stage.stride } else { 1 };
                blocks.push(MbConv::new(device, input, stage, stride));
                input = stage.channels;
            }
        }
        EfficientNet {
            stem: convolution(device, 3, self.stem, 3, 2),
            stem_norm: BatchNorm::with_eps(device, self.stem, EPS),
            blocks,
            head: convolution(device, input, self.features, 1, 1),
            head_norm: BatchNorm::with_eps(device, self.features, EPS),
            classifier: Linear::new(device, self.features, self.classes, true),
        }
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("stem", self.stem)?;
        at_least_one("features", self.features)?;
        at_least_one("classes", self.classes)?;
        for (i, stage) in self.stages.iter().enumerate() {
            let parts = [
                ("blocks", stage.blocks),
                ("stride", stage.stride),
                ("expansion", stage.expansion),
                ("channels", stage.channels),
            ];
            for (name, value) in parts {
                at_least_one(&format!("stages[{i}].{name}"), value)?;
            }
            if stage.kernel % 2 == 0 {
                let field = format!("stages[{i}].kernel");
                return Err(ConfigError::new(field, stage.kernel, "odd"));
            }
        }
        Ok(())
    }
}

/// ε of the normalisations.
const EPS: f64 = 1e-3;

/// A convolution without bias.
fn convolution(
    device: &Device,
    input: usize,
    output: usize,
    kernel: usize,
    stride: usize,
) -> Conv2d {
    let shape = ConvShape {
        stride,
        padding: [0; 4],
    };
    Conv2d::with_shape(device, input, output, kernel, shape).without_bias()
}

/// Zeros around a picture of this size, so that a kernel of stride `stride` gives ⌈size / stride⌉ pixels; where their
/// number is odd, one more lies right and below: the published network pads as TensorFlow does.
fn same(x: &Tensor<4>, kernel: usize, stride: usize) -> ConvShape {
    let [_, _, height, width] = x.dims();
    let [(top, bottom), (left, right)] = [height, width].map(|size| {
        let all = (size.div_ceil(stride).saturating_sub(1) * stride + kernel).saturating_sub(size);
        (all / 2, all - all / 2)
    });
    ConvShape {
        stride,
        padding: [left, right, top, bottom],
    }
}

/// A convolution and the normalisation after it, as one: what normalises is multiplied into the weights. Their running
/// statistics stand, so both are linear.
fn normalised(x: Tensor<4>, conv: &Conv2d, norm: &BatchNorm, shape: ConvShape) -> Tensor<4> {
    let [factor, shift] = norm.factor_and_shift();
    let weight = conv.weight.val();
    let factor = factor.reshape([weight.dims()[0], 1, 1, 1]);
    ops::conv2d(x, weight * factor, Some(shift), shape, Padding::Zero)
}

/// A 1×1 convolution and its normalisation.
fn pointwise(x: Tensor<4>, conv: &Conv2d, norm: &BatchNorm) -> Tensor<4> {
    normalised(x, conv, norm, ConvShape::same(1))
}

/// A convolution of each channel by a kernel of its own.
#[derive(Module, Debug)]
pub struct DepthwiseConv {
    /// `[channels, 1, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    #[module(skip)]
    stride: usize,
}

impl DepthwiseConv {
    /// With the normalisation after it.
    fn normalised(&self, x: Tensor<4>, norm: &BatchNorm) -> Tensor<4> {
        let [factor, shift] = norm.factor_and_shift();
        let weight = self.weight.val();
        let [channels, _, kernel, _] = weight.dims();
        let weight = weight * factor.reshape([channels, 1, 1, 1]);
        let shape = same(&x, kernel, self.stride);
        ops::depthwise_conv2d(x, weight, shift, shape)
    }
}

/// Expansion, depthwise convolution, projection; plus the input where the shapes are alike.
#[derive(Module, Debug)]
pub struct MbConv {
    /// 1×1, absent where nothing is expanded.
    pub expand: Option<Conv2d>,
    /// After it.
    pub expand_norm: Option<BatchNorm>,
    /// At each channel.
    pub depthwise: DepthwiseConv,
    /// After it.
    pub depthwise_norm: BatchNorm,
    /// 1×1.
    pub project: Conv2d,
    /// After it; nothing follows.
    pub project_norm: BatchNorm,
    #[module(skip)]
    residual: bool,
}

impl MbConv {
    fn new(device: &Device, input: usize, stage: &Stage, stride: usize) -> Self {
        let inner = input * stage.expansion;
        let expands = stage.expansion > 1;
        let norm = |channels| BatchNorm::with_eps(device, channels, EPS);
        Self {
            expand: expands.then(|| convolution(device, input, inner, 1, 1)),
            expand_norm: expands.then(|| norm(inner)),
            depthwise: DepthwiseConv {
                weight: parameter(device, [inner, 1, stage.kernel, stage.kernel]),
                stride,
            },
            depthwise_norm: norm(inner),
            project: convolution(device, inner, stage.channels, 1, 1),
            project_norm: norm(stage.channels),
            residual: stride == 1 && input == stage.channels,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut h = x.clone();
        if let (Some(conv), Some(norm)) = (&self.expand, &self.expand_norm) {
            h = ops::relu6(pointwise(h, conv, norm));
        }
        let h = ops::relu6(self.depthwise.normalised(h, &self.depthwise_norm));
        let h = pointwise(h, &self.project, &self.project_norm);
        if self.residual { ops::add(h, x) } else { h }
    }
}

/// An EfficientNet, built by [`EfficientNetConfig::init`].
#[derive(Module, Debug)]
pub struct EfficientNet {
    /// 3×3 of stride two.
    pub stem: Conv2d,
    /// After it.
    pub stem_norm: BatchNorm,
    /// One after another.
    pub blocks: Vec<MbConv>,
    /// 1×1.
    pub head: Conv2d,
    /// After it.
    pub head_norm: BatchNorm,
    /// Of the mean over the picture.
    pub classifier: Linear,
}

impl EfficientNet {
    fn stem(&self, picture: Tensor<4>) -> Tensor<4> {
        // The published network wants (v − 127) / 128 of 0..255.
        let x = picture * (127.5 / 128.0) + 0.5 / 128.0;
        let shape = same(&x, 3, 2);
        ops::relu6(normalised(x, &self.stem, &self.stem_norm, shape))
    }

    /// What the last block before each halving gives, and the last of all, for a picture in −1..1.
    ///
    /// # Shapes
    ///
    /// `[batch, 3, height, width]` → `[batch, channels, h, w]` of each, half as large as the one before
    pub fn stages(&self, picture: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = self.stem(picture);
        let mut found = Vec::new();
        for block in &self.blocks {
            if block.depthwise.stride > 1 {
                found.push(x.clone());
            }
            x = block.forward(x);
        }
        found.push(x);
        found
    }

    /// Channels, height and width of each of the [`stages`](Self::stages) of a picture of that size.
    pub(super) fn maps(&self, size: [usize; 2]) -> Vec<[usize; 3]> {
        let shape = |channels: usize, [height, width]: [usize; 2]| [channels, height, width];
        let mut channels = self.stem.weight.dims()[0];
        let mut size = size.map(|side| side.div_ceil(2));
        let mut found = Vec::new();
        for block in &self.blocks {
            let stride = block.depthwise.stride;
            if stride > 1 {
                found.push(shape(channels, size));
            }
            size = size.map(|side| side.div_ceil(stride));
            channels = block.project.weight.dims()[0];
        }
        found.push(shape(channels, size));
        found
    }

    /// The features of whole pictures in −1..1: `[batch, 3, height, width]` → `[batch, features]`.
    pub fn pooled(&self, picture: Tensor<4>) -> Tensor<2> {
        let x = self
            .blocks
            .iter()
            .fold(self.stem(picture), |x, block| block.forward(x));
        let x = ops::relu6(pointwise(x, &self.head, &self.head_norm));
        ops::to_tokens(x).mean_dim(1).squeeze_dim(1)
    }

    /// The score of each class, before any softmax: `[batch, 3, height, width]` → `[batch, classes]`.
    pub fn scores(&self, picture: Tensor<4>) -> Tensor<2> {
        self.classifier.forward(self.pooled(picture))
    }
}
