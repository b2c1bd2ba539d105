//! Pictures from bytes, within limits that are checked before anything is unpacked.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::Error;

/// No side of a picture is longer.
pub const MAX_SIDE: u32 = 16384;
/// Files and decoded pictures take at most this many bytes.
pub const MAX_BYTES: u64 = 1 << 29;

/// Endings of picture files that are read, in small letters.
pub const ENDINGS: &[&str] = &["png", "jpg", "jpeg", "jfif", "webp"];
/// Endings of pictures that are not read, and what they are.
const UNREAD: &[(&str, &str)] = &[
    ("avif", "AVIF"),
    ("bmp", "BMP"),
    ("gif", "GIF"),
    ("heic", "HEIC"),
    ("heif", "HEIF"),
    ("jp2", "JPEG 2000"),
    ("jxl", "JPEG XL"),
    ("tga", "TGA"),
    ("tif", "TIFF"),
    ("tiff", "TIFF"),
];

/// Whether a file's name ends like a picture's, one that is read or not. What it is, its bytes decide.
pub fn is_picture_name(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|e| ENDINGS.iter().any(|known| e.eq_ignore_ascii_case(known)))
        || unread_kind(name).is_some()
}

/// What a picture is that is not read here, by the ending of its name.
pub fn unread_kind(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    let mut known = UNREAD.iter();
    let found = known.find(|(known, _)| ending.eq_ignore_ascii_case(known));
    found.map(|(_, kind)| *kind)
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

/// Decodes a mask of numbers in 0..=255. A picture of one channel keeps its numbers, whether it has 8 bits or 16, and one
/// with a palette the numbers of its entries, which is how semantic maps are stored; three equal channels are one. The
/// largest number of 16 bits is 255, a hole.
///
/// # Errors
/// Those of [`rgb`]; colours, which are no numbers; other numbers of 16 bits above 255.
pub fn grey(name: &str, bytes: &[u8]) -> Result<GrayImage, Error> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    const COLOUR_TYPE: usize = 25;
    if bytes.starts_with(PNG) && bytes.get(COLOUR_TYPE) == Some(&3) {
        return palette(name, bytes);
    }
    let wide = |v: u16| match (u8::try_from(v), v) {
        (Ok(v), _) => Ok(v),
        (_, u16::MAX) => Ok(u8::MAX),
        _ => Err(Error::damaged(
            name,
            format!("a mask holds numbers of 0 to 255, and this one {v}"),
        )),
    };
    let coloured = || {
        Error::damaged(
            name,
            "its colours are no numbers of classes: save the mask as grey or with a palette",
        )
    };
    let picture = dynamic(name, bytes)?;
    let (width, height) = (picture.width(), picture.height());
    let numbers: Vec<u8> = match picture {
        DynamicImage::ImageLuma8(mask) => return Ok(mask),
        DynamicImage::ImageLumaA8(mask) => mask.pixels().map(|p| p.0[0]).collect(),
        DynamicImage::ImageLuma16(_) | DynamicImage::ImageLumaA16(_) => {
            let mask = picture.into_luma16();
            mask.pixels()
                .map(|p| wide(p.0[0]))
                .collect::<Result<_, _>>()?
        }
        DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => {
            let one = |p: &image::Rgb<u16>| match p.0 {
                [r, g, b] if r == g && g == b => wide(r),
                _ => Err(coloured()),
            };
            picture
                .into_rgb16()
                .pixels()
                .map(one)
                .collect::<Result<_, _>>()?
        }
        other => {
            let one = |p: &image::Rgb<u8>| match p.0 {
                [r, g, b] if r == g && g == b => Ok(r),
                _ => Err(coloured()),
            };
            other
                .into_rgb8()
                .pixels()
                .map(one)
                .collect::<Result<_, _>>()?
        }
    };
    GrayImage::from_raw(width, height, numbers).ok_or_else(|| wrong(name, "too few bytes"))
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

/// Whether the picture's end marker is there. The decoder paints what is missing grey and says nothing. What follows the
/// end, such as the film of a motion photo, is not the picture's and may hold any bytes.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const SCAN: u8 = 0xDA;
    const END: u8 = 0xD9;
    let mut at = 2;
    let mut in_scan = false;
    loop {
        let Some(&[mark, marker]) = bytes.get(at..at + 2) else {
            return false;
        };
        match (mark, marker) {
            (0xFF, END) => return true,
            // A byte that fills up.
            (0xFF, 0xFF) => at += 1,
            // A number of the scan, or a restart in it.
            (0xFF, 0x00 | 0xD0..=0xD7) => at += 2,
            (0xFF, 0x01) => at += 2,
            (0xFF, marker) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                in_scan = marker == SCAN;
            }
            // Only a scan holds bytes that belong to no segment; some writers leave a few between segments.
            _ => match bytes[at..].iter().position(|byte| *byte == 0xFF) {
                Some(on) if in_scan || on > 0 => at += on,
                _ => return false,
            },
        }
    }
}
