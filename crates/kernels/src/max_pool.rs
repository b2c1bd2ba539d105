//! The largest of every 2×2 pixels.

use rayon::prelude::*;

use crate::layout::Pool2x2;
use crate::number::Number;

impl Pool2x2 {
    /// Numbers in a row of the larger and of the smaller picture.
    fn row(&self) -> [usize; 2] {
        [self.width, self.width / 2].map(|width| width * self.channels)
    }

    /// Where the two rows of `x` begin that row `i` of the smaller pictures sees.
    fn rows_above(&self, i: usize) -> [usize; 2] {
        let rows = self.height / 2;
        let top = i / rows * self.height + i % rows * 2;
        [top, top + 1].map(|row| row * self.width * self.channels)
    }

    /// Where pixel `column` of the smaller row finds its four in one row of `x` and the next.
    fn four(&self, [upper, lower]: [usize; 2], column: usize) -> [usize; 4] {
        let (at, c) = (2 * column * self.channels, self.channels);
        [upper + at, upper + at + c, lower + at, lower + at + c]
    }
}

/// The largest of every 2×2 pixels: x: `[batch, height, width, channels]` → out:
/// `[batch, ⌊height / 2⌋, ⌊width / 2⌋, channels]`.
///
/// # Panics
///
/// If the lengths differ from these, here and below.
pub fn max2x2<T: Number>(shape: Pool2x2, x: &[T], out: &mut [T]) {
    assert_eq!(x.len(), shape.large(), "x is the larger picture");
    assert_eq!(out.len(), shape.small(), "out is the smaller picture");
    let ([_, row], c) = (shape.row(), shape.channels);
    if out.is_empty() {
        return;
    }
    let job = |(i, out): (usize, &mut [T])| {
        let rows = shape.rows_above(i);
        for (column, out) in out.chunks_exact_mut(c).enumerate() {
            let four = shape.four(rows, column).map(|at| &x[at..at + c]);
            for (k, out) in out.iter_mut().enumerate() {
                let larger = |a: T, b: T| if b.to_f32() > a.to_f32() { b } else { a };
                let [p, q, r, s] = four.map(|pixel| pixel[k]);
                *out = larger(larger(larger(p, q), r), s);
            }
        }
    };
    out.par_chunks_exact_mut(row).enumerate().for_each(job);
}

/// The gradient of [`max2x2`]: all to the first of the largest, zero to pixels that were left out.
pub fn max2x2_backward<T: Number>(shape: Pool2x2, x: &[T], grad_out: &[T], grad_x: &mut [T]) {
    assert_eq!(x.len(), shape.large(), "x is the larger picture");
    assert_eq!(
        grad_out.len(),
        shape.small(),
        "grad_out is the smaller picture"
    );
    assert_eq!(grad_x.len(), shape.large(), "grad_x is the larger picture");
    grad_x.fill(T::ZERO);
    let ([wide, row], c) = (shape.row(), shape.channels);
    if grad_out.is_empty() {
        return;
    }
    // Two rows of the larger picture at a time; an odd last row of a picture stays zero.
    let rows = shape.height / 2;
    for (item, picture) in grad_x.chunks_exact_mut(shape.height * wide).enumerate() {
        let pairs = picture.par_chunks_exact_mut(2 * wide).enumerate();
        pairs.for_each(|(y, pair)| {
            let i = item * rows + y;
            let seen = shape.rows_above(i);
            for (column, gradient) in grad_out[i * row..][..row].chunks_exact(c).enumerate() {
                let seen = shape.four(seen, column).map(|at| &x[at..at + c]);
                let to = shape.four([0, wide], column);
                for (k, g) in gradient.iter().enumerate() {
                    let larger = |a: usize, b: usize| {
                        if seen[b][k].to_f32() > seen[a][k].to_f32() {
                            b
                        } else {
                            a
                        }
                    };
                    pair[to[(1..4).fold(0, larger)] + k] = *g;
                }
            }
        });
    }
}
