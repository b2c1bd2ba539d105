//! How numbers are spread.

use crate::Error;

/// The quantiles of `numbers` at each of `at` in 0..=1, between neighbours by proportion (the rule that numpy takes).
///
/// # Errors
/// No numbers, or one that is not finite.
pub fn quantiles(numbers: &[f64], at: &[f64]) -> Result<Vec<f64>, Error> {
    if numbers.is_empty() {
        return Err(Error::Length {
            what: "a quantile",
            found: 0,
            expected: 1,
        });
    }
    if !numbers.iter().all(|v| v.is_finite()) {
        return Err(Error::NotFinite {
            what: "a number of a quantile",
        });
    }
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    let quantile = |share: &f64| {
        let place = share.clamp(0.0, 1.0) * last as f64;
        let below = place.floor() as usize;
        let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
        low + (high - low) * (place - below as f64)
    };
    Ok(at.iter().map(quantile).collect())
}
