//! The two EXIF fields this program uses, in a TIFF block of its own.
//!
//! `UserComment` (0x9286) holds A1111's text as UTF-16 behind `UNICODE\0`, big-endian as piexif writes it. `MakerNote`
//! (0x927C), the field for what only the maker understands, holds the JSON request behind `latent\0`.

const EXIF_IFD: u16 = 0x8769;
const MAKER_NOTE: u16 = 0x927C;
const USER_COMMENT: u16 = 0x9286;
const UNDEFINED: u16 = 7;
const LONG: u16 = 4;
const UNICODE: &[u8] = b"UNICODE\0";
const MAKER: &[u8] = b"latent\0";

/// The block for these texts, without the `Exif\0\0` that JPEG puts before it. Texts together must stay under 2 GiB,
/// which the callers' limits ensure.
pub(super) fn build(parameters: &str, request: Option<&str>) -> Vec<u8> {
    let mut comment = UNICODE.to_vec();
    comment.extend(parameters.encode_utf16().flat_map(u16::to_be_bytes));
    let note = request.map(|json| [MAKER, json.as_bytes()].concat());
    // Tags ascend within a directory.
    let mut fields = Vec::new();
    fields.extend(note.map(|note| (MAKER_NOTE, note)));
    fields.push((USER_COMMENT, comment));

    let mut out = b"MM\0\x2a".to_vec();
    let long = |value: usize, out: &mut Vec<u8>| out.extend((value as u32).to_be_bytes());
    let short = |value: u16, out: &mut Vec<u8>| out.extend(value.to_be_bytes());
    long(8, &mut out);
    // The main directory: one entry that points at the EXIF directory.
    short(1, &mut out);
    short(EXIF_IFD, &mut out);
    short(LONG, &mut out);
    long(1, &mut out);
    long(8 + 2 + 12 + 4, &mut out);
    long(0, &mut out);
    // The EXIF directory, then the data its entries point at.
    let mut data_at = out.len() + 2 + 12 * fields.len() + 4;
    short(fields.len() as u16, &mut out);
    for (tag, data) in &fields {
        short(*tag, &mut out);
        short(UNDEFINED, &mut out);
        long(data.len(), &mut out);
        long(data_at, &mut out);
        data_at += data.len();
    }
    long(0, &mut out);
    for (_, data) in &fields {
        out.extend(data);
    }
    out
}

/// The texts of a block.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Texts {
    /// `UserComment`.
    pub comment: Option<String>,
    /// This program's request.
    pub request: Option<String>,
    /// The fields of [`OTHERS`] by name.
    pub others: Vec<(String, String)>,
}

/// Fields of the main directory in which programs leave text: ComfyUI writes its graph where cameras write their maker.
const OTHERS: [(u16, &str); 4] = [
    (0x010E, "ImageDescription"),
    (0x010F, "Make"),
    (0x0110, "Model"),
    (0x0131, "Software"),
];

/// What a block holds. Anything malformed reads as absent: other programs' blocks are none of ours.
pub(super) fn read(block: &[u8]) -> Texts {
    let mut texts = Texts::default();
    let Some(tiff) = Tiff::open(block.strip_prefix(b"Exif\0\0").unwrap_or(block)) else {
        return texts;
    };
    let Some(main) = tiff.u32(4).map(|at| at as usize) else {
        return texts;
    };
    let others = OTHERS.iter().filter_map(|(tag, name)| {
        let text = String::from_utf8_lossy(tiff.bytes(tiff.entry(main, *tag)?)?);
        let text = text.trim_end_matches('\0');
        (!text.is_empty()).then(|| ((*name).to_owned(), text.to_owned()))
    });
    texts.others = others.collect();
    let exif = tiff.entry(main, EXIF_IFD);
    let Some(directory) = exif.and_then(|entry| tiff.u32(entry + 8)) else {
        return texts;
    };
    let field = |tag| tiff.bytes(tiff.entry(directory as usize, tag)?);
    texts.request = field(MAKER_NOTE)
        .and_then(|note| note.strip_prefix(MAKER))
        .and_then(|json| String::from_utf8(json.to_vec()).ok());
    texts.comment = field(USER_COMMENT).and_then(|c| comment(c, tiff.little));
    texts
}

struct Tiff<'a> {
    block: &'a [u8],
    little: bool,
}

impl<'a> Tiff<'a> {
    fn open(block: &'a [u8]) -> Option<Self> {
        let little = match block.get(..4)? {
            b"II\x2a\0" => true,
            b"MM\0\x2a" => false,
            _ => return None,
        };
        Some(Self { block, little })
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.block.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match self.little {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.block.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self.little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        })
    }

    /// Where the entry of `tag` begins in the directory at `at`.
    fn entry(&self, at: usize, tag: u16) -> Option<usize> {
        let count = usize::from(self.u16(at)?);
        (0..count)
            .map(|i| at + 2 + 12 * i)
            .find(|entry| self.u16(*entry) == Some(tag))
    }

    /// The bytes of an entry of one-byte items; four or fewer lie in the entry itself.
    fn bytes(&self, entry: usize) -> Option<&'a [u8]> {
        let length = self.u32(entry + 4)? as usize;
        let at = match length {
            0..=4 => entry + 8,
            _ => self.u32(entry + 8)? as usize,
        };
        self.block.get(at..at.checked_add(length)?)
    }
}

/// The text of a `UserComment`: behind a code of eight bytes that says its form, or, against the rules, without one. UTF-16
/// has no fixed byte order here: piexif writes big-endian, others the block's.
fn comment(bytes: &[u8], little: bool) -> Option<String> {
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.trim_end_matches('\0').to_owned()
    };
    let (code, text) = bytes.split_at_checked(8).unwrap_or((&[], bytes));
    match code.to_ascii_uppercase().as_slice() {
        b"ASCII\0\0\0" | b"\0\0\0\0\0\0\0\0" => Some(plain(text)),
        UNICODE => {
            let (text, marked) = match text {
                [0xFE, 0xFF, rest @ ..] => (rest, Some(false)),
                [0xFF, 0xFE, rest @ ..] => (rest, Some(true)),
                _ => (text, None),
            };
            // The high bytes of most prompts are zero: the side with more zeros is the high one.
            let zeros = |odd: usize| {
                text.iter()
                    .skip(odd)
                    .step_by(2)
                    .filter(|b| **b == 0)
                    .count()
            };
            let little = marked.unwrap_or_else(|| match zeros(0).cmp(&zeros(1)) {
                std::cmp::Ordering::Greater => false,
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => little,
            });
            let units = text.chunks_exact(2).map(|pair| match little {
                true => u16::from_le_bytes([pair[0], pair[1]]),
                false => u16::from_be_bytes([pair[0], pair[1]]),
            });
            Some(String::from_utf16_lossy(&units.collect::<Vec<_>>()))
        }
        b"JIS\0\0\0\0\0" => None,
        _ => std::str::from_utf8(bytes).is_ok().then(|| plain(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for text in ["a cat\nSteps: 20", "猫と犬", "𝄞 x", ""] {
            let both = Texts {
                comment: Some(text.to_owned()),
                request: Some("{\"a\": 1}".to_owned()),
                others: Vec::new(),
            };
            assert_eq!(read(&build(text, Some("{\"a\": 1}"))), both);
            assert_eq!(read(&build(text, None)).request, None);
        }
    }

    #[test]
    fn little_endian_comments_of_others() {
        let mut bytes = UNICODE.to_vec();
        bytes.extend("hello".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(comment(&bytes, false).as_deref(), Some("hello"));
        assert_eq!(comment(b"ASCII\0\0\0hi\0", true).as_deref(), Some("hi"));
        assert_eq!(comment(b"JIS\0\0\0\0\0x", true), None);
    }

    /// As A1111 reads them: what is no known code is the beginning of the text.
    #[test]
    fn comments_without_a_code() {
        for text in ["a (red:1.2) apple\nSteps: 5", "猫, 4k", "short"] {
            assert_eq!(comment(text.as_bytes(), true).as_deref(), Some(text));
        }
        assert_eq!(comment(b"caf\xE9 with a broken letter", true), None);
        let unicode = [&b"Unicode\0"[..], b"\0h\0i"].concat();
        assert_eq!(comment(&unicode, true).as_deref(), Some("hi"));
    }

    #[test]
    fn every_truncation_is_harmless() {
        let block = build("some text", Some("{}"));
        for length in 0..block.len() {
            let _ = read(&block[..length]);
            let mut broken = block.clone();
            broken[length] = 0xFF;
            let _ = read(&broken);
        }
    }
}
