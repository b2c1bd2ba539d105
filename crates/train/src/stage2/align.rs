//! States of the denoiser that are drawn towards the features that another network has of the picture.
//!
//! Yu et al., "Representation Alignment for Generation", 2410.06940: what a block makes of the noisy latent is projected, and
//! the projection at each position is turned to the direction of the features of the clean picture there. The projection is
//! a convolution and each channel of the features is normalised over the positions, so that what is learnt is where things
//! are (Singh et al., 2512.10794). Where the denoiser works at another resolution, the projection is resized
//! (Tian et al., 2503.18414). It serves training alone, and no model holds it.

use std::path::PathBuf;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_models::layers::Conv2d;
use latent_models::{Padding, feature_distance};
use latent_ops::{self as ops, Filter};
use serde::{Deserialize, Serialize};

use super::Stage2Config;
use super::features::Features;
use crate::{
    Error, Example, Learner, LearnerSettings, StateReader, TaskContext, initialise, torch_default,
};

/// `[model.align]`: towards which features, and how strongly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlignConfig {
    /// The file of the network whose features they are (`tools/perceptual.sh`).
    pub features: PathBuf,
    /// Which of its feature maps, counted from 1 at the finest: the fourth has one position for 16×16 pixels in an EfficientNet,
    /// for 8×8 in VGG.
    #[serde(default = "fourth")]
    pub layer: usize,
    /// The block of the denoiser whose states are drawn to them, counted from 1. Where it is left out, the middle of a U-Net
    /// and a third of the way through a transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<usize>,
    /// Of the mean negative cosine, beside the denoiser's own loss; 0.5 in the paper.
    #[serde(default = "half")]
    pub weight: f64,
    /// The first step without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

fn fourth() -> usize {
    4
}

fn half() -> f64 {
    0.5
}

impl AlignConfig {
    /// # Errors
    /// A setting that is out of its range, for a denoiser of so many blocks.
    pub fn validate(&self, blocks: usize) -> Result<(), Error> {
        if !(self.weight > 0.0 && self.weight.is_finite()) {
            let name = "model.align.weight";
            return Err(Error::setting(name, self.weight, "a number above 0"));
        }
        if self.until == Some(0) {
            let expected =
                "1 or more, the first step without it; without any, leave [model.align] out";
            return Err(Error::setting("model.align.until", 0, expected));
        }
        match self.block.filter(|block| !(1..=blocks).contains(block)) {
            Some(block) => {
                let expected = format!("1 to {blocks}, the blocks of the denoiser");
                Err(Error::setting("model.align.block", block, &expected))
            }
            None => Ok(()),
        }
    }
}

/// From the denoiser's states to as many channels as the features have.
#[derive(Module, Debug)]
pub(super) struct Projection {
    conv: Conv2d,
}

impl Projection {
    /// 3×3, with torch's first weights.
    fn new(states: usize, features: usize, seed: u64, device: &Device) -> Result<Self, Error> {
        let conv = Conv2d::new(device, states, features, 3);
        let module = Self { conv };
        let rule = torch_default(&module, &[]);
        Ok(initialise(module, seed, &rule)?)
    }

    /// The negative cosine between the projection and the features, averaged over the positions: `[batch]`, −1..1.
    ///
    /// # Shapes
    ///
    /// states `[batch, channels, h, w]` of any type, features `[batch, features, height, width]`
    pub fn apart(&self, states: Tensor<4>, features: Tensor<4>) -> Tensor<1> {
        let [_, _, height, width] = features.dims();
        let projected = self.conv.forward(states, Padding::Zero).cast(DType::F32);
        let projected = ops::resize(projected, [height, width], Filter::BilinearAntialias);
        // The squared distance of unit vectors is 2 − 2·cos.
        feature_distance(vec![projected], vec![features]) * 0.5 - 1.0
    }
}

/// What aligns the denoiser, and the projection that learns with it.
#[derive(Debug)]
pub(super) struct Align {
    /// The block of the denoiser.
    pub block: usize,
    /// What the loss is multiplied by.
    pub weight: f64,
    pub learner: Learner<Projection>,
    until: Option<u64>,
    features: Features,
}

impl Align {
    /// What the settings ask for, if anything.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn open(config: &Stage2Config, context: &TaskContext) -> Result<Option<Self>, Error> {
        let Some(align) = &config.align else {
            return Ok(None);
        };
        let plain = context.device.clone().inner();
        let features = Features::open(align, config.cache.as_deref(), &plain)?;
        let denoiser = config.denoiser()?;
        let block = align.block.unwrap_or_else(|| denoiser.semantic_block());
        let states = denoiser.blocks()[block - 1];
        let [channels, ..] = features.map([1; 2]);
        let projection = Projection::new(states, channels, context.seed, &context.device)?;
        let settings = LearnerSettings {
            ema: None,
            ..context.learner
        };
        Ok(Some(Self {
            block,
            weight: align.weight,
            learner: Learner::new(projection, settings),
            until: align.until,
            features,
        }))
    }

    /// Whether it takes part in that step.
    pub fn acts(&self, step: u64) -> bool {
        self.until.is_none_or(|until| step < until)
    }

    /// The features of a batch: `[batch, features, h, w]`.
    ///
    /// # Errors
    /// Pictures that are too small; a cache that cannot be written.
    pub fn features(&self, batch: &[Example]) -> Result<Tensor<4>, Error> {
        let pictures: Vec<_> = batch.iter().map(|e| (e.id.as_str(), &e.picture)).collect();
        let keep: Vec<bool> = batch.iter().map(Example::is_centred).collect();
        self.features.of(&pictures, &keep)
    }

    /// The weights of another run's projection, where it has one.
    ///
    /// # Errors
    /// One from or to other channels.
    pub fn begin_from(&mut self, from: &mut StateReader) -> Result<(), Error> {
        match from.has(&format!("{ALIGN}/weights/conv.weight")) {
            true => self.learner.begin_from(ALIGN, from),
            false => Ok(()),
        }
    }
}

/// What the projection is called in a state.
pub(super) const ALIGN: &str = "align";

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::Random;

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    /// The value against cosines by hand, the gradients of states and weights against finite differences; where the states
    /// are finer, coarser and as fine as the features.
    #[test]
    fn alignment_is_the_mean_cosine_and_has_its_gradient() {
        let device = Device::flex().autodiff();
        let plain = Device::flex();
        for side in [2, 3, 6] {
            let mut random = Random::new(5, "align", 0, 0);
            let states: Tensor<4> = random.normals([2, 3, side, side], &plain);
            let features: Tensor<4> = random.normals([2, 4, 3, 3], &plain);
            let projection = Projection::new(3, 4, 9, &device).unwrap();
            let loss = |projection: &Projection, states: Tensor<4>| {
                projection.apart(states, features.clone())
            };
            let leaf = Tensor::from_inner(states.clone()).require_grad();
            let each = loss(&projection, leaf.clone());
            let projected = projection
                .conv
                .forward(states.clone(), Padding::Zero)
                .inner();
            let projected = ops::resize(projected, [3, 3], Filter::BilinearAntialias);
            let rows = |x: Tensor<4>| numbers(ops::to_tokens(x));
            let (a, b) = (rows(projected), rows(features.clone()));
            let cosines = a.chunks(4).zip(b.chunks(4)).map(|(a, b)| {
                let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
                dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
            });
            let cosines: Vec<f32> = cosines.collect();
            for (got, each) in numbers(each.clone()).iter().zip(cosines.chunks(9)) {
                let want = -each.iter().sum::<f32>() / 9.0;
                assert!((got - want).abs() < 1e-5, "{got} {want}");
            }
            let gradients = each.sum().backward();
            let sum = |projection: &Projection, states: Tensor<4>| -> f64 {
                numbers(loss(projection, states))
                    .iter()
                    .map(|&v| f64::from(v))
                    .sum()
            };
            let step = 1e-2;
            let nudged = |x: &Tensor<4>, at: usize, by: f32| {
                let mut numbers = numbers(x.clone());
                numbers[at] += by;
                Tensor::<4>::from_data(TensorData::new(numbers, x.dims()), &plain)
            };
            let check = |gradient: Vec<f32>, at: usize, value: &dyn Fn(f32) -> f64| {
                let slope = (value(step) - value(-step)) / f64::from(2.0 * step);
                let got = f64::from(gradient[at]);
                assert!(
                    (got - slope).abs() < 2e-3 + 0.02 * slope.abs(),
                    "{at}: {got} {slope}"
                );
            };
            for at in [0, 4, 2 * 3 * side * side - 1] {
                let gradient = numbers(leaf.grad(&gradients).unwrap());
                check(gradient, at, &|by| {
                    sum(&projection, nudged(&states, at, by))
                });
            }
            for at in [0, 40, 107] {
                let weight = projection.conv.weight.val();
                let gradient = numbers(weight.grad(&gradients).unwrap());
                check(gradient, at, &|by| {
                    let mut moved = projection.clone();
                    moved.conv.weight = moved
                        .conv
                        .weight
                        .map(|w| Tensor::from_inner(nudged(&w.inner(), at, by)).require_grad());
                    sum(&moved, states.clone())
                });
            }
        }
    }
}
