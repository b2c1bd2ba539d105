//! Guidance rescale (Lin et al., 2305.08891, §3.4).

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_diffusion::guidance::rescale;

use super::{Answers, Ask, Guider, Prompt};

/// Pulls this share, φ, of the output's deviation back to that of the first part of the prompt alone. On the raw output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rescale(pub f64);

impl Guider for Rescale {
    fn combine(
        &self,
        output: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        Ok(rescale(
            output,
            answers.output(&Ask::of(Prompt::Positive(0)))?,
            self.0,
        ))
    }
}
