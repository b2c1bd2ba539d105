//! Holes to be filled, for inpainting where the data has none.

use image::{GrayImage, Luma};

use crate::Random;

/// A mask of a picture of that width and height, 255 where it is to be filled: rectangles or thick strokes.
pub fn hole(width: u32, height: u32, random: &mut Random) -> GrayImage {
    let mut mask = GrayImage::new(width, height);
    let size = [f64::from(width), f64::from(height)];
    let point = |random: &mut Random| size.map(|v| v * random.uniform());
    for _ in 0..1 + random.below(3) {
        if random.uniform() < 0.5 {
            let [x, y] = point(random);
            let half = size.map(|v| v * (0.08 + 0.2 * random.uniform()));
            fill(&mut mask, |[px, py]| {
                (px - x).abs() < half[0] && (py - y).abs() < half[1]
            });
        } else {
            let radius = size[0].min(size[1]) * (0.03 + 0.07 * random.uniform());
            let mut from = point(random);
            for _ in 0..2 + random.below(3) {
                let to = point(random);
                fill(&mut mask, |p| distance(p, from, to) < radius);
                from = to;
            }
        }
    }
    mask
}

/// The hole that a mask marks with 255, where it marks one: a semantic map does not.
pub fn marked(mask: &GrayImage) -> Option<GrayImage> {
    let mut hole = mask.clone();
    for pixel in hole.pixels_mut() {
        pixel.0 = [if pixel.0 == [255] { 255 } else { 0 }];
    }
    hole.pixels().any(|pixel| pixel.0 == [255]).then_some(hole)
}

fn fill(mask: &mut GrayImage, inside: impl Fn([f64; 2]) -> bool) {
    for (x, y, pixel) in mask.enumerate_pixels_mut() {
        if inside([f64::from(x) + 0.5, f64::from(y) + 0.5]) {
            *pixel = Luma([255]);
        }
    }
}

/// Of a point from a line between two others.
fn distance(p: [f64; 2], from: [f64; 2], to: [f64; 2]) -> f64 {
    let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    let along = ((p[0] - from[0]) * dx + (p[1] - from[1]) * dy) / (dx * dx + dy * dy).max(1e-12);
    let along = along.clamp(0.0, 1.0);
    (p[0] - from[0] - along * dx).hypot(p[1] - from[1] - along * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_neither_nothing_nor_all() {
        let share = |item| {
            let mask = hole(40, 24, &mut Random::new(0, "hole", 0, item));
            mask.pixels().filter(|p| p.0 == [255]).count() as f64 / (40.0 * 24.0)
        };
        let shares: Vec<f64> = (0..50).map(share).collect();
        assert!(shares.iter().all(|s| *s > 0.0 && *s < 1.0), "{shares:?}");
        let mean = shares.iter().sum::<f64>() / 50.0;
        assert!((0.1..0.6).contains(&mean), "{mean}");
    }
}
