//! What the decoder learns from in the place of a latent and its picture.

use burn::tensor::{Tensor, TensorData};

use super::LatentStatistics;
use crate::Step;

/// Latents with σ·ε, σ uniform below `most` deviations of all latents that `statistics` knows of, one for each picture. One
/// number for all channels, as the second stage scales and noises them all alike. Before the first step's end nothing is
/// known, and nothing is done.
///
/// # Shapes
///
/// `[batch, channels, height, width]`
pub(super) fn noised(
    z: Tensor<4>,
    most: f64,
    statistics: &LatentStatistics,
    step: Step,
) -> Tensor<4> {
    let Some(scale) = statistics.scale_factor() else {
        return z;
    };
    let [batch, channels, height, width] = z.dims();
    let count = channels * height * width;
    let mut noise = Vec::with_capacity(batch * count);
    for picture in 0..batch {
        let mut random = step.random("latent noise", picture);
        let sigma = random.uniform() * most / scale;
        noise.extend((0..count).map(|_| (sigma * random.normal()) as f32));
    }
    let noise = TensorData::new(noise, z.dims());
    let noise = Tensor::from_data(noise, &z.device());
    z + noise
}
