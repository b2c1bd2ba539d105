//! Masks: white is repainted.

use super::{Grey, Picture, Region, resize::Filter};
use crate::request::{Compat, Size};

/// The mask a picture stands for, as A1111 reads it: its alpha channel, cut at one half, where it has one that is not
/// opaque everywhere; its luma otherwise.
pub fn of(picture: &Picture) -> Grey {
    match picture.alpha() {
        Some(alpha) if alpha.values().iter().any(|v| *v != 255) => {
            alpha.map(|v| if v > 128 { 255 } else { 0 })
        }
        _ => picture.luma(),
    }
}

/// White where the mask was black and the other way round.
pub fn invert(mask: &Grey) -> Grey {
    mask.map(|v| 255 - v)
}

/// Black below one half, white from there on: diffusers' `binarize`.
pub fn binarize(mask: &Grey) -> Grey {
    mask.map(|v| if f32::from(v) / 255.0 < 0.5 { 0 } else { 255 })
}

/// Twice as opaque: A1111's overlay mask when the whole picture is worked on.
pub fn double(mask: &Grey) -> Grey {
    mask.map(|v| v.saturating_mul(2))
}

/// The rectangle around everything that is not black, with `padding` on each side, inside the picture; `None` for a
/// mask that selects nothing.
pub fn bounds(mask: &Grey, padding: usize) -> Option<Region> {
    let (width, height) = (mask.width(), mask.height());
    let rows = mask.values().chunks_exact(width);
    let mut used = rows
        .enumerate()
        .filter(|(_, row)| row.iter().any(|v| *v != 0));
    let (top, _) = used.next()?;
    let bottom = used.next_back().map_or(top, |(y, _)| y);
    let column = |x: &usize| {
        mask.values()
            .iter()
            .skip(*x)
            .step_by(width)
            .any(|v| *v != 0)
    };
    let left = (0..width).find(column)?;
    let right = (0..width).rev().find(column)?;
    Some(Region {
        left: left.saturating_sub(padding),
        top: top.saturating_sub(padding),
        right: (right + 1 + padding).min(width),
        bottom: (bottom + 1 + padding).min(height),
    })
}

/// Grows `region` to the aspect of `work`, moved inside `picture` and cut there: A1111's `expand_crop_region`.
pub fn expand(region: Region, work: Size, picture: Size) -> Region {
    let size = region.size();
    let (w, h) = (size.width.max(1) as f64, size.height.max(1) as f64);
    let ratio = work.width.max(1) as f64 / work.height.max(1) as f64;
    if w / h > ratio {
        let more = (w / ratio - h) as i64;
        let (top, bottom) = grow((region.top, region.bottom), more, picture.height);
        Region {
            top,
            bottom,
            ..region
        }
    } else {
        let more = (h * ratio - w) as i64;
        let (left, right) = grow((region.left, region.right), more, picture.width);
        Region {
            left,
            right,
            ..region
        }
    }
}

/// Adds `more` around a range, half on each side, pushed back inside `0..limit`.
fn grow(range: (usize, usize), more: i64, limit: usize) -> (usize, usize) {
    let (mut start, mut end) = (range.0 as i64, range.1 as i64);
    let limit = limit as i64;
    start -= more.div_euclid(2);
    end += more - more.div_euclid(2);
    if end >= limit {
        start -= end - limit;
        end = limit;
    }
    if start < 0 {
        end -= start;
        start = 0;
    }
    (start as usize, end.min(limit) as usize)
}

/// The mask at the latent's size, `[height, width]` values in [0, 1], by the profile's rule:
///
/// * A1111: Pillow's bicubic (antialiased), then rounded to 0 or 1;
/// * diffusers: cut at one half, then torch's `interpolate(mode="nearest")`;
/// * ComfyUI: torch's bilinear without antialiasing, kept soft.
///
/// Tests: `tests/pictures.rs`.
pub fn to_latent(mask: &Grey, latent: Size, compat: Compat) -> Vec<f32> {
    match compat {
        Compat::A1111 => {
            let small = mask.resize(latent, Filter::Bicubic);
            let half = |v: &u8| (f32::from(*v) / 255.0).round_ties_even();
            small.values().iter().map(half).collect()
        }
        Compat::Diffusers => {
            let from = |at: usize, out: usize, length: usize| {
                ((at as f32 * (length as f32 / out as f32)).floor() as usize).min(length - 1)
            };
            each(latent, |x, y| {
                let x = from(x, latent.width, mask.width());
                let y = from(y, latent.height, mask.height());
                let v = f32::from(mask.values()[y * mask.width() + x]) / 255.0;
                f32::from(u8::from(v >= 0.5))
            })
        }
        Compat::ComfyUi => {
            let taps = |at: usize, out: usize, length: usize| {
                let centre = (at as f32 + 0.5) * (length as f32 / out as f32) - 0.5;
                let centre = centre.max(0.0);
                let low = (centre as usize).min(length - 1);
                (low, (low + 1).min(length - 1), centre - low as f32)
            };
            let value = |x: usize, y: usize| f32::from(mask.values()[y * mask.width() + x]) / 255.0;
            each(latent, |x, y| {
                let (x0, x1, fx) = taps(x, latent.width, mask.width());
                let (y0, y1, fy) = taps(y, latent.height, mask.height());
                let row = |y| value(x0, y) * (1.0 - fx) + value(x1, y) * fx;
                row(y0) * (1.0 - fy) + row(y1) * fy
            })
        }
    }
}

fn each(size: Size, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    (0..size.height)
        .flat_map(|y| (0..size.width).map(move |x| (x, y)))
        .map(|(x, y)| value(x, y))
        .collect()
}
