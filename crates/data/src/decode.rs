//! Pictures from bytes, within limits that are checked before anything is unpacked.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::Error;

/// No side of a picture is longer.
pub const MAX_SIDE: u32 = 16384;
/// Files and decoded pictures take at most this many bytes.
pub const MAX_BYTES: u64 = 1 << 29;

/// Endings of picture files, in small letters.
pub const ENDINGS: &[&str] = &["png", "jpg", "jpeg", "webp"];

/// Whether a file's name ends like a picture's. What it is, its bytes decide.
pub fn is_picture_name(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Decodes a PNG, JPEG or WebP file, turned as its EXIF orientation says; transparent pixels show `background`.
/// 16-bit channels are cut to 8. `name` is what errors call it.
///
/// # Errors
/// Another format, a damaged or broken-off file, a picture over the limits.
pub fn rgb(name: &str, bytes: &[u8], background: [u8; 3]) -> Result<RgbImage, Error> {
    let picture = dynamic(name, bytes)?;
    if !picture.color().has_alpha() {
        return Ok(picture.into_rgb8());
    }
    let picture = picture.into_rgba8();
    Ok(RgbImage::from_fn(
        picture.width(),
        picture.height(),
        |x, y| {
            let [r, g, b, alpha] = picture.get_pixel(x, y).0;
            image::Rgb(over([r, g, b], alpha, background))
        },
    ))
}

/// `colour` with that opacity over `background`.
pub(crate) fn over(colour: [u8; 3], alpha: u8, background: [u8; 3]) -> [u8; 3] {
    let alpha = u32::from(alpha);
    std::array::from_fn(|c| {
        let mixed = u32::from(colour[c]) * alpha + u32::from(background[c]) * (255 - alpha);
        ((mixed + 127) / 255) as u8
    })
}

/// Decodes a mask. A picture of one channel keeps its numbers and one with a palette the numbers of its entries, which
/// is how semantic maps are stored; one of colours becomes its brightness.
///
/// # Errors
/// Those of [`rgb`].
pub fn grey(name: &str, bytes: &[u8]) -> Result<GrayImage, Error> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    const COLOUR_TYPE: usize = 25;
    if bytes.starts_with(PNG) && bytes.get(COLOUR_TYPE) == Some(&3) {
        return palette(name, bytes);
    }
    Ok(dynamic(name, bytes)?.into_luma8())
}

/// The numbers of a PNG's palette entries.
fn palette(name: &str, bytes: &[u8]) -> Result<GrayImage, Error> {
    // Reads the header within the limits.
    size(name, bytes)?;
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().map_err(|e| wrong(name, e))?;
    let (_, depth) = reader.output_color_type();
    let depth = depth as usize;
    let line = reader.output_line_size(reader.info().width).unwrap_or(0);
    let mut packed = vec![0; line * reader.info().height as usize];
    let info = reader.next_frame(&mut packed).map_err(|e| wrong(name, e))?;
    Ok(GrayImage::from_fn(info.width, info.height, |x, y| {
        let bit = x as usize * depth;
        let byte = packed[y as usize * line + bit / 8];
        let shift = 8 - depth - bit % 8;
        image::Luma([byte >> shift & (0xFF >> (8 - depth))])
    }))
}

/// Decodes with whatever channels the file has.
///
/// # Errors
/// Those of [`rgb`].
pub fn dynamic(name: &str, bytes: &[u8]) -> Result<DynamicImage, Error> {
    if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) && !jpeg_is_whole(bytes) {
        return Err(wrong(name, "the file breaks off"));
    }
    let mut decoder = decoder(name, bytes)?;
    let orientation = decoder.orientation().map_err(|e| classified(name, e))?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| classified(name, e))?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Height and width of the picture as [`rgb`] would give it, from the beginning of its file.
///
/// # Errors
/// Those of [`rgb`], or too little of the file.
pub fn size(name: &str, bytes: &[u8]) -> Result<[u32; 2], Error> {
    let mut decoder = decoder(name, bytes)?;
    let (width, height) = decoder.dimensions();
    let orientation = decoder.orientation().map_err(|e| classified(name, e))?;
    use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    Ok(match orientation {
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH => [width, height],
        _ => [height, width],
    })
}

/// A decoder that has read the header and found it within the limits.
fn decoder<'a>(name: &str, bytes: &'a [u8]) -> Result<impl ImageDecoder + 'a, Error> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| wrong(name, e))?;
    if reader.format().is_none() {
        return Err(wrong(name, "it is no PNG, JPEG or WebP"));
    }
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| classified(name, e))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(wrong(name, "it has no pixels"));
    }
    if width > MAX_SIDE || height > MAX_SIDE || decoder.total_bytes() > MAX_BYTES {
        return Err(Error::TooLarge {
            name: name.to_owned(),
            reason: format!("{width}x{height} pixels"),
        });
    }
    Ok(decoder)
}

fn wrong(name: &str, reason: impl ToString) -> Error {
    Error::Picture {
        name: name.to_owned(),
        reason: reason.to_string(),
    }
}

fn classified(name: &str, error: image::ImageError) -> Error {
    match error {
        image::ImageError::Limits(e) => Error::TooLarge {
            name: name.to_owned(),
            reason: e.to_string(),
        },
        other => wrong(name, other),
    }
}

/// Whether the end marker follows the last scan. The decoder paints what is missing grey and says nothing.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xFF, marker]);
    last(0xD9) > last(0xDA)
}
