//! Text inside picture files: A1111's `parameters`, the whole request as JSON, and what other programs left there.
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

/// Programs, and keys with the beginnings of their texts by which they are known.
const PROGRAMS: &[(&str, &[(&str, &str)])] = &[
    (
        "ComfyUI",
        &[
            ("workflow", "{"),
            ("prompt", "{"),
            ("Make", "workflow:"),
            ("Make", "prompt:"),
            ("Model", "prompt:"),
        ],
    ),
    (
        "InvokeAI",
        &[
            ("invokeai_metadata", ""),
            ("invokeai_graph", ""),
            ("sd-metadata", ""),
            ("Dream", ""),
        ],
    ),
    ("NovelAI", &[("Software", "NovelAI")]),
];

/// A JPEG segment holds 65 535 bytes, two of them its length and six `Exif\0\0`.
const JPEG_LIMIT: usize = 65_535 - 2 - 6;
/// More text than this in one PNG chunk is not read.
const TEXT_LIMIT: usize = 4 << 20;

/// The texts of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// A1111's text.
    pub parameters: Option<String>,
    /// The request as JSON.
    pub request: Option<String>,
    /// What other programs wrote, by key. Read, never written.
    pub others: Vec<(String, String)>,
}

impl Metadata {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_none() && self.request.is_none()
    }

    /// Reads the texts from the bytes of a picture file; a file without them gives an empty value. `name` is the file
    /// that errors speak of.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, PictureError> {
        let damaged = |e: img_parts::Error| PictureError::damaged(name, e);
        let copy = || Bytes::copy_from_slice(bytes);
        match Format::of_bytes(bytes) {
            Some(Format::Png) => read_png(name, bytes),
            Some(Format::Jpeg) => {
                let jpeg = Jpeg::from_bytes(copy()).map_err(damaged)?;
                let mut texts = Self::from_exif(jpeg.exif().as_deref());
                let comments = jpeg.segments_by_marker(img_parts::jpeg::markers::COM);
                texts.others.extend(comments.map(|segment| {
                    let text = String::from_utf8_lossy(segment.contents());
                    let text = text.trim_end_matches('\0');
                    ("comment".to_owned(), text.to_owned())
                }));
                Ok(texts)
            }
            Some(Format::WebP) => {
                let webp = WebP::from_bytes(copy()).map_err(damaged)?;
                Ok(Self::from_exif(webp.exif().as_deref()))
            }
            None => Err(PictureError::unknown(name)),
        }
    }

    fn from_exif(block: Option<&[u8]>) -> Self {
        let texts = block.map(exif::read).unwrap_or_default();
        Self {
            // Some programs begin the text with a byte order mark.
            parameters: texts.comment.map(|text| unmarked(&text)),
            request: texts.request,
            others: texts.others,
        }
    }

    /// The program whose text this is, where it is not A1111's and its keys tell.
    pub fn program(&self) -> Option<&'static str> {
        let has = |(key, start): &(&str, &str)| {
            let mut texts = self.others.iter();
            texts.any(|(name, text)| name == key && text.trim_start().starts_with(start))
        };
        let by = |(_, marks): &&(&str, &[(&str, &str)])| marks.iter().any(has);
        PROGRAMS.iter().find(by).map(|(program, _)| *program)
    }

    fn exif(&self) -> Bytes {
        let parameters = self.parameters.as_deref().unwrap_or_default();
        exif::build(parameters, self.request.as_deref()).into()
    }

    /// Whether a file of this format holds so much text: to be asked before the picture is drawn.
    ///
    /// # Errors
    /// [`PictureError::TooMuchText`] for a JPEG.
    pub fn check(&self, format: Format) -> Result<(), PictureError> {
        match self.exif().len() {
            bytes if format == Format::Jpeg && bytes > JPEG_LIMIT => {
                Err(PictureError::TooMuchText {
                    bytes,
                    limit: JPEG_LIMIT,
                })
            }
            _ => Ok(()),
        }
    }

    /// Puts both texts into an encoded JPEG or WebP; PNG takes them while it is encoded.
    pub(super) fn insert(&self, format: Format, bytes: Vec<u8>) -> Result<Vec<u8>, PictureError> {
        self.check(format)?;
        let block = self.exif();
        let mut out = Vec::with_capacity(bytes.len() + block.len() + 64);
        let written = match format {
            Format::Png => return Ok(bytes),
            Format::Jpeg => {
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
    let mut texts = Metadata::from_exif(info.exif_metadata.as_deref());
    let plain = info.uncompressed_latin1_text.iter();
    let plain = plain.map(|c| (&c.keyword, Some(c.text.clone())));
    let packed = info.compressed_latin1_text.iter().map(|chunk| {
        let mut unpacked = chunk.clone();
        let done = unpacked.decompress_text_with_limit(TEXT_LIMIT).ok();
        (&chunk.keyword, done.and_then(|()| unpacked.get_text().ok()))
    });
    let unicode = info.utf8_text.iter().map(|chunk| {
        let mut unpacked = chunk.clone();
        let done = unpacked.decompress_text_with_limit(TEXT_LIMIT).ok();
        (&chunk.keyword, done.and_then(|()| unpacked.get_text().ok()))
    });
    let mut own = [None, None];
    // Of texts with one key the last counts, and one that is stored plainly before one that is not.
    for (key, text) in packed.chain(unicode).chain(plain) {
        let Some(text) = text else { continue };
        match key.as_str() {
            PARAMETERS => own[0] = Some(unmarked(&text)),
            REQUEST => own[1] = Some(text),
            _ => texts.others.push((key.clone(), text)),
        }
    }
    let [parameters, request] = own;
    texts.parameters = parameters.or(texts.parameters);
    texts.request = request.or(texts.request);
    Ok(texts)
}

/// Without a byte order mark at its beginning.
fn unmarked(text: &str) -> String {
    text.trim_start_matches('\u{feff}').to_owned()
}
