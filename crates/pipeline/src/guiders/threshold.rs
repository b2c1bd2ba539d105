//! Dynamic thresholding (Imagen, 2205.11487, §2.3) with the range of a weaker guidance as its limit, since a latent has
//! no range of its own.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_diffusion::guidance::dynamic_threshold;

use super::{Answers, Ask, Guider, Prompt};

/// Bounds on the guided x̂₀.
pub struct Threshold {
    /// The share of values that stay unclamped, in (0, 1].
    pub percentile: f64,
    /// The guidance whose largest value is the limit.
    pub mimic: Box<dyn Guider>,
}

impl Guider for Threshold {
    fn finish(
        &self,
        clean: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        let conditional = answers.output(&Ask::of(Prompt::Positive(0)))?;
        let mimicked = self.mimic.combine(conditional, answers)?;
        let mimicked = answers.level.clean(mimicked);
        let batch = clean.dims()[0];
        let pictures = clean.chunk(batch, 0).into_iter();
        let held = pictures
            .zip(mimicked.chunk(batch, 0))
            .map(|(picture, mimic)| {
                let values = mimic.into_data().convert::<f32>();
                let limit = values
                    .iter::<f32>()
                    .fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
                dynamic_threshold(picture, self.percentile, f64::from(limit), None)
            });
        Ok(Tensor::cat(held.collect::<Result<_, _>>()?, 0))
    }
}
