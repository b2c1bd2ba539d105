//! The first stage as a task: it learns, it can be continued to the bit, and what it writes can be opened.

mod autoencoders;

use autoencoders::*;
use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::{Checkpoint, LoadOptions, Network, Role, StoredAutoencoder};
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::{AutoencoderConfig, DiscriminatorConfig, named};
use latent_train::stage1::{LossConfig, Revival, Stage1Config};
use latent_train::{Report, StateReader, StateWriter, Task};

#[test]
fn a_restored_run_is_the_same_to_the_bit() {
    for double_z in [true, false] {
        ends_the_same_when_restored(&config(double_z));
    }
}

#[test]
fn it_learns_and_says_so() {
    let mut task = build(&config(true), SEED);
    let before = task.validate(&batch(50, 32), step(0)).unwrap();
    let reports = train(&mut task, 0..60, 32);
    let after = task.validate(&batch(50, 32), step(0)).unwrap();
    let gain = after.get("psnr").unwrap() - before.get("psnr").unwrap();
    println!("{before:?}\n{after:?}");
    assert!(gain > 5.0, "{gain} dB");
    assert!(after.get("ssim").unwrap() > before.get("ssim").unwrap());
    assert!(after.get("loss").unwrap() < before.get("loss").unwrap());
    // The discriminator plays from its step on.
    assert_eq!(reports[1].get("adaptive_weight"), None);
    assert!(reports[2].get("adaptive_weight").is_some());
    assert!(reports[2].get("discriminator_gradient_norm").is_some());
    // Three pictures, each beside its copy, in two columns and two rows.
    assert_eq!(
        task.sheet(step(0)).unwrap().unwrap().dimensions(),
        (128, 64)
    );
}

#[test]
fn the_export_opens_and_draws_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for double_z in [true, false] {
        let mut task = build(&config(double_z), SEED);
        train(&mut task, 0..3, 32);
        let to = folder.path().join(format!("{double_z}"));
        task.export(&to).unwrap();
        let checkpoint = Checkpoint::open(&to).unwrap();
        let Network::Autoencoder(StoredAutoencoder { network, scale, .. }) =
            &checkpoint.parts()[0].config
        else {
            panic!("{:?}", checkpoint.parts()[0].config);
        };
        assert_eq!(*network, config(double_z).autoencoder);
        let measured = task.latents().scale_factor().unwrap();
        assert!(
            (scale.unwrap() / measured - 1.0).abs() < 1e-6,
            "{scale:?} {measured}"
        );
        let options = LoadOptions::new(Device::flex(), DType::F32);
        let (loaded, _) = checkpoint
            .load::<StoredAutoencoder>(Role::AUTOENCODER, &options, &mut |_, _| {})
            .unwrap();
        let z: Tensor<4> = Tensor::ones([1, 4, 8, 8], &Device::flex()) * 0.3;
        let mut out = StateWriter::new();
        task.save(&mut out);
        let state = to.join("state");
        out.write(&state).unwrap();
        let mut reader = StateReader::open(&state, out.numbers().clone()).unwrap();
        let name = "autoencoder/average/decoder.conv_out.bias";
        let want = reader.values(name, &[3]).unwrap();
        let bias = loaded.decoder.conv_out.bias.as_ref().unwrap().val();
        let got: Vec<f32> = bias.into_data().try_into_vec().unwrap();
        assert_eq!(got, want);
        assert_eq!(loaded.decode(z).dims(), [1, 3, 16, 16]);
    }
}

#[test]
fn dead_codes_come_back() {
    let revive = |revive| {
        let config = Stage1Config {
            revive,
            ..config(false)
        };
        let mut task = build(&config, SEED);
        train(&mut task, 0..9, 32)
    };
    let (with, without) = (revive(Some(Revival { every: 3 })), revive(None));
    assert!(with[2].get("codes_revived").unwrap() > 0.0);
    assert_eq!(with[1].get("codes_revived"), None);
    let used = |reports: &[Report]| reports[5].get("codes_used").unwrap();
    println!("{} {}", used(&with), used(&without));
    assert!(used(&with) > 2.0 * used(&without));
    assert!(with[5].get("perplexity").unwrap() > without[5].get("perplexity").unwrap());
}

/// Every published first stage, narrow: two steps with the discriminator.
#[test]
fn published_shapes_train() {
    for (name, autoencoder, size, layers) in [
        ("kl-f4", named::autoencoder_kl_f4(), 32, 3),
        ("kl-f8", named::autoencoder_kl_f8(), 32, 3),
        ("kl-f16", named::autoencoder_kl_f16(), 32, 3),
        ("kl-f32", named::autoencoder_kl_f32(), 64, 3),
        ("vq-f4", named::autoencoder_vq_f4(), 32, 3),
        ("vq-f4-noattn", named::autoencoder_vq_f4_noattn(), 32, 3),
        ("vq-f8", named::autoencoder_vq_f8(), 32, 2),
        ("vq-f8-n256", named::autoencoder_vq_f8_n256(), 32, 3),
        ("vq-f16", named::autoencoder_vq_f16(), 32, 2),
    ] {
        let narrow = |level: &AutoencoderLevel| AutoencoderLevel {
            channels: level.channels / 16,
            ..*level
        };
        let config = Stage1Config {
            autoencoder: AutoencoderConfig {
                levels: autoencoder.levels.iter().map(narrow).collect(),
                norm_groups: 4,
                ..autoencoder
            },
            discriminator: DiscriminatorConfig {
                channels: 4,
                layers,
                ..DiscriminatorConfig::default()
            },
            loss: LossConfig {
                discriminator_start: 1,
                ..LossConfig::default()
            },
            perceptual: None,
            revive: None,
            latent_noise: 0.0,
            equivariance: 0.0,
            freeze: None,
            denoiser: None,
            denoiser_times: None,
            shown: 1,
        };
        let reports = train(&mut build(&config, SEED), 0..2, size);
        for number in reports.iter().flat_map(|report| &report.0) {
            assert!(number.1.is_finite(), "{name}: {number:?}");
        }
        assert!(reports[1].get("generator").is_some(), "{name}");
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let mut task = build(&config(true), SEED);
    let error = task
        .accumulate(&batch(0, 33), step(0))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("multiples of 2") && error.starts_with("disc 0"),
        "{error}"
    );
    let error = task
        .accumulate(&batch(0, 8), step(0))
        .unwrap_err()
        .to_string();
    assert!(error.contains("need 12"), "{error}");
    let mixed = [example(0, 32), example(1, 16)];
    let error = task.accumulate(&mixed, step(0)).unwrap_err().to_string();
    assert!(error.starts_with("disc 1"), "{error}");
    let bad = Stage1Config {
        revive: Some(Revival { every: 2 }),
        ..config(true)
    };
    assert!(
        bad.validate()
            .unwrap_err()
            .to_string()
            .contains("without codebook")
    );
    let mut bad = config(true);
    bad.loss.kl_weight = f64::NAN;
    assert!(
        bad.validate()
            .unwrap_err()
            .to_string()
            .contains("kl_weight")
    );
}
