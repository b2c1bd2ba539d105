//! A small first stage and its pictures, which the tests of the first stage share. Every test file uses some of it.
#![allow(dead_code)]

use std::path::Path;

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::{AutoencoderConfig, DiscriminatorConfig, named};
use latent_train::stage1::{LossConfig, Revival, Stage1, Stage1Config};
use latent_train::{
    Alone, Ema, Example, LearnerSettings, Optimiser, Report, StateReader, StateWriter, Step, Task,
    TaskContext, Update,
};

pub const SEED: u64 = 5;

/// A disc on a plain ground.
pub fn example(i: u64, size: u32) -> Example {
    let ground = Rgb([40 * (i % 5) as u8, 90, 200]);
    let centre = f64::from(size) * (0.3 + 0.1 * (i % 4) as f64);
    let picture = RgbImage::from_fn(size, size, |x, y| {
        let away = (f64::from(x) - centre).hypot(f64::from(y) - centre);
        if away < f64::from(size) / 4.0 {
            Rgb([250, 200, 20])
        } else {
            ground
        }
    });
    Example {
        id: format!("disc {i}"),
        index: i as usize,
        number: i,
        picture,
        original: [size; 2],
        crop: [0; 2],
        flipped: false,
        caption: None,
        class: None,
        mask: None,
        boxes: Vec::new(),
        low: None,
        columns: Vec::new(),
    }
}

pub fn batch(step: u64, size: u32) -> Vec<Example> {
    (0..2).map(|i| example(2 * step + i, size)).collect()
}

pub fn config(double_z: bool) -> Stage1Config {
    let level = |channels| AutoencoderLevel {
        channels,
        attention: false,
    };
    Stage1Config {
        autoencoder: AutoencoderConfig {
            levels: [8, 16].map(level).to_vec(),
            resblocks: 1,
            double_z,
            codebook: (!double_z).then_some(64),
            norm_groups: 4,
            ..named::autoencoder_kl_f8()
        },
        discriminator: DiscriminatorConfig {
            channels: 4,
            layers: 2,
            ..DiscriminatorConfig::default()
        },
        loss: LossConfig {
            discriminator_start: 2,
            ..LossConfig::default()
        },
        perceptual: None,
        revive: (!double_z).then_some(Revival { every: 3 }),
        latent_noise: 0.0,
        equivariance: 0.0,
        freeze: None,
        denoiser: None,
        denoiser_times: None,
        shown: 3,
    }
}

pub fn settings() -> LearnerSettings {
    LearnerSettings {
        optimiser: Optimiser::AdamW {
            betas: [0.5, 0.9],
            eps: 1e-8,
            weight_decay: 0.0,
            state_bits: 32,
        },
        ema: Some(Ema::Decay { decay: 0.9 }),
        ..LearnerSettings::default()
    }
}

pub fn build(config: &Stage1Config, seed: u64) -> Stage1 {
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner: settings(),
        seed,
        side: None,
    };
    Stage1::new(config, &context).unwrap()
}

pub fn step(number: u64) -> Step {
    Step {
        number,
        seed: SEED,
        first: 0,
    }
}

pub fn train(task: &mut Stage1, steps: std::ops::Range<u64>, size: u32) -> Vec<Report> {
    let one = |number| {
        let mut report = task.accumulate(&batch(number, size), step(number)).unwrap();
        let update = Update {
            step: step(number),
            rate: 2e-3,
            peers: &Alone,
        };
        report.extend(task.apply(&update).unwrap());
        report
    };
    steps.map(one).collect()
}

/// The file of a state, as bytes.
pub fn written(task: &Stage1, path: &Path) -> (Vec<u8>, StateWriter) {
    let mut out = StateWriter::new();
    task.save(&mut out);
    out.write(path).unwrap();
    (std::fs::read(path).unwrap(), out)
}

/// Takes seven steps, and four and three with a restart between them: the same bits, and the same sheet.
pub fn ends_the_same_when_restored(config: &Stage1Config) {
    let folder = tempfile::tempdir().unwrap();
    let name = |part: &str| folder.path().join(part);
    let mut whole = build(config, SEED);
    train(&mut whole, 0..7, 32);
    let (want, numbers) = written(&whole, &name("whole"));

    let mut first = build(config, SEED);
    train(&mut first, 0..4, 32);
    let (_, half) = written(&first, &name("half"));
    let restored = |seed| {
        let mut task = build(config, seed);
        let mut reader = StateReader::open(&name("half"), half.numbers().clone()).unwrap();
        task.restore(&mut reader).unwrap();
        reader.finish().unwrap();
        task
    };
    let mut second = restored(99);
    train(&mut second, 4..7, 32);
    let (got, others) = written(&second, &name("second"));
    assert!(got == want, "other tensors: {config:?}");
    assert_eq!(others.numbers(), numbers.numbers());
    assert_eq!(
        first.sheet(step(0)).unwrap(),
        restored(3).sheet(step(0)).unwrap()
    );
}
