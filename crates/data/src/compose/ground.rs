//! The ground of pictures without transparency: what a scan or an export shows around a drawing.

use std::collections::VecDeque;

use image::RgbaImage;

/// Pixels of the rim that have to have the ground's colour, of ten.
const RIM: usize = 9;
/// How far a pixel of the ground may be from its colour, in 0..=441.
const NEAR: f64 = 36.0;
/// Beside the ground, a pixel so far from its colour has nothing of it.
const FAR: f64 = 160.0;

/// Whether no pixel lets anything through.
pub(crate) fn is_opaque(picture: &RgbaImage) -> bool {
    picture.pixels().all(|pixel| pixel.0[3] == 255)
}

/// Makes the plain ground around a drawing transparent: whatever has the colour of the picture's rim and hangs together with
/// it. Rims of the drawing that are mixed with the ground keep their own part of it. Whether there is such a ground: if not,
/// or if nothing is left, the picture is unchanged.
pub(crate) fn clear_ground(picture: &mut RgbaImage) -> bool {
    let (w, h) = picture.dimensions();
    let on_rim = |x: u32, y: u32| x == 0 || y == 0 || x + 1 == w || y + 1 == h;
    let rim = || {
        let all = picture.enumerate_pixels();
        all.filter(move |(x, y, _)| on_rim(*x, *y))
    };
    let mut channels = [const { Vec::new() }; 3];
    for (_, _, pixel) in rim() {
        for (values, value) in channels.iter_mut().zip(pixel.0) {
            values.push(value);
        }
    }
    let count = channels[0].len();
    if count == 0 || rim().any(|(_, _, pixel)| pixel.0[3] < 255) {
        return false;
    }
    let ground = channels.map(|mut values| {
        let middle = values.len() / 2;
        f64::from(*values.select_nth_unstable(middle).1)
    });
    let from = |pixel: &[u8; 4]| {
        let squares = pixel
            .iter()
            .zip(ground)
            .map(|(a, b)| (f64::from(*a) - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let start: Vec<(u32, u32)> = rim()
        .filter(|(_, _, pixel)| from(&pixel.0) < NEAR)
        .map(|(x, y, _)| (x, y))
        .collect();
    if 10 * start.len() < RIM * count {
        return false;
    }
    let mut cleared = vec![false; (w * h) as usize];
    let place = |x: u32, y: u32| (y * w + x) as usize;
    for &(x, y) in &start {
        cleared[place(x, y)] = true;
    }
    let mut waiting = VecDeque::from(start);
    let mut edge = Vec::new();
    while let Some((x, y)) = waiting.pop_front() {
        for (x, y) in around(x, y, w, h) {
            if cleared[place(x, y)] {
                continue;
            }
            match from(&picture.get_pixel(x, y).0) < NEAR {
                true => {
                    cleared[place(x, y)] = true;
                    waiting.push_back((x, y));
                }
                false => edge.push((x, y)),
            }
        }
    }
    if cleared.iter().all(|cleared| *cleared) {
        return false;
    }
    edge.sort_unstable();
    edge.dedup();
    for (x, y) in edge {
        let pixel = &mut picture.get_pixel_mut(x, y).0;
        let part = (from(pixel) / FAR).min(1.0);
        for (value, ground) in pixel.iter_mut().zip(ground) {
            let own = (f64::from(*value) - (1.0 - part) * ground) / part;
            *value = own.clamp(0.0, 255.0).round() as u8;
        }
        pixel[3] = (255.0 * part).round() as u8;
    }
    for (pixel, cleared) in picture.pixels_mut().zip(cleared) {
        if cleared {
            pixel.0 = [0; 4];
        }
    }
    true
}

fn around(x: u32, y: u32, w: u32, h: u32) -> impl Iterator<Item = (u32, u32)> {
    let left = x.checked_sub(1).map(|x| (x, y));
    let above = y.checked_sub(1).map(|y| (x, y));
    let right = (x + 1 < w).then_some((x + 1, y));
    let below = (y + 1 < h).then_some((x, y + 1));
    [left, above, right, below].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    #[test]
    fn the_ground_is_cleared_and_what_it_encloses_stays() {
        // A red ring on white: white inside is no ground.
        let ring = |x: u32, y: u32| {
            let far = (f64::from(x) - 20.0).hypot(f64::from(y) - 15.0);
            (6.0..10.0).contains(&far)
        };
        let mut picture = RgbaImage::from_fn(40, 30, |x, y| match ring(x, y) {
            true => Rgba([220, 30, 30, 255]),
            false => Rgba([255, 255, 255, 255]),
        });
        assert!(is_opaque(&picture) && clear_ground(&mut picture));
        assert_eq!(picture.get_pixel(0, 0).0[3], 0);
        assert_eq!(picture.get_pixel(20, 15).0, [255, 255, 255, 255]);
        assert_eq!(picture.get_pixel(20, 7).0, [220, 30, 30, 255]);
        // Its rim lets through, so there is nothing to clear.
        assert!(!clear_ground(&mut picture.clone()));
    }

    #[test]
    fn mixed_rims_show_the_same_on_the_old_ground() {
        let mut picture = RgbaImage::from_pixel(9, 9, Rgba([255, 255, 255, 255]));
        for (y, level) in (3..6).zip([180u8, 0, 180]) {
            for x in 2..7 {
                picture.put_pixel(x, y, Rgba([level, level, level, 255]));
            }
        }
        let before = picture.clone();
        assert!(clear_ground(&mut picture));
        let [r, .., alpha] = picture.get_pixel(4, 3).0;
        assert!(alpha < 255 && r < 180, "{r} {alpha}");
        for (old, new) in before.pixels().zip(picture.pixels()) {
            let [r, g, b, alpha] = new.0;
            let shown = crate::decode::over([r, g, b], alpha, [255; 3]);
            assert!(shown[0].abs_diff(old.0[0]) <= 1, "{old:?} {new:?}");
        }
    }

    #[test]
    fn pictures_without_a_plain_ground_are_unchanged() {
        let mut photo = RgbaImage::from_fn(24, 24, |x, y| {
            Rgba([(x * 10) as u8, (y * 10) as u8, 128, 255])
        });
        let before = photo.clone();
        assert!(!clear_ground(&mut photo) && photo == before);
        let mut empty = RgbaImage::from_pixel(8, 8, Rgba([9, 9, 9, 255]));
        assert!(!clear_ground(&mut empty) && is_opaque(&empty));
    }
}
