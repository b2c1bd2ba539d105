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
    let stride = width * channels;
    let add_row = |sums: &mut [T], weight: T, values: &[T]| {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum = add(*sum, weight, *value);
        }
    };
    let mut along = Vec::with_capacity(field.values.len());
    for y in 0..height {
        // The row with what is mirrored at its ends.
        let beyond = (-half..width as i64 + half).map(|x| mirrored(x, width));
        let row: Vec<T> = beyond.flat_map(|x| field.at(x, y)).copied().collect();
        let mut sums = vec![zero; stride];
        for (tap, weight) in weights.iter().enumerate() {
            add_row(&mut sums, *weight, &row[tap * channels..]);
        }
        along.append(&mut sums);
    }
    let mut values = Vec::with_capacity(along.len());
    for y in 0..height as i64 {
        let mut sums = vec![zero; stride];
        for (weight, row) in weights.iter().zip(y - half..) {
            let start = mirrored(row, height) * stride;
            add_row(&mut sums, *weight, &along[start..start + stride]);
        }
        values.append(&mut sums);
    }
    Field {
        width,
        height,
        channels,
        values,
    }
}
