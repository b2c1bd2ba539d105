//! The input of one call of a U-Net.

use burn::tensor::Tensor;

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
}
