//! Canny's edges, as OpenCV finds them.
//!
//! Canny, "A Computational Approach to Edge Detection", 1986. What OpenCV does with it, read off its behaviour: gradients by
//! Sobel with repeated borders, of the strongest channel at each pixel; thinning in fixed point, where nothing lies outside
//! of the picture; two thresholds joined over eight neighbours. There is no blur before.

use super::field::{Field, clamped};

/// tan 22.5° in 15 bits behind the point.
const TAN_22: i64 = 13_573;
const SHIFT: u32 = 15;

/// What is an edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Canny {
    /// A gradient above this is an edge where it hangs together with one above `high`.
    pub low: f64,
    /// A gradient above this is an edge.
    pub high: f64,
    /// Rows and columns of the Sobel kernel: 3, 5 or 7.
    pub aperture: usize,
    /// The length of the gradient is √(x² + y²), not |x| + |y|.
    pub exact: bool,
}

/// The Sobel kernels: across and along.
fn kernels(aperture: usize) -> (&'static [i64], &'static [i64]) {
    match aperture {
        7 => (&[1, 6, 15, 20, 15, 6, 1], &[-1, -4, -5, 0, 5, 4, 1]),
        5 => (&[1, 4, 6, 4, 1], &[-1, -2, 0, 2, 1]),
        _ => (&[1, 2, 1], &[-1, 0, 1]),
    }
}

/// The strongest gradient at a pixel: its two parts and its length.
#[derive(Clone, Copy, Default)]
struct Gradient {
    x: i64,
    y: i64,
    length: i64,
}

impl Canny {
    /// 255 where there is an edge, 0 elsewhere.
    pub fn edges(&self, picture: &Field<u8>) -> Field<u8> {
        let (width, height) = (picture.width, picture.height);
        let (low, high) = self.thresholds();
        let gradients = self.gradients(picture);
        let length = |x: i64, y: i64| {
            let inside = x >= 0 && y >= 0 && x < width as i64 && y < height as i64;
            match inside {
                true => gradients[y as usize * width + x as usize].length,
                false => 0,
            }
        };
        let mut weak = vec![false; width * height];
        let mut todo = Vec::new();
        for (at, gradient) in gradients.iter().enumerate() {
            let (x, y) = ((at % width) as i64, (at / width) as i64);
            if gradient.length as f64 > low && is_ridge(gradient, |dx, dy| length(x + dx, y + dy)) {
                weak[at] = true;
                if gradient.length as f64 > high {
                    todo.push(at);
                }
            }
        }
        let mut values = vec![0; width * height];
        while let Some(at) = todo.pop() {
            if std::mem::replace(&mut values[at], 255) == 255 {
                continue;
            }
            let (x, y) = (at % width, at / width);
            for y in y.saturating_sub(1)..(y + 2).min(height) {
                for x in x.saturating_sub(1)..(x + 2).min(width) {
                    let beside = y * width + x;
                    if weak[beside] && values[beside] == 0 {
                        todo.push(beside);
                    }
                }
            }
        }
        Field {
            width,
            height,
            channels: 1,
            values,
        }
    }

    /// Both as they are compared with lengths, which are whole.
    fn thresholds(&self) -> (f64, f64) {
        let of = |threshold: f64| {
            let scaled = if self.aperture == 7 {
                threshold / 16.0
            } else {
                threshold
            };
            let squared = match self.exact && scaled > 0.0 {
                true => scaled.min(32_767.0).powi(2),
                false => scaled,
            };
            squared.floor()
        };
        (of(self.low.min(self.high)), of(self.low.max(self.high)))
    }

    fn gradients(&self, picture: &Field<u8>) -> Vec<Gradient> {
        let (smooth, slope) = kernels(self.aperture);
        let radius = smooth.len() as i64 / 2;
        let (width, height, channels) = (picture.width, picture.height, picture.channels);
        // Along the rows first: smoothed for y, sloped for x.
        let along = |kernel: &[i64]| -> Vec<i64> {
            let row = |y: usize| {
                (0..width).flat_map(move |x| {
                    (0..channels).map(move |channel| {
                        let taps = kernel.iter().zip(-radius..);
                        let each = taps.map(|(weight, step)| {
                            let at = clamped(x as i64 + step, width);
                            weight * i64::from(picture.at(at, y)[channel])
                        });
                        each.sum::<i64>()
                    })
                })
            };
            (0..height).flat_map(row).collect()
        };
        let (sloped, smoothed) = (along(slope), along(smooth));
        let across = |rows: &[i64], kernel: &[i64], place: usize, y: usize| -> i64 {
            let stride = width * channels;
            let taps = kernel.iter().zip(-radius..);
            let each = taps.map(|(weight, step)| {
                weight * rows[clamped(y as i64 + step, height) * stride + place]
            });
            let sum: i64 = each.sum();
            let scaled = match self.aperture {
                7 => (sum as f64 / 16.0).round_ties_even() as i64,
                _ => sum,
            };
            scaled.clamp(i64::from(i16::MIN), i64::from(i16::MAX))
        };
        let pixel = |at: usize| {
            let (x, y) = (at % width, at / width);
            let each = (x * channels..(x + 1) * channels).map(|place| {
                let dx = across(&sloped, smooth, place, y);
                let dy = across(&smoothed, slope, place, y);
                let length = match self.exact {
                    true => dx * dx + dy * dy,
                    false => dx.abs() + dy.abs(),
                };
                Gradient {
                    x: dx,
                    y: dy,
                    length,
                }
            });
            // The first of those that are equal.
            let strongest = each.reduce(|a, b| if b.length > a.length { b } else { a });
            strongest.unwrap_or_default()
        };
        (0..width * height).map(pixel).collect()
    }
}

/// Whether the gradient is the longest along its direction; `beside` gives the lengths of neighbours.
fn is_ridge(gradient: &Gradient, beside: impl Fn(i64, i64) -> i64) -> bool {
    let length = gradient.length;
    let (x, y) = (gradient.x.abs(), gradient.y.abs() << SHIFT);
    let flat = x * TAN_22;
    // tan 67.5° = tan 22.5° + 2
    let steep = flat + (x << (SHIFT + 1));
    if y < flat {
        return length > beside(-1, 0) && length >= beside(1, 0);
    }
    if y > steep {
        return length > beside(0, -1) && length >= beside(0, 1);
    }
    let lean = if (gradient.x ^ gradient.y) < 0 { -1 } else { 1 };
    length > beside(-lean, -1) && length > beside(lean, 1)
}
