//! The Fréchet distance between normal distributions (Heusel et al. 2017).

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;

use crate::{Error, Features, Moments};

/// The Fréchet distance of two sets of feature vectors. Biased upwards for small sets: compare numbers of
/// equally large ones only.
///
/// # Errors
/// Fewer than two vectors, vectors of different networks.
pub fn frechet_distance(a: &Features<'_>, b: &Features<'_>) -> Result<f64, Error> {
    a.as_wide_as(b)?;
    match a.count().min(b.count()) < a.width() {
        true => by_vectors(a, b),
        false => frechet_distance_of(&a.moments()?, &b.moments()?),
    }
}

/// The same for sets of fewer vectors than these have numbers, whose covariances are mostly zeros: with the
/// centred vectors as rows of A and B, C₁ = AᵀA and C₂ = BᵀB, and the trace of (C₁C₂)^½ is the sum of the
/// singular values of ABᵀ, a matrix of the sets' sizes.
fn by_vectors(a: &Features<'_>, b: &Features<'_>) -> Result<f64, Error> {
    let (few, many) = match a.count() <= b.count() {
        true => (a, b),
        false => (b, a),
    };
    let ((mean_few, few), (mean_many, many)) = (few.centred()?, many.centred()?);
    let width = a.width();
    let squares = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>();
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    let rows = few.len() / width;
    let across: Vec<Vec<f64>> = few
        .par_chunks_exact(width)
        .map(|x| many.chunks_exact(width).map(|y| dot(x, y)).collect())
        .collect();
    let inner: Vec<Vec<f64>> = (0..rows)
        .into_par_iter()
        .map(|i| across.iter().map(|other| dot(&across[i], other)).collect())
        .collect();
    let shared: f64 = DMatrix::from_fn(rows, rows, |i, j| inner[i][j])
        .symmetric_eigenvalues()
        .iter()
        .map(|v| v.max(0.0).sqrt())
        .sum();
    let means = mean_few.iter().zip(&mean_many);
    let apart: f64 = means.map(|(a, b)| (a - b).powi(2)).sum();
    Ok((apart + squares(&few) + squares(&many) - 2.0 * shared).max(0.0))
}

/// |μ₁ − μ₂|² + tr(C₁ + C₂ − 2·(C₁C₂)^½) of two sets' moments.
///
/// The trace of (C₁C₂)^½ is that of (C₁^½ C₂ C₁^½)^½, whose matrix is symmetric, so its root needs no
/// complex numbers and a singular covariance no repair.
///
/// # Errors
/// Moments of different networks, or that are not finite.
pub fn frechet_distance_of(a: &Moments, b: &Moments) -> Result<f64, Error> {
    let width = a.mean.len();
    if b.mean.len() != width {
        return Err(Error::Width {
            a: width,
            b: b.mean.len(),
        });
    }
    for (what, x) in [
        ("the first covariance", &a.covariance),
        ("the second covariance", &b.covariance),
    ] {
        let (found, expected) = (x.len(), width * width);
        if found != expected {
            return Err(Error::Length {
                what,
                found,
                expected,
            });
        }
        if !x.iter().all(|v| v.is_finite()) {
            return Err(Error::NotFinite { what });
        }
    }
    let root = root(&a.covariance, width);
    let inner = product(&product(&root, &b.covariance, width), &root, width);
    let symmetric = DMatrix::from_fn(width, width, |i, j| {
        (inner[i * width + j] + inner[j * width + i]) / 2.0
    });
    let shared: f64 = symmetric
        .symmetric_eigenvalues()
        .iter()
        .map(|v| v.max(0.0).sqrt())
        .sum();
    let apart: f64 = a
        .mean
        .iter()
        .zip(&b.mean)
        .map(|(a, b)| (a - b).powi(2))
        .sum();
    let trace = |x: &[f64]| x.iter().step_by(width + 1).sum::<f64>();
    Ok((apart + trace(&a.covariance) + trace(&b.covariance) - 2.0 * shared).max(0.0))
}

/// The symmetric root of a covariance; what rounding made negative counts as zero.
fn root(covariance: &[f64], width: usize) -> Vec<f64> {
    let eigen = SymmetricEigen::new(DMatrix::from_row_slice(width, width, covariance));
    // Column-major: eigenvector i is the i-th run of `width` numbers.
    let vectors = eigen.eigenvectors.as_slice();
    let mut scaled = vectors.to_vec();
    for (vector, value) in scaled.chunks_exact_mut(width).zip(eigen.eigenvalues.iter()) {
        let root = value.max(0.0).sqrt();
        vector.iter_mut().for_each(|v| *v *= root);
    }
    // Σ √λ·v·vᵀ
    let mut out = vec![0.0; width * width];
    out.par_chunks_exact_mut(width)
        .enumerate()
        .for_each(|(i, row)| {
            for (scaled, vector) in scaled.chunks_exact(width).zip(vectors.chunks_exact(width)) {
                let own = scaled[i];
                row.iter_mut()
                    .zip(vector)
                    .for_each(|(sum, v)| *sum += own * v);
            }
        });
    out
}

/// a·b of square row-major matrices.
fn product(a: &[f64], b: &[f64], width: usize) -> Vec<f64> {
    let mut out = vec![0.0; width * width];
    out.par_chunks_exact_mut(width)
        .enumerate()
        .for_each(|(i, row)| {
            for (a, b) in a[i * width..][..width].iter().zip(b.chunks_exact(width)) {
                row.iter_mut().zip(b).for_each(|(sum, b)| *sum += a * b);
            }
        });
    out
}
