//! OpenAI's masks: what is transparent is painted anew, the opposite of a white mask.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat};

use crate::config::Limits;
use crate::fault::{Fault, Result};
use crate::given::header;

fn decoded(field: &str, bytes: &[u8], limits: &Limits) -> Result<DynamicImage> {
    header(bytes, limits).map_err(|fault| fault.of(field))?;
    let invalid =
        |error: image::ImageError| Fault::new("picture_invalid", error.to_string()).of(field);
    image::load_from_memory(bytes).map_err(invalid)
}

fn png(picture: &DynamicImage) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let written = picture.write_to(&mut Cursor::new(&mut file), ImageFormat::Png);
    written.map_err(|error| Fault::failed("picture_not_encoded", error.to_string()))?;
    Ok(file)
}

/// White where a picture is transparent; none where it is nowhere.
fn holes(picture: &DynamicImage) -> Option<GrayImage> {
    if !picture.color().has_alpha() {
        return None;
    }
    let alpha = picture.to_rgba8();
    let mut mask = GrayImage::new(alpha.width(), alpha.height());
    for (to, from) in mask.pixels_mut().zip(alpha.pixels()) {
        to.0 = [255 - from.0[3]];
    }
    mask.pixels().any(|pixel| pixel.0[0] > 0).then_some(mask)
}

/// The picture without its transparency, and the mask of what is painted anew: of the mask's file, else of the picture's own.
///
/// # Errors
/// Files that are no pictures, a mask of another size or without any transparency.
pub fn split(
    picture: &[u8],
    mask: Option<&[u8]>,
    limits: &Limits,
) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let picture = decoded("image", picture, limits)?;
    let found = match mask {
        None => holes(&picture),
        Some(bytes) => {
            let mask = decoded("mask", bytes, limits)?;
            let sizes = (
                mask.width(),
                mask.height(),
                picture.width(),
                picture.height(),
            );
            if (sizes.0, sizes.1) != (sizes.2, sizes.3) {
                let message = format!(
                    "has {}x{} pixels: expected the picture's {}x{}",
                    sizes.0, sizes.1, sizes.2, sizes.3
                );
                return Err(Fault::new("field_unusable", message).of("mask"));
            }
            let found = holes(&mask);
            let opaque = || {
                Fault::new(
                    "field_unusable",
                    "is nowhere transparent: what is transparent is painted anew",
                )
                .of("mask")
            };
            Some(found.ok_or_else(opaque)?)
        }
    };
    let plain = DynamicImage::ImageRgb8(picture.to_rgb8());
    let found = found.map(|mask| png(&DynamicImage::ImageLuma8(mask)));
    Ok((png(&plain)?, found.transpose()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgba, RgbaImage};

    fn rgba(width: u32, alpha: impl Fn(u32) -> u8) -> Vec<u8> {
        let picture = RgbaImage::from_fn(width, 2, |x, _| Rgba([9, 9, 9, alpha(x)]));
        png(&DynamicImage::ImageRgba8(picture)).expect("encoded")
    }

    #[test]
    fn transparent_is_painted() {
        let limits = Limits::default();
        let mask = rgba(4, |x| if x < 2 { 0 } else { 255 });
        let (plain, found) = split(&rgba(4, |_| 255), Some(&mask), &limits).expect("split");
        let found = image::load_from_memory(&found.expect("a mask"))
            .expect("a picture")
            .to_luma8();
        assert_eq!(
            (found.get_pixel(0, 0).0, found.get_pixel(3, 0).0),
            ([255], [0])
        );
        assert!(
            !image::load_from_memory(&plain)
                .expect("a picture")
                .color()
                .has_alpha()
        );
        assert!(split(&mask, None, &limits).expect("split").1.is_some());
        assert!(
            split(&rgba(4, |_| 255), None, &limits)
                .expect("split")
                .1
                .is_none()
        );
        for wrong in [rgba(3, |_| 0), rgba(4, |_| 255), b"x".to_vec()] {
            let fault = split(&mask, Some(&wrong), &limits).expect_err("refused");
            assert_eq!(fault.field.as_deref(), Some("mask"));
        }
    }
}
