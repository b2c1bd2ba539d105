//! Low-resolution pictures as they come in the world, for super-resolution.
//!
//! The lighter form of Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image Super-Resolution",
//! 2103.14006, that the super-resolution model of the latent diffusion paper was trained with: blur, resizing, noise and
//! JPEG in a random order, each of random strength, then JPEG once more.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use image::{Rgb, Rgb32FImage, RgbImage};

use crate::Random;

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Blur,
    Resize,
    Noise,
    Jpeg,
    /// To the size that is wanted.
    Shrink,
}

/// `picture` `factor` times smaller and worse, as `random` says.
pub fn degrade(picture: &RgbImage, factor: u32, random: &mut Random) -> RgbImage {
    let target = [picture.width(), picture.height()].map(|v| (v / factor.max(1)).max(1));
    let mut x = from_bytes(picture);
    let mut left = f64::from(factor);
    if factor == 4 && random.uniform() < 0.25 {
        x = resize(
            &x,
            picture.width() / 2,
            picture.height() / 2,
            filter(random),
        );
        left = 2.0;
    }
    for step in order(random) {
        x = match step {
            Step::Blur => blur(&x, left, random),
            Step::Resize => shrink_a_little(&x, left, random),
            Step::Noise => noise(x, random),
            Step::Jpeg if random.uniform() < 0.9 => jpeg(&x, random),
            Step::Jpeg => x,
            Step::Shrink => resize(&x, target[0], target[1], filter(random)),
        };
    }
    to_bytes(&jpeg(&x, random))
}

/// A random order in which nothing is resized after the last shrinking.
fn order(random: &mut Random) -> [Step; 5] {
    let mut steps = [
        Step::Blur,
        Step::Resize,
        Step::Noise,
        Step::Jpeg,
        Step::Shrink,
    ];
    for i in (1..steps.len()).rev() {
        steps.swap(i, random.below(i + 1));
    }
    let at = |wanted| steps.iter().position(|step| *step == wanted);
    if let (Some(resize), Some(shrink)) = (at(Step::Resize), at(Step::Shrink))
        && resize > shrink
    {
        steps.swap(resize, shrink);
    }
    steps
}

fn filter(random: &mut Random) -> FilterType {
    [
        FilterType::Triangle,
        FilterType::CatmullRom,
        FilterType::Gaussian,
    ][random.below(3)]
}

fn between(low: f64, high: f64, random: &mut Random) -> f64 {
    low + (high - low) * random.uniform()
}

/// By a Gaussian, half the time one that is longer in some direction.
fn blur(x: &Rgb32FImage, factor: f64, random: &mut Random) -> Rgb32FImage {
    if random.uniform() < 0.5 {
        let size = 5 + random.below(10);
        let angle = std::f64::consts::PI * random.uniform();
        let most = (4.0 + factor) / 4.0;
        let variances = [between(0.01, most, random), between(0.01, most, random)];
        convolve(x, &gaussian(size, angle, variances))
    } else {
        let size = 5 + random.below(3);
        let deviation = between(0.01, (2.0 + 0.2 * factor) / 4.0, random);
        convolve(x, &gaussian(size, 0.0, [deviation * deviation; 2]))
    }
}

fn shrink_a_little(x: &Rgb32FImage, factor: f64, random: &mut Random) -> Rgb32FImage {
    let scaled =
        |by: f64| [x.width(), x.height()].map(|v| ((f64::from(v) / by).round() as u32).max(1));
    if random.uniform() < 0.8 {
        let [width, height] = scaled(between(1.0, 2.0 * factor, random));
        return resize(x, width, height, filter(random));
    }
    let deviation = between(0.1, 0.6 * factor, random);
    let soft = convolve(x, &gaussian(25, 0.0, [deviation * deviation; 2]));
    let [width, height] = scaled(factor);
    resize(&soft, width, height, FilterType::Nearest)
}

fn noise(mut x: Rgb32FImage, random: &mut Random) -> Rgb32FImage {
    let deviation = (1 + random.below(2)) as f64 / 255.0;
    let grey = random.uniform() < 0.4;
    for Rgb(pixel) in x.pixels_mut() {
        let one = random.normal();
        for value in pixel {
            let normal = if grey { one } else { random.normal() };
            *value += (deviation * normal) as f32;
        }
    }
    x
}

fn jpeg(x: &Rgb32FImage, random: &mut Random) -> Rgb32FImage {
    let quality = 80 + random.below(16) as u8;
    let bytes = to_bytes(x);
    let mut file = Vec::new();
    let written = JpegEncoder::new_with_quality(&mut file, quality).encode_image(&bytes);
    match (written, image::load_from_memory(&file)) {
        (Ok(()), Ok(read)) => from_bytes(&read.to_rgb8()),
        // Only a picture of no pixels cannot be written.
        _ => x.clone(),
    }
}

/// The weights of a square of odd side with such variances along two axes turned by `angle`.
fn gaussian(size: usize, angle: f64, variances: [f64; 2]) -> Vec<Vec<f32>> {
    let reach = (size / 2) as i64;
    let (sine, cosine) = angle.sin_cos();
    let weight = |y: i64, x: i64| {
        let (y, x) = (y as f64, x as f64);
        let (along, across) = (cosine * x + sine * y, cosine * y - sine * x);
        (-0.5 * (along * along / variances[0] + across * across / variances[1])).exp()
    };
    let rows = |y| (-reach..=reach).map(|x| weight(y, x)).collect::<Vec<f64>>();
    let rows: Vec<Vec<f64>> = (-reach..=reach).map(rows).collect();
    let sum: f64 = rows.iter().flatten().sum();
    let normed = |row: Vec<f64>| row.into_iter().map(|w| (w / sum) as f32).collect();
    rows.into_iter().map(normed).collect()
}

/// With mirrored edges.
fn convolve(x: &Rgb32FImage, kernel: &[Vec<f32>]) -> Rgb32FImage {
    let reach = (kernel.len() / 2) as i64;
    let mirrored = |at: i64, length: u32| {
        let length = i64::from(length);
        let at = at.rem_euclid(2 * length);
        at.min(2 * length - 1 - at) as u32
    };
    Rgb32FImage::from_fn(x.width(), x.height(), |column, row| {
        let mut sum = [0f32; 3];
        for (dy, weights) in (-reach..).zip(kernel) {
            let y = mirrored(i64::from(row) + dy, x.height());
            for (dx, weight) in (-reach..).zip(weights) {
                let Rgb(pixel) = x.get_pixel(mirrored(i64::from(column) + dx, x.width()), y);
                sum.iter_mut()
                    .zip(pixel)
                    .for_each(|(s, v)| *s += weight * v);
            }
        }
        Rgb(sum)
    })
}

fn from_bytes(x: &RgbImage) -> Rgb32FImage {
    Rgb32FImage::from_fn(x.width(), x.height(), |column, row| {
        Rgb(x.get_pixel(column, row).0.map(|v| f32::from(v) / 255.0))
    })
}

fn to_bytes(x: &Rgb32FImage) -> RgbImage {
    RgbImage::from_fn(x.width(), x.height(), |column, row| {
        Rgb(x
            .get_pixel(column, row)
            .0
            .map(|v| (v * 255.0).round().clamp(0.0, 255.0) as u8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> RgbImage {
        RgbImage::from_fn(48, 32, |x, y| Rgb([5 * x as u8, 7 * y as u8, 128]))
    }

    #[test]
    fn a_degraded_picture_is_small_and_of_the_same_thing() {
        let picture = ramp();
        let plain = resize(&picture, 12, 8, FilterType::Triangle);
        let mut seen = std::collections::HashSet::new();
        for item in 0..20 {
            let small = degrade(&picture, 4, &mut Random::new(1, "degrade", 0, item));
            assert_eq!(small.dimensions(), (12, 8));
            let differences = small.as_raw().iter().zip(plain.as_raw());
            let error: f64 = differences
                .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                .sum::<f64>()
                / (12.0 * 8.0 * 3.0);
            assert!(error > 0.0 && error < 30f64.powi(2), "{item}: {error}");
            seen.insert(small.into_raw());
        }
        assert_eq!(seen.len(), 20);
        let again = |item| degrade(&picture, 4, &mut Random::new(1, "degrade", 0, item)).into_raw();
        assert!(seen.contains(&again(7)));
    }

    #[test]
    fn kernels_are_averages() {
        let flat = RgbImage::from_pixel(9, 7, Rgb([200, 100, 50]));
        let soft = convolve(&from_bytes(&flat), &gaussian(7, 0.6, [0.3, 2.0]));
        assert_eq!(to_bytes(&soft), flat);
        let kernel = gaussian(5, 0.0, [4.0, 0.1]);
        assert!(kernel[2][4] > kernel[4][2]);
    }
}
