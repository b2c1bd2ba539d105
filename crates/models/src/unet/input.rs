//! The input of one call of a U-Net.

use burn::tensor::Tensor;

use super::alter::Alter;
use super::extras::Extras;
use super::given::GivenStates;

/// What a U-Net is called with.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The noisy latent and the channels beside it, `[batch, in_channels, height, width]`.
    pub x: Tensor<4>,
    /// The training step, which may be fractional, `[batch]`.
    pub t: Tensor<1>,
    /// What was [made ready](super::UNet::prepare) once for all steps.
    pub given: &'a GivenStates,
    /// What attention blocks do in this pass.
    pub alter: &'a Alter,
    /// Whether [`Output::attended`] is asked for.
    pub watch: bool,
    /// The block, counted from 1, after which [`Output::states`] are asked for; see [`UNetConfig::blocks`](super::UNetConfig::blocks).
    pub states: Option<usize>,
    /// What other networks add inside.
    pub extras: Extras,
}

/// What a U-Net answers.
#[derive(Debug, Clone)]
pub struct Output {
    /// The prediction in f32, `[batch, out_channels, height, width]`.
    pub x: Tensor<4>,
    /// How much each pixel of the middle is attended to by all of them, by its first self-attention on the mean of its
    /// heads: 1 on average, `[batch, 1, h, w]` of the middle's size. Where it is asked for, and there is one.
    pub attended: Option<Tensor<4>>,
    /// What the block that was asked for gave, in the type of the network: `[batch, channels, h, w]` of its level.
    pub states: Option<Tensor<4>>,
}
