//! Guidance: what is made of a conditional and an unconditional prediction.
//!
//! Pure functions of tensors `[batch, channels, height, width]`, or of another rank whose first axis is the batch. A and B may be predictions in **either** space, x̂₀ or
//! the network's own output F: at one σ they are affine to each other (x̂₀ = c_skip·x + c_out·F), so [`cfg()`] and
//! [`cfg_many`] commute with the change. [`rescale`] does not, and is meant for F, as published;
//! [`dynamic_threshold`] is meant for x̂₀. Statistics are per picture: a batch never mixes pictures.

use burn::tensor::{Tensor, TensorData};

use crate::Error;

/// Classifier-free guidance `u + s·(c − u)` (Ho & Salimans 2207.12598 with s = 1 + w). x̂₀ or F.
///
/// `scale` 1 is the conditional prediction, 0 the unconditional. Shapes equal.
pub fn cfg<const D: usize>(uncond: Tensor<D>, cond: Tensor<D>, scale: f64) -> Tensor<D> {
    uncond.clone() + (cond - uncond) * scale
}

/// Guidance by several prompts (A1111's AND): `u + Σ wᵢ·s·(cᵢ − u)` (Liu et al. 2206.01714). x̂₀ or F. Shapes equal; a
/// negative weight pushes away.
pub fn cfg_many<const D: usize>(
    uncond: Tensor<D>,
    conds: &[(Tensor<D>, f64)],
    scale: f64,
) -> Tensor<D> {
    conds.iter().fold(uncond.clone(), |sum, (cond, weight)| {
        sum + (cond.clone() - uncond.clone()) * (weight * scale)
    })
}

/// Pulls the contrast of a guided prediction back to the conditional one's (Lin et al. 2305.08891, eq. 14–16): the
/// standard deviation of each picture is made equal and the result blended in by `phi` (0 none, 0.7 recommended, 1 all).
/// Meant for F.
pub fn rescale<const D: usize>(guided: Tensor<D>, cond: Tensor<D>, phi: f64) -> Tensor<D> {
    let ratio = deviation(cond) / deviation(guided.clone()).clamp_min(f32::MIN_POSITIVE);
    guided * (ratio * phi + (1.0 - phi))
}

/// The standard deviation of each picture over all axes but the batch: `[batch, 1, 1, 1]`.
pub fn deviation<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let (one, numbers) = each(&x);
    let flat = x.reshape([one[0], numbers]);
    let mean = flat.clone().mean_dim(1);
    let variance = (flat - mean).powi_scalar(2).mean_dim(1);
    variance.sqrt().reshape(one)
}

/// The shape of one number for each picture, and how many numbers a picture has.
fn each<const D: usize>(x: &Tensor<D>) -> ([usize; D], usize) {
    let dims = x.dims();
    let one = std::array::from_fn(|axis| if axis == 0 { dims[0] } else { 1 });
    (one, dims[1..].iter().product())
}

/// Dynamic thresholding (Saharia et al. 2205.11487, section 2.3): each picture's x̂₀ is clamped to ±s and scaled by
/// `limit / s`, where s is the `ratio` quantile of its absolute values, at least `limit` and at most `max`.
///
/// `limit` is the data's own range: 1 for pixels in [−1, 1]. Latents have no such range, so a caller must choose one.
///
/// # Errors
/// A ratio outside (0, 1], a limit that is not above 0, or a max below the limit.
pub fn dynamic_threshold<const D: usize>(
    x0: Tensor<D>,
    ratio: f64,
    limit: f64,
    max: Option<f64>,
) -> Result<Tensor<D>, Error> {
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
    let (one, numbers) = each(&x0);
    if one[0] * numbers == 0 {
        return Ok(x0);
    }
    let values = x0.to_data().convert::<f32>();
    let values: Vec<f32> = values.iter::<f32>().collect();
    let bounds: Vec<f32> = values
        .chunks_exact(numbers)
        .map(|picture| quantile(picture, ratio).clamp(limit, max) as f32)
        .collect();
    let bound = Tensor::<D>::from_data(TensorData::new(bounds, one), &x0.device());
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
}
