//! What is done to latents before they are decoded: the losses are those of the formulas, and the decoder learns what it is for.

mod autoencoders;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use autoencoders::*;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use latent_checkpoint::{Checkpoint, Kind, Role, StoredAutoencoder};
use latent_data::settings::from_toml;
use latent_models::Autoencoder;
use latent_ops::{Filter, resize};
use latent_train::stage1::{Encoded, Freeze, Loss, LossConfig, Stage1, Stage1Config};
use latent_train::{Random, Report, StateReader, Step, Task, TrainConfig};

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
        // Enough for the decoder to read its latents.
        train(&mut task, 0..400, 16);
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
    assert!(with < 0.9 * without, "{without} {with}");
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

/// The tensors of a state, as bytes, by name.
fn tensors(task: &Stage1) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _) = written(task, &folder.path().join("state"));
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let named = tensors
        .iter()
        .map(|(name, x)| (name.to_owned(), x.data().to_vec()));
    named.collect()
}

/// Whether a parameter makes latents.
fn encodes(name: &str) -> bool {
    ["/encoder.", "/quant_conv.", "/quantize."]
        .iter()
        .any(|part| name.contains(part))
}

#[test]
fn a_frozen_encoder_stays_as_it_is() {
    for kl in [true, false] {
        let usual = config(kl);
        let config = Stage1Config {
            freeze: Some(Freeze::Encoder),
            revive: None,
            ..usual.clone()
        };
        let mut task = build(&config, SEED);
        let before = tensors(&task);
        let reports = train(&mut task, 0..4, 32);
        let after = tensors(&task);
        let mut counts = [0, 0];
        for (name, was) in &before {
            if !name.starts_with("autoencoder/weights/") {
                continue;
            }
            let frozen = encodes(name);
            counts[usize::from(frozen)] += 1;
            assert_eq!(&after[name] == was, frozen, "{name}");
        }
        assert!(counts.iter().all(|count| *count > 9), "{counts:?}");
        // It has no gradient: the optimiser remembers nothing of it, and no average is kept.
        let kept = |part: &str| {
            let prefix = format!("autoencoder/{part}/");
            let names = after.keys().filter(|name| name.starts_with(&prefix));
            names.map(|name| encodes(name)).collect::<Vec<bool>>()
        };
        for part in ["average", "first_moment"] {
            let of_encoder = kept(part);
            assert!(
                !of_encoder.is_empty() && !of_encoder.contains(&true),
                "{part}: {of_encoder:?}"
            );
        }
        for name in ["kl", "codebook"] {
            assert_eq!(reports[3].get(name), None);
        }
        assert_eq!(
            task.validate(&batch(9, 32), step(0)).unwrap().get("kl"),
            None
        );
        let whole = build(&usual, SEED);
        let learnt = [&task, &whole].map(|task| task.parameters()[0].clone());
        assert_eq!(learnt[0].0, "decoder");
        assert!(learnt[0].1 < learnt[1].1, "{learnt:?}");
    }
}

#[test]
fn a_frozen_encoder_keeps_the_scale_of_its_model() {
    let folder = tempfile::tempdir().unwrap();
    let name = |part: &str| folder.path().join(part);
    let mut whole = build(&config(true), SEED);
    train(&mut whole, 0..5, 32);
    whole.export(&name("model")).unwrap();
    let (_, state) = written(&whole, &name("state"));
    let frozen = Stage1Config {
        freeze: Some(Freeze::Encoder),
        ..config(true)
    };
    let stated = |folder: &Path| {
        let checkpoint = Checkpoint::open(folder).unwrap();
        let part = checkpoint.part(Role::AUTOENCODER).unwrap();
        StoredAutoencoder::of(&part.config).unwrap().scale.unwrap()
    };
    let scale = stated(&name("model"));
    let weights =
        |folder: &Path| std::fs::read(folder.join("diffusion_pytorch_model.safetensors")).unwrap();
    let bytes = weights(&name("model"));
    let of_model = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for begins_with in ["model", "state"] {
        let mut task = build(&frozen, 77);
        match begins_with {
            "model" => task
                .begin_with(&Checkpoint::open(name("model")).unwrap())
                .unwrap(),
            _ => {
                let mut state = StateReader::open(&name("state"), state.numbers().clone()).unwrap();
                task.begin_from(&mut state).unwrap();
            }
        }
        train(&mut task, 30..33, 32);
        let out = name(&format!("after {begins_with}"));
        task.export(&out).unwrap();
        assert!((stated(&out) / scale - 1.0).abs() < 1e-6, "{begins_with}");
        // What was measured since is another number.
        let measured = task.latents().scale_factor().unwrap();
        assert!((measured / scale - 1.0).abs() > 1e-4, "{measured} {scale}");
        let bytes = weights(&out);
        let now = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, was) in of_model.iter() {
            let same = now.tensor(name).unwrap().data() == was.data();
            let encodes = name.starts_with("encoder.") || name.starts_with("quant_conv.");
            assert_eq!(same, encodes, "{begins_with}: {name}");
        }
    }
}

#[test]
fn what_is_frozen_has_to_come_from_somewhere() {
    let text = r#"
        steps = 1
        batch = 1
        rate = { peak = 1.0 }
        data = { path = "x", size = 8 }
        [model]
        kind = "stage1"
        freeze = "encoder"
        [model.autoencoder]
        in_channels = 3
        out_channels = 3
        levels = [{ channels = 8 }]
        resblocks = 1
        middle_attention = false
        z_channels = 4
        latent_channels = 4
        double_z = true
        norm_groups = 4
    "#;
    let read = |text: &str| from_toml::<TrainConfig>(text).unwrap().validate();
    let error = read(text).unwrap_err().to_string();
    assert!(
        error.starts_with("begin_from = nothing: expected the run or model"),
        "{error}"
    );
    read(&format!("begin_from = \"runs/other\"\n{text}")).unwrap();
    let revives = Stage1Config {
        freeze: Some(Freeze::Encoder),
        ..config(false)
    };
    let error = revives.validate().unwrap_err().to_string();
    assert!(
        error.starts_with("model.revive") && error.contains("model.freeze"),
        "{error}"
    );
}

#[test]
fn it_goes_on_to_the_bit() {
    for kl in [true, false] {
        ends_the_same_when_restored(&Stage1Config {
            freeze: Some(Freeze::Encoder),
            revive: None,
            ..config(kl)
        });
    }

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
