//! Pictures as bytes: files, metadata, masks, sizes, previews. No tensors and no networks.
//!
//! Pixels are 8 bits a channel because every file and every reference works on them: A1111 and diffusers resize, blur
//! and composite with Pillow in bytes, and a mask that is off by one rounds to another latent cell. The resampler and
//! the blurs here are therefore Pillow's and OpenCV's integer forms rather than those of the `image` crate, which
//! reads and writes the files.

pub mod blur;
mod cut_out;
mod exif;
pub mod files;
pub mod fill;
pub mod grid;
pub mod mask;
pub mod metadata;
pub mod preview;
pub mod resize;
mod target;

use crate::request::Size;

/// An RGB picture, 8 bits a channel, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
    alpha: Option<Vec<u8>>,
}

/// One channel of 8 bits: a mask, white = selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grey {
    width: usize,
    height: usize,
    values: Vec<u8>,
}

/// A rectangle in pixels; `right` and `bottom` lie outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First column.
    pub left: usize,
    /// First row.
    pub top: usize,
    /// Column after the last.
    pub right: usize,
    /// Row after the last.
    pub bottom: usize,
}

impl Region {
    /// Its size.
    pub fn size(&self) -> Size {
        Size {
            width: self.right.saturating_sub(self.left),
            height: self.bottom.saturating_sub(self.top),
        }
    }
}

impl Picture {
    /// A picture of `width` × `height` RGB triples; `None` unless `rgb` holds exactly that many bytes.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Option<Self> {
        let bytes = width.checked_mul(height)?.checked_mul(3)?;
        (bytes == rgb.len() && bytes > 0).then_some(Self {
            width,
            height,
            rgb,
            alpha: None,
        })
    }

    /// One colour. Both sides must be at least 1; a smaller one is taken as 1.
    pub fn plain(width: usize, height: usize, colour: [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self {
            width,
            height,
            rgb: colour.repeat(width * height),
            alpha: None,
        }
    }

    /// From a network's output: `[3, height, width]` values in [−1, 1], rounded down to bytes as A1111 does
    /// (`(x / 2 + 0.5).clamp(0, 1) · 255`, cast) or to the nearest as diffusers does. NaN becomes black.
    pub fn from_planes(width: usize, height: usize, planes: &[f32], nearest: bool) -> Option<Self> {
        let area = width.checked_mul(height)?;
        if planes.len() != area.checked_mul(3)? || area == 0 {
            return None;
        }
        let byte = |v: f32| {
            let v = (v / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0;
            if nearest {
                v.round_ties_even() as u8
            } else {
                v as u8
            }
        };
        let rgb = (0..area)
            .flat_map(|i| [0, 1, 2].map(|channel| byte(planes[channel * area + i])))
            .collect();
        Self::new(width, height, rgb)
    }

    /// The network's form: `[3, height, width]` values in [−1, 1].
    pub fn to_planes(&self) -> Vec<f32> {
        let area = self.width * self.height;
        (0..3)
            .flat_map(|channel| (0..area).map(move |i| 3 * i + channel))
            .map(|at| f32::from(self.rgb[at]) / 255.0 * 2.0 - 1.0)
            .collect()
    }

    /// Pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Both sides.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// `width · height` triples, row-major.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// With that alpha channel, which must have the picture's size.
    pub fn with_alpha(self, alpha: Grey) -> Option<Self> {
        let fits = (alpha.width, alpha.height) == (self.width, self.height);
        fits.then_some(Self {
            alpha: Some(alpha.values),
            ..self
        })
    }

    /// The alpha channel: of the file it was read from, or of an object cut out.
    pub fn alpha(&self) -> Option<Grey> {
        let values = self.alpha.clone()?;
        Grey::new(self.width, self.height, values)
    }

    /// The pixel at column `x` and row `y`, both inside.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = 3 * (y * self.width + x);
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// Without its alpha channel, laid on `background` (Pillow's paste: rounded in bytes).
    pub fn flatten(&self, background: [u8; 3]) -> Self {
        let mut rgb = self.rgb.clone();
        if let Some(alpha) = &self.alpha {
            for (pixel, &a) in rgb.chunks_exact_mut(3).zip(alpha) {
                for (value, back) in pixel.iter_mut().zip(background) {
                    *value = blend(back, *value, a);
                }
            }
        }
        Self {
            rgb,
            alpha: None,
            ..*self
        }
    }

    /// Without its alpha channel: the colours as the file has them, hidden ones too (Pillow's `convert("RGB")`).
    pub fn opaque(self) -> Self {
        Self {
            alpha: None,
            ..self
        }
    }

    /// The part inside `region`, which must lie inside; what sticks out is left away.
    pub fn crop(&self, region: Region) -> Option<Self> {
        let (size, rows) = cut(self.size(), region)?;
        let rgb = rows
            .flat_map(|(y, columns)| {
                let row = 3 * y * self.width;
                self.rgb[row + 3 * columns.start..row + 3 * columns.end].to_vec()
            })
            .collect();
        Self::new(size.width, size.height, rgb)
    }

    /// Copies `top` onto this picture with its corner at (`x`, `y`); what sticks out is left away.
    pub fn paste(&mut self, top: &Self, x: usize, y: usize) {
        let columns = top.width.min(self.width.saturating_sub(x));
        for row in 0..top.height.min(self.height.saturating_sub(y)) {
            let to = 3 * ((y + row) * self.width + x);
            let from = 3 * row * top.width;
            self.rgb[to..to + 3 * columns].copy_from_slice(&top.rgb[from..from + 3 * columns]);
        }
    }

    /// Luma as Pillow's `convert("L")` (ITU-R 601, 16-bit fixed point).
    pub fn luma(&self) -> Grey {
        let values = self
            .rgb
            .chunks_exact(3)
            .map(|p| {
                let [r, g, b] = [p[0], p[1], p[2]].map(u32::from);
                ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8
            })
            .collect();
        Grey {
            width: self.width,
            height: self.height,
            values,
        }
    }
}

impl Grey {
    /// `None` unless `values` holds exactly `width` × `height` bytes.
    pub fn new(width: usize, height: usize, values: Vec<u8>) -> Option<Self> {
        (width.checked_mul(height)? == values.len() && !values.is_empty()).then_some(Self {
            width,
            height,
            values,
        })
    }

    /// Pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Both sides.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// `width · height` bytes, row-major.
    pub fn values(&self) -> &[u8] {
        &self.values
    }

    /// The same size with every value changed.
    pub fn map(&self, change: impl Fn(u8) -> u8) -> Self {
        Self {
            values: self.values.iter().map(|v| change(*v)).collect(),
            ..*self
        }
    }

    /// The part inside `region`; what sticks out is left away.
    pub fn crop(&self, region: Region) -> Option<Self> {
        let (size, rows) = cut(self.size(), region)?;
        let values = rows
            .flat_map(|(y, columns)| {
                let row = y * self.width;
                self.values[row + columns.start..row + columns.end].to_vec()
            })
            .collect();
        Self::new(size.width, size.height, values)
    }
}

/// The size of the part of `region` inside `whole`, and each of its rows with its columns.
fn cut(
    whole: Size,
    region: Region,
) -> Option<(Size, impl Iterator<Item = (usize, std::ops::Range<usize>)>)> {
    let right = region.right.min(whole.width);
    let bottom = region.bottom.min(whole.height);
    if region.left >= right || region.top >= bottom {
        return None;
    }
    let size = Size {
        width: right - region.left,
        height: bottom - region.top,
    };
    Some((
        size,
        (region.top..bottom).map(move |y| (y, region.left..right)),
    ))
}

/// Pillow's `DIV255`: `v / 255`, rounded, for v ≤ 255².
pub(crate) fn div255(v: u32) -> u8 {
    let v = v + 128;
    (((v >> 8) + v) >> 8) as u8
}

/// Pillow's paste of `over` onto `under` through a mask of 8 bits.
pub(crate) fn blend(under: u8, over: u8, mask: u8) -> u8 {
    let [under, over, mask] = [under, over, mask].map(u32::from);
    div255(under * (255 - mask) + over * mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_and_bytes() {
        let planes = [-1.0, 1.0, 0.0, -3.0, f32::NAN, 0.999];
        let down = Picture::from_planes(2, 1, &planes, false).unwrap();
        assert_eq!(down.rgb(), [0, 127, 0, 255, 0, 254]);
        let near = Picture::from_planes(2, 1, &planes, true).unwrap();
        assert_eq!(near.rgb(), [0, 128, 0, 255, 0, 255]);
        let back = near.to_planes();
        assert_eq!(&back[..2], [-1.0, 1.0]);
        assert!(Picture::from_planes(2, 2, &planes, true).is_none());
    }

    #[test]
    fn crop_and_paste() {
        let mut canvas = Picture::plain(4, 3, [9, 9, 9]);
        canvas.paste(&Picture::plain(3, 3, [1, 2, 3]), 2, 1);
        assert_eq!(canvas.pixel(1, 1), [9, 9, 9]);
        assert_eq!(canvas.pixel(3, 2), [1, 2, 3]);
        let region = Region {
            left: 2,
            top: 1,
            right: 9,
            bottom: 9,
        };
        assert_eq!(canvas.crop(region), Some(Picture::plain(2, 2, [1, 2, 3])));
        assert_eq!(canvas.crop(Region { left: 4, ..region }), None);
    }
}
