//! The best approximation of a matrix by one of low rank.
//!
//! Source: Halko, Martinsson and Tropp, "Finding structure with randomness" (2011), algorithms 4.4 and 5.1: the range is found by
//! products with a few columns, again and again, and the rest is done on a small matrix. The columns that it starts from are always
//! the same, so that the result is.

use burn::tensor::Tensor;
use nalgebra::{DMatrix, SymmetricEigen};

use super::change::{numbers, tensor};

/// Columns beyond the rank, and how often they are sharpened.
const MORE: usize = 8;
const ROUNDS: usize = 4;

/// A ≈ up · down.
#[derive(Debug)]
pub struct Factors {
    /// `[rows, rank]`.
    pub up: Vec<f32>,
    /// `[rank, columns]`.
    pub down: Vec<f32>,
    /// Of both.
    pub rank: usize,
    /// Σ of the squares of what they leave out of A.
    pub lost: f64,
}

/// The factors of the matrix `values` of these sides: of rank `most` at most, and of no more than what leaves the share `kept` of
/// the sum of squares. Both factors have the roots of the singular values.
pub fn factors(values: &[f32], [rows, columns]: [usize; 2], most: usize, kept: f64) -> Factors {
    let a: Tensor<2> = tensor(values.to_vec(), [rows, columns]);
    let width = (most + MORE).min(rows).min(columns);
    let start: Vec<f32> = (0..columns * width)
        .map(|at| scattered(at as u64))
        .collect();
    let mut basis = orthonormal(a.clone().matmul(tensor(start, [columns, width])));
    for _ in 0..ROUNDS {
        let back = orthonormal(a.clone().transpose().matmul(basis));
        basis = orthonormal(a.clone().matmul(back));
    }
    // What is left is small in one side: its left singular vectors are those of its square.
    let small = numbers(basis.clone().transpose().matmul(a));
    let row = |i: usize| &small[i * columns..][..columns];
    let dot = |i: usize, j: usize| {
        let products = row(i).iter().zip(row(j));
        products
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum::<f64>()
    };
    let square = DMatrix::from_fn(width, width, dot);
    let SymmetricEigen {
        eigenvectors,
        eigenvalues,
    } = SymmetricEigen::new(square);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|i, j| eigenvalues[*j].total_cmp(&eigenvalues[*i]));
    let total: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
    let (mut rank, mut sum) = (0, 0.0);
    for i in order.iter().take(most) {
        if rank > 0 && sum >= kept * total || eigenvalues[*i] <= 0.0 {
            break;
        }
        sum += eigenvalues[*i];
        rank += 1;
    }
    let rank = rank.max(1);
    let chosen = &order[..rank];
    let root = |i: usize| eigenvalues[i].max(0.0).sqrt().sqrt();
    let inverse = |i: usize| if root(i) > 0.0 { 1.0 / root(i) } else { 0.0 };
    let place = |by: &dyn Fn(usize) -> f64| -> Vec<f32> {
        let both = (0..width).flat_map(|i| chosen.iter().map(move |j| (i, *j)));
        both.map(|(i, j)| (eigenvectors[(i, j)] * by(j)) as f32)
            .collect()
    };
    let up = basis.matmul(tensor(place(&root), [width, rank]));
    let down = tensor::<2>(place(&inverse), [width, rank]).transpose();
    let down = down.matmul(tensor(small.clone(), [width, columns]));
    Factors {
        up: numbers(up),
        down: numbers(down),
        rank,
        lost: (total - sum).max(0.0),
    }
}

/// An orthonormal basis of the columns, in f64.
fn orthonormal(matrix: Tensor<2>) -> Tensor<2> {
    let [rows, columns] = matrix.dims();
    let values = numbers(matrix);
    let wide = DMatrix::from_row_iterator(rows, columns, values.into_iter().map(f64::from));
    let q = wide.qr().q();
    let values = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    tensor(
        values.map(|(i, j)| q[(i, j)] as f32).collect(),
        [rows, columns],
    )
}

/// A number in −1..1 that is always the same for a place: one step of SplitMix64.
fn scattered(at: u64) -> f32 {
    let z = (at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rank: usize, [rows, columns]: [usize; 2]) -> Vec<f32> {
        let mut values = vec![0.0; rows * columns];
        for r in 0..rank {
            let strength = 1.0 / (1 << r) as f32;
            for (i, row) in values.chunks_mut(columns).enumerate() {
                for (j, value) in row.iter_mut().enumerate() {
                    let (x, y) = ((r * 1000 + i) as u64, (r * 1000 + 500 + j) as u64);
                    *value += strength * scattered(x) * scattered(y);
                }
            }
        }
        values
    }

    fn error(values: &[f32], sides: [usize; 2], found: &Factors) -> f64 {
        let [rows, columns] = sides;
        let product = numbers(
            tensor::<2>(found.up.clone(), [rows, found.rank])
                .matmul(tensor(found.down.clone(), [found.rank, columns])),
        );
        let squares = values
            .iter()
            .zip(product)
            .map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>()
    }

    #[test]
    fn a_matrix_of_low_rank_comes_back() {
        for sides in [[40, 24], [24, 90], [12, 3]] {
            let values = matrix(3, sides);
            let total: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
            let found = factors(&values, sides, 3, 1.0);
            assert_eq!(found.rank, 3);
            assert!(error(&values, sides, &found) < 1e-9 * total);
            let fewer = factors(&values, sides, 2, 1.0);
            assert_eq!(fewer.rank, 2);
            let lost = error(&values, sides, &fewer);
            assert!(
                (lost - fewer.lost).abs() < 1e-4 * total,
                "{lost} {}",
                fewer.lost
            );
            let budget = factors(&values, sides, 3, 0.5);
            assert!(budget.rank < 3 && budget.lost <= 0.5 * total);
        }
        let none = factors(&[0.0; 12], [4, 3], 2, 1.0);
        assert!(none.up.iter().chain(&none.down).all(|v| *v == 0.0) && none.lost == 0.0);
    }
}
