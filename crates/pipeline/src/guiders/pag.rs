//! Perturbed-attention guidance (Ahn et al., 2403.17377).

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::Alter;

use super::{Answers, Ask, Guider, parts_with};
use crate::request::PerturbedAttention;

/// Adds p·(c − c′): c′ is the prompt's answer with self-attention that sees each pixel by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Pag {
    scale: f64,
    alter: Alter,
    parts: usize,
}

impl Pag {
    /// As a request asks for it, with a prompt of so many parts.
    pub fn of(asked: &PerturbedAttention, parts: usize) -> Self {
        Self {
            scale: asked.scale,
            alter: Alter::Identity(asked.layers.0.clone()),
            parts,
        }
    }
}

impl Guider for Pag {
    fn asks(&self) -> Vec<Ask> {
        [&Alter::Nothing, &self.alter]
            .map(|alter| parts_with(alter, self.parts))
            .concat()
    }

    fn combine(
        &self,
        output: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        answers.away(output, &self.alter, self.scale)
    }
}
