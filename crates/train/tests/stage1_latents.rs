//! What is done to latents before they are decoded: the losses are those of the formulas, and the decoder learns what it is for.

mod autoencoders;

use std::collections::BTreeSet;

use autoencoders::*;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use latent_models::Autoencoder;
use latent_ops::{Filter, resize};
use latent_train::stage1::{Encoded, Loss, LossConfig, Stage1, Stage1Config};
use latent_train::{Random, Report, Step, Task};

/// Without an opponent, whose share would hide what is looked at.
fn alone() -> Stage1Config {
    let usual = config(true);
    Stage1Config {
        loss: LossConfig {
            discriminator_weight: 0.0,
            ..usual.loss
        },
        ..usual
    }
}

/// Pictures `[batch, 3, height, width]` in −1..=1.
fn pictures(number: u64, size: u32) -> Tensor<4> {
    let batch = batch(number, size);
    let bytes = batch.iter().flat_map(|e| e.picture.as_raw());
    let numbers: Vec<f32> = bytes.map(|&v| f32::from(v) / 127.5 - 1.0).collect();
    let shape = [batch.len(), size as usize, size as usize, 3];
    Tensor::<4>::from_data(TensorData::new(numbers, shape), &Device::flex()).permute([0, 3, 1, 2])
}

/// The loss of a step by hand: `change` is what is done to latents and pictures.
fn by_hand(
    task: &Stage1,
    config: &Stage1Config,
    step: Step,
    size: u32,
    change: impl FnOnce(Encoded, Tensor<4>) -> (Encoded, Tensor<4>),
) -> Report {
    let loss = Loss {
        autoencoder: task.autoencoder(),
        discriminator: None,
        perceptual: None,
        config: &config.loss,
    };
    let picture = pictures(step.number, size);
    let noise = |shape| step.noise("posterior", shape, &Device::flex());
    let encoded = loss.encode(picture.clone(), noise);
    let (encoded, picture) = change(encoded, picture);
    loss.decode(encoded, picture).report
}

/// The loss that the task has of a step, without taking it.
fn by_task(task: &mut Stage1, step: Step, size: u32) -> Report {
    task.accumulate(&batch(step.number, size), step).unwrap()
}

/// The mean difference between what a network decodes and `pictures`.
fn apart(net: &Autoencoder, latents: Tensor<4>, pictures: Tensor<4>) -> f64 {
    let made = net.valid().decode(latents);
    f64::from((made - pictures).abs().mean().into_scalar::<f32>())
}

fn latents(net: &Autoencoder, pictures: &Tensor<4>) -> Tensor<4> {
    net.valid().encode(pictures.clone()).mean
}

#[test]
fn latent_noise_is_the_formula() {
    let config = Stage1Config {
        latent_noise: 0.3,
        ..alone()
    };
    let mut task = build(&config, SEED);
    // Nothing is known of the latents yet.
    let plain = by_hand(&task, &config, step(0), 16, |encoded, picture| {
        (encoded, picture)
    });
    assert_eq!(by_task(&mut task, step(0), 16), plain);

    train(&mut task, 1..4, 16);
    let deviation = 1.0 / task.latents().scale_factor().unwrap();
    let noisy = by_hand(&task, &config, step(4), 16, |mut encoded, picture| {
        let [_, channels, height, width] = encoded.z.dims();
        let noise = (0..2).map(|i| {
            let mut random = step(4).random("latent noise", i);
            let sigma = 0.3 * deviation * random.uniform();
            random.normals([1, channels, height, width], &Device::flex()) * sigma
        });
        encoded.z = encoded.z + Tensor::cat(noise.collect(), 0);
        (encoded, picture)
    });
    let plain = by_hand(&task, &config, step(4), 16, |encoded, picture| {
        (encoded, picture)
    });
    let got = by_task(&mut task, step(4), 16);
    let off = |other: &Report| (got.get("nll").unwrap() / other.get("nll").unwrap() - 1.0).abs();
    println!("{:.1e} off, {:.1e} without noise", off(&noisy), off(&plain));
    assert!(
        off(&noisy) < 1e-6 && off(&plain) > 1e-4,
        "{got:?} {noisy:?}"
    );
    // The latents that are measured are those that the second stage sees.
    assert_eq!(got.get("kl"), plain.get("kl"));
}

#[test]
fn a_decoder_that_saw_noise_takes_it() {
    let error = |latent_noise: f64| {
        let config = Stage1Config {
            latent_noise,
            ..alone()
        };
        let mut task = build(&config, SEED);
        train(&mut task, 0..80, 16);
        let net = task.autoencoder().clone();
        let picture = pictures(90, 16);
        let z = latents(&net, &picture);
        let deviation = 1.0 / task.latents().scale_factor().unwrap();
        let noise = step(90).noise("test", z.dims(), &Device::flex()) * (0.3 * deviation);
        [z.clone(), z + noise].map(|z| apart(&net, z, picture.clone()))
    };
    let (without, with) = (error(0.0), error(0.6));
    println!("clean and noisy: {without:?} without, {with:?} with");
    let lost = |[clean, noisy]: [f64; 2]| noisy - clean;
    assert!(lost(with) < 0.7 * lost(without), "{without:?} {with:?}");
}

#[test]
fn equivariance_is_the_formula() {
    let config = Stage1Config {
        equivariance: 0.6,
        ..alone()
    };
    let mut task = build(&config, SEED);
    let (mut shrunk, mut widths) = (0, BTreeSet::new());
    for number in 0..40 {
        let mut random = Random::new(SEED, "equivariance", number, 0);
        let shrinks = random.uniform() < 0.6;
        let factor = 1.0 - 0.5 * random.uniform();
        let want = by_hand(&task, &config, step(number), 32, |mut encoded, picture| {
            if !shrinks {
                return (encoded, picture);
            }
            shrunk += 1;
            let side = (16.0 * factor).round() as usize;
            widths.insert(side);
            let filter = Filter::BilinearAntialias;
            encoded.z = resize(encoded.z, [side; 2], filter);
            (encoded, resize(picture, [2 * side; 2], filter))
        });
        assert_eq!(by_task(&mut task, step(number), 32), want);
    }
    println!("{shrunk} of 40 steps, to {widths:?}");
    assert!((15..33).contains(&shrunk), "{shrunk}");
    assert!(widths.len() > 5 && widths.iter().all(|side| (8..=16).contains(side)));
}

#[test]
fn a_shrunk_latent_becomes_a_shrunk_picture() {
    let error = |equivariance: f64| {
        let config = Stage1Config {
            equivariance,
            ..alone()
        };
        let mut task = build(&config, SEED);
        train(&mut task, 0..80, 32);
        let net = task.autoencoder().clone();
        let picture = pictures(90, 32);
        let z = latents(&net, &picture);
        let filter = Filter::BilinearAntialias;
        let small = resize(z, [10, 10], filter);
        apart(&net, small, resize(picture, [20, 20], filter))
    };
    let (without, with) = (error(0.0), error(0.7));
    println!("{without} without, {with} with");
    assert!(with < 0.8 * without, "{without} {with}");
}

#[test]
fn pictures_that_shrink_too_far_are_refused() {
    let config = Stage1Config {
        equivariance: 0.5,
        ..config(true)
    };
    let mut task = build(&config, SEED);
    let error = task.accumulate(&batch(0, 20), step(0)).unwrap_err();
    let error = error.to_string();
    for words in ["20×20", "model.equivariance makes 10×10", "need 12"] {
        assert!(error.contains(words), "{error}");
    }
    task.accumulate(&batch(0, 24), step(0)).unwrap();
    // Looking at pictures shrinks none.
    task.validate(&batch(0, 20), step(0)).unwrap();
}

#[test]
fn it_goes_on_to_the_bit() {
    ends_the_same_when_restored(&Stage1Config {
        latent_noise: 0.3,
        equivariance: 0.5,
        ..config(true)
    });
}

#[test]
fn what_cannot_be_done_to_latents_is_refused() {
    let refused = |config: Stage1Config| config.validate().unwrap_err().to_string();
    for (equivariance, coded) in [(1.5, false), (-0.1, false), (0.5, true)] {
        let error = refused(Stage1Config {
            equivariance,
            ..config(!coded)
        });
        assert!(error.starts_with("model.equivariance = "), "{error}");
        assert_eq!(error.contains("codebook"), coded, "{error}");
    }
    for (noise, coded) in [(-0.1, false), (f64::NAN, false), (0.3, true)] {
        let error = refused(Stage1Config {
            latent_noise: noise,
            ..config(!coded)
        });
        assert!(error.starts_with("model.latent_noise = "), "{error}");
        assert_eq!(error.contains("codebook"), coded, "{error}");
    }
}
