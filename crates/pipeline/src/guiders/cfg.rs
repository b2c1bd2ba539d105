//! Classifier-free guidance (Ho and Salimans, 2207.12598), by one prompt or by several (Liu et al., 2206.01714).

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_diffusion::guidance::cfg_many;
use latent_models::unet::Alter;

use super::{Answers, Ask, Guider, Prompt, parts_with};

/// `e_u + s·Σ wᵢ·(cᵢ − e_u)`, e_u of the negative prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cfg {
    /// s.
    pub scale: f64,
    /// How many parts the prompt has.
    pub parts: usize,
}

impl Guider for Cfg {
    fn asks(&self) -> Vec<Ask> {
        let mut asks = parts_with(&Alter::Nothing, self.parts);
        asks.push(Ask::of(Prompt::Negative));
        asks
    }

    fn combine(
        &self,
        _: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        let base = answers.output(&Ask::of(Prompt::Negative))?;
        let parts = answers.parts(&Alter::Nothing)?;
        Ok(cfg_many(base, &parts, self.scale))
    }
}
