//! Structural similarity (Wang et al. 2004) and its form over scales (Wang et al. 2003).

use crate::Error;

/// Side of the window.
const WINDOW: usize = 11;
/// Deviation of its Gaussian weights.
const SIGMA: f64 = 1.5;
/// Of the constants that keep the quotients finite.
const K: [f64; 2] = [0.01, 0.03];
/// What each scale weighs, finest first.
const SCALES: [f64; 5] = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333];

/// One channel.
#[derive(Clone)]
struct Plane {
    height: usize,
    width: usize,
    numbers: Vec<f64>,
}

impl Plane {
    /// The Gaussian mean around each pixel whose window lies within the picture.
    fn blurred(&self, weights: &[f64; WINDOW]) -> Self {
        let (height, width) = (self.height - WINDOW + 1, self.width - WINDOW + 1);
        let along = |numbers: &[f64], at: usize, step: usize| -> f64 {
            weights
                .iter()
                .enumerate()
                .map(|(i, w)| w * numbers[at + i * step])
                .sum()
        };
        let rows: Vec<f64> = (0..self.height * width)
            .map(|i| along(&self.numbers, i / width * self.width + i % width, 1))
            .collect();
        let numbers = (0..height * width)
            .map(|i| along(&rows, i, width))
            .collect();
        Self {
            height,
            width,
            numbers,
        }
    }

    fn times(&self, other: &Self) -> Self {
        let pairs = self.numbers.iter().zip(&other.numbers);
        Self {
            numbers: pairs.map(|(a, b)| a * b).collect(),
            ..*self
        }
    }

    /// The means of every 2×2 pixels; an odd last row or column is left out.
    fn halved(&self) -> Self {
        let (height, width) = (self.height / 2, self.width / 2);
        let mean = |i: usize| {
            let at = i / width * 2 * self.width + i % width * 2;
            let n = &self.numbers;
            (n[at] + n[at + 1] + n[at + self.width] + n[at + self.width + 1]) / 4.0
        };
        Self {
            height,
            width,
            numbers: (0..height * width).map(mean).collect(),
        }
    }
}

/// The means over a channel of similarity, and of its part without brightness.
fn similarity(a: &Plane, b: &Plane, range: f64) -> [f64; 2] {
    let mut weights = [0.0; WINDOW];
    for (i, w) in weights.iter_mut().enumerate() {
        let x = i as f64 - (WINDOW / 2) as f64;
        *w = (-x * x / (2.0 * SIGMA * SIGMA)).exp();
    }
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    let [c1, c2] = K.map(|k| (k * range).powi(2));
    let blur = |plane: Plane| plane.blurred(&weights).numbers;
    let (mean_a, mean_b) = (blur(a.clone()), blur(b.clone()));
    let (aa, bb, ab) = (blur(a.times(a)), blur(b.times(b)), blur(a.times(b)));
    let mut sums = [0.0; 2];
    for i in 0..mean_a.len() {
        let (ma, mb) = (mean_a[i], mean_b[i]);
        let (va, vb, vab) = (aa[i] - ma * ma, bb[i] - mb * mb, ab[i] - ma * mb);
        let contrast = (2.0 * vab + c2) / (va + vb + c2);
        sums[0] += (2.0 * ma * mb + c1) / (ma * ma + mb * mb + c1) * contrast;
        sums[1] += contrast;
    }
    sums.map(|sum| sum / mean_a.len() as f64)
}

/// The channels of both pictures.
fn planes(
    measure: &'static str,
    least: usize,
    a: &[f32],
    b: &[f32],
    [channels, height, width]: [usize; 3],
) -> Result<Vec<[Plane; 2]>, Error> {
    let expected = channels * height * width;
    for (what, x) in [("the first picture", a), ("the second picture", b)] {
        if x.len() != expected || x.is_empty() {
            let found = x.len();
            return Err(Error::Length {
                what,
                found,
                expected,
            });
        }
    }
    if height.min(width) < least {
        return Err(Error::Small {
            measure,
            height,
            width,
            least,
        });
    }
    let plane = |x: &[f32]| Plane {
        height,
        width,
        numbers: x.iter().map(|&v| f64::from(v)).collect(),
    };
    let both = a.chunks(height * width).zip(b.chunks(height * width));
    Ok(both.map(|(a, b)| [plane(a), plane(b)]).collect())
}

/// Structural similarity: 1 for equal pictures. The window is Gaussian, 11×11 pixels of deviation 1.5, only
/// where it lies within the picture; variances are the window's own; the mean over channels.
///
/// # Shapes
/// Both `[channels, height, width]`; `range` as for [`psnr`](crate::psnr)
///
/// # Errors
/// Numbers that do not fill the shape; a side under 11 pixels.
pub fn ssim(a: &[f32], b: &[f32], shape: [usize; 3], range: f64) -> Result<f64, Error> {
    let planes = planes("SSIM", WINDOW, a, b, shape)?;
    let sum: f64 = planes.iter().map(|[a, b]| similarity(a, b, range)[0]).sum();
    Ok(sum / planes.len() as f64)
}

/// Structural similarity over five scales, each half as large: the contrast of the finer ones and all of
/// the coarsest, as a product of powers. A negative scale counts as zero.
///
/// # Shapes
/// As [`ssim`].
///
/// # Errors
/// As [`ssim`]; a side under 176 pixels.
pub fn ms_ssim(a: &[f32], b: &[f32], shape: [usize; 3], range: f64) -> Result<f64, Error> {
    let least = WINDOW << (SCALES.len() - 1);
    let mut planes = planes("MS-SSIM", least, a, b, shape)?;
    let channels = planes.len();
    let mut products = vec![1.0; channels];
    for (scale, weight) in SCALES.iter().enumerate() {
        let last = scale + 1 == SCALES.len();
        for ([a, b], product) in planes.iter_mut().zip(&mut products) {
            let [whole, contrast] = similarity(a, b, range);
            let part: f64 = if last { whole } else { contrast };
            *product *= part.max(0.0).powf(*weight);
            if !last {
                (*a, *b) = (a.halved(), b.halved());
            }
        }
    }
    Ok(products.iter().sum::<f64>() / channels as f64)
}
