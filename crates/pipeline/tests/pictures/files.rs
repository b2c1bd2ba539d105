//! Files of pictures, and the metadata in them: this program's, other programs', damaged ones.

use latent_pipeline::picture::{
    Picture,
    files::{Format, PictureError, check_writable, numbered, write_atomic},
    metadata::Metadata,
};
use proptest::prelude::*;

use crate::input;

fn metadata(text: &str) -> Metadata {
    Metadata {
        parameters: Some(text.to_owned()),
        request: Some("{\"prompt\":\"猫\"}".to_owned()),
        ..Metadata::default()
    }
}

/// A phone appends its film to the JPEG, a camera its second picture; what breaks off within its own picture is damaged all the
/// same, even where an end marker follows by chance.
#[test]
fn data_behind_a_jpeg_is_passed_over() {
    let jpeg = input().encode(Format::Jpeg, 95, &metadata("x")).unwrap();
    let plain = Picture::decode("f", &jpeg).unwrap();
    let film = [
        &b"MotionPhoto_Data\0\0\0\x18ftypmp42"[..],
        &[0x12, 0xFF, 0xDA, 0x33],
        &[0; 100],
    ]
    .concat();
    for behind in [&film[..], &jpeg, b"\xFF", b"\0"] {
        let bytes = [&jpeg, behind].concat();
        assert_eq!(Picture::decode("f", &bytes).unwrap(), plain);
        assert_eq!(Metadata::read("f", &bytes).unwrap(), metadata("x"));
    }
    let half = &jpeg[..jpeg.len() * 3 / 4];
    for bytes in [
        half.to_vec(),
        [half, &[0xFF]].concat(),
        jpeg[..jpeg.len() - 1].to_vec(),
    ] {
        let error = Picture::decode("f", &bytes).unwrap_err();
        assert!(error.to_string().contains("breaks off"), "{error}");
    }
    let png = input().encode(Format::Png, 95, &metadata("x")).unwrap();
    let bytes = [&png, &film[..]].concat();
    assert_eq!(Picture::decode("f", &bytes).unwrap(), input());
    assert_eq!(Metadata::read("f", &bytes).unwrap(), metadata("x"));
}

/// A chunk of a PNG with its length and check sum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [&kind[..], data].concat();
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &body, &crc32(&body).to_be_bytes()].concat()
}

/// `png` with more chunks before its pixels.
fn with_chunks(png: &[u8], chunks: &[Vec<u8>]) -> Vec<u8> {
    // Signature and header take 33 bytes.
    [&png[..33], &chunks.concat(), &png[33..]].concat()
}

#[test]
fn text_of_other_programs_is_read() {
    let png = input()
        .encode(Format::Png, 95, &Metadata::default())
        .unwrap();
    let graph = "{\"3\": {\"class_type\": \"KSampler\"}}";
    let comfy = with_chunks(
        &png,
        &[chunk(b"tEXt", format!("prompt\0{graph}").as_bytes())],
    );
    let read = Metadata::read("f", &comfy).unwrap();
    assert_eq!(read.others, [("prompt".to_owned(), graph.to_owned())]);
    assert_eq!((read.program(), read.parameters), (Some("ComfyUI"), None));
    let novel = with_chunks(&png, &[chunk(b"tEXt", b"Software\0NovelAI")]);
    assert_eq!(
        Metadata::read("f", &novel).unwrap().program(),
        Some("NovelAI")
    );
    let title = with_chunks(&png, &[chunk(b"tEXt", b"Title\0a walk")]);
    let read = Metadata::read("f", &title).unwrap();
    assert_eq!((read.program(), read.others.len()), (None, 1));

    // A comment in a JPEG, and the fields of a camera.
    let jpeg = input()
        .encode(Format::Jpeg, 95, &Metadata::default())
        .unwrap();
    let comment = [&jpeg[..2], &[0xFF, 0xFE, 0, 7], b"hello", &jpeg[2..]].concat();
    let read = Metadata::read("f", &comment).unwrap();
    assert_eq!(read.others, [("comment".to_owned(), "hello".to_owned())]);
}

/// Exif in a PNG, as some programs write it; and a text that begins with a byte order mark.
#[test]
fn settings_are_found_where_others_put_them() {
    let text = "a cat\nSteps: 4, Sampler: Euler, Seed: 1";
    let units = format!("\u{feff}{text}")
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect::<Vec<_>>();
    let marked = [&b"UNICODE\0"[..], &units].concat();
    let block = |data: &[u8]| {
        let mut block =
            b"MM\0\x2a\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x1a\0\0\0\0".to_vec();
        block.extend(b"\0\x01\x92\x86\0\x07");
        block.extend((data.len() as u32).to_be_bytes());
        block.extend(44u32.to_be_bytes());
        block.extend(0u32.to_be_bytes());
        block.extend(data);
        block
    };
    let png = input()
        .encode(Format::Png, 95, &Metadata::default())
        .unwrap();
    for data in [&marked[..], text.as_bytes()] {
        let with = with_chunks(&png, &[chunk(b"eXIf", &block(data))]);
        let read = Metadata::read("f", &with).unwrap();
        assert_eq!(read.parameters.as_deref(), Some(text));
    }
}

#[test]
fn files_hold_their_metadata() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "a.jpg", "a.jpeg", "a.webp"] {
        for text in ["a cat\nSteps: 20", "naïve café", "猫 𝄞"] {
            let path = folder.path().join(name);
            input().write(&path, 95, &metadata(text), true).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(
                Metadata::read(name, &bytes).unwrap(),
                metadata(text),
                "{name}"
            );
            let back = Picture::read(&path).unwrap();
            assert_eq!(back.size(), input().size());
            if !name.contains("jp") {
                assert_eq!(back, input(), "{name}");
            }
        }
    }
    let encode = || input().encode(Format::Png, 95, &metadata("x")).unwrap();
    assert_eq!(encode(), encode());
    let bare = input()
        .encode(Format::WebP, 95, &Metadata::default())
        .unwrap();
    assert_eq!(Metadata::read("x", &bare).unwrap(), Metadata::default());
    let long = metadata(&"x".repeat(40_000));
    assert!(matches!(
        input().encode(Format::Jpeg, 95, &long),
        Err(PictureError::TooMuchText { .. })
    ));
    // The same is known without a picture.
    assert!(long.check(Format::Jpeg).is_err());
    assert!(long.check(Format::Png).is_ok() && metadata("x").check(Format::Jpeg).is_ok());
}

#[test]
fn png_text_is_latin1_where_it_can_be() {
    let has = |text: &str, chunk: &[u8; 4]| {
        let meta = Metadata {
            parameters: Some(text.to_owned()),
            ..Metadata::default()
        };
        let png = input().encode(Format::Png, 95, &meta).unwrap();
        png.windows(15)
            .any(|w| w.starts_with(chunk) && &w[4..14] == b"parameters")
    };
    assert!(has("café", b"tEXt") && !has("café", b"iTXt"));
    assert!(has("猫", b"iTXt") && !has("猫", b"tEXt"));
}

#[test]
fn writing_is_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bin");
    write_atomic(&path, b"one", false).unwrap();
    let refused = write_atomic(&path, b"two", false).unwrap_err();
    assert!(refused.to_string().contains("--overwrite"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), b"one");
    write_atomic(&path, b"two", true).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    let nowhere = folder.path().join("no/such/a.png");
    assert!(write_atomic(&nowhere, b"x", false).is_err());
    // What would fail is known before.
    assert!(check_writable(&nowhere, false).is_err());
    assert!(check_writable(&path, false).is_err() && check_writable(&path, true).is_ok());
    assert!(check_writable(folder.path(), true).is_err());
    assert!(check_writable(&folder.path().join("b.png"), false).is_ok());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(matches!(
        input().write(&folder.path().join("a.bmp"), 95, &Metadata::default(), true),
        Err(PictureError::Extension { .. })
    ));
}

#[test]
fn numbers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let name = |n: &str| folder.path().join(n);
    assert_eq!(numbered(&name("a.png"), 1, false), [name("a.png")]);
    let first = numbered(&name("a.jpg"), 2, false);
    assert_eq!(first, [name("a-00001.jpg"), name("a-00002.jpg")]);
    std::fs::write(name("a-00007.png"), "").unwrap();
    std::fs::write(name("a-b-00009.png"), "").unwrap();
    std::fs::write(name("a-99.png"), "").unwrap();
    assert_eq!(numbered(&name("a.jpg"), 2, false)[0], name("a-00008.jpg"));
    assert_eq!(numbered(&name("a.jpg"), 2, true)[0], name("a-00001.jpg"));
    assert_eq!(
        numbered(folder.path(), 1, false),
        [name("latent-00001.png")]
    );
}

/// A name that is no Unicode keeps every byte.
#[cfg(unix)]
#[test]
fn any_name_is_numbered() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(bytes));
    std::fs::write(name(b"\xFFa-00003.png"), "").unwrap();
    let numbered = numbered(&name(b"\xFFa.png"), 2, false);
    assert_eq!(
        numbered,
        [name(b"\xFFa-00004.png"), name(b"\xFFa-00005.png")]
    );
}

#[test]
fn hostile_pictures_are_errors() {
    let png = input().encode(Format::Png, 95, &metadata("x")).unwrap();
    let jpeg = input().encode(Format::Jpeg, 95, &metadata("x")).unwrap();
    let webp = input().encode(Format::WebP, 95, &metadata("x")).unwrap();
    for whole in [&png, &jpeg, &webp] {
        for length in [0, 3, 12, 40, whole.len() / 2] {
            assert!(Picture::decode("f", &whole[..length]).is_err(), "{length}");
            let _ = Metadata::read("f", &whole[..length]);
        }
    }
    // A header of 60 000 × 60 000 pixels.
    let mut bomb = png.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = Picture::decode("bomb.png", &bomb).unwrap_err();
    assert!(matches!(error, PictureError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("bomb.png"));
    assert!(matches!(
        Picture::decode("x", b"GIF89a"),
        Err(PictureError::Unknown { .. })
    ));
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| {
            (c >> 1) ^ (0xEDB8_8320 & (c & 1).wrapping_neg())
        })
    })
}

proptest! {
    #[test]
    fn damaged_files_never_panic(at in 0usize..4000, value in any::<u8>(), format in 0usize..3) {
        let format = [Format::Png, Format::Jpeg, Format::WebP][format];
        let mut bytes = input().encode(format, 90, &metadata("a cat")).unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = Picture::decode("f", &bytes);
        let _ = Metadata::read("f", &bytes);
    }
}
