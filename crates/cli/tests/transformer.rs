//! A model whose denoiser is a diffusion transformer, as a person has it: trained, continued, described, converted, drawn.

#[path = "common/training.rs"]
mod training;

use std::fs;
use std::path::Path;

use image::RgbImage;

use training::{TEXT, latent, pictures};

const TRANSFORMER: &str = "[model.transformer]
in_channels = 3
out_channels = 3
patch = 4
width = 32
depth = 2
heads = 2
context = 16
context_every = 2
labels = { vector = 16 }";

/// Settings of a tiny one that reads captions; `more` are keys of the root.
fn settings(folder: &Path, steps: usize, more: &str) {
    let root = format!("steps = {steps}\n{more}\ndata = {{ path = \"data\", size = 16 }}");
    let tables = TEXT.replace(
        "[model.objective]",
        "entry = \"cross_attention_and_pooled\"\n[model.objective]\nprediction = \"flow\"",
    );
    training::settings(folder, &root, TRANSFORMER, &tables);
}

fn works(folder: &Path, line: &[&str]) -> String {
    let (code, said) = latent(folder, line);
    assert_eq!(code, Some(0), "{line:?}: {said}");
    said
}

/// A picture by a model.
fn draw(folder: &Path, model: &str, more: &[&str]) -> RgbImage {
    let line = [
        "generate",
        "--model",
        model,
        "-p",
        "picture 3",
        "--seed",
        "5",
    ];
    let rest = ["--steps", "3", "-o", "out.png", "--overwrite"];
    works(folder, &[&line[..], &rest, more].concat());
    image::open(folder.join("out.png")).unwrap().to_rgb8()
}

/// The mean difference of two pictures' numbers.
fn apart(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let pairs = a.as_raw().iter().zip(b.as_raw());
    let sum: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
    sum / a.as_raw().len() as f64
}

#[test]
fn it_is_trained_continued_described_converted_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 6);
    settings(root, 4, "");
    let plan = works(root, &["train", "s.toml", "--out", "straight"]);
    assert!(plan.contains("transformer: 0.0"), "{plan}");
    settings(root, 2, "");
    works(root, &["train", "s.toml", "--out", "parted"]);
    settings(root, 4, "");
    works(root, &["train", "s.toml", "--out", "parted", "--resume"]);
    let weights = "model/transformer/diffusion_pytorch_model.safetensors";
    let of = |run: &str| fs::read(root.join(run).join(weights)).unwrap();
    assert!(of("straight") == of("parted"), "continued to the bit");

    let model = "straight/model";
    let info = works(root, &["info", model]);
    assert!(info.contains("transformer, "), "{info}");
    works(root, &["convert", model, "one.safetensors"]);
    works(root, &["convert", "one.safetensors", "again"]);
    works(root, &["convert", model, "one.ckpt"]);
    let info = works(root, &["info", "one.safetensors"]);
    assert!(info.contains("transformer, "), "{info}");
    let first = draw(root, model, &["--dtype", "f32"]);
    assert_eq!(first.dimensions(), (16, 16));
    for other in ["one.safetensors", "one.ckpt", "again"] {
        assert_eq!(draw(root, other, &["--dtype", "f32"]), first, "{other}");
    }
    for dtype in ["bf16", "int8"] {
        let found = apart(&draw(root, model, &["--dtype", dtype]), &first);
        assert!(found < 8.0, "{dtype}: {found}");
    }
    let other = draw(root, model, &["--dtype", "f32", "--size", "24x32"]);
    assert_eq!(other.dimensions(), (24, 32));

    // Drawn in whole patches, then cut: at once, and by a second pass.
    let cut = draw(root, model, &["--size", "18x16"]);
    assert_eq!(cut.dimensions(), (18, 16));
    let cut = draw(root, model, &["--hires", "--hires-scale", "1.1"]);
    assert_eq!(cut.dimensions(), (17, 17));

    // Before the file is looked into.
    let file = "one.safetensors";
    let control = ["--control", file, "--control-image", "data/000.png"];
    let shown = ["--ip-adapter", file, "--ip-adapter-image", "data/000.png"];
    for (flags, field, why) in [
        (&["--tiling", "both"][..], "tiling", "is a transformer"),
        (&["--pag", "3"], "guidance.pag", "is a transformer"),
        (&["--sag", "0.7"], "guidance.sag", "is a transformer"),
        (&["--freeu"], "guidance.freeu", "is a transformer"),
        (
            &["--slg-scale", "2"],
            "guidance.skip_layers",
            "is a transformer",
        ),
        (&control, "--control one", "is a transformer"),
        (&shown, "--ip-adapter one", "is a transformer"),
    ] {
        let line = ["generate", "--model", model, "-p", "x", "-o", "no.png"];
        let (code, said) = latent(root, &[&line[..], flags].concat());
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(said.contains(field) && said.contains(why), "{said}");
    }
}

#[test]
fn what_a_transformer_does_not_do_is_refused_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 2);
    let refused = || {
        let (code, said) = latent(root, &["train", "s.toml", "--out", "run"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(!root.join("run/log.jsonl").exists(), "{said}");
        said
    };
    settings(root, 2, "activation_checkpointing = true");
    let said = refused();
    assert!(said.contains("false for a transformer"), "{said}");
    settings(root, 2, "");
    let text = fs::read_to_string(root.join("s.toml")).unwrap();
    let unet = "[model.unet]\nin_channels = 3\nout_channels = 3\nmodel_channels = 32\nlevels = [{ channels = 32, resblocks = 1 }]\n";
    fs::write(root.join("s.toml"), format!("{text}\n{unet}")).unwrap();
    let said = refused();
    assert!(
        said.contains("model.unet, model.transformer") && said.contains("both"),
        "{said}"
    );
}
