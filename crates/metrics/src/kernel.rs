//! The kernel distance (Bińkowski et al. 2018).

use rayon::prelude::*;

use crate::{Error, Features};

/// A kernel distance over subsets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelDistance {
    /// The mean over the subsets; unbiased, so it may be a little below zero.
    pub mean: f64,
    /// The deviation of the mean over the subsets; 0 where there is one.
    pub error: f64,
}

/// The squared maximum mean discrepancy with the kernel (x·y / width + 1)³, without bias, of subsets of
/// `subset` vectors: the first of each set, the next, and so on. Pictures that come in an order that means
/// something should be shuffled before.
///
/// # Errors
/// Fewer than two vectors in a set or a subset, vectors of different networks.
pub fn kernel_distance(
    a: &Features<'_>,
    b: &Features<'_>,
    subset: usize,
) -> Result<KernelDistance, Error> {
    const NAME: &str = "a kernel distance";
    a.as_wide_as(b)?;
    a.at_least(2, NAME)?;
    b.at_least(2, NAME)?;
    if subset < 2 {
        return Err(Error::Few {
            measure: NAME,
            found: subset,
            least: 2,
        });
    }
    let size = subset.min(a.count()).min(b.count());
    let found: Vec<f64> = (0..a.count().min(b.count()) / size)
        .map(|i| {
            let range = i * size..(i + 1) * size;
            discrepancy(&a.part(range.clone()), &b.part(range))
        })
        .collect();
    let n = found.len() as f64;
    let mean = found.iter().sum::<f64>() / n;
    let squares: f64 = found.iter().map(|v| (v - mean).powi(2)).sum();
    let error = if n > 1.0 {
        (squares / (n - 1.0) / n).sqrt()
    } else {
        0.0
    };
    Ok(KernelDistance { mean, error })
}

/// Of equally many vectors.
fn discrepancy(a: &Features<'_>, b: &Features<'_>) -> f64 {
    let n = a.count();
    let kernel = |x: &[f32], y: &[f32]| {
        let dot: f64 = x
            .iter()
            .zip(y)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum();
        (dot / x.len() as f64 + 1.0).powi(3)
    };
    let parts: Vec<f64> = (0..n)
        .into_par_iter()
        .map(|i| {
            let (x, y) = (a.row(i), b.row(i));
            let others = (0..n).filter(|j| *j != i);
            let own: f64 = others
                .map(|j| kernel(x, a.row(j)) + kernel(y, b.row(j)))
                .sum();
            let across: f64 = b.rows().map(|y| kernel(x, y)).sum();
            own / (n * (n - 1)) as f64 - 2.0 * across / (n * n) as f64
        })
        .collect();
    parts.iter().sum()
}
