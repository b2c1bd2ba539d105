//! Resampling in Pillow's integer arithmetic, and the three ways of fitting a picture.
//!
//! Separable convolution with a kernel that widens when shrinking (so that shrinking antialiases), weights in 22-bit
//! fixed point, bytes between the two passes, rows first: `Image.resize` of Pillow up to 11 gives the same bytes (13 takes
//! the columns first where that is cheaper, which rounds otherwise). The `image` crate filters
//! in f32 and rounds elsewhere.

use super::{Grey, Picture, Region};
use crate::request::{ResizeMode, Size};

/// A resampling kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of the area a pixel covers.
    Area,
    /// Triangle, support 1.
    Bilinear,
    /// Cubic convolution with a = −0.5, support 2.
    Bicubic,
    /// Windowed sinc, support 3.
    Lanczos,
}

const PRECISION: u32 = 32 - 8 - 2;

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Area => 0.5,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let d = x.abs();
        match self {
            Self::Nearest => 1.0,
            Self::Area => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - d).max(0.0),
            Self::Bicubic => {
                const A: f64 = -0.5;
                if d < 1.0 {
                    ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0
                } else if d < 2.0 {
                    (((d - 5.0) * d + 8.0) * d - 4.0) * A
                } else {
                    0.0
                }
            }
            Self::Lanczos => {
                let sinc = |v: f64| match v == 0.0 {
                    true => 1.0,
                    false => (v * std::f64::consts::PI).sin() / (v * std::f64::consts::PI),
                };
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
        }
    }

    /// For each output position: the first input position and the weights from there on.
    fn taps(self, length: usize, box_: (f64, f64), out: usize) -> Vec<(usize, Vec<i32>)> {
        let scale = (box_.1 - box_.0) / out as f64;
        let centre = |i: usize| box_.0 + (i as f64 + 0.5) * scale;
        if self == Self::Nearest {
            let at = |i: usize| (centre(i) as usize).min(length - 1);
            return (0..out).map(|i| (at(i), vec![1 << PRECISION])).collect();
        }
        let stretch = scale.max(1.0);
        let support = self.support() * stretch;
        (0..out)
            .map(|i| {
                let centre = centre(i);
                // Truncation towards zero, as C casts.
                let first = ((centre - support + 0.5) as i64).max(0) as usize;
                let last = ((centre + support + 0.5) as i64).clamp(0, length as i64) as usize;
                let weights: Vec<f64> = (first..last)
                    .map(|at| self.weight((at as f64 - centre + 0.5) / stretch))
                    .collect();
                let sum: f64 = weights.iter().sum();
                let fixed = |w: f64| {
                    let w = if sum == 0.0 { w } else { w / sum };
                    let rounding = if w < 0.0 { -0.5 } else { 0.5 };
                    (rounding + w * f64::from(1u32 << PRECISION)) as i32
                };
                (first, weights.into_iter().map(fixed).collect())
            })
            .collect()
    }
}

/// A part of the input in fractional pixels.
struct Window {
    x: (f64, f64),
    y: (f64, f64),
}

/// One pass along the first axis of `[out, stride]`: every tap reads whole runs of `stride` bytes.
fn pass(input: &[u8], stride: usize, taps: &[(usize, Vec<i32>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(taps.len() * stride);
    let mut sums = vec![0i32; stride];
    for (first, weights) in taps {
        sums.fill(1 << (PRECISION - 1));
        for (tap, weight) in weights.iter().enumerate() {
            let row = &input[(first + tap) * stride..][..stride];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += i32::from(*value) * weight;
            }
        }
        out.extend(
            sums.iter()
                .map(|sum| (sum >> PRECISION).clamp(0, 255) as u8),
        );
    }
    out
}

fn resample(
    input: &[u8],
    from: Size,
    channels: usize,
    area: Window,
    to: Size,
    filter: Filter,
) -> Vec<u8> {
    let whole = |length: usize, (start, end): (f64, f64), out: usize| {
        length == out && start == 0.0 && end == length as f64
    };
    let mut rows = if whole(from.width, area.x, to.width) {
        input.to_vec()
    } else {
        let taps = filter.taps(from.width, area.x, to.width);
        input
            .chunks_exact(from.width * channels)
            .flat_map(|row| pass(row, channels, &taps))
            .collect()
    };
    if !whole(from.height, area.y, to.height) {
        let taps = filter.taps(from.height, area.y, to.height);
        rows = pass(&rows, to.width * channels, &taps);
    }
    rows
}

fn all_of(size: Size) -> Window {
    Window {
        x: (0.0, size.width as f64),
        y: (0.0, size.height as f64),
    }
}

fn at_least_one(size: Size) -> Size {
    Size {
        width: size.width.max(1),
        height: size.height.max(1),
    }
}

impl Grey {
    /// Resampled to `to` (sides of at least 1).
    pub fn resize(&self, to: Size, filter: Filter) -> Self {
        let to = at_least_one(to);
        Self {
            width: to.width,
            height: to.height,
            values: resample(
                &self.values,
                self.size(),
                1,
                all_of(self.size()),
                to,
                filter,
            ),
        }
    }

    /// [`Picture::fit`] for one channel; what no pixel covers is 0.
    pub fn fit(&self, to: Size, mode: ResizeMode, filter: Filter) -> Self {
        let rgb = self.values.iter().flat_map(|v| [*v; 3]).collect();
        let whole = Picture {
            width: self.width,
            height: self.height,
            rgb,
            alpha: None,
        };
        let fitted = whole.fit(to, mode, filter);
        Self {
            width: fitted.width,
            height: fitted.height,
            values: fitted.rgb.iter().step_by(3).copied().collect(),
        }
    }
}

impl Picture {
    /// Resampled to `to` (sides of at least 1). The alpha channel is left away.
    pub fn resize(&self, to: Size, filter: Filter) -> Self {
        self.resize_box(all_of(self.size()), to, filter)
    }

    fn resize_box(&self, area: Window, to: Size, filter: Filter) -> Self {
        let to = at_least_one(to);
        Self {
            width: to.width,
            height: to.height,
            rgb: resample(&self.rgb, self.size(), 3, area, to, filter),
            alpha: None,
        }
    }

    /// Fits the picture into `to` as A1111's `resize_image` and diffusers' image processor do. Both use Lanczos.
    pub fn fit(&self, to: Size, mode: ResizeMode, filter: Filter) -> Self {
        let to = at_least_one(to);
        if mode == ResizeMode::Stretch {
            return self.resize(to, filter);
        }
        let (w, h) = (self.width, self.height);
        // Whether the target is wider than the picture: to.width / to.height > w / h.
        let wider = (to.width * h).cmp(&(w * to.height));
        let keep_width = match mode {
            ResizeMode::Crop => wider.is_gt(),
            _ => wider.is_lt(),
        };
        let scaled = at_least_one(if keep_width {
            Size {
                width: to.width,
                height: h * to.width / w,
            }
        } else {
            Size {
                width: w * to.height / h,
                height: to.height,
            }
        });
        let small = self.resize(scaled, filter);
        let mut canvas = Self::plain(to.width, to.height, [0; 3]);
        let offset = |to: usize, part: usize| (to / 2) as i64 - (part / 2) as i64;
        let (x, y) = (
            offset(to.width, scaled.width),
            offset(to.height, scaled.height),
        );
        // A negative offset cuts the picture, a positive one leaves a border.
        let cut = |v: i64| (-v).max(0) as usize;
        let inside = Region {
            left: cut(x),
            top: cut(y),
            right: scaled.width,
            bottom: scaled.height,
        };
        let (x, y) = (x.max(0) as usize, y.max(0) as usize);
        if let Some(part) = small.crop(inside) {
            canvas.paste(&part, x, y);
        }
        if mode == ResizeMode::Fill {
            canvas.stretch_edges(&small, x, y);
        }
        canvas
    }

    /// The border around `small` at (`x`, `y`): its outermost rows or columns, resampled from a box of no extent.
    fn stretch_edges(&mut self, small: &Self, x: usize, y: usize) {
        let (w, h) = (small.width as f64, small.height as f64);
        let edge = |x, y, size| small.resize_box(Window { x, y }, size, Filter::Bicubic);
        if y > 0 {
            let size = Size {
                width: self.width,
                height: y,
            };
            self.paste(&edge((0.0, w), (0.0, 0.0), size), 0, 0);
            self.paste(&edge((0.0, w), (h, h), size), 0, y + small.height);
        }
        if x > 0 {
            let size = Size {
                width: x,
                height: self.height,
            };
            self.paste(&edge((0.0, 0.0), (0.0, h), size), 0, 0);
            self.paste(&edge((w, w), (0.0, h), size), x + small.width, 0);
        }
    }
}
