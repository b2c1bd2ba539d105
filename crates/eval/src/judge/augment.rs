//! What is done to a picture before the judge learns from it.

use image::RgbImage;
use latent_data::random;
use latent_metrics::foreground;

use super::network::SIDE;

/// A picture to learn from, [`SIDE`] pixels wide and high.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// As it is.
    pub picture: RgbImage,
    /// What the model's autoencoder makes of it, where it was asked.
    pub again: Option<RgbImage>,
    /// The number of the thing that it shows.
    pub thing: usize,
}

const AREA: usize = (SIDE * SIDE) as usize;
/// How often: what the autoencoder made where it is known, another ground, any hue, grey, blur, grain.
const AGAIN: f64 = 0.5;
const GROUND: f64 = 0.5;
const HUE: f64 = 0.3;
const GREY: f64 = 0.12;
const BLUR: f64 = 0.4;
const GRAIN: f64 = 0.4;
/// The largest deviation of the blur: 4 pixels of a picture of 128.
const SOFTEST: f64 = 4.0 * SIDE as f64 / 128.0;
/// The largest deviation of the grain, of 1.
const COARSEST: f64 = 0.08;
/// The largest shift, as a share of the side; the smallest and the largest size; the largest turn in radians.
const SHIFT: f64 = 0.08;
const SIZES: [f64; 2] = [0.75, 1.15];
const TURN: f64 = 0.2;

/// Numbers of one picture at one step, each for its purpose.
struct Draw(u64);

impl Draw {
    fn unit(&self, purpose: u64) -> f64 {
        random::unit(self.0, &[purpose])
    }

    fn between(&self, purpose: u64, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit(purpose)
    }

    fn often(&self, purpose: u64, share: f64) -> bool {
        self.unit(purpose) < share
    }
}

/// The picture on another ground, turned, moved, in another hue, blurred, grained: each now and then, by `seed` alone.
///
/// # Shapes
///
/// `[side, side, 3]` within −1..=1
pub(super) fn augmented(sample: &Sample, seed: u64) -> Vec<f32> {
    let draw = Draw(seed);
    let picture = match &sample.again {
        Some(again) if draw.often(0, AGAIN) => again,
        _ => &sample.picture,
    };
    let mut pixels: Vec<[f32; 3]> = picture
        .pixels()
        .map(|p| p.0.map(|v| f32::from(v) / 255.0))
        .collect();
    if draw.often(1, GROUND) {
        ground(picture, &mut pixels, &draw);
    }
    let mut pixels = moved(&pixels, &draw);
    colour(&mut pixels, &draw);
    if draw.often(2, BLUR) {
        let deviation = draw.between(3, [0.0, SOFTEST]);
        pixels = blurred(&pixels, deviation);
    }
    if draw.often(4, GRAIN) {
        grain(&mut pixels, draw.between(5, [0.0, COARSEST]) as f32, seed);
    }
    let number = |v: f32| v.clamp(0.0, 1.0) * 2.0 - 1.0;
    pixels.into_iter().flatten().map(number).collect()
}

/// Any colour behind it, where what is there is plain; half of the time a pale one.
fn ground(picture: &RgbImage, pixels: &mut [[f32; 3]], draw: &Draw) {
    let side = SIDE as usize;
    let Ok(Some(found)) = foreground(picture.as_raw(), [side, side]) else {
        return;
    };
    let least = if draw.often(10, 0.5) { 0.6 } else { 0.0 };
    let new = [11, 12, 13].map(|purpose| draw.between(purpose, [least, 1.0]) as f32);
    for (pixel, stands_out) in pixels.iter_mut().zip(found.mask) {
        if !stands_out {
            *pixel = new;
        }
    }
}

/// Mirrored half of the time, a little turned, smaller or larger, not in the middle. What lies outside is as the edge is.
fn moved(pixels: &[[f32; 3]], draw: &Draw) -> Vec<[f32; 3]> {
    let side = SIDE as usize;
    let middle = (side as f64 - 1.0) / 2.0;
    let size = draw.between(20, SIZES);
    let (sin, cos) = draw.between(21, [-TURN, TURN]).sin_cos();
    let mirror = if draw.often(22, 0.5) { -1.0 } else { 1.0 };
    let shift = [23, 24].map(|purpose| draw.between(purpose, [-SHIFT, SHIFT]) * side as f64);
    let at = |x: i64, y: i64| {
        let place = |v: i64| v.clamp(0, side as i64 - 1) as usize;
        pixels[place(y) * side + place(x)]
    };
    let pixel = |i: usize| {
        let (x, y) = ((i % side) as f64, (i / side) as f64);
        let (x, y) = (x - middle - shift[0], y - middle - shift[1]);
        let (x, y) = (
            (cos * x + sin * y) / size * mirror,
            (cos * y - sin * x) / size,
        );
        let (x, y) = (x + middle, y + middle);
        let (left, top) = (x.floor(), y.floor());
        let (u, v) = ((x - left) as f32, (y - top) as f32);
        let (left, top) = (left as i64, top as i64);
        let corners = [
            at(left, top),
            at(left + 1, top),
            at(left, top + 1),
            at(left + 1, top + 1),
        ];
        let shares = [(1.0 - u) * (1.0 - v), u * (1.0 - v), (1.0 - u) * v, u * v];
        [0, 1, 2].map(|c| {
            let parts = corners
                .iter()
                .zip(shares)
                .map(|(corner, share)| corner[c] * share);
            parts.sum()
        })
    };
    (0..AREA).map(pixel).collect()
}

/// Another hue, brightness and contrast, or none but grey. Hues are turned about the grey axis.
fn colour(pixels: &mut [[f32; 3]], draw: &Draw) {
    let most = if draw.often(30, HUE) {
        std::f64::consts::PI
    } else {
        0.2
    };
    let (sin, cos) = draw.between(31, [-most, most]).sin_cos();
    let (same, next) = ((1.0 + 2.0 * cos) / 3.0, (1.0 - cos) / 3.0);
    let skew = sin / 3f64.sqrt();
    let matrix = match draw.often(32, GREY) {
        true => [[0.299, 0.587, 0.114]; 3],
        false => [
            [same, next - skew, next + skew],
            [next + skew, same, next - skew],
            [next - skew, next + skew, same],
        ],
    };
    let matrix = matrix.map(|row| row.map(|v| v as f32));
    let contrast = draw.between(33, [0.75, 1.25]) as f32;
    let light = draw.between(34, [-0.1, 0.1]) as f32;
    for pixel in pixels {
        let turned = matrix.map(|row| row.iter().zip(*pixel).map(|(m, v)| m * v).sum::<f32>());
        *pixel = turned.map(|v| (v - 0.5) * contrast + 0.5 + light);
    }
}

/// Blurred by a Gaussian of that deviation in pixels, by rows and then by columns.
fn blurred(pixels: &[[f32; 3]], deviation: f64) -> Vec<[f32; 3]> {
    let side = SIDE as usize;
    let reach = (2.5 * deviation).ceil() as i64;
    if reach == 0 {
        return pixels.to_vec();
    }
    let weight = |i: i64| (-((i * i) as f64) / (2.0 * deviation * deviation)).exp();
    let sum: f64 = (-reach..=reach).map(weight).sum();
    let weights: Vec<f32> = (-reach..=reach).map(|i| (weight(i) / sum) as f32).collect();
    // Across rows, and exchanged with columns: twice is both.
    let across = |pixels: &[[f32; 3]]| -> Vec<[f32; 3]> {
        let pixel = |i: usize| {
            let (y, x) = (i % side, i / side);
            let mut sum = [0.0; 3];
            for (at, weight) in (x as i64 - reach..).zip(&weights) {
                let at = at.clamp(0, side as i64 - 1) as usize;
                let from = pixels[y * side + at];
                sum.iter_mut()
                    .zip(from)
                    .for_each(|(sum, v)| *sum += weight * v);
            }
            sum
        };
        (0..AREA).map(pixel).collect()
    };
    across(&across(pixels))
}

/// Noise of that deviation: sums of four uniform numbers, which are nearly normal.
fn grain(pixels: &mut [[f32; 3]], deviation: f32, seed: u64) {
    // Four numbers of 0 to 2¹⁶ have a mean of 2·2¹⁶ and a deviation of 2¹⁶ / √3.
    let scale = deviation * 3f32.sqrt() / 65536.0;
    for (i, value) in pixels.iter_mut().flatten().enumerate() {
        let bits = random::draw(seed, &[6, i as u64]);
        let sum: u32 = [0, 16, 32, 48]
            .map(|by| (bits >> by) as u32 & 0xFFFF)
            .iter()
            .sum();
        *value += (sum as f32 - 131_070.0) * scale;
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn sample() -> Sample {
        let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            match (20..40).contains(&x) && y < 50 && y > 9 {
                true => Rgb([200, 30, 30]),
                false => Rgb([255; 3]),
            }
        });
        Sample {
            picture,
            again: None,
            thing: 0,
        }
    }

    #[test]
    fn it_depends_on_the_seed_alone_and_stays_within_its_range() {
        let sample = sample();
        let mut grounds = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let made = augmented(&sample, seed);
            assert_eq!(made, augmented(&sample, seed));
            assert_eq!(made.len(), 3 * AREA);
            assert!(made.iter().all(|v| (-1.0..=1.0).contains(v)));
            grounds.insert((made[0] * 8.0) as i32);
        }
        assert!(grounds.len() > 5, "grounds differ: {grounds:?}");
    }

    #[test]
    fn a_turned_hue_leaves_grey_as_it_is() {
        let mut pixels = vec![[0.5; 3], [0.9, 0.1, 0.1]];
        // A seed whose picture keeps its colours and is turned far.
        let seed = (0..).find(|&seed| {
            let draw = Draw(seed);
            draw.often(30, HUE) && !draw.often(32, GREY) && draw.unit(31) > 0.9
        });
        let draw = Draw(seed.unwrap());
        colour(&mut pixels, &draw);
        let [r, g, b] = pixels[0];
        assert!(
            (r - g).abs() < 1e-5 && (g - b).abs() < 1e-5,
            "{:?}",
            pixels[0]
        );
        let [r, g, b] = pixels[1];
        assert!(g > r || b > r, "red is turned away: {:?}", pixels[1]);
    }

    #[test]
    fn a_blur_keeps_the_sum_and_is_as_wide_as_it_says() {
        let mut pixels = vec![[0.0f32; 3]; AREA];
        let side = SIDE as usize;
        pixels[32 * side + 32] = [1.0; 3];
        let soft = blurred(&pixels, 2.0);
        let mut sums = [0.0f64; 3];
        for (i, pixel) in soft.iter().enumerate() {
            let (x, y) = ((i % side) as f64 - 32.0, (i / side) as f64 - 32.0);
            let share = f64::from(pixel[0]);
            for (sum, value) in sums.iter_mut().zip([1.0, x * x, y * y]) {
                *sum += share * value;
            }
        }
        assert!((sums[0] - 1.0).abs() < 1e-5);
        for square in &sums[1..] {
            assert!((square.sqrt() - 2.0).abs() < 0.15, "{square}");
        }
        assert_eq!(blurred(&pixels, 0.0), pixels);
    }

    #[test]
    fn grain_has_its_deviation() {
        let mut pixels = vec![[0.5f32; 3]; AREA];
        grain(&mut pixels, 0.1, 3);
        let numbers: Vec<f64> = pixels
            .iter()
            .flatten()
            .map(|v| f64::from(v - 0.5))
            .collect();
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let square = numbers.iter().map(|v| v * v).sum::<f64>() / count;
        assert!(
            mean.abs() < 0.003 && (square.sqrt() - 0.1).abs() < 0.003,
            "{mean} {square}"
        );
    }
}
