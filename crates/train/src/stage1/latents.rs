//! What latents are like: the measure of the scale that the second stage learns them at.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::Peers;

/// Means over the last hundred batches or so, by channel.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatentStatistics {
    /// Of the numbers.
    mean: Vec<f64>,
    /// Of their squares.
    square: Vec<f64>,
    batches: u64,
    /// Of the batches of this step, which do not count yet: mean and mean square of each channel, one after the other.
    #[serde(skip)]
    new: Vec<Vec<f64>>,
}

impl LatentStatistics {
    /// How much of the means a batch is, once there have been many.
    const SHARE: f64 = 0.01;

    /// Looks at a batch `[batch, channels, height, width]`.
    pub(crate) fn see(&mut self, latent: &Tensor<4>) {
        let [_, channels, ..] = latent.dims();
        let each = latent
            .clone()
            .inner()
            .swap_dims(0, 1)
            .reshape([channels as i64, -1]);
        let means =
            |x: Tensor<2>| -> Vec<f64> { x.mean_dim(1).into_data().iter::<f64>().collect() };
        let both = [means(each.clone()), means(each.square())];
        self.new.push(both.concat());
    }

    /// Takes in what was seen in a step, by all processes.
    pub(crate) fn end_step(&mut self, peers: &dyn Peers) {
        for mut new in std::mem::take(&mut self.new) {
            peers.sum_wide(&mut new);
            let processes = peers.size() as f64;
            self.batches += 1;
            let share = Self::SHARE.max(1.0 / self.batches as f64);
            let (mean, square) = new.split_at(new.len() / 2);
            for (kept, new) in [(&mut self.mean, mean), (&mut self.square, square)] {
                kept.resize(new.len(), 0.0);
                kept.iter_mut()
                    .zip(new)
                    .for_each(|(k, n)| *k += share * (n / processes - *k));
            }
        }
    }

    /// The mean of each channel.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The deviation of each channel.
    pub fn deviation(&self) -> Vec<f64> {
        let pairs = self.mean.iter().zip(&self.square);
        pairs.map(|(m, s)| (s - m * m).max(0.0).sqrt()).collect()
    }

    /// What latents are multiplied by so that all their numbers together have deviation one; `None` before
    /// the first batch and for latents that are all alike.
    pub fn scale_factor(&self) -> Option<f64> {
        let count = self.mean.len() as f64;
        let [mean, square] = [&self.mean, &self.square].map(|x| x.iter().sum::<f64>() / count);
        let scale = 1.0 / (square - mean * mean).sqrt();
        scale.is_finite().then_some(scale)
    }
}
