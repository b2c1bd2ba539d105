//! The input of one call of a denoiser.

use burn::tensor::Tensor;

use super::given::GivenStates;
use crate::unet::{Alter, Extras, Remembered};

/// What a denoiser is called with.
#[derive(Debug, Clone)]
pub struct Input<'a> {
    /// The noisy latent and the channels beside it, `[batch, in_channels, height, width]`.
    pub x: Tensor<4>,
    /// The training step, which may be fractional, `[batch]`.
    pub t: Tensor<1>,
    /// What was [made ready](super::Denoiser::prepare) once for all steps.
    pub given: &'a GivenStates,
    /// What attention blocks do in this pass.
    pub alter: &'a Alter,
    /// Whether [`Output::attended`] is asked for.
    pub watch: bool,
    /// The block, counted from 1, after which [`Output::states`] are asked for; see [`DenoiserConfig::blocks`](super::DenoiserConfig::blocks).
    pub states: Option<usize>,
    /// What other networks add inside of a U-Net.
    pub extras: Extras,
}

/// What a denoiser answers.
#[derive(Debug, Clone)]
pub struct Output {
    /// The prediction in f32, `[batch, out_channels, height, width]`.
    pub x: Tensor<4>,
    /// How much each pixel of the middle is attended to by all of them, by its first self-attention on the mean of its
    /// heads: 1 on average, `[batch, 1, h, w]` of the middle's size. Where it is asked for, and there is one.
    pub attended: Option<Tensor<4>>,
    /// What the block that was asked for gave, in the type of the network: `[batch, channels, h, w]` of its level or of its patches.
    pub states: Option<Tensor<4>>,
    /// What self-attention was given in every transformer block, where it is asked for.
    pub remembered: Remembered,
}
