//! Text inside picture files: A1111's `parameters` and the whole request as JSON.
//!
//! | | `parameters` | the request |
//! |---|---|---|
//! | PNG | `tEXt` when it is Latin-1, `iTXt` otherwise, as Pillow chooses | likewise, key `latent` |
//! | JPEG, WebP | EXIF `UserComment` | EXIF `MakerNote` behind `latent\0` |

use img_parts::{Bytes, ImageEXIF, jpeg::Jpeg, webp::WebP};

use super::{
    exif,
    files::{Format, PictureError},
};

/// PNG key of A1111's text.
pub const PARAMETERS: &str = "parameters";
/// PNG key of the JSON request.
pub const REQUEST: &str = "latent";

/// A JPEG segment holds 65 535 bytes, two of them its length and six `Exif\0\0`.
const JPEG_LIMIT: usize = 65_535 - 2 - 6;
/// More text than this in one PNG chunk is not read.
const TEXT_LIMIT: usize = 4 << 20;

/// The two texts of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// A1111's text.
    pub parameters: Option<String>,
    /// The request as JSON.
    pub request: Option<String>,
}

impl Metadata {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_none() && self.request.is_none()
    }

    /// Reads both texts from the bytes of a picture file; a file without them gives an empty value. `name` is the file
    /// that errors speak of.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, PictureError> {
        match Format::of_bytes(bytes) {
            Some(Format::Png) => read_png(name, bytes),
            Some(Format::Jpeg) => {
                let jpeg = Jpeg::from_bytes(Bytes::copy_from_slice(bytes));
                Ok(Self::from_exif(
                    jpeg.map_err(|e| PictureError::damaged(name, e))?.exif(),
                ))
            }
            Some(Format::WebP) => {
                let webp = WebP::from_bytes(Bytes::copy_from_slice(bytes));
                Ok(Self::from_exif(
                    webp.map_err(|e| PictureError::damaged(name, e))?.exif(),
                ))
            }
            None => Err(PictureError::unknown(name)),
        }
    }

    fn from_exif(block: Option<Bytes>) -> Self {
        let (parameters, request) = block.map(|block| exif::read(&block)).unwrap_or_default();
        Self {
            parameters,
            request,
        }
    }

    fn exif(&self) -> Bytes {
        let parameters = self.parameters.as_deref().unwrap_or_default();
        exif::build(parameters, self.request.as_deref()).into()
    }

    /// Puts both texts into an encoded JPEG or WebP; PNG takes them while it is encoded.
    pub(super) fn insert(&self, format: Format, bytes: Vec<u8>) -> Result<Vec<u8>, PictureError> {
        let block = self.exif();
        let mut out = Vec::with_capacity(bytes.len() + block.len() + 64);
        let written = match format {
            Format::Png => return Ok(bytes),
            Format::Jpeg => {
                if block.len() > JPEG_LIMIT {
                    return Err(PictureError::TooMuchText {
                        bytes: block.len(),
                        limit: JPEG_LIMIT,
                    });
                }
                let mut jpeg = Jpeg::from_bytes(bytes.into()).map_err(PictureError::encode)?;
                jpeg.set_exif(Some(block));
                jpeg.encoder().write_to(&mut out)
            }
            Format::WebP => {
                let mut webp = WebP::from_bytes(bytes.into()).map_err(PictureError::encode)?;
                webp.set_exif(Some(block));
                webp.encoder().write_to(&mut out)
            }
        };
        written.map_err(PictureError::encode)?;
        Ok(out)
    }

    /// Adds both texts to a PNG encoder.
    pub(super) fn add_to_png<W: std::io::Write>(
        &self,
        encoder: &mut png::Encoder<'_, W>,
    ) -> Result<(), PictureError> {
        for (key, text) in [(PARAMETERS, &self.parameters), (REQUEST, &self.request)] {
            let Some(text) = text else { continue };
            let latin1 = text.chars().all(|c| u32::from(c) < 256);
            let added = match latin1 {
                true => encoder.add_text_chunk(key.to_owned(), text.clone()),
                false => encoder.add_itxt_chunk(key.to_owned(), text.clone()),
            };
            added.map_err(PictureError::encode)?;
        }
        Ok(())
    }
}

fn read_png(name: &str, bytes: &[u8]) -> Result<Metadata, PictureError> {
    let limits = png::Limits { bytes: 64 << 20 };
    let decoder = png::Decoder::new_with_limits(std::io::Cursor::new(bytes), limits);
    let mut reader = decoder
        .read_info()
        .map_err(|e| PictureError::damaged(name, e))?;
    // Text may follow the pixels. A file that ends early still has what came before.
    let _ = reader.finish();
    let info = reader.info();
    let find = |key: &str| -> Option<String> {
        let plain = info.uncompressed_latin1_text.iter();
        if let Some(chunk) = plain.rev().find(|c| c.keyword == key) {
            return Some(chunk.text.clone());
        }
        if let Some(chunk) = info.utf8_text.iter().rev().find(|c| c.keyword == key) {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(TEXT_LIMIT).ok()?;
            return chunk.get_text().ok();
        }
        let chunk = info
            .compressed_latin1_text
            .iter()
            .rev()
            .find(|c| c.keyword == key)?;
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(TEXT_LIMIT).ok()?;
        chunk.get_text().ok()
    };
    Ok(Metadata {
        parameters: find(PARAMETERS),
        request: find(REQUEST),
    })
}
