//! Pictures against Pillow 11 and OpenCV 5: hashes of the bytes those programs gave for the same input.

use latent_pipeline::picture::{
    Grey, Picture, Region,
    blur::mask_blur,
    files::{Format, PictureError, check_writable, numbered, write_atomic},
    fill::{fill, outpaint, overlay, through},
    mask,
    metadata::Metadata,
    resize::Filter,
};
use latent_pipeline::request::{Compat, Outpaint, ResizeMode, Size};
use proptest::prelude::*;

const WIDTH: usize = 31;
const HEIGHT: usize = 23;

fn size(width: usize, height: usize) -> Size {
    Size { width, height }
}

/// The picture the hashes below were drawn from.
fn input() -> Picture {
    let mut rgb = Vec::new();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            for c in 0..3 {
                let v = (x * 37 + y * 91 + c * 53) * (x + 3 * y + 7 * c + 1) / (1 + (x + y) % 5);
                rgb.push((v % 256) as u8);
            }
        }
    }
    Picture::new(WIDTH, HEIGHT, rgb).unwrap()
}

/// A rectangle, and one pixel of half strength.
fn hard_mask() -> Grey {
    let mut values = vec![0; WIDTH * HEIGHT];
    for y in 6..15 {
        values[y * WIDTH + 9..y * WIDTH + 25].fill(255);
    }
    values[3 * WIDTH + 3] = 128;
    Grey::new(WIDTH, HEIGHT, values).unwrap()
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[test]
fn resizing_is_pillows() {
    use Filter::{Area, Bicubic, Bilinear, Lanczos, Nearest};
    let sizes = [(62, 46), (16, 12), (40, 9), (31, 23), (7, 50)];
    let same = 0x71b2_d063_0f6c_9164;
    let cases = [
        (
            Nearest,
            [
                0xe1ad26c125fa3031,
                0x70677c1c796217a4,
                0x1d6243cba03b6049,
                same,
                0x2bfedb6c67e15dd6,
            ],
        ),
        (
            Lanczos,
            [
                0xd247773025b08de0,
                0xbcdb8b2d09ea82c3,
                0x4bcbac84236e6aef,
                same,
                0x74c83e7e6ec62ab4,
            ],
        ),
        (
            Bilinear,
            [
                0x23654a0017022e56,
                0xfa1251c43d77b708,
                0x8ef53792a055af23,
                same,
                0xcbfde77548620193,
            ],
        ),
        (
            Bicubic,
            [
                0x688cdd2c13db1517,
                0xec746119c82309aa,
                0x9c23b023f3c1169e,
                same,
                0xb2004657dc0ad318,
            ],
        ),
        (
            Area,
            [
                0xe1ad26c125fa3031,
                0x9166a73ed1fe8d00,
                0xe0bb77fcd457c4e3,
                same,
                0xa1e3c47a52617990,
            ],
        ),
    ];
    assert_eq!(fnv(input().rgb()), same);
    for (filter, hashes) in cases {
        for ((w, h), hash) in sizes.into_iter().zip(hashes) {
            let resized = input().resize(size(w, h), filter);
            assert_eq!(fnv(resized.rgb()), hash, "{filter:?} {w}x{h}");
        }
    }
    assert_eq!(fnv(input().luma().values()), 0xcf4dedd8af0031b7);
}

#[test]
fn fitting_is_a1111s() {
    let sizes = [(64, 64), (20, 40), (33, 64), (100, 20)];
    let cases = [
        (
            ResizeMode::Crop,
            [
                0xdc1d95c9df3250e3,
                0x908e74abbb2d3dbd,
                0xc9d07576a0303cfd,
                0xe61b5ee3d5b21f07,
            ],
        ),
        (
            ResizeMode::Fill,
            [
                0x1ff8f8eeaec5f0f7,
                0xb7d0fef010b1837f,
                0x4814932d777595e6,
                0xb3e87081033f02a8,
            ],
        ),
    ];
    for (mode, hashes) in cases {
        for ((w, h), hash) in sizes.into_iter().zip(hashes) {
            let fitted = input().fit(size(w, h), mode, Filter::Lanczos);
            assert_eq!(fnv(fitted.rgb()), hash, "{mode:?} {w}x{h}");
        }
    }
}

#[test]
fn mask_blur_is_opencvs() {
    let sigmas = [1, 4, 9, 32];
    let mask = [
        0xa1b2c94312091cff,
        0x40bfdd981dcd9a66,
        0x116348dbd5d3a153,
        0x211d5aeddc52f594,
    ];
    let luma = [
        0x1fec7a7437751388,
        0x73b03d023cb45833,
        0x9029bab0f9fa0d9d,
        0x65f5a70340ab7337u64,
    ];
    for ((sigma, mask), luma) in sigmas.into_iter().zip(mask).zip(luma) {
        assert_eq!(
            fnv(mask_blur(&hard_mask(), sigma).values()),
            mask,
            "mask {sigma}"
        );
        assert_eq!(
            fnv(mask_blur(&input().luma(), sigma).values()),
            luma,
            "luma {sigma}"
        );
    }
    assert_eq!(mask_blur(&hard_mask(), 0), hard_mask());
}

#[test]
fn filling_and_overlaying_are_a1111s() {
    let soft = mask_blur(&hard_mask(), 4);
    let hash = |picture: Option<Picture>| fnv(picture.unwrap().rgb());
    assert_eq!(hash(fill(&input(), &hard_mask())), 0x874b64b81356f442);
    assert_eq!(hash(fill(&input(), &soft)), 0xe544e7cbb8eb7fe7);
    let mirrored: Vec<u8> = (0..HEIGHT)
        .flat_map(|y| (0..WIDTH).rev().flat_map(move |x| input().pixel(x, y)))
        .collect();
    let drawn = Picture::new(WIDTH, HEIGHT, mirrored).unwrap();
    assert_eq!(
        hash(overlay(&drawn, &input(), &soft, None)),
        0xbcbc4e8d261a207a
    );
    let region = Region {
        left: 5,
        top: 2,
        right: 26,
        bottom: 21,
    };
    assert_eq!(
        hash(overlay(&drawn, &input(), &soft, Some(region))),
        0xd322bb58ba31e66a
    );
    assert!(fill(&input(), &Grey::new(1, 1, vec![0]).unwrap()).is_none());
}

#[test]
fn latent_masks_follow_their_profiles() {
    let soft = mask_blur(&hard_mask(), 4);
    let small = mask::to_latent(&soft, size(6, 5), Compat::A1111);
    let want = [
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
        [0; 6],
        [0; 6],
    ];
    assert_eq!(
        small,
        want.concat().iter().map(|v| *v as f32).collect::<Vec<_>>()
    );

    // torch: nearest takes ⌊i · in / out⌋; bilinear samples at (i + ½) · in / out − ½.
    let ramp = Grey::new(8, 1, vec![0, 40, 80, 120, 160, 200, 240, 255]).unwrap();
    assert_eq!(
        mask::to_latent(&ramp, size(4, 1), Compat::Diffusers),
        [0.0, 0.0, 1.0, 1.0]
    );
    let bilinear = mask::to_latent(&ramp, size(4, 1), Compat::ComfyUi);
    for (got, want) in bilinear.iter().zip([20.0, 100.0, 180.0, 247.5]) {
        assert!((got - want / 255.0).abs() < 1e-6, "{bilinear:?}");
    }
}

#[test]
fn regions_grow_to_the_aspect() {
    let mask = hard_mask();
    let tight = Region {
        left: 3,
        top: 3,
        right: 25,
        bottom: 15,
    };
    assert_eq!(mask::bounds(&mask, 0), Some(tight));
    assert_eq!(
        mask::bounds(&mask, 100),
        Some(Region {
            left: 0,
            top: 0,
            right: WIDTH,
            bottom: HEIGHT
        })
    );
    assert_eq!(mask::bounds(&mask.map(|_| 0), 5), None);
    // 128 × 32 worked on at 512 × 512 becomes 128 × 128 (the reference's own example), moved inside.
    let wide = Region {
        left: 300,
        top: 10,
        right: 428,
        bottom: 42,
    };
    assert_eq!(
        mask::expand(wide, size(512, 512), size(512, 512)),
        Region {
            left: 300,
            top: 0,
            right: 428,
            bottom: 128
        }
    );
    let tall = Region {
        left: 480,
        top: 0,
        right: 512,
        bottom: 128,
    };
    assert_eq!(
        mask::expand(tall, size(512, 512), size(512, 512)),
        Region {
            left: 384,
            top: 0,
            right: 512,
            bottom: 128
        }
    );
}

#[test]
fn an_alpha_channel_is_the_mask() {
    let rgba = [
        10, 20, 30, 255, 1, 2, 3, 128, 1, 2, 3, 129, 200, 200, 200, 0,
    ];
    let mut png = Vec::new();
    {
        let mut encoder = png::Encoder::new(&mut png, 4, 1);
        encoder.set_color(png::ColorType::Rgba);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&rgba).unwrap();
    }
    let picture = Picture::decode("x.png", &png).unwrap();
    assert_eq!(mask::of(&picture).values(), [255, 0, 255, 0]);
    assert_eq!(picture.flatten([255; 3]).pixel(3, 0), [255; 3]);
    assert_eq!(picture.flatten([255; 3]).pixel(0, 0), [10, 20, 30]);
    assert_eq!(mask::of(&Picture::plain(1, 1, [255; 3])).values(), [255]);
}

#[test]
fn outpainting_masks_what_is_new() {
    let edges = Outpaint {
        right: 8,
        ..Outpaint::default()
    };
    let (canvas, new) = outpaint(&input(), edges, 4).unwrap();
    assert_eq!(canvas.size(), size(WIDTH + 8, HEIGHT));
    assert_eq!(canvas.pixel(WIDTH + 7, 5), input().pixel(WIDTH - 1, 5));
    let row = &new.values()[..WIDTH + 8];
    assert!(row[..WIDTH - 4].iter().all(|v| *v == 0));
    assert!(row[WIDTH - 4..].iter().all(|v| *v == 255));
    let under = Picture::plain(WIDTH + 8, HEIGHT, [0; 3]);
    let both = through(&under, &canvas, &new).unwrap();
    assert_eq!(both.pixel(0, 0), [0; 3]);
    assert_eq!(both.pixel(WIDTH, 0), canvas.pixel(WIDTH, 0));
}

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

    #[test]
    fn regions_stay_inside(
        left in 0usize..40, top in 0usize..40, w in 1usize..40, h in 1usize..40,
        work_w in 1usize..600, work_h in 1usize..600,
    ) {
        let picture = size(80, 80);
        let region = Region { left, top, right: left + w, bottom: top + h };
        let grown = mask::expand(region, size(work_w, work_h), picture);
        prop_assert!(grown.right <= 80 && grown.bottom <= 80);
        prop_assert!(grown.left <= left && grown.top <= top);
        prop_assert!(grown.right >= region.right && grown.bottom >= region.bottom);
    }

    #[test]
    fn any_size_fits(w in 1usize..9, h in 1usize..9, to_w in 1usize..40, to_h in 1usize..40, mode in 0usize..3) {
        let mode = [ResizeMode::Stretch, ResizeMode::Crop, ResizeMode::Fill][mode];
        let fitted = Picture::plain(w, h, [7; 3]).fit(size(to_w, to_h), mode, Filter::Lanczos);
        prop_assert_eq!(fitted.size(), size(to_w, to_h));
    }
}
