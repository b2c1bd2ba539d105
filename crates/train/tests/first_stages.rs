//! Every first stage of `configs`: it has the published number of parameters and takes two steps at reduced width.

mod models;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use latent_models::parameter_count;
use latent_train::stage1::{Stage1, Stage1Config};
use latent_train::{LearnerSettings, ModelConfig, Task, TaskContext, TrainConfig};
use models::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn read(path: &Path) -> TrainConfig {
    TrainConfig::read(path).unwrap_or_else(|e| panic!("{e}"))
}

/// Every file of a folder, by its name.
fn files(folder: &Path) -> Vec<(String, TrainConfig)> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let tables = paths.filter(|path| path.extension().is_some_and(|e| e == "toml"));
    tables.map(|path| (name(&path), read(&path))).collect()
}

fn first_stage(config: TrainConfig) -> Option<Stage1Config> {
    match config.model {
        ModelConfig::Stage1(config) => Some(config),
        ModelConfig::Stage2(_) => None,
    }
}

#[test]
fn the_published_autoencoders_have_the_published_counts() {
    let published = [
        ("kl-f4", 55_312_063),
        ("kl-f8", 83_653_863),
        ("kl-f16", 69_610_963),
        ("kl-f32", 103_880_131),
        ("vq-f4", 55_322_782),
        ("vq-f4-noattn", 53_219_486),
        ("vq-f8", 67_717_295),
        ("vq-f8-n256", 67_652_783),
        ("vq-f16", 69_593_371),
    ];
    let mut found: Vec<(String, usize)> = files(&folder())
        .into_iter()
        .filter_map(|(name, config)| {
            let net = first_stage(config)?.autoencoder.init(&Device::flex());
            Some((name, parameter_count(&net)))
        })
        .collect();
    found.sort();
    let mut wanted = published.map(|(name, count)| (name.to_owned(), count));
    wanted.sort();
    assert_eq!(found, wanted);
}

/// The same kind of model, a thousandth as large, with its opponent from the start.
fn shrink(config: &mut Stage1Config) {
    let base = config.autoencoder.levels[0].channels;
    for level in &mut config.autoencoder.levels {
        level.channels = level.channels / base * 8;
    }
    config.autoencoder.resblocks = 1;
    config.autoencoder.norm_groups = 4;
    config.autoencoder.codebook = config.autoencoder.codebook.map(|_| 32);
    config.discriminator.channels = 4;
    config.loss.discriminator_start = 1;
    config.perceptual = None;
    config.shown = 2;
}

#[test]
fn every_file_takes_two_steps_and_is_written() {
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner: LearnerSettings::default(),
        seed: 1,
        side: None,
    };
    let temporary = tempfile::tempdir().unwrap();
    let mut all = files(&folder());
    all.extend(files(&folder().join("small")));
    all.extend(files(&folder().join("../examples/fashion-mnist")));
    let mut count = 0;
    for (name, config) in all {
        let Some(mut config) = first_stage(config) else {
            continue;
        };
        shrink(&mut config);
        let mut task = Stage1::new(&config, &context).unwrap_or_else(|e| panic!("{name}: {e}"));
        let side = config.multiple().max(32) as u32;
        let batch: Vec<_> = (0..2).map(|i| example(i, side, 10)).collect();
        let judged = config.loss.discriminator_weight > 0.0;
        for number in 0..2 {
            let report = step(&mut task, &batch, number, 1e-3);
            let loss = report.get("loss").unwrap();
            assert!(loss.is_finite(), "{name}: {loss}");
            let opponent = report
                .0
                .iter()
                .any(|(name, _)| name.contains("discriminator"));
            assert_eq!(opponent, judged && number == 1, "{name}: {report:?}");
        }
        task.export(&temporary.path().join(&name))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        count += 1;
    }
    assert_eq!(count, 12);
}

#[test]
fn every_file_of_the_examples_is_read() {
    let examples = folder().join("../examples");
    let names = ["fashion-mnist", "scenes", "text", "layout", "semantic-map"];
    let more = ["super-resolution", "inpainting", "ablation"];
    let counts = names
        .iter()
        .chain(&more)
        .map(|name| files(&examples.join(name)).len());
    assert_eq!(counts.collect::<Vec<_>>(), [2, 1, 1, 1, 1, 1, 1, 3]);
}
