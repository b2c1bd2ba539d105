//! Precision and recall of a set of pictures (Kynkäänniemi et al. 2019), and the nearest neighbours themselves.

use rayon::prelude::*;

use crate::{Error, Features};

/// How much of one set lies where the other does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// The share of made pictures that look real.
    pub precision: f64,
    /// The share of real pictures that could have been made.
    pub recall: f64,
}

/// A vector belongs to a set when it is as near to some vector of it as that vector's `k`-th nearest
/// neighbour in the set; the published k is 3.
///
/// # Errors
/// A set of no more than `k` vectors, k = 0, vectors of different networks.
pub fn precision_recall(
    real: &Features<'_>,
    made: &Features<'_>,
    k: usize,
) -> Result<PrecisionRecall, Error> {
    const NAME: &str = "precision and recall";
    real.as_wide_as(made)?;
    if k == 0 {
        return Err(Error::Few {
            measure: "a neighbourhood",
            found: 0,
            least: 1,
        });
    }
    real.at_least(k + 1, NAME)?;
    made.at_least(k + 1, NAME)?;
    Ok(PrecisionRecall {
        precision: share_within(made, real, k),
        recall: share_within(real, made, k),
    })
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum()
}

/// The share of `points` that belong to `set`.
fn share_within(points: &Features<'_>, set: &Features<'_>, k: usize) -> f64 {
    let reach: Vec<f64> = (0..set.count())
        .into_par_iter()
        .map(|i| {
            let others = (0..set.count()).filter(|j| *j != i);
            let mut all: Vec<f64> = others.map(|j| distance(set.row(i), set.row(j))).collect();
            *all.select_nth_unstable_by(k - 1, f64::total_cmp).1
        })
        .collect();
    let within = (0..points.count()).into_par_iter().filter(|&i| {
        let point = points.row(i);
        set.rows()
            .zip(&reach)
            .any(|(centre, reach)| distance(point, centre) <= *reach)
    });
    within.count() as f64 / points.count() as f64
}

/// The vector of a set that is nearest to some vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Its place in the set; the first of equally near ones.
    pub index: usize,
    /// The Euclidean distance.
    pub distance: f64,
}

/// The nearest vector of `set` for each of `points`.
///
/// # Errors
/// An empty set, vectors of different networks.
pub fn nearest(points: &Features<'_>, set: &Features<'_>) -> Result<Vec<Nearest>, Error> {
    points.as_wide_as(set)?;
    set.at_least(1, NEAREST)?;
    let places = (0..points.count()).into_par_iter();
    Ok(places
        .map(|i| nearest_to(points.row(i), set, usize::MAX))
        .collect())
}

/// The nearest other vector of `set` for each `count`-th part of it: for vectors 0, n, 2n, … where n is such that there
/// are about `count` of them. What a set has of its own duplicates shows as distances of 0.
///
/// # Errors
/// A set of fewer than two vectors.
pub fn nearest_others(set: &Features<'_>, count: usize) -> Result<Vec<Nearest>, Error> {
    set.at_least(2, NEAREST)?;
    let stride = set.count().div_ceil(count.max(1)).max(1);
    let places = (0..set.count().div_ceil(stride)).into_par_iter();
    Ok(places
        .map(|i| nearest_to(set.row(i * stride), set, i * stride))
        .collect())
}

const NEAREST: &str = "a nearest neighbour";

/// Without the vector at `but`.
fn nearest_to(point: &[f32], set: &Features<'_>, but: usize) -> Nearest {
    let all = set.rows().enumerate().filter(|(index, _)| *index != but);
    let found = all
        .map(|(index, row)| (index, distance(point, row)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    let (index, square) = found.unwrap_or((0, f64::INFINITY));
    Nearest {
        index,
        distance: square.sqrt(),
    }
}
