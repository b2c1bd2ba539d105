//! Guidance: what is made of a conditional and an unconditional prediction.
//!
//! Pure functions of tensors `[batch, channels, height, width]`. A and B may be predictions in **either** space, x̂₀ or
//! the network's own output F: at one σ they are affine to each other (x̂₀ = c_skip·x + c_out·F), so [`cfg()`] and
//! [`cfg_many`] commute with the change. [`rescale`] does not, and is meant for F, as published;
//! [`dynamic_threshold`] is meant for x̂₀. Statistics are per picture: a batch never mixes pictures.

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Classifier-free guidance `u + s·(c − u)` (Ho & Salimans 2207.12598 with s = 1 + w). x̂₀ or F.
///
/// `scale` 1 is the conditional prediction, 0 the unconditional. Shapes equal.
pub fn cfg(uncond: Tensor<4>, cond: Tensor<4>, scale: f64) -> Tensor<4> {
    uncond.clone() + (cond - uncond) * scale
}

/// Guidance by several prompts (A1111's AND): `u + Σ wᵢ·s·(cᵢ − u)` (Liu et al. 2206.01714). x̂₀ or F. Shapes equal; a
/// negative weight pushes away.
pub fn cfg_many(uncond: Tensor<4>, conds: &[(Tensor<4>, f64)], scale: f64) -> Tensor<4> {
    conds.iter().fold(uncond.clone(), |sum, (cond, weight)| {
        sum + (cond.clone() - uncond.clone()) * (weight * scale)
    })
}

/// Pulls the contrast of a guided prediction back to the conditional one's (Lin et al. 2305.08891, eq. 14–16): the
/// standard deviation of each picture is made equal and the result blended in by `phi` (0 none, 0.7 recommended, 1 all).
/// Meant for F.
pub fn rescale(guided: Tensor<4>, cond: Tensor<4>, phi: f64) -> Tensor<4> {
    let ratio = deviation(cond) / deviation(guided.clone()).clamp_min(f32::MIN_POSITIVE);
    guided * (ratio * phi + (1.0 - phi))
}

/// The standard deviation of each picture over channels, height and width: `[batch, 1, 1, 1]`.
pub fn deviation(x: Tensor<4>) -> Tensor<4> {
    let [batch, c, h, w] = x.dims();
    let flat = x.reshape([batch, c * h * w]);
    let mean = flat.clone().mean_dim(1);
    let variance = (flat - mean).powi_scalar(2).mean_dim(1);
    variance.sqrt().reshape([batch, 1, 1, 1])
}

/// Dynamic thresholding (Saharia et al. 2205.11487, section 2.3): each picture's x̂₀ is clamped to ±s and scaled by
/// `limit / s`, where s is the `ratio` quantile of its absolute values, at least `limit` and at most `max`.
///
/// `limit` is the data's own range: 1 for pixels in [−1, 1]. Latents have no such range, so a caller must choose one.
///
/// # Errors
/// A ratio outside (0, 1], a limit that is not above 0, or a max below the limit.
pub fn dynamic_threshold(
    x0: Tensor<4>,
    ratio: f64,
    limit: f64,
    max: Option<f64>,
) -> Result<Tensor<4>, Error> {
    let setting = |name, value: f64, expected: &str| {
        Err(Error::Setting {
            name,
            value: value.to_string(),
            expected: expected.to_owned(),
        })
    };
    if !(ratio > 0.0 && ratio <= 1.0) {
        return setting("threshold percentile", ratio, "above 0 and at most 1");
    }
    if !(limit > 0.0 && limit.is_finite()) {
        return setting("threshold limit", limit, "a number above 0");
    }
    let max = max.unwrap_or(f64::INFINITY);
    if max.is_nan() || max < limit {
        return setting("threshold maximum", max, "at least the limit");
    }
    let [batch, c, h, w] = x0.dims();
    if batch * c * h * w == 0 {
        return Ok(x0);
    }
    let values = x0.to_data().convert::<f32>();
    let values: Vec<f32> = values.iter::<f32>().collect();
    let bounds: Vec<f32> = values
        .chunks_exact(c * h * w)
        .map(|picture| quantile(picture, ratio).clamp(limit, max) as f32)
        .collect();
    let bound = TensorData::new(bounds, [batch, 1, 1, 1]);
    let bound = Tensor::<4>::from_data(bound, &x0.device());
    let clamped = x0.max_pair(-bound.clone()).min_pair(bound.clone());
    Ok(clamped / bound * limit)
}

/// The quantile of |values|, linear between neighbours. Not empty.
fn quantile(values: &[f32], ratio: f64) -> f64 {
    let mut sorted: Vec<f32> = values.iter().map(|v| v.abs()).collect();
    sorted.sort_by(f32::total_cmp);
    let at = ratio * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    let (a, b) = (f64::from(sorted[low]), f64::from(sorted[high]));
    a + (b - a) * (at - low as f64)
}

/// The noise levels at which guidance is applied (Kynkäänniemi et al. 2404.07724); outside, the conditional prediction
/// is used alone and the unconditional need not be computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GuidanceInterval {
    /// Not applied at this σ and below.
    pub sigma_low: f64,
    /// Applied up to and at this σ.
    pub sigma_high: f64,
}

impl Default for GuidanceInterval {
    /// Always.
    fn default() -> Self {
        Self {
            sigma_low: -1.0,
            sigma_high: f64::INFINITY,
        }
    }
}

impl GuidanceInterval {
    /// Whether guidance is applied at σ.
    pub fn contains(&self, sigma: f64) -> bool {
        sigma > self.sigma_low && sigma <= self.sigma_high
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn tensor(values: &[f32], shape: [usize; 4]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.to_data().iter::<f32>().collect()
    }

    #[test]
    fn guidance_is_the_formula() {
        let u = tensor(&[1.0, 2.0], [1, 1, 1, 2]);
        let c = tensor(&[2.0, 0.0], [1, 1, 1, 2]);
        assert_eq!(values(cfg(u.clone(), c.clone(), 7.5)), [8.5, -13.0]);
        assert_eq!(values(cfg(u.clone(), c.clone(), 1.0)), [2.0, 0.0]);
        let many = cfg_many(u, &[(c.clone(), 1.0), (c, -0.5)], 2.0);
        assert_eq!(values(many), [2.0, 0.0]);
    }

    #[test]
    fn rescaling_meets_the_conditional_deviation_picture_by_picture() {
        let guided = tensor(&[0.0, 4.0, -8.0, 8.0], [2, 1, 1, 2]);
        let cond = tensor(&[0.0, 1.0, -4.0, 4.0], [2, 1, 1, 2]);
        assert_eq!(
            values(rescale(guided.clone(), cond.clone(), 0.0)),
            values(guided.clone())
        );
        let full = rescale(guided.clone(), cond.clone(), 1.0);
        assert_eq!(values(full), [0.0, 1.0, -4.0, 4.0]);
        let half = values(rescale(guided.clone(), cond.clone(), 0.5));
        assert_eq!(half, [0.0, 2.5, -6.0, 6.0]);
        let alone = rescale(guided.narrow(0, 0, 1), cond.narrow(0, 0, 1), 0.5);
        assert_eq!(values(alone), half[..2]);
    }

    #[test]
    fn thresholds_are_per_picture() {
        let x = tensor(&[0.5, -0.5, 0.2, 0.1, 4.0, -2.0, 1.0, 0.0], [2, 1, 2, 2]);
        let got = values(dynamic_threshold(x.clone(), 1.0, 1.0, None).unwrap());
        assert_eq!(got[..4], [0.5, -0.5, 0.2, 0.1]);
        assert_eq!(got[4..], [1.0, -0.5, 0.25, 0.0]);
        let capped = values(dynamic_threshold(x.clone(), 1.0, 1.0, Some(2.0)).unwrap());
        assert_eq!(capped[4..], [1.0, -1.0, 0.5, 0.0]);
        assert!(dynamic_threshold(x, 1.5, 1.0, None).is_err());
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[3.0, -1.0, 0.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[3.0], 0.995), 3.0);
    }

    #[test]
    fn the_interval_is_open_below_and_closed_above() {
        let interval = GuidanceInterval {
            sigma_low: 0.28,
            sigma_high: 5.42,
        };
        assert!(!interval.contains(0.28) && interval.contains(5.42) && !interval.contains(5.43));
        assert!(GuidanceInterval::default().contains(0.0));
    }
}
