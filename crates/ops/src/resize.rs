//! Resizing of latents and pictures, as torch's `interpolate` does it (`align_corners=False`).

use burn::tensor::{DType, Tensor, TensorData};

/// How values between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// The pixel at ⌊i·in/out⌋: torch's `nearest`.
    Nearest,
    /// The pixel whose area holds the centre: torch's `nearest-exact`.
    NearestExact,
    /// Linear between two pixels.
    Bilinear,
    /// Linear, with the filter widened when the picture shrinks.
    BilinearAntialias,
    /// Cubic through four pixels, a = −0.75.
    Bicubic,
    /// Cubic, a = −0.5, with the filter widened when the picture shrinks.
    BicubicAntialias,
    /// The mean of the pixels that an output pixel touches: torch's `area` (adaptive average
    /// pooling).
    Area,
}

/// `x` at another height and width. Computed in f32; the result has the type of `x`.
///
/// Every filter is a matrix per axis, so a resize is two products: rows, then columns.
///
/// # Shapes
///
/// x `[batch, channels, height, width]` → `[batch, channels, size[0], size[1]]`; no size may be
/// zero
pub fn resize(x: Tensor<4>, size: [usize; 2], filter: Filter) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let dtype = x.dtype();
    let device = x.device();
    let matrix = |from: usize, to: usize| {
        let data = TensorData::new(weights(from, to, filter), [1, 1, to, from]);
        Tensor::<4>::from_data(data, (&device, DType::F32))
    };
    let mut x = x.cast(DType::F32);
    if height != size[0] {
        x = matrix(height, size[0]).matmul(x);
    }
    if width != size[1] {
        x = x.matmul(matrix(width, size[1]).swap_dims(2, 3));
    }
    x.cast(dtype)
}

/// The `[to, from]` matrix of one axis, row-major; each row sums to one.
fn weights(from: usize, to: usize, filter: Filter) -> Vec<f32> {
    let ratio = from as f64 / to as f64;
    let mut matrix = vec![0f32; from * to];
    for (i, row) in matrix.chunks_exact_mut(from).enumerate() {
        let mut add = |index: isize, weight: f64| {
            row[index.clamp(0, from as isize - 1) as usize] += weight as f32;
        };
        // Where the output pixel's centre lies between input pixels' centres.
        let centre = (i as f64 + 0.5) * ratio - 0.5;
        match filter {
            Filter::Nearest => add((i * from / to) as isize, 1.0),
            Filter::NearestExact => add(((2 * i + 1) * from / (2 * to)) as isize, 1.0),
            Filter::Bilinear => {
                let low = centre.max(0.0).floor();
                let t = centre.max(0.0) - low;
                add(low as isize, 1.0 - t);
                add(low as isize + 1, t);
            }
            Filter::Bicubic => {
                let low = centre.floor();
                for k in -1..=2 {
                    add(low as isize + k, cubic(centre - low - k as f64, -0.75));
                }
            }
            Filter::Area => {
                let start = i * from / to;
                let end = ((i + 1) * from).div_ceil(to);
                for index in start..end {
                    add(index as isize, 1.0 / (end - start) as f64);
                }
            }
            Filter::BilinearAntialias => widened(centre, ratio, from, 1.0, triangle, &mut add),
            Filter::BicubicAntialias => {
                widened(centre, ratio, from, 2.0, |x| cubic(x, -0.5), &mut add);
            }
        }
    }
    matrix
}

/// A filter of half-width `support`, stretched where the picture shrinks and cut off at the edges.
fn widened(
    centre: f64,
    ratio: f64,
    from: usize,
    support: f64,
    kernel: impl Fn(f64) -> f64,
    add: &mut impl FnMut(isize, f64),
) {
    let stretch = ratio.max(1.0);
    let reach = support * stretch;
    let start = (centre - reach + 1.0).floor().max(0.0) as usize;
    let end = ((centre + reach + 1.0).floor().max(0.0) as usize).min(from);
    let weight = |index: usize| kernel((index as f64 - centre) / stretch);
    let sum: f64 = (start..end).map(weight).sum();
    for index in start..end {
        add(index as isize, weight(index) / sum);
    }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys' cubic convolution kernel ("Cubic Convolution Interpolation", 1981).
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_close, normal, numbers};
    use proptest::prelude::*;

    const ALL: [Filter; 7] = [
        Filter::Nearest,
        Filter::NearestExact,
        Filter::Bilinear,
        Filter::BilinearAntialias,
        Filter::Bicubic,
        Filter::BicubicAntialias,
        Filter::Area,
    ];

    fn row(from: usize, to: usize, filter: Filter, i: usize) -> Vec<f32> {
        weights(from, to, filter)[i * from..(i + 1) * from].to_vec()
    }

    fn assert_row(got: Vec<f32>, want: &[f32]) {
        assert_eq!(got.len(), want.len());
        let same = got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6);
        assert!(same, "{got:?} where {want:?} is right");
    }

    proptest! {
        #[test]
        fn every_row_sums_to_one(from in 1usize..40, to in 1usize..40) {
            for filter in ALL {
                for row in weights(from, to, filter).chunks(from) {
                    let sum: f64 = row.iter().map(|&w| f64::from(w)).sum();
                    prop_assert!((sum - 1.0).abs() < 1e-6, "{filter:?} {row:?}");
                }
            }
        }

        #[test]
        fn the_same_size_is_the_same_picture(size in 1usize..40) {
            for filter in ALL {
                for (i, row) in weights(size, size, filter).chunks(size).enumerate() {
                    prop_assert!((row[i] - 1.0).abs() < 1e-6, "{filter:?} {row:?}");
                }
            }
        }

        #[test]
        fn both_axes_are_weighted(h in 1usize..9, w in 1usize..9, to_h in 1usize..9, to_w in 1usize..9) {
            let x = numbers("x", 2 * h * w);
            for filter in ALL {
                let rows = if h == to_h { weights(h, h, Filter::Nearest) } else { weights(h, to_h, filter) };
                let columns = if w == to_w { weights(w, w, Filter::Nearest) } else { weights(w, to_w, filter) };
                let mut want = Vec::new();
                for plane in x.chunks(h * w) {
                    for i in 0..to_h * to_w {
                        let (r, c) = (i / to_w, i % to_w);
                        let term = |p: usize| {
                            let weight = f64::from(rows[r * h + p / w]) * f64::from(columns[c * w + p % w]);
                            weight * plane[p]
                        };
                        want.push((0..h * w).map(term).sum::<f64>());
                    }
                }
                let y = resize(normal("x", [1, 2, h, w]), [to_h, to_w], filter);
                assert_close(y, [1, 2, to_h, to_w], &want);
            }
        }
    }

    #[test]
    fn weights_are_those_of_the_published_filters() {
        // Doubling: the second output pixel's centre lies a quarter pixel right of the first
        // input's.
        assert_row(row(4, 8, Filter::Bilinear, 1), &[0.75, 0.25, 0.0, 0.0]);
        assert_row(
            row(4, 8, Filter::BilinearAntialias, 1),
            &[0.75, 0.25, 0.0, 0.0],
        );
        assert_row(row(4, 8, Filter::Nearest, 3), &[0.0, 1.0, 0.0, 0.0]);
        // Keys' kernel at 1.25, 0.25, 0.75, 1.75 with a = −0.75.
        assert_row(
            row(8, 16, Filter::Bicubic, 7)[2..6].to_vec(),
            &[-0.105_468_75, 0.878_906_25, 0.261_718_75, -0.035_156_25],
        );
        // Halving: plain filters look at two pixels, widened ones at four.
        assert_row(
            row(6, 3, Filter::Bilinear, 1),
            &[0.0, 0.0, 0.5, 0.5, 0.0, 0.0],
        );
        assert_row(
            row(6, 3, Filter::BilinearAntialias, 1),
            &[0.0, 0.125, 0.375, 0.375, 0.125, 0.0],
        );
        // 5 → 3: torch takes ⌊i·5/3⌋, and with centres ⌊(i + ½)·5/3⌋.
        let picked = |filter| -> Vec<usize> {
            (0..3)
                .map(|i| row(5, 3, filter, i).iter().position(|&w| w == 1.0).unwrap())
                .collect()
        };
        assert_eq!(picked(Filter::Nearest), [0, 1, 3]);
        assert_eq!(picked(Filter::NearestExact), [0, 2, 4]);
        assert_row(
            row(5, 3, Filter::Area, 1),
            &[0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0],
        );
    }
}
