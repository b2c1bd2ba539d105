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
    /// The mean of the pixels that an output pixel touches: torch's `area` (adaptive average pooling).
    Area,
}

/// `x` at another height and width. Computed in f32; the result has the type of `x`.
///
/// Every filter is a matrix per axis, so a resize is two products: rows, then columns.
///
/// # Shapes
///
/// x `[batch, channels, height, width]` → `[batch, channels, size[0], size[1]]`; no size may be zero
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
