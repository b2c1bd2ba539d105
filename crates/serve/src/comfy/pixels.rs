//! Given pictures and masks, brought to what the nodes on their way make of them.

use std::io::Cursor;

use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, RgbImage};

use super::chain::Start;
use super::graph::{Node, Result};
use super::refusal::Reason;
use super::uploads::Uploaded;

/// The largest side of a scaled picture.
const SIDE: u32 = 8192;

/// A picture to start from, as PNG files.
#[derive(Debug)]
pub struct Prepared {
    /// The picture.
    pub picture: Vec<u8>,
    /// White where it is drawn anew.
    pub mask: Option<Vec<u8>>,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// Reads the picture and the mask, scales the picture, and cuts both to whole latents.
///
/// # Errors
/// Pictures that are not there or cannot be read.
pub fn prepare(start: &Start<'_>, sent: &Uploaded) -> Result<Prepared> {
    let loaded = read(start.picture[0], sent)?;
    let mut picture = loaded.to_rgb8();
    for node in &start.picture[1..] {
        picture = scaled(&picture, node)?;
    }
    let mut mask = match start.mask {
        Some(loader) => Some(masked(loader, sent, picture.dimensions())?),
        None => None,
    };
    let (width, height) = picture.dimensions();
    let whole = |side: u32| (side / 8 * 8).max(8);
    let (to_width, to_height) = (whole(width), whole(height));
    let at = (
        width.saturating_sub(to_width) / 2,
        height.saturating_sub(to_height) / 2,
    );
    picture = imageops::crop_imm(&picture, at.0, at.1, to_width, to_height).to_image();
    mask = mask.map(|mask| imageops::crop_imm(&mask, at.0, at.1, to_width, to_height).to_image());
    if let (Some(grow), Some(soft)) = (start.grow, &mut mask) {
        for pixel in soft.pixels_mut() {
            pixel.0[0] = if pixel.0[0] >= 128 { 255 } else { 0 };
        }
        grey_below(&mut picture, soft);
        *soft = grown(soft, grow as u32);
    }
    let (width, height) = picture.dimensions();
    Ok(Prepared {
        picture: png(start.picture[0], &picture.into())?,
        mask: mask
            .map(|mask| png(start.picture[0], &mask.into()))
            .transpose()?,
        width,
        height,
    })
}

fn read(node: &Node, sent: &Uploaded) -> Result<DynamicImage> {
    let name = node.text("image")?;
    let unread = |why: String| node.refused("image", Reason::NotInList, why);
    let bytes = sent.find(name).ok_or_else(|| {
        unread(format!(
            "image: {name:?} was not uploaded: POST /upload/image first"
        ))
    })?;
    image::load_from_memory(bytes)
        .map_err(|error| unread(format!("image: {name:?} cannot be read: {error}")))
}

fn scaled(picture: &RgbImage, node: &Node) -> Result<RgbImage> {
    let word = node.text("upscale_method")?;
    let (width, height) = picture.dimensions();
    let (to_width, to_height) = match node.class.name {
        "ImageScaleBy" => {
            let by = node.number("scale_by")?;
            let side = |side: u32| (f64::from(side) * by).round() as u32;
            (side(width), side(height))
        }
        _ => target(node, (width, height))?,
    };
    if !(1..=SIDE).contains(&to_width) || !(1..=SIDE).contains(&to_height) {
        let told = format!(
            "the picture would have {to_width}x{to_height} pixels: expected sides of 1 to {SIDE}"
        );
        return Err(node.refused("upscale_method", Reason::Unusable, told));
    }
    let cut = match node.class.name {
        "ImageScale" if node.choice("crop", &["disabled", "center"])? == "center" => {
            middle(picture, to_width, to_height)
        }
        _ => picture.clone(),
    };
    let filter = match word {
        "nearest-exact" => FilterType::Nearest,
        "bilinear" => FilterType::Triangle,
        "bicubic" => FilterType::CatmullRom,
        "lanczos" => FilterType::Lanczos3,
        "area" => return Ok(imageops::thumbnail(&cut, to_width, to_height)),
        other => {
            let told = format!("upscale_method: {other:?} is not known");
            return Err(node.refused("upscale_method", Reason::NotInList, told));
        }
    };
    Ok(imageops::resize(&cut, to_width, to_height, filter))
}

/// Width and height; a zero keeps the aspect.
fn target(node: &Node, (width, height): (u32, u32)) -> Result<(u32, u32)> {
    let side =
        |input| -> Result<u32> { Ok(u32::try_from(node.whole(input, 0)?).unwrap_or(u32::MAX)) };
    let other = |a: u32, b: u32, c: u32| {
        (f64::from(a) * f64::from(b) / f64::from(c))
            .round()
            .max(1.0) as u32
    };
    Ok(match (side("width")?, side("height")?) {
        (0, 0) => (width, height),
        (0, h) => (other(width, h, height), h),
        (w, 0) => (w, other(height, w, width)),
        both => both,
    })
}

/// The middle of a picture with the aspect of that size.
fn middle(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (have, want) = (picture.dimensions(), (f64::from(width), f64::from(height)));
    let (w, h) = (f64::from(have.0), f64::from(have.1));
    let (x, y) = match w / h > want.0 / want.1 {
        true => (
            ((w - w * (want.0 / want.1) / (w / h)) / 2.0).round() as u32,
            0,
        ),
        false => (
            0,
            ((h - h * (w / h) / (want.0 / want.1)) / 2.0).round() as u32,
        ),
    };
    imageops::crop_imm(
        picture,
        x,
        y,
        (have.0 - 2 * x).max(1),
        (have.1 - 2 * y).max(1),
    )
    .to_image()
}

/// The mask of a loader, brought to the picture's size: white is drawn anew.
fn masked(loader: &Node, sent: &Uploaded, (width, height): (u32, u32)) -> Result<GrayImage> {
    let loaded = read(loader, sent)?;
    let channel = match loader.class.name {
        "LoadImageMask" => loader.choice("channel", &["alpha", "red", "green", "blue"])?,
        _ => "alpha",
    };
    let transparent = loaded.color().has_alpha();
    let rgba = loaded.to_rgba8();
    let mask = GrayImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        Luma([match channel {
            "red" => red,
            "green" => green,
            "blue" => blue,
            _ if transparent => 255 - alpha,
            _ => 0,
        }])
    });
    if mask.pixels().all(|pixel| pixel.0[0] == 0) {
        let told = "the mask is empty: expected a picture whose transparent part is drawn anew";
        return Err(loader.refused("image", Reason::Unusable, told));
    }
    Ok(match mask.dimensions() == (width, height) {
        true => mask,
        false => imageops::resize(&mask, width, height, FilterType::Triangle),
    })
}

/// Paints grey what is to be drawn anew.
fn grey_below(picture: &mut RgbImage, mask: &GrayImage) {
    for (pixel, mask) in picture.pixels_mut().zip(mask.pixels()) {
        if mask.0[0] > 0 {
            pixel.0 = [128; 3];
        }
    }
}

/// The mask, grown into each direction by half of `by`, as ComfyUI's convolution with a square of that side does.
fn grown(mask: &GrayImage, by: u32) -> GrayImage {
    if by < 2 {
        return mask.clone();
    }
    let (before, after) = (i64::from(by / 2), i64::from(by - 1 - by / 2));
    let (width, height) = mask.dimensions();
    let spread = |from: &GrayImage, dx: i64, dy: i64| {
        GrayImage::from_fn(width, height, |x, y| {
            let near = (-before..=after).any(|step| {
                let (x, y) = (i64::from(x) + dx * step, i64::from(y) + dy * step);
                let inside =
                    (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y);
                inside && from.get_pixel(x as u32, y as u32).0[0] > 0
            });
            Luma([if near { 255 } else { 0 }])
        })
    };
    spread(&spread(mask, 1, 0), 0, 1)
}

fn png(node: &Node, picture: &DynamicImage) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let written = picture.write_to(&mut Cursor::new(&mut file), ImageFormat::Png);
    let failed = |error| node.refused("image", Reason::Unusable, format!("{error}"));
    written.map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_grow_as_by_a_square() {
        let mut mask = GrayImage::new(12, 9);
        mask.put_pixel(5, 4, Luma([255]));
        let white = |mask: &GrayImage| -> Vec<(u32, u32)> {
            let all = mask.enumerate_pixels();
            all.filter(|(_, _, p)| p.0[0] > 0)
                .map(|(x, y, _)| (x, y))
                .collect()
        };
        assert_eq!(white(&grown(&mask, 0)), [(5, 4)]);
        assert_eq!(white(&grown(&mask, 3)).len(), 9);
        // An even side reaches one further to the right: torch pads both ends alike and the rest is cut off.
        let six = white(&grown(&mask, 6));
        let range = |values: Vec<u32>| (values.iter().min().copied(), values.iter().max().copied());
        assert_eq!(range(six.iter().map(|p| p.0).collect()), (Some(3), Some(8)));
        assert_eq!(range(six.iter().map(|p| p.1).collect()), (Some(2), Some(7)));
    }

    #[test]
    fn the_middle_has_the_aspect() {
        let picture = RgbImage::new(200, 100);
        assert_eq!(middle(&picture, 64, 64).dimensions(), (100, 100));
        assert_eq!(middle(&picture, 64, 32).dimensions(), (200, 100));
        assert_eq!(middle(&picture, 128, 32).dimensions(), (200, 50));
    }
}
