//! Picture files in and out.
//!
//! Reading is bounded: sides, pixels and the decoder's memory have limits that are checked from the header, before
//! anything is unpacked. Writing is whole or not at all: the bytes go to a temporary file beside the target, which then
//! takes its name; a full disk leaves no half picture, and an existing file is only replaced when told to.
//!
//! WebP is written lossless: the `image` crate has no lossy encoder, and the C library that has one is not wanted.

use std::{
    fmt,
    io::Cursor,
    path::{Path, PathBuf},
    str::FromStr,
};

use image::{DynamicImage, ImageDecoder, ImageEncoder, ImageReader, Limits};

pub use super::target::{check_free, check_writable, numbered, with_number, write_atomic};
use super::{Picture, metadata::Metadata};
use crate::request::MAX_SIDE;

/// Decoded pictures may take this many bytes.
const MAX_MEMORY: u64 = 1 << 30;
/// Files larger than this are not read at all.
const MAX_FILE: u64 = 1 << 30;

/// What can go wrong with a picture file.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no PNG, JPEG or WebP.
    #[error("{name} is not a picture this program reads: expected PNG, JPEG or WebP")]
    Unknown {
        /// The file.
        name: String,
    },
    /// It breaks off or breaks its format's rules.
    #[error("{name} is damaged: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// What the decoder found.
        reason: String,
    },
    /// It is larger than the limits.
    #[error(
        "{name} is too large: {reason}; the limit is {MAX_SIDE} pixels a side and 1 GiB decoded"
    )]
    TooLarge {
        /// The file.
        name: String,
        /// Which limit.
        reason: String,
    },
    /// The target exists.
    #[error("{path} exists already: give another name, or --overwrite to replace it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The name's ending says no format.
    #[error("{path} does not say a picture format: end it in .png, .jpg, .jpeg or .webp")]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// JPEG cannot hold this much metadata.
    #[error(
        "{bytes} bytes of metadata do not fit into a JPEG, which holds {limit}: write PNG or WebP, or leave the metadata out (--no-metadata)"
    )]
    TooMuchText {
        /// How many.
        bytes: usize,
        /// How many fit.
        limit: usize,
    },
    /// An encoder failed.
    #[error("cannot encode the picture: {reason}")]
    Encode {
        /// Its message.
        reason: String,
    },
}

impl PictureError {
    pub(super) fn damaged(name: &str, reason: impl fmt::Display) -> Self {
        Self::Damaged {
            name: name.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self::Unknown {
            name: name.to_owned(),
        }
    }

    pub(super) fn encode(reason: impl fmt::Display) -> Self {
        Self::Encode {
            reason: reason.to_string(),
        }
    }
}

/// A file format for pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Lossless.
    #[default]
    Png,
    /// Lossy, quality 95 unless told otherwise.
    Jpeg,
    /// Lossless.
    WebP,
}

impl Format {
    /// By the ending of a file's name.
    pub fn of_path(path: &Path) -> Result<Self, PictureError> {
        let ending = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        ending.parse().map_err(|()| PictureError::Extension {
            path: path.to_owned(),
        })
    }

    /// By a file's first bytes.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [0xFF, 0xD8, 0xFF, ..] => Some(Self::Jpeg),
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => Some(Self::WebP),
            _ => None,
        }
    }

    /// The ending of file names, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }
}

impl FromStr for Format {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "png" => Ok(Self::Png),
            "jpg" | "jpeg" => Ok(Self::Jpeg),
            "webp" => Ok(Self::WebP),
            _ => Err(()),
        }
    }
}

/// The bytes of a file of at most 1 GiB.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, PictureError> {
    let error = |source| PictureError::Read {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(error)?.len();
    if length > MAX_FILE {
        return Err(PictureError::TooLarge {
            name: path.display().to_string(),
            reason: format!("the file has {length} bytes"),
        });
    }
    std::fs::read(path).map_err(error)
}

impl Picture {
    /// Reads a PNG, JPEG or WebP file, turned as its EXIF orientation says. 16-bit channels are cut to 8.
    pub fn read(path: &Path) -> Result<Self, PictureError> {
        Self::decode(&path.display().to_string(), &read_bytes(path)?)
    }

    /// Decodes the bytes of a file; `name` is what errors call it.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, PictureError> {
        let bytes = match Format::of_bytes(bytes) {
            None => return Err(PictureError::unknown(name)),
            Some(Format::Jpeg) => jpeg_end(bytes)
                .and_then(|end| bytes.get(..end))
                .ok_or_else(|| PictureError::damaged(name, "the file breaks off"))?,
            Some(_) => bytes,
        };
        let wrong = |e: image::ImageError| match e {
            image::ImageError::Limits(e) => PictureError::TooLarge {
                name: name.to_owned(),
                reason: e.to_string(),
            },
            other => PictureError::damaged(name, other),
        };
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE as u32);
        limits.max_image_height = Some(MAX_SIDE as u32);
        limits.max_alloc = Some(MAX_MEMORY);
        let mut reader = ImageReader::new(Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|e| PictureError::damaged(name, e))?;
        reader.limits(limits.clone());
        let mut decoder = reader.into_decoder().map_err(wrong)?;
        // The buffer below is not the decoder's own, so its limit is checked here.
        if decoder.total_bytes() > MAX_MEMORY {
            let (w, h) = decoder.dimensions();
            return Err(PictureError::TooLarge {
                name: name.to_owned(),
                reason: format!("{w}x{h} pixels"),
            });
        }
        let orientation = decoder.orientation().map_err(wrong)?;
        let mut decoded = DynamicImage::from_decoder(decoder).map_err(wrong)?;
        decoded.apply_orientation(orientation);
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let alpha = decoded.color().has_alpha().then(|| {
            let pixels = decoded.to_rgba8().into_raw();
            pixels.into_iter().skip(3).step_by(4).collect()
        });
        let mut picture = Self::new(width, height, decoded.into_rgb8().into_raw())
            .ok_or_else(|| PictureError::damaged(name, "it has no pixels"))?;
        picture.alpha = alpha;
        Ok(picture)
    }

    /// The bytes of a file of this format. The same picture and metadata give the same bytes.
    pub fn encode(
        &self,
        format: Format,
        quality: u8,
        metadata: &Metadata,
    ) -> Result<Vec<u8>, PictureError> {
        let (width, height) = (self.width() as u32, self.height() as u32);
        let mut out = Vec::new();
        let (rgba, colours) = match self.alpha() {
            None => (self.rgb().to_vec(), png::ColorType::Rgb),
            Some(alpha) => {
                let pixels = self.rgb().as_chunks::<3>().0.iter().zip(alpha.values());
                let rgba = pixels.flat_map(|(&[r, g, b], &a)| [r, g, b, a]);
                (rgba.collect(), png::ColorType::Rgba)
            }
        };
        match format {
            Format::Png => {
                let mut encoder = png::Encoder::new(&mut out, width, height);
                encoder.set_color(colours);
                encoder.set_depth(png::BitDepth::Eight);
                metadata.add_to_png(&mut encoder)?;
                let mut writer = encoder.write_header().map_err(PictureError::encode)?;
                writer
                    .write_image_data(&rgba)
                    .and_then(|()| writer.finish())
                    .map_err(PictureError::encode)?;
                return Ok(out);
            }
            Format::Jpeg => {
                image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality.clamp(1, 100))
                    .write_image(self.rgb(), width, height, image::ExtendedColorType::Rgb8)
                    .map_err(PictureError::encode)?
            }
            Format::WebP => {
                let colours = match colours {
                    png::ColorType::Rgba => image::ExtendedColorType::Rgba8,
                    _ => image::ExtendedColorType::Rgb8,
                };
                image::codecs::webp::WebPEncoder::new_lossless(&mut out)
                    .write_image(&rgba, width, height, colours)
                    .map_err(PictureError::encode)?
            }
        }
        match metadata.is_empty() {
            true => Ok(out),
            false => metadata.insert(format, out),
        }
    }

    /// Writes the file, whole or not at all. The format is the name's ending.
    pub fn write(
        &self,
        path: &Path,
        quality: u8,
        metadata: &Metadata,
        overwrite: bool,
    ) -> Result<(), PictureError> {
        let bytes = self.encode(Format::of_path(path)?, quality, metadata)?;
        write_atomic(path, &bytes, overwrite)
    }
}

/// Where the picture ends within the bytes of a JPEG: after the end marker of its own segments, whatever follows (phones
/// append a film, cameras a second picture). `None` where it breaks off; the decoder would paint what is missing grey and
/// say nothing.
fn jpeg_end(bytes: &[u8]) -> Option<usize> {
    /// Start of a scan, whose packed pixels follow its header without a length.
    const SCAN: u8 = 0xDA;
    let mut at = 2;
    loop {
        let &[first, marker] = bytes.get(at..at + 2)? else {
            return None;
        };
        match (first, marker) {
            (0xFF, 0xD9) => return Some(at + 2),
            // Padding, and what stands between segments by mistake.
            (0xFF, 0xFF) | (..0xFF, _) => at += 1,
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => at += 2,
            (0xFF, _) => {
                let &[high, low] = bytes.get(at + 2..at + 4)? else {
                    return None;
                };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
        }
        if (first, marker) == (0xFF, SCAN) {
            // Within packed pixels 0xFF 0x00 is a number, and 0xD0..=0xD7 are pauses.
            let mut scan = bytes.get(at..)?.windows(2);
            at += scan.position(|pair| {
                pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0xD0..=0xD7)
            })?;
        }
    }
}
