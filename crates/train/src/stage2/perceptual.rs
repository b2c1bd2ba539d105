//! What an error of the denoiser looks like, to the decoder that will draw it.
//!
//! Berrada et al., "Boosting Latent Diffusion with Perceptual Objectives", 2411.04873: an error of the latent counts by what the
//! first stage's decoder makes of it in its first levels. Where there is more noise than a limit, the clean latent can only be
//! guessed at, and nothing is compared. The paper's mask of outlying features and its normalisation by channels are left out:
//! features are compared as in the perceptual loss of the first stage, by their directions.

use burn::tensor::Tensor;
use latent_models::{AutoencoderConfig, feature_distance};
use serde::{Deserialize, Serialize};

use super::FirstStage;
use crate::{Error, Level, Objective};

/// `[model.perceptual]`: how much of the decoder looks at what, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerceptualConfig {
    /// How many levels of the decoder, from the coarsest on.
    pub levels: usize,
    /// Of the mean squared distance of the directions of features (0 to 4), beside the denoiser's own loss.
    pub weight: f64,
    /// The share of all time below which answers are compared, above 0 and at most 1.
    pub below: f64,
    /// The first step with it.
    pub from: u64,
}

impl Default for PerceptualConfig {
    fn default() -> Self {
        Self {
            levels: 2,
            weight: 1.0,
            below: 0.5,
            from: 0,
        }
    }
}

impl PerceptualConfig {
    /// # Errors
    /// A number that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        if !(self.weight > 0.0 && self.weight.is_finite()) {
            let name = "model.perceptual.weight";
            return Err(Error::setting(name, self.weight, "a number above 0"));
        }
        match self.below > 0.0 && self.below <= 1.0 {
            true => Ok(()),
            false => {
                let name = "model.perceptual.below";
                Err(Error::setting(name, self.below, "above 0 and at most 1"))
            }
        }
    }

    /// # Errors
    /// A first stage that is none, or whose decoder has not so many levels.
    pub(super) fn fits(&self, first: Option<&AutoencoderConfig>) -> Result<(), Error> {
        let Some(first) = first else {
            let expected = "absent where there is no model.first_stage, whose decoder looks";
            return Err(Error::setting("model.perceptual", "set", expected));
        };
        let most = first.levels.len();
        match (1..=most).contains(&self.levels) {
            true => Ok(()),
            false => {
                let expected = format!("1 to {most}, the levels of the first stage's decoder");
                let name = "model.perceptual.levels";
                Err(Error::setting(name, self.levels, &expected))
            }
        }
    }

    /// The pictures of a batch that are compared in that step.
    pub(super) fn rows(&self, levels: &[Level], objective: &Objective, step: u64) -> Vec<usize> {
        let all = objective.schedule().steps() as f64;
        let compared = |level: &Level| step >= self.from && level.time / all < self.below;
        let rows = levels.iter().enumerate();
        rows.filter(|(_, level)| compared(level))
            .map(|(row, _)| row)
            .collect()
    }

    /// How far apart clean latents look that were `made` and those that are right: `[batch]`, 0..4.
    ///
    /// # Shapes
    ///
    /// Both `[batch, channels, height, width]`, scaled
    pub(super) fn apart(&self, first: &FirstStage, made: Tensor<4>, right: Tensor<4>) -> Tensor<1> {
        let [made, right] = [made, right].map(|latents| first.levels(latents, self.levels));
        feature_distance(made, right)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::{Device, TensorData};
    use latent_diffusion::Prediction;
    use latent_models::autoencoder::AutoencoderLevel;

    use super::*;
    use crate::{Fill, ObjectiveConfig, Random, initialise};

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    fn first() -> FirstStage {
        let level = |channels| AutoencoderLevel {
            channels,
            attention: false,
        };
        let config = AutoencoderConfig {
            in_channels: 3,
            out_channels: 3,
            levels: vec![level(4), level(8)],
            resblocks: 1,
            middle_attention: true,
            z_channels: 2,
            latent_channels: 2,
            double_z: true,
            quant_conv: true,
            post_quant_conv: true,
            codebook: None,
            norm_groups: 2,
        };
        let device = Device::flex();
        let rule = |name: &str, _: &[usize]| match name {
            name if name.contains("norm") && name.ends_with("weight") => Fill::Constant(1.0),
            _ => Fill::Normal(0.3),
        };
        let network = initialise(config.init(&device), 8, &rule).unwrap();
        FirstStage::new(network.no_grad(), 0.5, &device).unwrap()
    }

    /// Against the decoder as it draws, and against finite differences.
    #[test]
    fn latents_are_compared_by_the_decoders_levels_and_the_gradient_is_right() {
        let (first, device) = (first(), Device::flex());
        let mut random = Random::new(3, "latents", 0, 0);
        let [made, right] = [(); 2].map(|()| random.normals::<4>([2, 2, 3, 4], &device));
        let levels = first.levels(made.clone(), 2);
        let shapes: Vec<_> = levels.iter().map(|level| level.dims()).collect();
        assert_eq!(shapes, [[2, 8, 3, 4], [2, 4, 6, 8]]);
        // The last level, through norm and last convolution, is the picture.
        let network = first.autoencoder().unwrap();
        let h = network
            .decoder
            .conv_norm_out
            .forward_silu(levels[1].clone());
        assert_eq!(
            numbers(network.last_layer(h)),
            numbers(first.decode(made.clone()))
        );
        assert_eq!(
            numbers(first.levels(made.clone(), 1)[0].clone()),
            numbers(levels[0].clone())
        );

        let config = PerceptualConfig::default();
        let leaf = Tensor::from_inner(made.clone()).require_grad();
        let each = config.apart(&first, leaf.clone(), right.clone());
        let same = config.apart(&first, right.clone(), right.clone());
        assert!(numbers(same).iter().all(|&v| v == 0.0));
        assert!(numbers(each.clone()).iter().all(|&v| v > 0.0 && v < 4.0));
        let gradient = numbers(leaf.grad(&each.sum().backward()).unwrap());
        let step = 1e-2;
        for at in [0, 7, 30, 47] {
            let value = |by: f32| -> f64 {
                let mut moved = numbers(made.clone());
                moved[at] += by;
                let moved = Tensor::from_data(TensorData::new(moved, made.dims()), &device);
                let apart = numbers(config.apart(&first, moved, right.clone()));
                apart.iter().map(|&v| f64::from(v)).sum()
            };
            let slope = (value(step) - value(-step)) / f64::from(2.0 * step);
            let got = f64::from(gradient[at]);
            assert!(
                (got - slope).abs() < 2e-3 + 0.02 * slope.abs(),
                "{at}: {got} {slope}"
            );
        }
    }

    #[test]
    fn what_is_too_noisy_or_too_early_is_not_compared() {
        for prediction in [Prediction::Flow, Prediction::Epsilon] {
            let objective = Objective::new(ObjectiveConfig {
                prediction,
                ..ObjectiveConfig::default()
            })
            .unwrap();
            let mut random = Random::new(1, "levels", 0, 0);
            let levels: Vec<Level> = (0..5)
                .map(|band| objective.draw_in(band, &mut random))
                .collect();
            let config = PerceptualConfig {
                below: 0.4,
                from: 7,
                ..PerceptualConfig::default()
            };
            assert_eq!(
                config.rows(&levels, &objective, 7),
                [0, 1],
                "{prediction:?}"
            );
            assert!(config.rows(&levels, &objective, 6).is_empty());
        }
    }
}
