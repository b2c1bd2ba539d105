//! Differences pixel by pixel.

use crate::Error;

/// The mean of squared differences.
///
/// # Errors
/// Pictures of different sizes, or of none.
pub fn mean_squared_error(a: &[f32], b: &[f32]) -> Result<f64, Error> {
    if a.len() != b.len() || a.is_empty() {
        return Err(Error::Length {
            what: "the second picture",
            found: b.len(),
            expected: a.len().max(1),
        });
    }
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    Ok(a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64)
}

/// The peak signal-to-noise ratio in decibels: 10·log₁₀(range² / mean squared error). `range` is how far
/// apart black and white are: 2 for −1..1, 255 for bytes. Infinite for equal pictures.
///
/// # Errors
/// As [`mean_squared_error`].
pub fn psnr(a: &[f32], b: &[f32], range: f64) -> Result<f64, Error> {
    Ok(10.0 * (range * range / mean_squared_error(a, b)?).log10())
}
