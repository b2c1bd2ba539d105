//! Skip-layer guidance: away from what the network draws without some of its attention blocks (Stability AI's way with
//! Stable Diffusion 3.5, here on the blocks of a U-Net).

use std::ops::RangeInclusive;

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::Alter;

use super::{Answers, Guider};
use crate::request;

/// Adds s·(c − c′) in a part of the run: c′ is the prompt's answer of the network with blocks left out.
#[derive(Debug, Clone, PartialEq)]
pub struct SkipLayers {
    scale: f64,
    alter: Alter,
    interval: RangeInclusive<f64>,
}

impl SkipLayers {
    /// As a request asks for it.
    pub fn of(asked: &request::SkipLayers) -> Self {
        Self {
            scale: asked.scale,
            alter: Alter::Skip(asked.layers.0.clone()),
            interval: asked.start..=asked.end,
        }
    }
}

impl Guider for SkipLayers {
    fn combine(
        &self,
        output: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        match self.interval.contains(&answers.level.at.fraction()) {
            true => answers.away(output, &self.alter, self.scale),
            false => Ok(output),
        }
    }
}
