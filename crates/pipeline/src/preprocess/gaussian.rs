//! OpenCV's Gaussian blur, whose size follows from its deviation.

use super::field::{Field, mirrored};

/// Taps of a kernel of this deviation, over `spread` deviations: an odd number.
fn taps(sigma: f64, spread: f64) -> usize {
    (sigma * spread + 1.0).round_ties_even() as usize | 1
}

/// The kernel, which sums to 1.
fn kernel(sigma: f64, taps: usize) -> Vec<f64> {
    let half = (taps / 2) as f64;
    let bell = |i: usize| (-0.5 * ((i as f64 - half) / sigma).powi(2)).exp();
    let total: f64 = (0..taps).map(bell).sum();
    (0..taps).map(|i| bell(i) / total).collect()
}

/// Of bytes, exactly: weights in 1/256 with the rounding error of each carried on to the next, the rest in the middle, and no
/// rounding between the two passes.
pub fn blur_bytes(picture: &Field<u8>, sigma: f64) -> Field<u8> {
    let exact = kernel(sigma, taps(sigma, 6.0));
    let (half, mut error) = (exact.len() / 2, 0.0);
    let mut weights = vec![0u32; exact.len()];
    for i in 0..half {
        let wanted = exact[i] * 256.0 + error;
        let rounded = wanted.round_ties_even();
        error = wanted - rounded;
        weights[i] = rounded as u32;
        weights[exact.len() - 1 - i] = rounded as u32;
    }
    weights[half] = 256 - weights.iter().sum::<u32>();
    let wide = picture.map(u32::from);
    let sums = passes(&wide, &weights, 0, |sum, weight, value| {
        sum + weight * value
    });
    sums.map(|sum| ((sum + (1 << 15)) >> 16) as u8)
}

/// Of numbers.
pub fn blur(field: &Field<f32>, sigma: f64) -> Field<f32> {
    let weights = kernel(sigma, taps(sigma, 8.0));
    let wide = field.map(f64::from);
    let sums = passes(&wide, &weights, 0.0, |sum, weight, value| {
        sum + weight * value
    });
    sums.map(|sum| sum as f32)
}

/// Along the rows, then along the columns.
fn passes<T: Copy>(
    field: &Field<T>,
    weights: &[T],
    zero: T,
    add: impl Fn(T, T, T) -> T + Copy,
) -> Field<T> {
    let half = weights.len() as i64 / 2;
    let (width, height, channels) = (field.width, field.height, field.channels);
    let pass = |values: &[T], of_row: bool| -> Vec<T> {
        let places = width * height * channels;
        let (length, stride) = match of_row {
            true => (width, channels),
            false => (height, width * channels),
        };
        let beyond = -half..length as i64 + half;
        let steps: Vec<usize> = beyond.map(|at| mirrored(at, length) * stride).collect();
        let at = |place: usize| {
            let position = place / stride % length;
            let line = &values[place - position * stride..];
            let taps = weights.iter().zip(&steps[position..]);
            taps.fold(zero, |sum, (weight, step)| add(sum, *weight, line[*step]))
        };
        (0..places).map(at).collect()
    };
    let rows = pass(&field.values, true);
    Field {
        width,
        height,
        channels,
        values: pass(&rows, false),
    }
}
