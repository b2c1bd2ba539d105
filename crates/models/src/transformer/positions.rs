//! Where patches stand: a fixed table of sines.

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::config::Positions;

/// The table for a grid of `rows` × `columns` patches: `[1, width, rows, columns]`, f32.
///
/// The first half of the numbers is made of the column and the second of the row (the published code calls the first the
/// height and gives it the column). Each half is sin(p·f_i), then cos(p·f_i), for f_i = 10000^(−i / (width / 4)). Computed
/// on the host in f64; sines of a row and of a column are shared by their patches.
pub(super) fn table(
    positions: Positions,
    [rows, columns]: [usize; 2],
    width: usize,
    device: &Device,
) -> Tensor<4> {
    let quarter = width / 4;
    let half = |count: usize| {
        let stretch = match positions {
            Positions::Counted => 1.0,
            Positions::Stretched(span) => span as f64 / count as f64,
        };
        let mut values = vec![0f32; count * 2 * quarter];
        for (at, row) in values.chunks_exact_mut((2 * quarter).max(1)).enumerate() {
            for i in 0..quarter {
                let frequency = (-(10000f64.ln()) * i as f64 / quarter as f64).exp();
                let angle = at as f64 * stretch * frequency;
                row[i] = angle.sin() as f32;
                row[quarter + i] = angle.cos() as f32;
            }
        }
        values
    };
    let (of_row, of_column) = (half(rows), half(columns));
    let part = 2 * quarter;
    let mut values = Vec::with_capacity(rows * columns * 2 * part);
    for row in 0..rows {
        for column in 0..columns {
            values.extend_from_slice(&of_column[column * part..][..part]);
            values.extend_from_slice(&of_row[row * part..][..part]);
        }
    }
    let data = TensorData::new(values, [1, rows, columns, 2 * part]);
    Tensor::<4>::from_data(data, (device, DType::F32)).permute([0, 3, 1, 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_column_comes_first_and_sines_before_cosines() {
        let of = |positions, row: usize, column: usize| -> Vec<f32> {
            let table = table(positions, [3, 5], 8, &Device::flex());
            assert_eq!(table.dims(), [1, 8, 3, 5]);
            let one = table.narrow(2, row, 1).narrow(3, column, 1);
            one.into_data().try_into_vec().unwrap()
        };
        let want = |x: f64, y: f64| {
            let half = |p: f64| [p.sin(), (p / 100.0).sin(), p.cos(), (p / 100.0).cos()];
            [half(x), half(y)].concat()
        };
        for (found, want) in [
            (of(Positions::Counted, 2, 4), want(4.0, 2.0)),
            (of(Positions::Counted, 0, 1), want(1.0, 0.0)),
            // 32 over three rows and five columns.
            (of(Positions::Stretched(32), 1, 2), want(12.8, 32.0 / 3.0)),
        ] {
            let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-6;
            assert!(found.iter().zip(&want).all(near), "{found:?} {want:?}");
        }
    }
}
