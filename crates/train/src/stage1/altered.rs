//! What the decoder learns from in the place of a latent and its picture.

use burn::tensor::{Tensor, TensorData};
use latent_ops::{Filter, resize};

use super::LatentStatistics;
use crate::{Random, Step};

/// The least factor that pictures are shrunk by.
pub(super) const LEAST: f64 = 0.5;

/// The factor that a step shrinks its latents and pictures by, where it is one of the `share` that does. All processes and
/// parts of a step draw the same.
pub(super) fn factor(share: f64, step: Step) -> Option<f64> {
    let mut random = Random::new(step.seed, "equivariance", step.number, 0);
    (random.uniform() < share).then(|| 1.0 - (1.0 - LEAST) * random.uniform())
}

/// The sides of a latent that is shrunk by a factor.
pub(super) fn shrunk(sides: [usize; 2], factor: f64) -> [usize; 2] {
    sides.map(|side| ((side as f64 * factor).round() as usize).max(1))
}

/// Latents and their pictures, `multiple` times as large along each side, as large as `sides` says of latents. Both by the
/// same filter, linear and as wide as they are shrunk.
///
/// # Shapes
///
/// `[batch, channels, height, width]` → `[batch, channels, sides]`, and `multiple` times that
pub(super) fn shrink(
    [z, picture]: [Tensor<4>; 2],
    sides: [usize; 2],
    multiple: usize,
) -> [Tensor<4>; 2] {
    let filter = Filter::BilinearAntialias;
    let larger = sides.map(|side| side * multiple);
    [resize(z, sides, filter), resize(picture, larger, filter)]
}

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
