//! What is learnt, as the trainer sees it.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use image::RgbImage;

use latent_checkpoint::Checkpoint;
use latent_data::Example;

use crate::{Error, Needs, Peers, Random, StateReader, StateWriter};

/// The time within a run: all that randomness may depend on, beside a purpose and a picture's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Counted from 0: how many updates there have been.
    pub number: u64,
    /// The run's seed.
    pub seed: u64,
    /// The place of this batch's first picture among all pictures of the step: those of other processes
    /// and of earlier parts of an accumulated batch come before it.
    pub first: usize,
}

impl Step {
    /// The random numbers for that purpose of picture `index` of the batch.
    pub fn random(&self, purpose: &str, index: usize) -> Random {
        Random::new(self.seed, purpose, self.number, self.first + index)
    }

    /// Unit normal noise for a batch, each picture from its own stream.
    ///
    /// # Shapes
    ///
    /// `[batch, …]`
    pub fn noise(&self, purpose: &str, shape: [usize; 4], device: &Device) -> Tensor<4> {
        let [batch, channels, height, width] = shape;
        let picture = |i| {
            self.random(purpose, i)
                .normals([1, channels, height, width], device)
        };
        Tensor::cat((0..batch).map(picture).collect(), 0)
    }
}

/// Named numbers, in the order in which they are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report(pub Vec<(String, f64)>);

impl Report {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more number.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.0.push((name.into(), value));
        self
    }

    /// The number of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }

    /// Appends the numbers of another report.
    pub fn extend(&mut self, other: Report) {
        self.0.extend(other.0);
    }
}

/// The mean of several reports, each counted as often as its weight says. A name that some lack is
/// averaged over those that have it.
impl FromIterator<(Report, f64)> for Report {
    fn from_iter<I: IntoIterator<Item = (Report, f64)>>(reports: I) -> Self {
        let mut sums: Vec<(String, f64, f64)> = Vec::new();
        for (report, weight) in reports {
            for (name, value) in report.0 {
                match sums.iter_mut().find(|(n, ..)| *n == name) {
                    Some((_, sum, weights)) => {
                        *sum += weight * value;
                        *weights += weight;
                    }
                    None => sums.push((name, weight * value, weight)),
                }
            }
        }
        let mean = |(name, sum, weights): (String, f64, f64)| (name, sum / weights);
        Self(sums.into_iter().map(mean).collect())
    }
}

/// What [`Task::apply`] needs to know.
pub struct Update<'a> {
    /// The step that is ending.
    pub step: Step,
    /// The learning rate, warm-up and decay included.
    pub rate: f64,
    /// The processes that train together.
    pub peers: &'a dyn Peers,
}

/// Something that is learnt from pictures: the first stage, the second, a fine-tune.
///
/// A step is one or more calls of [`accumulate`](Self::accumulate), then one of [`apply`](Self::apply).
/// All randomness comes from [`Step::random`], so that a run can be continued to the bit.
pub trait Task {
    /// Forward and backward: adds the batch's gradients to those of the step. The report holds at least
    /// `loss`, a mean over the batch.
    ///
    /// # Errors
    /// Examples without what the task needs.
    fn accumulate(&mut self, batch: &[Example], step: Step) -> Result<Report, Error>;

    /// [`accumulate`](Self::accumulate) of several batches in their order. A task may compute them at the same
    /// time, each on its share of the threads; the sums are the same to the bit.
    ///
    /// # Errors
    /// As [`accumulate`](Self::accumulate).
    fn accumulate_all(&mut self, parts: &[(Vec<Example>, Step)]) -> Result<Vec<Report>, Error> {
        let one = |(batch, step): &(Vec<Example>, Step)| self.accumulate(batch, *step);
        parts.iter().map(one).collect()
    }

    /// Ends the step: averages over the peers, clips, moves the parameters and their averages.
    ///
    /// # Errors
    /// [`Error::NotFinite`], with everything left as it was.
    fn apply(&mut self, update: &Update<'_>) -> Result<Report, Error>;

    /// Every tensor and number that [`restore`](Self::restore) needs. Called between steps only.
    fn save(&self, out: &mut StateWriter);

    /// Takes everything back.
    ///
    /// # Errors
    /// A state of another task or network.
    fn restore(&mut self, from: &mut StateReader) -> Result<(), Error>;

    /// Takes the weights of another run of such a task, and nothing else. Called before the first step only.
    ///
    /// # Errors
    /// A state of another task or network.
    fn begin_from(&mut self, from: &mut StateReader) -> Result<(), Error>;

    /// Takes the weights of a model's files. Called before the first step only.
    ///
    /// # Errors
    /// A checkpoint without such networks, or of others.
    fn begin_with(&mut self, model: &Checkpoint) -> Result<(), Error>;

    /// Losses on pictures that are not learnt from, by noise level where there is one; nothing changes.
    /// `step` is the same at every validation, so that they can be compared.
    ///
    /// # Errors
    /// As [`accumulate`](Self::accumulate).
    fn validate(&self, batch: &[Example], step: Step) -> Result<Report, Error>;

    /// What a sheet shows where, in a few words.
    fn sheet_shows(&self) -> &'static str {
        ""
    }

    /// Numbers that a step computes and keeps of a picture of that height and width, at the least: for the plan.
    fn numbers_of_a_picture(&self, [height, width]: [u64; 2]) -> u64 {
        3 * height * width
    }

    /// What the data must have beside pictures.
    fn needs(&self) -> Needs {
        Needs::Nothing
    }

    /// A grid of samples or reconstructions with the averaged weights, of a fixed seed.
    ///
    /// # Errors
    /// A sampler's.
    fn sheet(&self, step: Step) -> Result<Option<RgbImage>, Error>;

    /// Writes the model into an empty folder, to be opened by the program that draws.
    ///
    /// # Errors
    /// Files that cannot be written.
    fn export(&self, folder: &Path) -> Result<(), Error>;

    /// The numbers that are trained, by network: for the plan.
    fn parameters(&self) -> Vec<(String, usize)>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_averaged_by_weight() {
        let a = Report::new().with("loss", 1.0).with("rare", 5.0);
        let b = Report::new().with("loss", 4.0);
        let mean: Report = [(a, 2.0), (b, 1.0)].into_iter().collect();
        assert_eq!(mean.get("loss"), Some(2.0));
        assert_eq!(mean.get("rare"), Some(5.0));
    }

    #[test]
    fn a_picture_has_the_same_noise_in_any_batch() {
        let device = Device::flex();
        let step = |first| Step {
            number: 3,
            seed: 5,
            first,
        };
        let whole = step(0).noise("noise", [4, 2, 3, 3], &device);
        let part = step(2).noise("noise", [2, 2, 3, 3], &device);
        let numbers = |x: Tensor<4>| x.into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(numbers(whole.narrow(0, 2, 2)), numbers(part));
    }
}
