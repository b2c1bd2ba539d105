//! Rotations from skew matrices: Cayley's R = (1 + Q)(1 − Q)⁻¹.

/// Makes rotations of blocks B `[…, side, side]`: Q = B − Bᵀ, whose norm over all blocks is `bound` at most. Source: OFT (Qiu et al.
/// 2023), §3, as LyCORIS and kohya's trainer compute it.
pub fn of_skew(blocks: &mut [f32], side: usize, bound: Option<f64>) {
    const LEAST: f64 = 1e-8;
    let area = side * side;
    let mut skew: Vec<f64> = Vec::with_capacity(blocks.len());
    for block in blocks.chunks(area) {
        let at = |row: usize, column: usize| f64::from(block[row * side + column]);
        let both = (0..side).flat_map(|row| (0..side).map(move |column| (row, column)));
        skew.extend(both.map(|(row, column)| at(row, column) - at(column, row)));
    }
    let norm = skew.iter().map(|q| q * q).sum::<f64>().sqrt();
    if let Some(bound) = bound.filter(|bound| norm + LEAST > *bound) {
        let factor = bound / (norm + LEAST);
        skew.iter_mut().for_each(|q| *q *= factor);
    }
    for (block, q) in blocks.chunks_mut(area).zip(skew.chunks(area)) {
        let turned = cayley(q, side);
        for (value, turned) in block.iter_mut().zip(turned) {
            *value = turned as f32;
        }
    }
}

/// (1 + Q)(1 − Q)⁻¹, which is (1 − Q)⁻¹(1 + Q): Gauss and Jordan on [1 − Q | 1 + Q]. 1 − Q of a skew Q is never singular.
fn cayley(q: &[f64], side: usize) -> Vec<f64> {
    let width = 2 * side;
    let mut rows: Vec<f64> = Vec::with_capacity(side * width);
    for row in 0..side {
        let own = |column: usize| f64::from(u8::from(row == column));
        rows.extend((0..side).map(|column| own(column) - q[row * side + column]));
        rows.extend((0..side).map(|column| own(column) + q[row * side + column]));
    }
    for pivot in 0..side {
        let size = |row: usize| rows[row * width + pivot].abs();
        let best = (pivot..side)
            .max_by(|a, b| size(*a).total_cmp(&size(*b)))
            .unwrap_or(pivot);
        if best != pivot {
            for column in 0..width {
                rows.swap(pivot * width + column, best * width + column);
            }
        }
        let scale = 1.0 / rows[pivot * width + pivot];
        let own: Vec<f64> = rows[pivot * width..][..width]
            .iter()
            .map(|value| value * scale)
            .collect();
        rows[pivot * width..][..width].copy_from_slice(&own);
        for row in (0..side).filter(|row| *row != pivot) {
            let by = rows[row * width + pivot];
            if by != 0.0 {
                let values = &mut rows[row * width..][..width];
                values
                    .iter_mut()
                    .zip(&own)
                    .for_each(|(value, own)| *value -= by * own);
            }
        }
    }
    let right = rows
        .chunks(width)
        .flat_map(|row| row[side..].iter().copied());
    right.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotations_keep_lengths() {
        let mut blocks: Vec<f32> = (0..32).map(|v| ((v * 7 % 11) as f32 - 5.0) / 4.0).collect();
        of_skew(&mut blocks, 4, None);
        for block in blocks.chunks(16) {
            for (a, b) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
                let dot: f32 = (0..4).map(|k| block[k * 4 + a] * block[k * 4 + b]).sum();
                assert!(
                    (dot - f32::from(u8::from(a == b))).abs() < 1e-5,
                    "{a} {b}: {dot}"
                );
            }
        }
    }

    #[test]
    fn a_quarter_turn() {
        // Q = [[0, −1], [1, 0]] gives R = Q.
        let mut block = [0.0, -0.5, 0.5, 0.0];
        of_skew(&mut block, 2, None);
        let expected = [0.0, -1.0, 1.0, 0.0];
        assert!(
            block
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6),
            "{block:?}"
        );
        let mut bound = [0.0, -0.5, 0.5, 0.0];
        of_skew(&mut bound, 2, Some(0.0));
        assert_eq!(bound, [1.0, 0.0, 0.0, 1.0]);
    }
}
