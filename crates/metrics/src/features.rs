//! Sets of feature vectors.

use rayon::prelude::*;

use crate::Error;

/// Feature vectors, one after another.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    numbers: &'a [f32],
    width: usize,
}

impl<'a> Features<'a> {
    /// Vectors of `width` numbers.
    ///
    /// # Errors
    /// Numbers that are no whole vectors or are not finite.
    pub fn new(numbers: &'a [f32], width: usize) -> Result<Self, Error> {
        if width == 0 || !numbers.len().is_multiple_of(width) {
            return Err(Error::Length {
                what: "the feature vectors",
                found: numbers.len(),
                expected: numbers.len().next_multiple_of(width.max(1)).max(width),
            });
        }
        if !numbers.iter().all(|v| v.is_finite()) {
            return Err(Error::NotFinite {
                what: "a feature vector",
            });
        }
        Ok(Self { numbers, width })
    }

    /// How many vectors.
    pub fn count(&self) -> usize {
        self.numbers.len() / self.width
    }

    /// Numbers of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn rows(&self) -> std::slice::ChunksExact<'a, f32> {
        self.numbers.chunks_exact(self.width)
    }

    pub(crate) fn row(&self, i: usize) -> &'a [f32] {
        &self.numbers[i * self.width..][..self.width]
    }

    /// Vectors `range`.
    pub(crate) fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self {
            numbers: &self.numbers[range.start * self.width..range.end * self.width],
            width: self.width,
        }
    }

    pub(crate) fn at_least(&self, least: usize, measure: &'static str) -> Result<(), Error> {
        match self.count() {
            found if found < least => Err(Error::Few {
                measure,
                found,
                least,
            }),
            _ => Ok(()),
        }
    }

    pub(crate) fn as_wide_as(&self, other: &Self) -> Result<(), Error> {
        let (a, b) = (self.width, other.width);
        if a == b {
            Ok(())
        } else {
            Err(Error::Width { a, b })
        }
    }

    /// Their mean, `[width]`, and the vectors less it, over √(count − 1) so that their products are the unbiased
    /// covariance: `[count, width]`.
    pub(crate) fn centred(&self) -> Result<(Vec<f64>, Vec<f64>), Error> {
        self.at_least(2, "a covariance")?;
        let n = self.count() as f64;
        let mut mean = vec![0.0; self.width];
        for row in self.rows() {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, v)| *m += f64::from(*v));
        }
        mean.iter_mut().for_each(|m| *m /= n);
        let scale = (n - 1.0).sqrt().recip();
        let less = |(v, m): (&f32, &f64)| (f64::from(*v) - m) * scale;
        let centred = self
            .rows()
            .flat_map(|row| row.iter().zip(&mean).map(less))
            .collect();
        Ok((mean, centred))
    }

    /// Their mean and covariance.
    ///
    /// # Errors
    /// Fewer than two vectors.
    pub fn moments(&self) -> Result<Moments, Error> {
        let width = self.width;
        let (mean, centred) = self.centred()?;
        let mut covariance = vec![0.0; width * width];
        covariance
            .par_chunks_exact_mut(width)
            .enumerate()
            .for_each(|(i, out)| {
                for row in centred.chunks_exact(width) {
                    let own = row[i];
                    out.iter_mut().zip(row).for_each(|(sum, v)| *sum += own * v);
                }
            });
        Ok(Moments { mean, covariance })
    }
}

/// Mean and unbiased covariance of feature vectors: all that a Fréchet distance needs of a set, so that
/// those of the real pictures can be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// `[width]`.
    pub mean: Vec<f64>,
    /// `[width, width]`.
    pub covariance: Vec<f64>,
}
