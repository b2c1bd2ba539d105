//! Weights as whole numbers of eight bits with a scale for each row: symmetric, so that zero stays zero.

/// The scales of rows and their numbers, −127..=127: a value is its number times the scale of its row, and none is further from
/// it than half a scale.
///
/// # Shapes
///
/// values `[rows, …]` row-major → `[rows]`, and as many numbers as values
pub(crate) fn quantised(values: &[f32], rows: usize) -> (Vec<f32>, Vec<i8>) {
    let width = (values.len() / rows.max(1)).max(1);
    let mut scales = Vec::with_capacity(rows);
    let mut numbers = Vec::with_capacity(values.len());
    for row in values.chunks(width) {
        let most = row.iter().fold(0f32, |most, value| most.max(value.abs()));
        let scale = most / 127.0;
        scales.push(scale);
        // A row of zeros, or of what is too small for a scale.
        let inverse = if scale > 0.0 {
            127.0 / f64::from(most)
        } else {
            0.0
        };
        let nearest = |value: &f32| (f64::from(*value) * inverse).round_ties_even() as i8;
        numbers.extend(row.iter().map(nearest));
    }
    (scales, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_scaled_by_their_largest_number() {
        let values = [127.0, -64.4, 0.5, -1.984375, 0.0234375, 1.0, 0.0, -0.0, 0.0];
        let (scales, numbers) = quantised(&values, 3);
        assert_eq!(scales, [1.0, 0.015625, 0.0]);
        assert_eq!(numbers, [127, -64, 0, -127, 2, 64, 0, 0, 0]);
        // The smallest numbers that f32 has make no numbers that are none.
        let (scales, numbers) = quantised(&[f32::from_bits(1), 0.0], 1);
        assert!(scales[0].is_finite() && numbers[1] == 0);
        assert_eq!(quantised(&[], 0), (vec![], vec![]));
    }

    #[test]
    fn nothing_is_further_away_than_half_a_scale() {
        let value = |i: u32| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e7 - 0.8).powi(3);
        let values: Vec<f32> = (0..4000).map(value).collect();
        let (scales, numbers) = quantised(&values, 8);
        for (i, (value, number)) in values.iter().zip(numbers).enumerate() {
            let scale = scales[i / 500];
            let off = (value - f32::from(number) * scale).abs();
            assert!(off <= 0.5001 * scale, "{value} {number} {scale}");
        }
    }
}
