//! Pictures that come with a request. They are named by their hash: a request never holds a path or an address.

use std::io::Cursor;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use image::{ImageFormat, ImageReader};
use latent_queue::Queue;
use sha2::{Digest, Sha256};

use crate::config::Limits;
use crate::engine::{Format, Inputs};
use crate::fault::{Fault, Result};

/// What a file says of itself before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format, by its first bytes.
    pub format: Format,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// Reads the header of a picture.
///
/// # Errors
/// Anything but PNG, JPEG and WebP, and more pixels than are taken.
pub fn header(bytes: &[u8], limits: &Limits) -> Result<Header> {
    let invalid = |why: &str| Fault::new("picture_invalid", format!("it is no picture: {why}"));
    let (read, format) = match image::guess_format(bytes) {
        Ok(read @ ImageFormat::Png) => (read, Format::Png),
        Ok(read @ ImageFormat::Jpeg) => (read, Format::Jpeg),
        Ok(read @ ImageFormat::WebP) => (read, Format::Webp),
        _ => return Err(invalid("expected a PNG, JPEG or WebP file")),
    };
    let size = ImageReader::with_format(Cursor::new(bytes), read).into_dimensions();
    let (width, height) = size.map_err(|error| invalid(&error.to_string()))?;
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > limits.pixels {
        let most = limits.pixels / 1_000_000;
        return Err(Fault::new(
            "picture_too_large",
            format!("the picture has {width}x{height} pixels: expected at most {most} million"),
        ));
    }
    Ok(Header {
        format,
        width,
        height,
    })
}

/// The bytes of a base64 text, with or without the beginning of a data URI.
///
/// # Errors
/// An address (it is never fetched), and anything that is no base64.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let text = text.trim();
    if text.starts_with("http://") || text.starts_with("https://") {
        let message = "addresses are not fetched: send the picture itself, in base64";
        return Err(Fault::new("url_refused", message));
    }
    let body = match text.strip_prefix("data:") {
        Some(uri) => uri.split_once(',').map_or("", |(_, body)| body),
        None => text,
    };
    let plain: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = match plain.contains(['-', '_']) {
        true => &URL_SAFE,
        false => &STANDARD,
    };
    let read = GeneralPurpose::new(alphabet, config).decode(plain);
    match read {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(Fault::new(
            "picture_invalid",
            "expected the bytes of a picture in base64",
        )),
    }
}

/// The name of bytes: their SHA-256 in hexadecimal digits.
pub fn name(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The pictures of one request.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// By name.
    pub inputs: Inputs,
}

impl Given {
    /// Takes a picture in and returns its name.
    ///
    /// # Errors
    /// As [`header`] has them, of that field.
    pub fn add(&mut self, field: &str, bytes: Vec<u8>, limits: &Limits) -> Result<String> {
        header(&bytes, limits).map_err(|fault| fault.of(field))?;
        Ok(self.put(bytes))
    }

    /// The same of a picture that was made here.
    pub fn put(&mut self, bytes: Vec<u8>) -> String {
        let name = name(&bytes);
        self.inputs.insert(name.clone(), bytes);
        name
    }

    /// The same of base64.
    ///
    /// # Errors
    /// As [`decode`] and [`header`] have them, of that field.
    pub fn add_text(&mut self, field: &str, text: &str, limits: &Limits) -> Result<String> {
        let bytes = decode(text).map_err(|fault| fault.of(field))?;
        self.add(field, bytes, limits)
    }

    /// Keeps them all, and returns their names.
    ///
    /// # Errors
    /// No room.
    pub async fn keep(&self, queue: &Queue) -> Result<Vec<String>> {
        let mut names = Vec::with_capacity(self.inputs.len());
        for bytes in self.inputs.values() {
            names.push(queue.put_input(bytes.clone()).await?.sha256);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::BASE64_STANDARD;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture = image::RgbImage::new(width, height);
        let to = &mut Cursor::new(&mut bytes);
        picture.write_to(to, ImageFormat::Png).expect("encoded");
        bytes
    }

    #[test]
    fn a_picture_is_known_by_its_header() {
        let limits = Limits {
            pixels: 100,
            ..Limits::default()
        };
        let found = header(&png(10, 10), &limits).expect("a picture");
        assert_eq!(
            (found.format, found.width, found.height),
            (Format::Png, 10, 10)
        );
        assert_eq!(
            header(&png(11, 10), &limits).expect_err("too large").code,
            "picture_too_large"
        );
        let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script/></svg>";
        for bytes in [&b""[..], b"GIF89a", svg, &png(10, 10)[..20]] {
            assert_eq!(
                header(bytes, &limits).expect_err("none").code,
                "picture_invalid"
            );
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        // The header alone says 60,000 × 60,000 pixels.
        let mut bytes = png(1, 1);
        bytes[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
        let fault = header(&bytes, &Limits::default()).expect_err("refused");
        assert!(["picture_too_large", "picture_invalid"].contains(&fault.code.as_str()));
    }

    #[test]
    fn base64_comes_in_many_forms() {
        let text = BASE64_STANDARD.encode([250, 251, 252, 253, 254]);
        let uri = format!("data:image/png;base64,{text}");
        let lines = format!(" {}\n{} ", &text[..4], &text[4..]);
        let url = text.replace('+', "-").replace('/', "_").replace('=', "");
        for form in [&text, &uri, &lines, &url] {
            assert_eq!(decode(form).expect(form), [250, 251, 252, 253, 254]);
        }
        for wrong in ["", "data:", "!!!!", "/etc/passwd.", "file:///etc/passwd"] {
            assert_eq!(decode(wrong).expect_err(wrong).code, "picture_invalid");
        }
        assert_eq!(
            decode("http://127.0.0.1/x").expect_err("fetched").code,
            "url_refused"
        );
    }
}
