//! Every file of `configs`: it is read, has the published number of parameters, and takes two steps at reduced width.

mod models;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use half::f16;
use latent_checkpoint::tiny::write_tiny;
use latent_checkpoint::{Checkpoint, Role, StoredAutoencoder};
use latent_models::condition::Entry;
use latent_models::unet::{Attention, Heads, Labels, Level};
use latent_models::{ConditionerConfig, parameter_count, parameters};
use latent_testkit::recipe;
use latent_train::{
    FirstStage, LatentModel, LearnerSettings, Stage2, Stage2Config, Task, TaskContext,
};
use models::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|p| p.extension().is_some_and(|e| e == "toml"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The second stage of a file; `None` if it is another kind of model.
fn read(path: &Path) -> Option<Stage2Config> {
    let text = std::fs::read_to_string(path).unwrap();
    let whole: toml::Table = text.parse().unwrap();
    let mut model = whole["model"].as_table().unwrap().clone();
    let kind = model.remove("kind");
    if kind.as_ref().and_then(toml::Value::as_str) != Some("stage2") {
        return None;
    }
    let config: Stage2Config = model
        .try_into()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    config
        .validate()
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(config)
}

#[test]
fn the_published_models_have_the_published_counts() {
    let published: [(&str, usize, usize); 17] = [
        ("celebahq-vq-f4", 274_056_163, 0),
        ("ffhq-vq-f4", 274_056_163, 0),
        ("lsun-bedrooms-vq-f4", 274_056_163, 0),
        ("lsun-churches-kl-f8", 294_966_916, 0),
        ("cin-vq-f8", 394_984_196, 1000 * 512),
        ("cin256-v2", 400_920_579, 1001 * 512),
        // 166.6 M and 542.9 M, 54.7 M: the transformers without the head that is never used
        ("text2img256-vq-f4", 403_623_939, 166_590_080),
        ("txt2img-1p4b-kl-f8", 872_300_484, 542_895_360),
        ("layout2img-openimages256", 246_277_379, 54_656_000),
        ("inpainting-big", 387_245_827, 0),
        ("bsr-sr", 113_622_563, 0),
        ("semantic-synthesis256", 215_229_315, 182 * 3),
        ("semantic-synthesis512", 215_229_315, 182 * 3),
        ("rdm768", 1_335_480_400, 0),
        ("sd-v1", 859_520_964, 0),
        ("sd-v2-base", 865_910_724, 0),
        ("sd-v2", 865_910_724, 0),
    ];
    for (name, unet, conditioner) in published {
        let config = read(&folder().join(format!("{name}.toml"))).unwrap();
        let model = LatentModel::new(&config, &Device::flex()).unwrap();
        assert_eq!(parameter_count(&model.unet), unet, "{name}");
        let found = model.conditioner.as_ref().map_or(0, parameter_count);
        assert_eq!(found, conditioner, "{name}");
    }
    let heads = 1280 * 30522 + 30522;
    assert_eq!(
        (872_300_484 + 542_895_360 + heads) / 100_000,
        14_542,
        "1.45 billion"
    );
    let second_stages = files(&folder())
        .iter()
        .filter(|path| read(path).is_some())
        .count();
    assert_eq!(
        second_stages,
        published.len(),
        "a file without a published count"
    );
}

/// The same kind of model, a thousandth as large.
fn shrink(config: &mut Stage2Config, files: &Path) {
    let context = match &mut config.conditioner {
        None => None,
        Some(ConditionerConfig::Class { rows, width, .. }) => {
            (*rows, *width) = (11, 32);
            Some(32)
        }
        Some(
            ConditionerConfig::Text { transformer, .. }
            | ConditionerConfig::Layout { transformer, .. },
        ) => {
            (transformer.width, transformer.layers) = (32, 2);
            (transformer.heads, transformer.head_width) = (2, 16);
            Some(32)
        }
        Some(ConditionerConfig::FrozenText { width, tokens, .. }) => {
            (*width, *tokens) = (48, 77);
            Some(48)
        }
        Some(ConditionerConfig::Neighbours { count, width, .. }) => {
            (*count, *width) = (2, 32);
            Some(32)
        }
        Some(_) => None,
    };
    let unet = config.unet.as_mut().expect("a U-Net");
    let before = unet.model_channels;
    unet.model_channels = 32;
    let narrow = |attention: &mut Attention| {
        if let Heads::Width(width) = &mut attention.heads {
            *width = 32;
        }
    };
    unet.middle.as_mut().map(narrow);
    for level in &mut unet.levels {
        level.attention.as_mut().map(narrow);
        level.channels = level.channels / before * 32;
        level.resblocks = 1;
    }
    match config
        .conditioner
        .as_ref()
        .and_then(ConditionerConfig::entry)
    {
        Some((Entry::CrossAttention, _)) => unet.context = context,
        Some((Entry::AdaptiveNorm, _)) => unet.labels = Labels::Vector(context.unwrap()),
        Some((Entry::CrossAttentionAndPooled, _)) => {
            unet.context = context;
            unet.labels = Labels::Vector(context.unwrap());
        }
        _ => {}
    }
    config.samples.steps = 2;
    config.samples.count = 2;
    config.cache = None;
    let here = |file: &mut Option<PathBuf>, name: &str| {
        if file.is_some() {
            *file = Some(files.join(name));
        }
    };
    here(&mut config.vocabulary, "vocab.txt");
    here(&mut config.text_encoder, "diffusers");
    here(&mut config.neighbours, "vectors.safetensors");
}

/// A first stage like the one that the file names.
fn first_stage(config: &Stage2Config) -> FirstStage {
    let name = config
        .first_stage
        .as_ref()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let (downsampling, channels, codebook) = match name.as_str() {
        "kl-f8" => (8, 4, None),
        "kl-f16" => (16, 16, None),
        "vq-f4" | "vq-f4-noattn" => (4, 3, Some(64)),
        "vq-f8" => (8, 4, Some(64)),
        "first-stage" => (4, 4, None),
        "built-in" => (8, 8, None),
        other => panic!("{other}"),
    };
    FirstStage::new(
        autoencoder(downsampling, channels, codebook),
        0.5,
        &Device::flex(),
    )
    .unwrap()
}

#[test]
fn every_file_takes_two_steps_draws_and_is_opened_again() {
    let temporary = tempfile::tempdir().unwrap();
    let files_at = temporary.path();
    std::fs::write(
        files_at.join("vocab.txt"),
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nphoto\nof\nnumber\n0\n1",
    )
    .unwrap();
    write_vectors(&files_at.join("vectors.safetensors"), 32, 5);
    let weights = &mut |component: &str, name: &str, shape: &[usize]| {
        let values = recipe::tensor(&format!("{component}/{name}"), shape, 0);
        values.into_iter().map(f16::from_f32).collect()
    };
    write_tiny(files_at, 4, weights).unwrap();
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner: LearnerSettings::default(),
        seed: 1,
        side: None,
    };
    let mut all = files(&folder());
    all.extend(files(&folder().join("small")));
    for path in all {
        let name = path.strip_prefix(folder()).unwrap().display().to_string();
        let Some(mut config) = read(&path) else {
            continue;
        };
        shrink(&mut config, files_at);
        let first = first_stage(&config);
        let side = first.downsampling() << (config.unet.as_ref().unwrap().levels.len() - 1).max(3);
        let inpaints = matches!(
            config.conditioner,
            Some(ConditionerConfig::Inpainting { .. })
        );
        let batch: Vec<_> = (0..2)
            .map(|i| {
                let mut example = example(i, side as u32, 10);
                if inpaints {
                    example.mask = None;
                }
                example
            })
            .collect();
        let mut task =
            Stage2::on(&config, first, &context).unwrap_or_else(|e| panic!("{name}: {e}"));
        for number in 0..2 {
            let loss = step(&mut task, &batch, number, 1e-3).get("loss").unwrap();
            assert!(loss.is_finite() && loss > 0.0, "{name}: {loss}");
        }
        let at = latent_train::Step {
            number: 0,
            seed: 1,
            first: 0,
        };
        let losses = task.validate(&batch, at).unwrap();
        assert_eq!(losses.0.len(), 6, "{name}");
        assert!(
            losses.0.iter().all(|(_, loss)| loss.is_finite()),
            "{name}: {losses:?}"
        );
        let sheet = task.sheet(at).unwrap().unwrap();
        assert_eq!(sheet.width(), 2 * side as u32, "{name}");
        let model = files_at.join(name.replace(['/', '.'], "-"));
        task.export(&model)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let checkpoint = Checkpoint::open(&model).unwrap_or_else(|e| panic!("{name}: {e}"));
        let options = latent_checkpoint::LoadOptions::new(Device::flex(), burn::tensor::DType::F32);
        let progress = &mut |_, _| {};
        let (unet, _) = checkpoint
            .load::<latent_models::UNetConfig>(Role::DENOISER, &options, progress)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let wanted_config = config.unet.as_ref().unwrap();
        let wanted = wanted_config.init(&Device::flex());
        assert_eq!(parameters(&unet), parameters(&wanted), "{name}");
        for (found, wanted) in unet.config().levels.iter().zip(&wanted_config.levels) {
            let heads = |l: &Level| l.attention.map(|a| a.heads.count(l.channels));
            assert_eq!(heads(found), heads(wanted), "{name}");
        }
        checkpoint
            .load::<StoredAutoencoder>(Role::AUTOENCODER, &options, progress)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let frozen = matches!(
            config.conditioner,
            Some(ConditionerConfig::FrozenText { .. })
        );
        if let Some(conditioner) = config.conditioner.as_ref().filter(|_| !frozen) {
            let (found, _) = checkpoint
                .load::<latent_models::ConditionerConfig>(Role::CONDITIONER, &options, progress)
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(found.config(), conditioner, "{name}");
        }
        println!("{name}");
    }
}
