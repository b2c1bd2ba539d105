//! Data as people have it: what other programs and cameras write is read, or what is not read is named.

mod common;

use std::{collections::BTreeMap, path::Path};

use common::{config, gradient, grey_png, jpeg, png, put, source};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb};
use latent_data::{DataConfig, Error, Source, check, open};

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

fn report(source: &dyn Source) -> check::Report {
    let fit = DataConfig::of("x").fit().unwrap();
    check::check(source, &fit, &mut |_| ())
}

/// The broken ones and why.
fn broken(report: &check::Report) -> BTreeMap<&str, &str> {
    let pairs = report.broken.iter();
    pairs.map(|b| (b.id.as_str(), b.reason.as_str())).collect()
}

fn encoded(picture: DynamicImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn pictures_inside_tables() {
    for (name, classes) in [
        ("hub-snappy", true),
        ("hub-zstd", true),
        ("hub-zstd-v2", true),
        ("bytes-zstd", false),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = format!("{name}.parquet");
        put(dir.path(), &file, fixture(&file));
        let table = source(&config(dir.path()));
        assert_eq!(table.len(), 8, "{name}");
        // In another order than they lie in, and one of the second group of rows after one of the first.
        for index in [6, 0, 3, 7, 4, 6] {
            let raw = table.read(index).unwrap();
            let i = index as u8;
            assert_eq!(raw.picture.dimensions(), (5, 3), "{name}");
            assert_eq!(
                raw.picture.get_pixel(4, 2).0,
                [10 * i, i, 7],
                "{name} {index}"
            );
            assert_eq!(raw.caption, Some(format!("picture {index}")));
            assert_eq!(raw.class, classes.then_some(index as u32 % 3));
        }
        assert_eq!(table.size(5).unwrap(), [3, 5]);
        if classes {
            assert_eq!(table.classes(), ["ant", "bee", "cow"]);
            assert_eq!(table.id(2), format!("{file}/2.png"));
        }
        assert!(report(&*table).broken.is_empty(), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "t.parquet", fixture("paths-zstd.parquet"));
    put(dir.path(), "2.png", png(&gradient(4, 4, 1)));
    let table = source(&config(dir.path()));
    assert_eq!(table.read(2).unwrap().caption.as_deref(), Some("picture 2"));
    assert!(table.read(3).unwrap_err().to_string().contains("3.png"));
}

#[test]
fn damaged_pages_are_errors() {
    let whole = fixture("hub-zstd.parquet");
    let dir = tempfile::tempdir().unwrap();
    for at in (4..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        put(dir.path(), "t.parquet", bytes);
        let Ok(table) = open(&config(dir.path()), &[]) else {
            continue;
        };
        // The file's own reader may panic; the check survives it.
        let report = report(&*table);
        assert_eq!(report.pictures, table.len());
    }
}

#[test]
fn json_lines_with_a_mark_and_keys_that_vary() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for i in 0..8 {
        put(root, &format!("sub/{i}.png"), png(&gradient(4, 4, i)));
    }
    let lines = [
        r#"{"file_name": "sub/0.png", "text": "zero"}"#,
        r#"{"file_name": "sub/1.png", "caption": "one"}"#,
        r#"{"path": "sub/2.png", "prompt": "two", "text": null}"#,
        r#"{"file_name": "sub\\3.png", "text": ["three", "drei"]}"#,
        r#"{"file_name": "sub/4.png", "text": 4}"#,
        r#"{"file_name": "sub/5.png", "text": {"en": "five"}}"#,
        r#"{"file_name": "sub/6.png", "text": ""}"#,
        r#"{"file_name": "sub/7.png"}"#,
    ];
    put(
        root,
        "metadata.jsonl",
        format!("\u{feff}{}\n", lines.join("\r\n")),
    );
    let table = source(&config(root));
    let captions: Vec<_> = [0, 1, 2, 3, 4, 6, 7]
        .map(|i| table.read(i).unwrap().caption)
        .to_vec();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        captions,
        [
            some("zero"),
            some("one"),
            some("two"),
            some("three"),
            some("4"),
            some(""),
            None
        ]
    );
    let five = table.read(5).unwrap_err().to_string();
    assert!(five.contains("row 6") && five.contains("no text"), "{five}");
    let notes = table.about().notes.join("\n");
    assert!(
        notes.contains("caption in 1 rows, prompt in 1 rows, text in 4 rows"),
        "{notes}"
    );
    let report = report(&*table);
    assert_eq!((report.captions.count, report.captions.empty), (5, 1));

    put(root, "metadata.jsonl", b"\xff\xfe{\0");
    let Err(error) = open(&config(root), &[]) else {
        panic!("UTF-16 was read");
    };
    assert!(error.to_string().contains("UTF-16"), "{error}");
}

#[test]
fn masks_are_numbers_however_they_are_packed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let number = |x: u32| [0u8, 3, 7, 255][x as usize];
    let wide = |x: u32| match number(x) {
        255 => u16::MAX,
        n => u16::from(n),
    };
    let grey = ImageBuffer::from_fn(4, 2, |x, _| Luma([number(x)]));
    let grey16 = ImageBuffer::from_fn(4, 2, |x, _| Luma([wide(x)]));
    let rgb = ImageBuffer::from_fn(4, 2, |x, _| Rgb([number(x); 3]));
    let rgb16 = ImageBuffer::from_fn(4, 2, |x, _| Rgb([wide(x); 3]));
    let mut masks = vec![
        ("grey", grey_png(&grey)),
        ("grey16", encoded(DynamicImage::ImageLuma16(grey16.clone()))),
        ("rgb", png(&rgb)),
        ("rgb16", encoded(DynamicImage::ImageRgb16(rgb16))),
    ];
    let alpha = DynamicImage::ImageLuma16(grey16).into_luma_alpha16();
    masks.push(("alpha16", encoded(DynamicImage::ImageLumaA16(alpha))));
    let coloured = ImageBuffer::from_pixel(4, 2, Rgb([1, 2, 1]));
    let large = ImageBuffer::from_pixel(4, 2, Luma([300u16]));
    let refused = [
        ("coloured", png(&coloured)),
        ("large", encoded(DynamicImage::ImageLuma16(large))),
    ];
    for (name, mask) in masks.iter().chain(&refused) {
        put(root, &format!("{name}.png"), png(&gradient(4, 2, 0)));
        put(root, &format!("masks/{name}.png"), mask);
    }
    let mut config = config(root);
    config.pairs.masks = Some("masks".into());
    let source = source(&config);
    let at = |name: &str| {
        let index = (0..source.len()).find(|i| source.id(*i) == format!("{name}.png"));
        source.read(index.unwrap())
    };
    for (name, _) in &masks {
        let mask = at(name).unwrap().mask.unwrap();
        assert_eq!(mask.as_raw()[..4], [0, 3, 7, 255], "{name}");
    }
    assert!(at("coloured").unwrap_err().to_string().contains("palette"));
    assert!(at("large").unwrap_err().to_string().contains("300"));
}

#[test]
fn numbered_folders_stand_in_the_order_of_numbers() {
    let dir = tempfile::tempdir().unwrap();
    for class in 0..12u8 {
        put(
            dir.path(),
            &format!("{class}/x.png"),
            png(&gradient(4, 4, class)),
        );
    }
    let classes = source(&config(dir.path()));
    assert_eq!(classes.classes()[9..], ["9", "10", "11"]);
    for index in 0..12 {
        let raw = classes.read(index).unwrap();
        assert_eq!(raw.class, Some(u32::from(raw.picture.get_pixel(0, 0).0[2])));
    }
}

#[test]
fn a_shard_that_breaks_off_costs_its_rest() {
    let shard = |count: u8| {
        let mut tar = tar::Builder::new(Vec::new());
        for mark in 0..count {
            let mut add = |name: String, bytes: &[u8]| {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                tar.append_data(&mut header, name, bytes).unwrap();
            };
            add(format!("{mark}.png"), &png(&gradient(16, 16, mark)));
            add(format!("{mark}.txt"), b"words");
            add(format!("{mark}.npy"), b"numbers");
        }
        tar.into_inner().unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let whole = shard(5);
    put(root, "b.tar", shard(2));
    let mut seen = Vec::new();
    for length in (0..whole.len() - 1024).step_by(300) {
        put(root, "a.tar", &whole[..length]);
        let shards = source(&config(root));
        let report = report(&*shards);
        assert!(report.pictures - report.broken.len() >= 2, "{length}");
        // What is whole is read; no picture without its caption is taken for whole.
        assert_eq!(
            report.captions.count,
            report.pictures - report.broken.len(),
            "{length}"
        );
        if !report.broken.is_empty() {
            assert!(report.broken[0].id.starts_with("a.tar"), "{length}");
            let notes = report.read.notes.join("\n");
            assert!(notes.contains("a.tar breaks off"), "{notes}");
        }
        seen.push(report.broken.len());
    }
    assert!(seen.iter().filter(|count| **count == 1).count() > seen.len() / 2);
    put(root, "a.tar", &whole);
    let notes = source(&config(root)).about().notes.join("\n");
    assert!(notes.contains("7 .npy"), "{notes}");
    // A shard alone of which nothing can be read is an error.
    put(root, "a.tar", "this is no archive ".repeat(60));
    std::fs::remove_file(root.join("b.tar")).unwrap();
    assert!(matches!(
        open(&config(root), &[]),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn other_endings_are_read_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "0.PNG", png(&gradient(4, 4, 0)));
    put(root, "1.jfif", jpeg(&gradient(4, 4, 1)));
    for ending in ["bmp", "GIF", "tif", "avif", "heic"] {
        put(root, &format!("x.{ending}"), "…");
    }
    put(root, "notes.md", "…");
    put(root, "0.psd", "…");
    let report = report(&*source(&config(root)));
    assert_eq!(report.pictures, 7);
    let broken = broken(&report);
    assert_eq!(broken.len(), 5);
    assert!(broken["x.GIF"].contains("GIF") && broken["x.heic"].contains("save it as"));
    let files: BTreeMap<_, _> = report.read.files.iter().cloned().collect();
    assert_eq!((files[".png"], files[".jfif"]), (1, 1));
    let notes = report.read.notes.join("\n");
    assert!(
        notes.contains("1 .md") && notes.contains("1 .psd"),
        "{notes}"
    );
}

#[test]
fn captions_of_either_ending_in_any_letters() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for name in ["a", "b", "c", "d", "e", "f.v1"] {
        put(root, &format!("{name}.png"), png(&gradient(4, 4, 0)));
    }
    put(root, "a.caption", "of a\r\n");
    put(root, "b.TXT", "of b");
    put(root, "c.txt", "first");
    put(root, "c.caption", "second");
    put(root, "d.txt", " \n");
    put(root, "f.v1.txt", "of f");
    put(root, "lost.txt", "of nothing");
    let folder = source(&config(root));
    let captions: Vec<_> = (0..6).map(|i| folder.read(i).unwrap().caption).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        captions,
        [
            some("of a"),
            some("of b"),
            some("first"),
            some(""),
            None,
            some("of f")
        ]
    );
    let about = folder.about();
    assert!(
        about
            .to_string()
            .starts_with("folder, found by looking: 6 .png, 4 .txt, 1 .caption"),
        "{about}"
    );
    let notes = about.notes.join("\n");
    assert!(
        notes.contains("c.caption") && notes.contains("lost.txt"),
        "{notes}"
    );

    put(
        root,
        "e.txt",
        "wide"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .fold(vec![0xFF, 0xFE], |mut all, b| {
                all.push(b);
                all
            }),
    );
    let error = source(&config(root)).read(4).unwrap_err().to_string();
    assert!(error.contains("UTF-16"), "{error}");
}

#[test]
fn how_a_folder_was_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let notes = || source(&config(root)).about().notes.join("\n");
    for class in ["cat", "dog"] {
        put(root, &format!("{class}/0.png"), png(&gradient(4, 4, 0)));
    }
    assert_eq!(source(&config(root)).classes().len(), 2);
    assert_eq!(notes(), "");
    put(root, "cover.png", png(&gradient(4, 4, 0)));
    assert!(source(&config(root)).classes().is_empty());
    let said = notes();
    assert!(
        said.contains("cat, dog are no classes") && said.contains("cover.png"),
        "{said}"
    );
    assert!(said.contains("format = \"classes\""), "{said}");
    // A table one folder below.
    put(
        root,
        "cat/metadata.jsonl",
        r#"{"file_name": "0.png", "text": "x"}"#,
    );
    let said = notes();
    assert!(said.contains("not read: cat/metadata.jsonl"), "{said}");
    // A table that texts beside pictures come before.
    put(
        root,
        "metadata.jsonl",
        r#"{"file_name": "cover.png", "text": "x"}"#,
    );
    put(root, "cover.txt", "words");
    let said = notes();
    assert!(
        said.contains("not read: metadata.jsonl") && said.contains("format = \"jsonl\""),
        "{said}"
    );
    std::fs::remove_file(root.join("cover.txt")).unwrap();
    let table = source(&config(root));
    assert_eq!(table.len(), 1);
    let said = notes();
    assert!(
        said.contains("2 pictures that the table does not name"),
        "{said}"
    );
    // Tables alone, but not at the root: where they are is said.
    let hub = tempfile::tempdir().unwrap();
    put(
        hub.path(),
        "data/train-0.parquet",
        fixture("hub-snappy.parquet"),
    );
    let Err(error) = open(&config(hub.path()), &[]) else {
        panic!("a folder without pictures was opened");
    };
    assert!(
        error.to_string().contains("data/train-0.parquet"),
        "{error}"
    );
    // A stray table: the way out is in the message.
    put(root, "metadata.jsonl", r#"{"epoch": 1}"#);
    let Err(error) = open(&config(root), &[]) else {
        panic!("a table without pictures was opened");
    };
    assert!(error.to_string().contains("format = \"folder\""), "{error}");
}

#[cfg(unix)]
#[test]
fn links_pipes_and_odd_names() {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    put(&root, "good.png", png(&gradient(4, 4, 5)));
    put(dir.path(), "far/away.png", png(&gradient(4, 4, 6)));
    symlink("../far", root.join("cats")).unwrap();
    symlink(".", root.join("circle")).unwrap();
    symlink("nowhere.png", root.join("dead.png")).unwrap();
    symlink("self.png", root.join("self.png")).unwrap();
    symlink("../far/away.png", root.join("near.png")).unwrap();
    let pipe = std::process::Command::new("mkfifo")
        .arg(root.join("pipe.png"))
        .status();
    let odd = |bytes: &[u8]| root.join(std::ffi::OsStr::from_bytes(bytes));
    std::fs::write(odd(b"caf\xe9.png"), png(&gradient(4, 4, 7))).unwrap();
    std::fs::write(odd(b"caf\xe9.txt"), "a caf\u{e9}").unwrap();
    let folder = source(&config(&root));
    let report = report(&*folder);
    assert_eq!(report.pictures, 5);
    assert_eq!(
        broken(&report).into_keys().collect::<Vec<_>>(),
        ["dead.png", "self.png"]
    );
    let odd = (0..5).find(|i| folder.id(*i) == "caf\\xE9.png").unwrap();
    let raw = folder.read(odd).unwrap();
    assert_eq!(raw.picture.get_pixel(0, 0).0[2], 7);
    assert_eq!(raw.caption.as_deref(), Some("a caf\u{e9}"));
    let notes = report.read.notes.join("\n");
    assert!(
        notes.contains("links to folders are not followed: cats, circle"),
        "{notes}"
    );
    if pipe.is_ok_and(|status| status.success()) {
        assert!(notes.contains("pipe.png"), "{notes}");
        // A table may name one: it must not be waited for.
        put(&root, "t.csv", "path\npipe.png\n");
        let mut config = config(&root);
        config.path += "/t.csv";
        assert!(
            source(&config)
                .read(0)
                .unwrap_err()
                .to_string()
                .contains("no file")
        );
    }
}

#[test]
fn what_follows_a_jpeg_is_not_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let whole = jpeg(&gradient(64, 48, 9));
    let film = [&b"ftypmp42\xff\xda\x00\x01"[..], &[7; 5000]].concat();
    put(root, "film.jpg", [&whole[..], &film[..]].concat());
    put(root, "zeros.jpg", [&whole[..], &[0; 4096]].concat());
    put(root, "plain.jpg", &whole);
    for (name, length) in [
        ("half", whole.len() / 2),
        ("end", whole.len() - 2),
        ("head", 30),
    ] {
        put(root, &format!("{name}.jpg"), &whole[..length]);
    }
    let report = report(&*source(&config(root)));
    let names: Vec<_> = broken(&report).into_keys().collect();
    assert_eq!(names, ["end.jpg", "half.jpg", "head.jpg"]);
    // The same picture in three files.
    assert_eq!(report.duplicates[0].len(), 3);
}

#[test]
fn labels_come_without_their_picture() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "a.png", "no picture at all");
    put(root, "a.txt", "words");
    let labels = source(&config(root)).labels(0, true).unwrap();
    assert_eq!(labels.caption.as_deref(), Some("words"));
}
