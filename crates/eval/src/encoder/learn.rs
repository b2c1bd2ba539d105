//! Training the encoder, keeping it, and asking it.

use std::path::Path;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use latent_data::Batches;
use latent_ops as ops;
use latent_train::{Fill, LearnerSettings};
use serde::{Deserialize, Serialize};

use super::network::{DualEncoder, SIDE, WORDS};
use super::words::Vocabulary;
use crate::teaching::{Course, teach};
use crate::{Error, Observer, kept, pictures};

/// Pictures of a step.
pub(crate) const BATCH: usize = 64;
/// The largest rate.
const PEAK: f64 = 1e-3;
/// What likenesses are multiplied by before the softmax: 1 / temperature.
const SHARPNESS: f64 = 15.0;

/// What an encoder has learnt from, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teaching {
    /// A hash of the names and captions of the training split's pictures.
    pub content: u64,
    /// Side of the pictures as they were read, in pixels.
    pub size: u32,
    /// Steps of 64 pictures.
    pub steps: u64,
    /// What its first weights and the order of pictures are drawn from.
    pub seed: u64,
}

/// An encoder that has learnt.
#[derive(Debug)]
pub struct Encoder {
    network: DualEncoder,
    vocabulary: Vocabulary,
    device: Device,
}

/// What lies beside the weights.
#[derive(Serialize, Deserialize)]
struct Kept {
    teaching: Teaching,
    vocabulary: Vocabulary,
}

/// What its files are called.
const NAME: &str = "encoder";

impl Encoder {
    /// The encoder that `folder` keeps, where it has been taught exactly so.
    ///
    /// # Errors
    /// Weights that are damaged.
    pub fn kept(
        folder: &Path,
        teaching: &Teaching,
        device: &Device,
    ) -> Result<Option<Self>, Error> {
        let kept: Option<Kept> = kept::about(folder, NAME);
        let Some(kept) = kept.filter(|kept| kept.teaching == *teaching) else {
            return Ok(None);
        };
        let network = DualEncoder::new(kept.vocabulary.len(), device);
        Ok(Some(Self {
            network: kept::weights(folder, NAME, network)?,
            vocabulary: kept.vocabulary,
            device: device.clone(),
        }))
    }

    /// Learns from shuffled batches without end, of [`Teaching::steps`] of which every one is looked at once. Pictures
    /// without a caption are passed over. `device` is a plain one, without autodiff.
    ///
    /// # Errors
    /// A batch that cannot be read, losses that are no numbers; [`Error::Stopped`].
    pub fn learn(
        vocabulary: Vocabulary,
        mut batches: Batches,
        teaching: &Teaching,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let learning = device.clone().autodiff();
        let course = Course {
            what: "teaching the encoder",
            steps: teaching.steps,
            peak: PEAK,
            seed: teaching.seed,
            settings: LearnerSettings::default(),
            begin: |name| name.contains("emb.weight").then_some(Fill::Normal(0.02)),
        };
        let network = DualEncoder::new(vocabulary.len(), &learning);
        let network = teach(network, &course, observer, |network, _| {
            let Some(batch) = batches.next() else {
                return Ok(None);
            };
            let examples = batch?.examples;
            let captioned = examples
                .iter()
                .filter_map(|e| Some((&e.picture, e.caption.as_deref()?)));
            let (pictures, captions): (Vec<_>, Vec<_>) = captioned.unzip();
            // One picture has nothing to be told apart from.
            if captions.len() < 2 {
                return Ok(None);
            }
            let pictures: Vec<RgbImage> = pictures.into_iter().map(small).collect();
            let pictures: Vec<&RgbImage> = pictures.iter().collect();
            let rows = vocabulary.rows(captions.iter().copied(), WORDS);
            let seen = network.pictures(pictures::tensor(&pictures, &learning));
            let read = network.texts(&rows, &learning);
            Ok(Some((contrastive(seen, read, &captions), captions.len())))
        })?;
        Ok(Self {
            network,
            vocabulary,
            device: device.clone(),
        })
    }

    /// Keeps it in `folder` for [`kept`](Self::kept), in place of what was there.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn keep(&self, folder: &Path, teaching: &Teaching) -> Result<(), Error> {
        let kept = Kept {
            teaching: teaching.clone(),
            vocabulary: self.vocabulary.clone(),
        };
        kept::keep(folder, NAME, &self.network, &kept)
    }

    /// The vectors of pictures of any size, of length one: `[pictures, 128]`.
    pub fn pictures(&self, pictures: &[RgbImage]) -> Vec<Vec<f32>> {
        let part = |part: &[RgbImage]| {
            let small: Vec<RgbImage> = part.iter().map(small).collect();
            let small: Vec<&RgbImage> = small.iter().collect();
            vectors(
                self.network
                    .pictures(pictures::tensor(&small, &self.device)),
            )
        };
        pictures.chunks(BATCH).flat_map(part).collect()
    }

    /// The vectors of captions, of length one: `[captions, 128]`.
    pub fn texts(&self, captions: &[&str]) -> Vec<Vec<f32>> {
        let part = |part: &[&str]| {
            let rows = self.vocabulary.rows(part.iter().copied(), WORDS);
            vectors(self.network.texts(&rows, &self.device))
        };
        captions.chunks(BATCH).flat_map(part).collect()
    }
}

fn vectors(x: Tensor<2>) -> Vec<Vec<f32>> {
    let [_, width] = x.dims();
    let numbers: Vec<f32> = x.into_data().iter::<f32>().collect();
    numbers.chunks(width).map(<[f32]>::to_vec).collect()
}

/// As large as the encoder looks at pictures.
fn small(picture: &RgbImage) -> RgbImage {
    pictures::square(picture, SIDE)
}

/// The mean of both directions' cross-entropies. Captions that are the same are not held against each other.
///
/// # Shapes
///
/// `[batch, width]` each
fn contrastive(seen: Tensor<2>, read: Tensor<2>, captions: &[&str]) -> Tensor<1> {
    /// No softmax notices what is left of it.
    const OUT: f32 = -1e4;
    let (device, count) = (seen.device(), captions.len());
    let same: Vec<f32> = (0..count * count)
        .map(|at| {
            let (i, j) = (at / count, at % count);
            let alike = i != j && captions[i] == captions[j];
            if alike { OUT } else { 0.0 }
        })
        .collect();
    let same = Tensor::<2>::from_data(TensorData::new(same, [count, count]), &device);
    let likeness = ops::linear(seen, read, None) * SHARPNESS + same;
    let own: Vec<i64> = (0..count as i64).collect();
    let own = Tensor::<2, Int>::from_data(TensorData::new(own, [count, 1]), &device);
    let by = |x: Tensor<2>| log_softmax(x, 1).gather(1, own.clone()).mean();
    (by(likeness.clone()) + by(likeness.transpose())) * -0.5
}
