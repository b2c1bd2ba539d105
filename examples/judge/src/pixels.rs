//! Models that complete a picture: from a small one, and around a hole.

use image::imageops::{FilterType, resize};
use image::{GrayImage, Luma, RgbImage};
use latent_pipeline::Request;
use latent_pipeline::request::{Conditions, GivenPicture};
use miette::{IntoDiagnostic, Result};

use crate::asked::Asked;
use crate::{data, draw};

/// The mean square error of bytes of the pixels that count, of 255² each.
fn error(a: &RgbImage, b: &RgbImage, counts: impl Fn(u32, u32) -> bool) -> f64 {
    let (mut sum, mut all) = (0.0, 0.0);
    for (x, y, pixel) in a.enumerate_pixels().filter(|(x, y, _)| counts(*x, *y)) {
        for (a, b) in pixel.0.iter().zip(b.get_pixel(x, y).0) {
            sum += ((f64::from(*a) - f64::from(b)) / 255.0).powi(2);
            all += 1.0;
        }
    }
    sum / f64::max(all, 1.0)
}

fn decibels(error: f64) -> f64 {
    -10.0 * error.log10()
}

fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / count
}

/// Enlarges pictures that were made four times smaller.
pub fn upscale(asked: &Asked) -> Result<()> {
    const FACTOR: u32 = 4;
    let test = data::examples(&asked.test, asked.size, asked.count)?;
    let originals: Vec<RgbImage> = test.into_iter().map(|e| e.picture).collect();
    let subject = draw::Subject::open(&asked.model, asked.size)?;
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let side = asked.size / FACTOR;
    let small: Vec<RgbImage> = originals
        .iter()
        .map(|o| resize(o, side, side, FilterType::CatmullRom))
        .collect();
    let large = |small| resize(small, asked.size, asked.size, FilterType::CatmullRom);
    let bicubic: Vec<RgbImage> = small.iter().map(large).collect();
    let drawn = subject.draw(small.len(), |i| {
        let path = scratch.path().join(format!("{i}.png"));
        small[i].save(&path).into_diagnostic()?;
        Ok(Request {
            condition: Conditions {
                upscale: Some(path.into()),
                ..Conditions::default()
            },
            ..Request::default()
        })
    })?;
    let shuffled = draw::shuffled(&drawn);
    println!(
        "| {} pictures, {FACTOR} times larger | PSNR |\n|---|---|",
        originals.len()
    );
    for (name, pictures) in [
        ("drawn", &drawn),
        ("bicubic", &bicubic),
        ("drawn from another", &shuffled),
    ] {
        let pairs = originals.iter().zip(pictures);
        println!(
            "| {name} | {:.2} dB |",
            mean(pairs.map(|(a, b)| decibels(error(a, b, |_, _| true))))
        );
    }
    draw::pairs(&asked.sheet, &originals, &drawn)
}

/// Fills a square hole in the middle, half as wide and high as the picture.
pub fn inpaint(asked: &Asked) -> Result<()> {
    let side = asked.size;
    let inside = |x: u32, y: u32| [x, y].iter().all(|v| (side / 4..side * 3 / 4).contains(v));
    let test = data::examples(&asked.test, side, asked.count)?;
    let originals: Vec<RgbImage> = test.into_iter().map(|e| e.picture).collect();
    let subject = draw::Subject::open(&asked.model, side)?;
    let scratch = tempfile::tempdir().into_diagnostic()?;
    let mask = scratch.path().join("mask.png");
    GrayImage::from_fn(side, side, |x, y| Luma([255 * u8::from(inside(x, y))]))
        .save(&mask)
        .into_diagnostic()?;
    let drawn = subject.draw(originals.len(), |i| {
        let path = scratch.path().join(format!("{i}.png"));
        originals[i].save(&path).into_diagnostic()?;
        Ok(Request {
            start: GivenPicture {
                image: Some(path.into()),
                mask: Some(mask.as_path().into()),
                mask_blur: 0,
                strength: 1.0,
                ..GivenPicture::default()
            },
            ..Request::default()
        })
    })?;
    let flat: Vec<RgbImage> = originals.iter().map(|o| fill(o, inside)).collect();
    let shuffled = draw::shuffled(&drawn);
    println!(
        "| {} pictures with a hole of a quarter | root mean square error in the hole, of 1 |\n|---|---|",
        originals.len()
    );
    for (name, pictures) in [
        ("drawn", &drawn),
        ("flat fill", &flat),
        ("drawn for another", &shuffled),
    ] {
        let pairs = originals.iter().zip(pictures);
        println!(
            "| {name} | {:.3} |",
            mean(pairs.map(|(a, b)| error(a, b, inside))).sqrt()
        );
    }
    draw::pairs(&asked.sheet, &originals, &drawn)
}

/// The picture with the mean colour of what is visible in its hole.
fn fill(picture: &RgbImage, inside: impl Fn(u32, u32) -> bool) -> RgbImage {
    let visible: Vec<[u8; 3]> = picture
        .enumerate_pixels()
        .filter(|(x, y, _)| !inside(*x, *y))
        .map(|(_, _, p)| p.0)
        .collect();
    let colour = [0, 1, 2].map(|c| mean(visible.iter().map(|p| f64::from(p[c]))).round() as u8);
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        match inside(x, y) {
            true => image::Rgb(colour),
            false => *picture.get_pixel(x, y),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_takes_the_mean_of_what_is_visible() {
        let picture = RgbImage::from_fn(4, 1, |x, _| image::Rgb([10 * x as u8; 3]));
        let filled = fill(&picture, |x, _| x == 2);
        let bytes: Vec<u8> = filled.pixels().map(|p| p.0[0]).collect();
        assert_eq!(bytes, [0, 10, 13, 30]);
        assert!((error(&picture, &filled, |x, _| x == 2) - (7.0f64 / 255.0).powi(2)).abs() < 1e-12);
        assert_eq!(error(&picture, &filled, |x, _| x != 2), 0.0);
    }
}
