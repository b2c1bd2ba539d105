//! What A1111 puts under a mask before sampling, and how it lays the kept part back on afterwards.

use super::{Grey, Picture, Region, blend, blur::pillow_blur, div255, resize::Filter};
use crate::request::ResizeMode;

/// Four planes of bytes.
struct Rgba([Vec<u8>; 4]);

impl Rgba {
    /// The picture through `1 − mask`, its colours multiplied by alpha.
    fn kept(picture: &Picture, mask: &Grey) -> Self {
        let weight = |i: usize| u32::from(255 - mask.values[i]);
        let area = picture.width * picture.height;
        let colour = |channel: usize| {
            (0..area)
                .map(|i| div255(u32::from(picture.rgb[3 * i + channel]) * weight(i)))
                .collect()
        };
        let alpha = (0..area).map(|i| div255(255 * weight(i))).collect();
        Self([colour(0), colour(1), colour(2), alpha])
    }

    /// Colours no longer multiplied by alpha.
    fn straight(&self) -> Self {
        let Self([.., alpha]) = self;
        let divide = |plane: &Vec<u8>| -> Vec<u8> {
            plane
                .iter()
                .zip(alpha)
                .map(|(&v, &a)| match a {
                    0 | 255 => v,
                    a => (255 * u32::from(v) / u32::from(a)).min(255) as u8,
                })
                .collect()
        };
        Self([
            divide(&self.0[0]),
            divide(&self.0[1]),
            divide(&self.0[2]),
            alpha.clone(),
        ])
    }

    /// Pillow's `alpha_composite` of `top` onto this.
    fn composite(&mut self, top: &Self) {
        for i in 0..self.0[3].len() {
            let (top_alpha, alpha) = (u32::from(top.0[3][i]), u32::from(self.0[3][i]));
            if top_alpha == 0 {
                continue;
            }
            let out = top_alpha * 255 + alpha * (255 - top_alpha);
            let over = top_alpha * 255 * 255 * (1 << 7) / out;
            let under = 255 * (1 << 7) - over;
            for channel in 0..3 {
                let sum =
                    u32::from(top.0[channel][i]) * over + u32::from(self.0[channel][i]) * under;
                self.0[channel][i] = (shift255(sum + (0x80 << 7)) >> 7) as u8;
            }
            self.0[3][i] = shift255(out + 0x80) as u8;
        }
    }

    fn opaque(&self, width: usize, height: usize) -> Picture {
        let rgb = (0..width * height)
            .flat_map(|i| [self.0[0][i], self.0[1][i], self.0[2][i]])
            .collect();
        Picture {
            width,
            height,
            rgb,
            alpha: None,
        }
    }
}

fn shift255(v: u32) -> u32 {
    ((v >> 8) + v) >> 8
}

/// Fills what `mask` selects with colours spread from its surroundings: the kept part, blurred ever less, laid on top
/// of itself. `mask` has the picture's size; `None` where it has not.
pub fn fill(picture: &Picture, mask: &Grey) -> Option<Picture> {
    let (width, height) = (picture.width, picture.height);
    if mask.size() != picture.size() {
        return None;
    }
    let kept = Rgba::kept(picture, mask);
    let area = width * height;
    let mut filled = Rgba([(); 4].map(|()| vec![0; area]));
    for (radius, repeats) in [
        (256.0, 1),
        (64.0, 1),
        (16.0, 2),
        (4.0, 4),
        (2.0, 2),
        (0.0, 1),
    ] {
        let mut blurred = Rgba(kept.0.clone());
        for plane in &mut blurred.0 {
            pillow_blur(plane, width, height, radius);
        }
        let blurred = blurred.straight();
        for _ in 0..repeats {
            filled.composite(&blurred);
        }
    }
    Some(filled.opaque(width, height))
}

/// Lays the part of `original` that `mask` keeps over `drawn`, which was drawn for `region` of the original (all of it
/// where `None`). `mask` has the original's size; `None` where it has not.
pub fn overlay(
    drawn: &Picture,
    original: &Picture,
    mask: &Grey,
    region: Option<Region>,
) -> Option<Picture> {
    if mask.size() != original.size() {
        return None;
    }
    let (width, height) = (original.width, original.height);
    // Outside the region there is nothing under the original, not black: a soft mask shows the difference.
    let mut alpha = vec![255; width * height];
    let drawn = match region {
        None => drawn.clone(),
        Some(region) => {
            let mut whole = Picture::plain(width, height, [0; 3]);
            let part = drawn.fit(region.size(), ResizeMode::Crop, Filter::Lanczos);
            whole.paste(&part, region.left, region.top);
            for (i, alpha) in alpha.iter_mut().enumerate() {
                let inside = (region.left..region.right).contains(&(i % width))
                    && (region.top..region.bottom).contains(&(i / width));
                *alpha = if inside { 255 } else { 0 };
            }
            whole
        }
    };
    if drawn.size() != original.size() {
        return None;
    }
    let plane = |channel: usize| drawn.rgb.iter().skip(channel).step_by(3).copied().collect();
    let mut whole = Rgba([plane(0), plane(1), plane(2), alpha]);
    whole.composite(&Rgba::kept(original, mask).straight());
    Some(whole.opaque(width, height))
}

/// `original` on a larger canvas for outpainting, and the mask of what is new. The new border holds the edge's colours
/// stretched outwards, and the mask reaches `overlap` pixels into the picture so that the seam is painted over.
pub fn outpaint(
    original: &Picture,
    edges: crate::request::Outpaint,
    overlap: usize,
) -> Option<(Picture, Grey)> {
    let width = original
        .width
        .checked_add(edges.left)?
        .checked_add(edges.right)?;
    let height = original
        .height
        .checked_add(edges.top)?
        .checked_add(edges.bottom)?;
    let near = |at: usize, before: usize, length: usize| at.saturating_sub(before).min(length - 1);
    let mut rgb = Vec::with_capacity(3 * width * height);
    let mut values = Vec::with_capacity(width * height);
    // An edge that does not grow is not painted over.
    let keep = |before: usize, length: usize, after: usize| {
        let start = before + if before > 0 { overlap } else { 0 };
        start..(before + length).saturating_sub(if after > 0 { overlap } else { 0 })
    };
    let columns = keep(edges.left, original.width, edges.right);
    let rows = keep(edges.top, original.height, edges.bottom);
    for y in 0..height {
        for x in 0..width {
            let from = (
                near(x, edges.left, original.width),
                near(y, edges.top, original.height),
            );
            rgb.extend(original.pixel(from.0, from.1));
            values.push(if columns.contains(&x) && rows.contains(&y) {
                0
            } else {
                255
            });
        }
    }
    Some((
        Picture::new(width, height, rgb)?,
        Grey::new(width, height, values)?,
    ))
}

/// `over` laid on `under` where `mask` is white, softly where it is grey. All three have one size; `None` otherwise.
pub fn through(under: &Picture, over: &Picture, mask: &Grey) -> Option<Picture> {
    if under.size() != over.size() || mask.size() != over.size() {
        return None;
    }
    let values = mask.values.iter().flat_map(|v| [*v; 3]);
    let pairs = under.rgb.iter().zip(&over.rgb).zip(values);
    Picture::new(
        under.width,
        under.height,
        pairs
            .map(|((&under, &over), mask)| blend(under, over, mask))
            .collect(),
    )
}
