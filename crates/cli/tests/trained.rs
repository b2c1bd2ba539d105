//! Models that were trained here, opened by `latent generate` with the condition they were trained for.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use burn::tensor::{DType, Device, TensorData};
use image::{GrayImage, Luma, Rgb, RgbImage};
use latent_diffusion::Prediction;
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::condition::{Entry, LayoutTokens, TokenTransformerConfig, Tokenizer};
use latent_models::unet::{Attention, Heads, Labels, Level, TimeShift};
use latent_models::{
    AutoencoderConfig, ConditionerConfig, ParameterError, UNetConfig, load, named,
};
use latent_testkit::recipe;
use latent_train::{
    Alone, Example, FirstStage, LabelledBox, LearnerSettings, ObjectiveConfig, Stage2,
    Stage2Config, Step, Task, TaskContext, Update,
};

fn latent(folder: &Path, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latent"));
    command.args(line).current_dir(folder).stdin(Stdio::null());
    command
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("HOME", folder.join("cache"));
    command.output().unwrap()
}

/// Draws with a model in `folder/model` and gives the picture.
fn draw(folder: &Path, flags: &[&str]) -> RgbImage {
    let line = [
        "generate",
        "--model",
        "model",
        "--steps",
        "3",
        "--seed",
        "5",
        "-o",
        "out.png",
        "--overwrite",
    ];
    let line: Vec<&str> = line.iter().chain(flags).copied().collect();
    let output = latent(folder, &line);
    assert!(
        output.status.success(),
        "{flags:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    image::open(folder.join("out.png")).unwrap().to_rgb8()
}

/// What `latent generate` says when it refuses.
fn refused(folder: &Path, flags: &[&str]) -> String {
    let line: Vec<&str> = ["generate", "--model", "model", "-o", "no.png"]
        .iter()
        .chain(flags)
        .copied()
        .collect();
    let output = latent(folder, &line);
    assert!(!output.status.success(), "{flags:?}");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!errors.contains("a defect in latent"), "{errors}");
    errors
        .split_whitespace()
        .filter(|word| *word != "│")
        .collect::<Vec<_>>()
        .join(" ")
}

fn example(index: u32, side: u32) -> Example {
    Example {
        id: format!("picture {index}"),
        index: index as usize,
        number: u64::from(index),
        picture: RgbImage::from_fn(side, side, |x, y| {
            Rgb([(8 * x) as u8, (8 * y) as u8, (90 * index) as u8])
        }),
        original: [side, side],
        crop: [0, 0],
        flipped: false,
        caption: Some(format!("number {index}")),
        class: Some(index),
        mask: Some(GrayImage::from_fn(side, side, |x, _| {
            Luma([(x * 4 / side) as u8])
        })),
        boxes: vec![LabelledBox {
            class: index,
            area: [0.1, 0.2, 0.6, 0.9],
        }],
        low: None,
        columns: Vec::new(),
    }
}

fn autoencoder() -> FirstStage {
    let level = AutoencoderLevel {
        channels: 32,
        attention: false,
    };
    let config = AutoencoderConfig {
        levels: vec![level; 3],
        resblocks: 1,
        ..named::autoencoder_kl_f4()
    };
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("vae/{path}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    let network = load(config.init(&Device::flex()), fetch, DType::F32).unwrap();
    FirstStage::new(network, 0.3, &Device::flex()).unwrap()
}

/// A folder with a model of three channels that was trained for two steps on pictures of 32×32.
fn trained(
    conditioner: Option<ConditionerConfig>,
    first: FirstStage,
    objective: ObjectiveConfig,
) -> tempfile::TempDir {
    let attention = Some(Attention {
        heads: Heads::Count(4),
        depth: 1,
    });
    let level = |channels| Level {
        channels,
        resblocks: 1,
        attention,
    };
    let read = conditioner.as_ref();
    let entry = read.and_then(ConditionerConfig::entry);
    let mut unet = UNetConfig {
        in_channels: 3 + read.map_or(0, ConditionerConfig::concatenated),
        out_channels: 3,
        model_channels: 32,
        levels: vec![level(32), level(64)],
        middle: attention,
        context: None,
        norm_groups: 8,
        ..named::unet_sd1()
    };
    match entry {
        Some((Entry::CrossAttention, width)) => unet.context = Some(width),
        Some((Entry::AdaptiveNorm, width)) => {
            unet.labels = Labels::Vector(width);
            unet.time_shift = TimeShift::ScaleShift;
        }
        Some((Entry::CrossAttentionAndPooled, width)) => {
            unet.context = Some(width);
            unet.labels = Labels::Vector(width);
        }
        _ => {}
    }
    let config = Stage2Config {
        first_stage: None,
        scale: None,
        unet: Some(unet),
        transformer: None,
        conditioner,
        objective,
        align: None,
        contrast: None,
        perceptual: None,
        vocabulary: None,
        text_encoder: None,
        neighbours: None,
        cache: None,
        samples: latent_train::SamplesConfig {
            guidance: 2.0,
            ..Default::default()
        },
    };
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner: LearnerSettings::default(),
        seed: 1,
        side: None,
    };
    let mut task = Stage2::on(&config, first, &context).unwrap();
    let batch: Vec<_> = (0..2).map(|i| example(i, 32)).collect();
    for number in 0..3 {
        let step = Step {
            number,
            seed: 0,
            first: 0,
        };
        task.accumulate(&batch, step).unwrap();
        let update = Update {
            step,
            rate: 1e-2,
            peers: &Alone,
        };
        task.apply(&update).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    task.export(&folder.path().join("model")).unwrap();
    folder
}

fn pixels() -> FirstStage {
    FirstStage::pixels(&Device::flex())
}

fn transformer() -> TokenTransformerConfig {
    TokenTransformerConfig {
        vocabulary: 49408,
        positions: 24,
        width: 32,
        layers: 1,
        heads: 2,
        head_width: 16,
    }
}

#[test]
fn classes_are_drawn_by_number_however_they_enter() {
    for entry in [
        Entry::CrossAttention,
        Entry::AdaptiveNorm,
        Entry::CrossAttentionAndPooled,
        Entry::Concatenation(2),
    ] {
        let class = ConditionerConfig::Class {
            rows: 4,
            width: 16,
            entry,
        };
        let place = trained(Some(class), pixels(), ObjectiveConfig::default());
        let of = |class: &str| draw(place.path(), &["--class", class]);
        let one = of("1");
        assert_eq!(
            one.dimensions(),
            (32, 32),
            "the size that it was trained at"
        );
        assert_eq!(one, of("1"));
        assert_ne!(one, of("2"), "{entry:?}");
        let weaker = draw(place.path(), &["--class", "1", "--cfg-scale", "1"]);
        assert_ne!(
            one, weaker,
            "guidance is the model's own, 2, unless another is typed"
        );
        assert!(
            refused(place.path(), &[]).contains("`condition.class` (--class) is not set"),
            "{}",
            refused(place.path(), &[])
        );
        assert!(refused(place.path(), &["--class", "4"]).contains("0 to 3"));
        assert!(refused(place.path(), &["--class", "bag"]).contains("a number: this model has no"));
        let names = place.path().join("model/conditioner/classes.txt");
        std::fs::write(names, "boot\nbag\nshirt\n").unwrap();
        assert_eq!(one, of("bag"));
        assert!(refused(place.path(), &["--class", "shrt"]).contains("nearest are shirt"));
        let error = refused(place.path(), &["--class", "1", "--near", "x"]);
        assert!(
            error.contains("`condition.near` (--near) is set: expected no such condition"),
            "{error}"
        );
    }
}

#[test]
fn prompts_are_read_by_the_models_own_transformer() {
    let text = ConditionerConfig::Text {
        tokenizer: Tokenizer::Clip,
        transformer: transformer(),
        entry: Entry::CrossAttention,
    };
    let place = trained(Some(text), pixels(), ObjectiveConfig::default());
    let of = |prompt: &str| draw(place.path(), &["--prompt", prompt, "--size", "40x24"]);
    assert_eq!(of("number 1").dimensions(), (40, 24));
    assert_ne!(of("number 1"), of("a red house"));

    // Steps that nobody says are those of the training's sheets.
    let line = ["generate", "--model", "model", "-p", "x", "--json"];
    let output = latent(place.path(), &[&line[..], &["-o", "own.png"]].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    let event: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(event["request"]["steps"], 25);
}

#[test]
fn a_model_is_converted_with_all_that_it_needs() {
    let text = ConditionerConfig::Text {
        tokenizer: Tokenizer::Clip,
        transformer: transformer(),
        entry: Entry::CrossAttention,
    };
    let place = trained(Some(text), autoencoder(), ObjectiveConfig::default());
    let path = |name: &str| place.path().join(name);
    std::fs::write(path("model/conditioner/vocab.txt"), "a\nb\n").unwrap();
    for line in [
        ["convert", "model", "narrow", "--dtype", "bf16"],
        ["convert", "narrow", "wide", "--dtype", "f32"],
    ] {
        let output = latent(place.path(), &line);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
    }
    let words = std::fs::read_to_string(path("wide/conditioner/vocab.txt"));
    assert_eq!(words.unwrap(), "a\nb\n");
    let weights = "unet/diffusion_pytorch_model.safetensors";
    let bytes = |folder: &str| std::fs::metadata(path(folder).join(weights)).unwrap().len();
    assert!(bytes("narrow") * 19 < bytes("model") * 10);
    std::fs::rename(path("model"), path("first")).unwrap();
    let of = |folder: &str| {
        std::fs::rename(path(folder), path("model")).unwrap();
        let picture = draw(place.path(), &["--prompt", "number 1"]);
        std::fs::rename(path("model"), path(folder)).unwrap();
        picture
    };
    let (first, narrow) = (of("first"), of("narrow"));
    assert_eq!(first.dimensions(), narrow.dimensions());
    assert_eq!(narrow, of("wide"));
}

#[test]
fn a_model_of_captions_is_measured() {
    let text = ConditionerConfig::Text {
        tokenizer: Tokenizer::Clip,
        transformer: transformer(),
        entry: Entry::CrossAttention,
    };
    let place = trained(Some(text), autoencoder(), ObjectiveConfig::default());
    for (set, count) in [("train", 24), ("test", 12)] {
        let folder = place.path().join(set);
        std::fs::create_dir(&folder).unwrap();
        for i in 0..count {
            let picture = example(i % 3, 32).picture;
            picture.save(folder.join(format!("{i}.png"))).unwrap();
            let caption = format!("picture {i} of the {set}");
            std::fs::write(folder.join(format!("{i}.txt")), caption).unwrap();
        }
    }
    let line = [
        "eval", "--json", "--model", "model", "--data", "test", "--steps", "2", "--count",
    ];
    let measure = |more: &[&'static str]| {
        let output = latent(place.path(), &[&line, more].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let whole = ["10", "--train", "train", "--encoder-steps", "4", "-o", "a"];
    let report = measure(&whole);
    assert_eq!(report["about"]["size"], 32);
    assert_eq!(report["reconstruction"]["pictures"], 10);
    for (part, name) in [("reconstruction", "ssim"), ("alignment", "drawn")] {
        let value = report[part][name].as_f64().unwrap();
        assert!((-1.0..=1.0).contains(&value), "{part} {name}: {value}");
    }
    assert_eq!(report["alignment"]["choices"], 10);
    assert!(report["likeness"].is_null(), "needs features");
    let file = std::fs::read(place.path().join("a/report.json")).unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&file).unwrap(),
        report
    );
    // What the encoder has learnt is used again, and the numbers are the same.
    assert_eq!(measure(&whole), report);
    let less = measure(&["10", "-o", "b"]);
    assert!(less["alignment"].is_null());
    assert_eq!(less["reconstruction"], report["reconstruction"]);
    for (more, said) in [
        (vec!["5"], "10 pictures or more"),
        (vec!["10", "--sweep", "1,2"], "--train"),
        (
            vec!["10", "--features", "none.whl", "--train", "train"],
            "none.whl",
        ),
    ] {
        let output = latent(place.path(), &[&line, &more[..]].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains(said),
            "{errors}"
        );
    }
}

#[test]
fn layouts_are_read_from_json() {
    let layout = ConditionerConfig::Layout {
        tokens: LayoutTokens {
            classes: 5,
            objects: 8,
            crop: false,
        },
        transformer: transformer(),
        entry: Entry::CrossAttention,
    };
    let place = trained(Some(layout), pixels(), ObjectiveConfig::default());
    let write = |text: &str| std::fs::write(place.path().join("boxes.json"), text).unwrap();
    write(r#"[{"class": 1, "box": [0, 0, 0.5, 0.5]}]"#);
    let one = draw(place.path(), &["--layout", "boxes.json"]);
    write(r#"[{"class": 4, "box": [0.5, 0, 1, 1]}, {"class": 0, "box": [0, 0.1, 0.2, 0.3]}]"#);
    assert_ne!(one, draw(place.path(), &["--layout", "boxes.json"]));
    write(r#"[{"class": 5, "box": [0, 0, 1, 1]}]"#);
    assert!(refused(place.path(), &["--layout", "boxes.json"]).contains("0 to 4"));
    write(r#"[{"class": 1, "box": [0.5, 0, 0.2, 1]}]"#);
    assert!(refused(place.path(), &["--layout", "boxes.json"]).contains("is no box"));
}

#[test]
fn semantic_maps_are_grey_pictures() {
    let map = ConditionerConfig::SemanticMap {
        classes: 4,
        channels: 2,
        stages: 2,
    };
    let place = trained(Some(map), autoencoder(), ObjectiveConfig::default());
    let save = |name: &str, label: fn(u32, u32) -> u8| {
        let map = GrayImage::from_fn(32, 32, |x, y| Luma([label(x, y)]));
        map.save(place.path().join(name)).unwrap();
        draw(place.path(), &["--semantic-map", name])
    };
    let left = save("left.png", |x, _| u8::from(x < 16));
    assert_ne!(left, save("top.png", |_, y| 2 + u8::from(y < 16)));
    let twice = draw(place.path(), &["--semantic-map", "left.png", "--hires"]);
    assert_eq!(
        twice.dimensions(),
        (64, 64),
        "the second pass sees it larger"
    );
    let colours = RgbImage::from_pixel(32, 32, Rgb([1, 2, 3]));
    colours.save(place.path().join("colours.png")).unwrap();
    assert!(refused(place.path(), &["--semantic-map", "colours.png"]).contains("grey picture"));
}

#[test]
fn small_pictures_become_larger() {
    let low = ConditionerConfig::LowResolution { factor: 4 };
    let place = trained(Some(low), autoencoder(), ObjectiveConfig::default());
    let save = |name: &str, value: u8| {
        let small = RgbImage::from_fn(12, 8, |x, _| Rgb([value, 20 * x as u8, 9]));
        small.save(place.path().join(name)).unwrap();
        draw(place.path(), &["--upscale", name])
    };
    let first = save("a.png", 0);
    assert_eq!(first.dimensions(), (48, 32));
    assert_ne!(first, save("b.png", 250));
    let error = refused(place.path(), &["--upscale", "a.png", "--size", "64x64"]);
    assert!(error.contains("48×32"), "{error}");
}

#[test]
fn holes_are_filled_and_the_rest_stays() {
    let inpainting = ConditionerConfig::Inpainting { latent_channels: 3 };
    let place = trained(Some(inpainting), autoencoder(), ObjectiveConfig::default());
    let picture = example(1, 32).picture;
    picture.save(place.path().join("picture.png")).unwrap();
    let mask = GrayImage::from_fn(32, 32, |x, _| Luma([if x < 16 { 255 } else { 0 }]));
    mask.save(place.path().join("mask.png")).unwrap();
    let flags = [
        "--init-img",
        "picture.png",
        "--mask",
        "mask.png",
        "--mask-blur",
        "0",
        "--strength",
        "1",
    ];
    let filled = draw(place.path(), &flags);
    assert_eq!(filled.dimensions(), (32, 32));
    let same = |x: u32| (0..32).all(|y| filled.get_pixel(x, y) == picture.get_pixel(x, y));
    assert!(same(20) && same(31) && !same(3));
}

#[test]
fn flows_and_models_without_condition_are_drawn_too() {
    let place = trained(None, autoencoder(), ObjectiveConfig::default());
    assert_eq!(draw(place.path(), &[]).dimensions(), (32, 32));
    let flow = ObjectiveConfig {
        prediction: Prediction::Flow,
        ..ObjectiveConfig::default()
    };
    let place = trained(None, pixels(), flow);
    let drawn = draw(place.path(), &[]);
    assert_eq!(drawn, draw(place.path(), &["--sampler", "Euler"]));
    assert_ne!(drawn, draw(place.path(), &["--sampler", "Euler a"]));
    assert_ne!(drawn, draw(place.path(), &["--scheduler", "Karras"]));
    assert!(refused(place.path(), &["--sampler", "Restart"]).contains("rectified flow"));

    // The levels of a flow are moved as its folder says.
    let path = place.path().join("model/scheduler/scheduler_config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |shift: &str| {
        let text = text.replacen('{', &format!("{{\n  \"shift\": {shift},"), 1);
        std::fs::write(&path, text).unwrap();
    };
    with("3.0");
    let moved = draw(place.path(), &[]);
    assert_ne!(moved, drawn);
    with("1.0");
    assert_eq!(draw(place.path(), &[]), drawn);
    with("0.0");
    assert!(refused(place.path(), &[]).contains("shift"));
}
