//! Teaching the judge, keeping it, and asking it.

use std::path::Path;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use image::imageops::flip_horizontal;
use latent_data::random;
use latent_train::{Ema, Fill, LearnerSettings, Optimiser};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::augment::{Sample, augmented};
use super::network::{Network, SIDE};
use crate::teaching::{Course, teach};
use crate::{Error, Observer, kept, observe, pictures};

/// Pictures of a step.
const BATCH: usize = 64;
/// The largest rate.
const PEAK: f64 = 3e-3;
/// Batches by which the averaged weights get their statistics: what was there before is a thousandth after 64.
const TRACKED: u64 = 64;
/// The share of certainty that goes to all things alike (Szegedy et al. 2016, section 7).
const SMOOTH: f64 = 0.1;
/// What the judge's files are called.
const NAME: &str = "judge";
/// The purposes of random numbers here.
const ORDER: u64 = 60;
const AUGMENT: u64 = 61;

/// What a judge has learnt from, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Teaching {
    /// A hash of the names of the training pictures and of the things that they show.
    pub content: u64,
    /// Side of the pictures as they were read, in pixels.
    pub size: u32,
    /// Steps of 64 pictures.
    pub steps: u64,
    /// What its first weights, the order of pictures and what is done to them are drawn from.
    pub seed: u64,
}

/// What lies beside the weights.
#[derive(Serialize, Deserialize)]
struct Kept {
    teaching: Teaching,
    /// The things, in the order of their numbers.
    things: Vec<String>,
    /// The model whose autoencoder a share of the pictures has gone through.
    autoencoder: Option<String>,
}

/// A network that says what a picture shows.
#[derive(Debug)]
pub(crate) struct Judge {
    network: Network,
    device: Device,
    /// The model through whose autoencoder a share of its pictures has gone.
    pub autoencoder: Option<String>,
}

/// What the judge made of pictures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looked {
    /// How likely each thing is, one picture after another: logarithms, but for a constant of each picture.
    pub scores: Vec<f32>,
    /// What was seen of each picture, one after another.
    pub features: Vec<f32>,
}

impl Judge {
    /// The judge that `folder` keeps, where it has been taught exactly so, whichever model's autoencoder had a part in it.
    pub fn kept(
        folder: &Path,
        teaching: &Teaching,
        things: &[String],
        device: &Device,
    ) -> Result<Option<Self>, Error> {
        let kept: Option<Kept> = kept::about(folder, NAME);
        let same = |kept: &Kept| kept.teaching == *teaching && kept.things == things;
        let Some(kept) = kept.filter(same) else {
            return Ok(None);
        };
        let network = Network::new(things.len(), device);
        Ok(Some(Self {
            network: kept::weights(folder, NAME, network)?,
            device: device.clone(),
            autoencoder: kept.autoencoder,
        }))
    }

    /// Learns to tell so many things apart. `device` is a plain one, without autodiff.
    ///
    /// # Errors
    /// Losses that are no numbers; [`Error::Stopped`].
    pub fn learn(
        samples: &[Sample],
        things: usize,
        autoencoder: Option<String>,
        teaching: &Teaching,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let learning = device.clone().autodiff();
        let course = Course {
            what: "teaching the judge",
            steps: teaching.steps,
            peak: PEAK,
            seed: teaching.seed,
            settings: LearnerSettings {
                optimiser: Optimiser::AdamW {
                    betas: [0.9, 0.99],
                    eps: 1e-8,
                    weight_decay: 0.05,
                    state_bits: 32,
                },
                ema: Some(Ema::Decay { decay: 0.998 }),
                ..LearnerSettings::default()
            },
            begin: |name| {
                name.ends_with("running_mean")
                    .then_some(Fill::Constant(0.0))
            },
        };
        let mut order = Order::new(samples.len(), teaching.seed);
        let network = Network::new(things, &learning);
        let mut network = teach(network, &course, observer, |network, number| {
            let (x, own) = batch(samples, &mut order, number, teaching.seed, &learning);
            let scores = network.scores(network.features_training(x));
            Ok(Some((smoothed(scores, own), BATCH)))
        })?;
        for number in teaching.steps..teaching.steps + TRACKED {
            let (x, _) = batch(samples, &mut order, number, teaching.seed, device);
            network.track(x);
        }
        Ok(Self {
            network,
            device: device.clone(),
            autoencoder,
        })
    }

    /// Keeps it in `folder` for [`kept`](Self::kept), in place of what was there.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn keep(&self, folder: &Path, teaching: &Teaching, things: &[String]) -> Result<(), Error> {
        let kept = Kept {
            teaching: teaching.clone(),
            things: things.to_vec(),
            autoencoder: self.autoencoder.clone(),
        };
        kept::keep(folder, NAME, &self.network, &kept)
    }

    /// Looks at pictures of any size, each as it is and mirrored: the means of both.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn look(
        &self,
        what: &str,
        pictures: &[RgbImage],
        observer: &mut dyn Observer,
    ) -> Result<Looked, Error> {
        observer.stage(what, pictures.len() as u64);
        let mut looked = Looked::default();
        for part in pictures.chunks(BATCH) {
            let small: Vec<RgbImage> = part.par_iter().map(|p| pictures::square(p, SIDE)).collect();
            let mirrored: Vec<RgbImage> = small.iter().map(flip_horizontal).collect();
            let both = [small, mirrored].map(|side| {
                let side: Vec<&RgbImage> = side.iter().collect();
                let seen = self.network.features(pictures::tensor(&side, &self.device));
                (self.network.scores(seen.clone()), seen)
            });
            let [(scores, seen), (other_scores, other_seen)] = both;
            let numbers = |a: Tensor<2>, b: Tensor<2>| {
                let mean = (a + b) * 0.5;
                mean.into_data().iter::<f32>().collect::<Vec<f32>>()
            };
            looked.scores.extend(numbers(scores, other_scores));
            looked.features.extend(numbers(seen, other_seen));
            observe::advance(observer, part.len() as u64)?;
        }
        Ok(looked)
    }
}

/// The pictures of a step, each as it is learnt from, and the things that they show.
///
/// # Shapes
///
/// `[64, 3, 64, 64]` within −1..=1, `[64, 1]`
fn batch(
    samples: &[Sample],
    order: &mut Order,
    step: u64,
    seed: u64,
    device: &Device,
) -> (Tensor<4>, Tensor<2, Int>) {
    let turns = (step * BATCH as u64..).take(BATCH);
    let turns: Vec<(u64, &Sample)> = turns.map(|turn| (turn, &samples[order.at(turn)])).collect();
    let picture =
        |(turn, sample): &(u64, &Sample)| augmented(sample, random::draw(seed, &[AUGMENT, *turn]));
    let pixels: Vec<Vec<f32>> = turns.par_iter().map(picture).collect();
    let side = SIDE as usize;
    let data = TensorData::new(pixels.concat(), [BATCH, side, side, 3]);
    let x = Tensor::<4>::from_data(data, device).permute([0, 3, 1, 2]);
    let own = turns.iter().map(|(_, sample)| sample.thing as i64);
    let data = TensorData::new(own.collect::<Vec<i64>>(), [BATCH, 1]);
    (x, Tensor::<2, Int>::from_data(data, device))
}

/// The cross-entropy with the own thing, of which a share goes to all things alike.
///
/// # Shapes
///
/// scores `[batch, things]`, own `[batch, 1]`
fn smoothed(scores: Tensor<2>, own: Tensor<2, Int>) -> Tensor<1> {
    let likely = log_softmax(scores, 1);
    let own = likely.clone().gather(1, own).mean();
    own * (SMOOTH - 1.0) - likely.mean() * SMOOTH
}

/// Every picture once, in an order drawn by the seed, then again in another.
struct Order {
    seed: u64,
    epoch: u64,
    places: Vec<usize>,
}

impl Order {
    fn new(count: usize, seed: u64) -> Self {
        let mut order = Self {
            seed,
            epoch: 0,
            places: (0..count).collect(),
        };
        order.mix();
        order
    }

    fn mix(&mut self) {
        self.places.sort_unstable();
        random::shuffle(&mut self.places, self.seed, &[ORDER, self.epoch]);
    }

    /// The picture whose turn it is; turns are asked for in their order.
    fn at(&mut self, turn: u64) -> usize {
        let count = self.places.len() as u64;
        if turn / count != self.epoch {
            self.epoch = turn / count;
            self.mix();
        }
        self.places[(turn % count) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_picture_has_its_turn() {
        let mut order = Order::new(5, 7);
        let turns: Vec<usize> = (0..15).map(|turn| order.at(turn)).collect();
        for epoch in turns.chunks(5) {
            let mut places = epoch.to_vec();
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3, 4]);
        }
        assert_ne!(turns[..5], turns[5..10]);
        let mut again = Order::new(5, 7);
        assert_eq!(
            turns,
            (0..15).map(|turn| again.at(turn)).collect::<Vec<_>>()
        );
    }

    #[test]
    fn certainty_is_shared() {
        let device = Device::flex();
        let scores = Tensor::<2>::from_floats([[2.0, 0.0, 0.0, 0.0]], &device);
        let own = Tensor::<2, Int>::from_ints([[0]], &device);
        let loss = smoothed(scores, own).into_scalar::<f32>();
        let sum = 2f64.exp() + 3.0;
        let (first, other) = (2.0 - sum.ln(), -sum.ln());
        let expected = -(0.9 * first + 0.1 * (first + 3.0 * other) / 4.0);
        assert!(
            (f64::from(loss) - expected).abs() < 1e-5,
            "{loss} {expected}"
        );
    }
}
