//! Every format gives the pictures, captions, classes and partners that were put in.

mod common;

use common::{config, gradient, grey_png, jpeg, png, put, source};
use image::{GrayImage, Luma};
use latent_data::config::Format;
use latent_data::{DataConfig, Error, LabelledBox, open};

#[test]
fn a_folder_with_captions() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "b.jpg", jpeg(&gradient(20, 10, 5)));
    put(root, "sub/a.PNG", png(&gradient(8, 8, 7)));
    put(root, "sub/a.txt", "\u{feff} a small square \n");
    put(root, ".hidden/c.png", png(&gradient(8, 8, 7)));
    put(root, "notes.md", "no picture");
    let source = source(&config(root));
    assert_eq!(source.len(), 2);
    assert_eq!(
        (source.id(0), source.id(1)),
        ("b.jpg".into(), "sub/a.PNG".into())
    );
    assert_eq!(source.size(0).unwrap(), [10, 20]);
    let raw = source.read(1).unwrap();
    assert_eq!(raw.picture, gradient(8, 8, 7));
    assert_eq!(raw.caption.as_deref(), Some("a small square"));
    assert_eq!(source.read(0).unwrap().caption, None);
}

#[test]
fn folders_are_classes_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (folder, mark) in [("zebra", 2), ("ant", 0), ("cat", 1)] {
        put(root, &format!("{folder}/x.png"), png(&gradient(4, 4, mark)));
    }
    let source = source(&config(root));
    assert_eq!(source.classes(), ["ant", "cat", "zebra"]);
    for index in 0..3 {
        let raw = source.read(index).unwrap();
        assert_eq!(raw.class, Some(u32::from(raw.picture.get_pixel(0, 0).0[2])));
    }
}

#[test]
fn tables_name_their_columns() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "images/a.png", png(&gradient(4, 4, 1)));
    put(root, "images/b.png", png(&gradient(4, 4, 2)));
    put(
        root,
        "t.csv",
        "where,words,kind\nimages/a.png,\"one, two\",dog\nimages/b.png,,cat\nimages/c.png,x,cat,extra\n",
    );
    let toml = "path = 't.csv'\n[columns]\npicture = 'where'\ncaption = 'words'\nclass = 'kind'";
    let mut config: DataConfig = toml::from_str(toml).unwrap();
    config.relative_to(root);
    let csv = source(&config);
    assert_eq!(csv.len(), 3);
    assert_eq!(csv.classes(), ["cat", "dog"]);
    let raw = csv.read(0).unwrap();
    assert_eq!(
        (raw.caption.as_deref(), raw.class),
        (Some("one, two"), Some(1))
    );
    // An empty cell is a caption of no words.
    assert_eq!(csv.read(1).unwrap().caption.as_deref(), Some(""));
    // A row of too many cells is one broken picture, by its number.
    let broken = csv.read(2).unwrap_err().to_string();
    assert!(broken.contains("row 3"), "{broken}");

    // Further columns come as texts, with the example too.
    config.columns.also = vec!["words".to_owned(), "kind".to_owned()];
    let also = source(&config);
    assert_eq!(also.read(0).unwrap().columns, ["one, two", "dog"]);
    assert_eq!(also.read(1).unwrap().columns, ["", "cat"]);
    assert!(raw.columns.is_empty());
    config.columns.also[1] = "size".to_owned();
    let Err(Error::Column { wanted, .. }) = open(&config, &[]) else {
        panic!("a further column that is not there was accepted");
    };
    assert_eq!(wanted, "\"size\"");
    let mut folder = DataConfig::of(root.display().to_string());
    folder.format = Some(Format::Folder);
    folder.columns.also = vec!["kind".to_owned()];
    let Err(Error::Column { found, .. }) = open(&folder, &[]) else {
        panic!("a column of a folder was accepted");
    };
    assert!(found.contains("folder"), "{found}");

    config.columns.also.clear();
    config.columns.caption = Some("wrods".to_owned());
    let Err(Error::Column { wanted, found, .. }) = open(&config, &[]) else {
        panic!("a column that is not there was accepted");
    };
    assert!(wanted.contains("wrods") && found.contains("words"));
}

#[test]
fn json_lines_hold_boxes_and_masks() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "a.png", png(&gradient(4, 4, 1)));
    put(
        root,
        "m.png",
        grey_png(&GrayImage::from_pixel(4, 4, Luma([3]))),
    );
    put(root, "classes.txt", "apple\ncar\n");
    put(
        root,
        "metadata.jsonl",
        concat!(
            r#"{"file_name":"a.png","text":"x","mask":"m.png","boxes":[{"class":"car","box":[0,0.25,0.5,1]}]}"#,
            "\n\n{not json}\n",
            r#"{"file_name":"a.png","label":7}"#,
            "\n"
        ),
    );
    let source = source(&config(root));
    assert_eq!(source.len(), 3);
    let raw = source.read(0).unwrap();
    let area = [0.0, 0.25, 0.5, 1.0];
    assert_eq!(raw.boxes, [LabelledBox { class: 1, area }]);
    assert_eq!(raw.mask.unwrap().get_pixel(2, 2).0, [3]);
    assert!(source.read(1).unwrap_err().to_string().contains("row 2"));
    assert!(source.read(2).unwrap_err().to_string().contains("class 7"));
}

#[test]
fn parquet_reads_only_its_columns() {
    use parquet::{data_type::ByteArray, file::writer::SerializedFileWriter};
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "a.png", png(&gradient(4, 4, 1)));
    let schema =
        "message m { required binary path (UTF8); optional binary caption; required int64 label; }";
    let schema = std::sync::Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let file = std::fs::File::create(root.join("train.parquet")).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let text = |s: &str| ByteArray::from(s.as_bytes().to_vec());
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<parquet::data_type::ByteArrayType>();
    typed
        .write_batch(&[text("a.png"), text("a.png")], None, None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<parquet::data_type::ByteArrayType>();
    typed
        .write_batch(&[text("a plum")], Some(&[0, 1]), None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<parquet::data_type::Int64Type>();
    typed.write_batch(&[4, 5], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let source = source(&config(root));
    let read: Vec<_> = (0..2).map(|i| source.read(i).unwrap()).collect();
    assert_eq!((read[0].caption.as_deref(), read[0].class), (None, Some(4)));
    assert_eq!(
        (read[1].caption.as_deref(), read[1].class),
        (Some("a plum"), Some(5))
    );
    let mut further = config(root);
    further.columns.also = vec!["caption".to_owned(), "label".to_owned()];
    let further = common::source(&further);
    let read: Vec<_> = (0..2).map(|i| further.read(i).unwrap().columns).collect();
    assert_eq!(read, [["", "4"], ["a plum", "5"]]);

    let whole = std::fs::read(root.join("train.parquet")).unwrap();
    for length in [0, 3, whole.len() / 2, whole.len() - 3] {
        put(root, "train.parquet", &whole[..length]);
        assert!(matches!(
            open(&config(root), &[]),
            Err(Error::Damaged { .. })
        ));
    }
}

#[test]
fn shards_group_members_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    let picture = gradient(8, 4, 9);
    add("d/1.jpg", &jpeg(&picture));
    add("d/1.txt", b"one");
    add("d/1.cls", b"12\n");
    add("d/2.0.png", &png(&picture));
    add("d/3.png", &png(&picture));
    add(
        "d/3.json",
        br#"{"caption": "three", "label": 3, "boxes": [{"class": 0, "box": [0, 0, 1, 1]}]}"#,
    );
    add(
        "d/3.mask.png",
        &grey_png(&GrayImage::from_pixel(8, 4, Luma([2]))),
    );
    add("d/3.low.png", &png(&gradient(4, 2, 9)));
    put(root, "a.tar", tar.into_inner().unwrap());
    let source = source(&config(root));
    assert_eq!(source.len(), 3);
    let one = source.read(0).unwrap();
    assert_eq!((one.caption.as_deref(), one.class), (Some("one"), Some(12)));
    assert_eq!(source.size(0).unwrap(), [4, 8]);
    // `2.0.png` is member `0.png` of `2`, which names no picture.
    assert!(source.read(1).unwrap_err().to_string().contains("d/2"));
    let three = source.read(2).unwrap();
    assert_eq!(three.picture, picture);
    assert_eq!(
        (three.caption.as_deref(), three.class),
        (Some("three"), Some(3))
    );
    assert_eq!(three.boxes.len(), 1);
    assert_eq!(three.mask.unwrap().get_pixel(0, 0).0, [2]);
    assert_eq!(three.low.unwrap().dimensions(), (4, 2));
}

#[test]
fn idx_plain_and_packed() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut pictures = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2];
    pictures.extend(0..12u8);
    let labels = [0, 0, 8, 1, 0, 0, 0, 2, 1, 0];
    put(root, "t10k-images-idx3-ubyte", &pictures);
    put(root, "train-images-idx3-ubyte", &pictures);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), Default::default());
    packed.write_all(&labels).unwrap();
    put(root, "train-labels-idx1-ubyte.gz", packed.finish().unwrap());
    put(root, "classes.txt", "shirt\nbag");
    let idx = source(&config(root));
    assert_eq!((idx.len(), idx.size(1).unwrap()), (2, [3, 2]));
    let raw = idx.read(1).unwrap();
    assert_eq!(raw.class, Some(0));
    assert_eq!(raw.picture.get_pixel(1, 2).0, [11, 11, 11]);
    assert_eq!(raw.id, "train-images-idx3-ubyte[1]");

    put(root, "train-images-idx3-ubyte", &pictures[..27]);
    assert!(matches!(
        open(&config(root), &[]),
        Err(Error::Damaged { .. })
    ));
    let huge = [
        0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    ];
    put(root, "train-images-idx3-ubyte", huge);
    assert!(matches!(
        open(&config(root), &[]),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn pairs_lie_in_folders_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "pictures/a.png", png(&gradient(8, 8, 0)));
    put(root, "pictures/b.png", png(&gradient(8, 8, 0)));
    put(root, "low/pictures/a.png", png(&gradient(4, 4, 0)));
    put(
        root,
        "boxes/pictures/a.json",
        r#"[{"class": 1, "box": [0, 0, 0.5, 0.5]}]"#,
    );
    let mut config = config(root);
    config.pairs.low = Some("low".into());
    config.pairs.boxes = Some("boxes/".into());
    let source = source(&config);
    assert_eq!(source.len(), 2);
    let a = source.read(0).unwrap();
    assert_eq!((a.low.unwrap().width(), a.boxes[0].class), (4, 1));
    let b = source.read(1).unwrap_err().to_string();
    assert!(b.contains("boxes/"), "{b}");
}

#[test]
fn palettes_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let mut mask = Vec::new();
    let mut encoder = png::Encoder::new(&mut mask, 5, 1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Two);
    encoder.set_palette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9].as_slice());
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&[0b00_01_10_11, 0b01_00_00_00])
        .unwrap();
    writer.finish().unwrap();
    put(root, "a.png", png(&gradient(5, 1, 0)));
    put(root, "masks/a.png", mask);
    let mut config = config(root);
    config.pairs.masks = Some("masks".into());
    let raw = source(&config).read(0).unwrap();
    assert_eq!(raw.mask.unwrap().into_raw(), [0, 1, 2, 3, 1]);
}

#[test]
fn transparent_pixels_show_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let clear = image::RgbaImage::from_pixel(2, 2, image::Rgba([0, 0, 0, 0]));
    clear.save(root.join("a.png")).unwrap();
    let mut config = config(root);
    config.background = [9, 8, 7];
    assert_eq!(
        source(&config).read(0).unwrap().picture.get_pixel(0, 0).0,
        [9, 8, 7]
    );
}

#[test]
fn settings_are_checked() {
    let read = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        DataConfig::read(file.path())
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert!(read("path = 'x'\nsize = 64\ncrop = 'center'\nflip = 0.5").is_ok());
    for (text, word) in [
        ("path = 'x'\nsizes = 64", "sizes"),
        ("path = 'x'\nsize = 0", "size"),
        ("path = 'x'\nflip = 1.5", "flip"),
        ("path = 'x'\nsize = 64\nbuckets = { step = 48 }", "step"),
        ("path = 'x'\nsize = [64, 32]\nbuckets = {}", "size"),
        ("path = 'x'\nformat = 'zip'", "zip"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(word), "{text}: {error}");
    }
    assert!(matches!(
        open(&DataConfig::of("/nowhere"), &[]),
        Err(Error::Read { .. })
    ));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        open(&config(empty.path()), &[]),
        Err(Error::Empty { .. })
    ));
    if !cfg!(feature = "object-store") {
        let Err(Error::NoObjectStore { url }) = open(&DataConfig::of("s3://b/x"), &[]) else {
            panic!("an object store was opened");
        };
        assert_eq!(url, "s3://b/x");
    }
}

/// The client of object stores on a folder.
#[cfg(feature = "object-store")]
#[test]
fn object_stores_are_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    put_objects(dir.path());
    read_objects(&format!("file://{}/set", dir.path().display()), &[]);
}

/// The same on a server of S3's protocol, whose address is in `AWS_ENDPOINT`: `.ci/slow store`.
#[cfg(feature = "object-store")]
#[test]
#[ignore = "needs a server"]
fn s3_is_read_alike() {
    let dir = tempfile::tempdir().unwrap();
    put_objects(dir.path());
    let bucket = format!("{}/pictures", std::env::var("AWS_ENDPOINT").unwrap());
    let upload = |file: &str, to: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail"]);
        if file.is_empty() {
            curl.args(["--request", "PUT"]);
        } else {
            curl.arg("--upload-file").arg(dir.path().join(file));
        }
        assert!(
            curl.arg(format!("{bucket}{to}"))
                .status()
                .unwrap()
                .success()
        );
    };
    upload("", "");
    for (file, to) in [
        ("set/sub/a b.png", "/set/sub/a%20b.png"),
        ("set/sub/a b.txt", "/set/sub/a%20b.txt"),
        ("set/t.csv", "/set/t.csv"),
        ("set/a.tar", "/set/a.tar"),
    ] {
        upload(file, to);
    }
    let keys = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
    let keys: Vec<_> = keys
        .map(|(name, value)| (name.to_lowercase(), value))
        .collect();
    read_objects("s3://pictures/set", &keys);
}

#[cfg(feature = "object-store")]
fn put_objects(root: &std::path::Path) {
    put(root, "set/sub/a b.png", png(&gradient(8, 8, 7)));
    put(root, "set/sub/a b.txt", "seven");
    put(
        root,
        "set/t.csv",
        "path,text\n./sub/a b.png,x\n../set/sub/a b.png,y\nsub/none.png,z\n",
    );
    let mut tar = tar::Builder::new(Vec::new());
    let bytes = png(&gradient(8, 4, 9));
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, "1.png", &bytes[..]).unwrap();
    put(root, "set/a.tar", tar.into_inner().unwrap());
}

/// Listing, parts of files, tables that name files beside them.
#[cfg(feature = "object-store")]
fn read_objects(url: &str, keys: &[(String, String)]) {
    let source = |config: &DataConfig| open(config, keys).unwrap();
    let folder = source(&DataConfig::of(url));
    assert_eq!((folder.len(), folder.id(0)), (1, "sub/a b.png".to_owned()));
    assert_eq!(folder.size(0).unwrap(), [8, 8]);
    assert_eq!(folder.read(0).unwrap().caption.as_deref(), Some("seven"));
    let table = source(&DataConfig::of(format!("{url}/t.csv")));
    assert_eq!(
        table.read(0).unwrap().picture,
        table.read(1).unwrap().picture
    );
    assert!(table.read(2).unwrap_err().to_string().contains("none.png"));
    let shard = source(&DataConfig::of(format!("{url}/a.tar")));
    assert_eq!(shard.read(0).unwrap().picture, gradient(8, 4, 9));
    assert!(open(&DataConfig::of(format!("{url}/missing")), keys).is_err());
}
