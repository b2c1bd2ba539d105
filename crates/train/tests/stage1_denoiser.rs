//! A decoder that learns from a denoiser's guesses: they are the formula's, they are given the condition, and a denoiser of
//! other latents is refused.

mod autoencoders;

use std::path::{Path, PathBuf};

use autoencoders::*;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_checkpoint::Checkpoint;
use latent_diffusion::Prediction;
use latent_models::condition::{Entry, TokenTransformerConfig, Tokenizer};
use latent_models::unet::{Attention, Heads, Labels, Level};
use latent_models::{Condition, ConditionerConfig, UNetConfig, named};
use latent_train::stage1::{Freeze, Loss, LossConfig, Stage1, Stage1Config};
use latent_train::{
    Alone, Example, FirstStage, LatentModel, LearnerSettings, ObjectiveConfig, Report, Stage2,
    Stage2Config, Step, Task, TaskContext, Update,
};

const SCALE: f64 = 0.7;

/// Pictures with a class and a caption.
fn labelled(number: u64) -> Vec<Example> {
    let mut batch = batch(number, 32);
    for (index, example) in batch.iter_mut().enumerate() {
        example.class = Some(index as u32);
        example.caption = Some(format!("a disc, the {index}th"));
    }
    batch
}

/// A second stage that has seen a little.
fn second_settings(
    channels: usize,
    conditioner: Option<ConditionerConfig>,
    prediction: Prediction,
) -> Stage2Config {
    let attention = Some(Attention {
        heads: Heads::Count(2),
        depth: 1,
    });
    let level = |channels| Level {
        channels,
        resblocks: 1,
        attention,
    };
    Stage2Config {
        first_stage: None,
        scale: None,
        unet: Some(UNetConfig {
            in_channels: channels,
            out_channels: channels,
            model_channels: 16,
            levels: vec![level(16), level(16)],
            middle: attention,
            context: conditioner.as_ref().and_then(|c| Some(c.entry()?.1)),
            labels: Labels::None,
            norm_groups: 4,
            ..named::unet_sd1()
        }),
        transformer: None,
        conditioner,
        objective: ObjectiveConfig {
            prediction,
            ..ObjectiveConfig::default()
        },
        align: None,
        contrast: None,
        perceptual: None,
        vocabulary: None,
        text_encoder: None,
        neighbours: None,
        cache: None,
        samples: Default::default(),
    }
}

/// The same with a transformer.
fn with_transformer(mut settings: Stage2Config) -> Stage2Config {
    let unet = settings.unet.take().expect("a U-Net");
    let of = serde_json::json!({
        "in_channels": unet.in_channels,
        "out_channels": unet.out_channels,
        "width": 16,
        "depth": 2,
        "heads": 2,
        "context": unet.context,
    });
    settings.transformer = Some(serde_json::from_value(of).unwrap());
    settings
}

fn second_stage(first: FirstStage, settings: &Stage2Config) -> Stage2 {
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner: LearnerSettings::default(),
        seed: 3,
        side: Some(32),
    };
    let mut task = Stage2::on(settings, first, &context).unwrap();
    for number in 0..4 {
        task.accumulate(&labelled(number), step(number)).unwrap();
        let update = Update {
            step: step(number),
            rate: 2e-2,
            peers: &Alone,
        };
        task.apply(&update).unwrap();
    }
    task
}

/// The autoencoder that tasks of that seed begin with, as a first stage.
fn first_stage(config: &Stage1Config, seed: u64) -> FirstStage {
    let net = build(config, seed).autoencoder().valid();
    FirstStage::new(net, SCALE, &Device::flex()).unwrap()
}

fn learning_from(model: &Path) -> Stage1Config {
    let usual = config(true);
    Stage1Config {
        freeze: Some(Freeze::Encoder),
        denoiser: Some(model.to_owned()),
        loss: LossConfig {
            discriminator_weight: 0.0,
            ..usual.loss
        },
        ..usual
    }
}

/// A model of the folder that learnt the latents of [`SEED`]'s autoencoder.
fn model(
    folder: &Path,
    conditioner: Option<ConditionerConfig>,
    prediction: Prediction,
) -> (PathBuf, Stage2) {
    let first = first_stage(&config(true), SEED);
    let settings = second_settings(first.channels(), conditioner, prediction);
    model_of(folder, first, &settings)
}

fn model_of(folder: &Path, first: FirstStage, settings: &Stage2Config) -> (PathBuf, Stage2) {
    let task = second_stage(first, settings);
    let path = folder.join("model");
    task.export(&path).unwrap();
    (path, task)
}

fn class() -> Option<ConditionerConfig> {
    Some(ConditionerConfig::Class {
        rows: 2,
        width: 8,
        entry: Entry::CrossAttention,
    })
}

fn text() -> Option<ConditionerConfig> {
    Some(ConditionerConfig::Text {
        tokenizer: Tokenizer::Clip,
        transformer: TokenTransformerConfig {
            vocabulary: 49408,
            positions: 12,
            width: 8,
            layers: 1,
            heads: 2,
            head_width: 4,
        },
        entry: Entry::CrossAttention,
    })
}

/// x̂₀ of one step, by hand: a flow, or a network that predicts the noise.
fn guess(task: &Stage2, z: Tensor<4>, step: Step, condition: Option<Condition>) -> Tensor<4> {
    let network: LatentModel = task.learner().averaged();
    let given = network.given(condition);
    let [batch, channels, height, width] = z.dims();
    let column = |numbers: Vec<f64>| {
        let numbers: Vec<f32> = numbers.into_iter().map(|v| v as f32).collect();
        Tensor::<1>::from_data(TensorData::new(numbers, [batch]), &Device::flex())
    };
    let share = |i| 0.05 + 0.35 * step.random("denoiser time", i).uniform();
    let shares: Vec<f64> = (0..batch).map(share).collect();
    let noise = |i| {
        let random = &mut step.random("denoiser noise", i);
        random.normals([1, channels, height, width], &Device::flex())
    };
    let noise: Tensor<4> = Tensor::cat((0..batch).map(noise).collect(), 0);
    let wide = |numbers: Vec<f64>| column(numbers).reshape([batch, 1, 1, 1]);
    let x0 = z * SCALE;
    let guess = match task.objective().config().prediction {
        Prediction::Flow => {
            let t = wide(shares.clone());
            let x = x0 * (t.clone() * -1.0 + 1.0) + noise * t.clone();
            let times = column(shares.iter().map(|t| 1000.0 * t).collect());
            x.clone() - network.denoise(x, times, &given) * t
        }
        _ => {
            // ᾱ of the schedule that is the default: √β in equal steps from √0.0015 to √0.0195.
            let steps: Vec<usize> = shares.iter().map(|t| (1000.0 * t) as usize).collect();
            let alphas: Vec<f64> = (0..1000)
                .map(|i| {
                    let [a, b] = [0.0015f64, 0.0195].map(f64::sqrt);
                    1.0 - (a + (b - a) * f64::from(i) / 999.0).powi(2)
                })
                .scan(1.0, |product, alpha| {
                    *product *= alpha;
                    Some(*product)
                })
                .collect();
            let at = |of: &dyn Fn(f64) -> f64| wide(steps.iter().map(|&t| of(alphas[t])).collect());
            let x = x0 * at(&f64::sqrt) + noise * at(&|a| (1.0 - a).sqrt());
            let times = column(steps.iter().map(|&t| t as f64).collect());
            let made = network.denoise(x.clone(), times, &given);
            (x - made * at(&|a| (1.0 - a).sqrt())) / at(&f64::sqrt)
        }
    };
    guess / SCALE
}

/// The loss of a step by hand.
fn by_hand(task: &Stage1, model: &Stage2, step: Step, condition: Option<Condition>) -> Report {
    let config = config(true);
    let loss = Loss {
        autoencoder: task.autoencoder(),
        discriminator: None,
        perceptual: None,
        config: &config.loss,
    };
    let batch = batch(step.number, 32);
    let bytes = batch.iter().flat_map(|e| e.picture.as_raw());
    let numbers: Vec<f32> = bytes.map(|&v| f32::from(v) / 127.5 - 1.0).collect();
    let picture = TensorData::new(numbers, [batch.len(), 32, 32, 3]);
    let picture = Tensor::<4>::from_data(picture, &Device::flex()).permute([0, 3, 1, 2]);
    let noise = |shape| step.noise("posterior", shape, &Device::flex());
    let mut encoded = loss.encode(picture.clone(), noise);
    encoded.penalty = None;
    encoded.z = guess(model, encoded.latent.clone().inner(), step, condition);
    loss.decode(encoded, picture).report
}

#[test]
fn guesses_are_the_formula() {
    for prediction in [Prediction::Flow, Prediction::Epsilon] {
        for (conditioner, transformer) in [(None, false), (class(), false), (class(), true)] {
            let folder = tempfile::tempdir().unwrap();
            let first = first_stage(&config(true), SEED);
            let settings = second_settings(first.channels(), conditioner.clone(), prediction);
            let settings = match transformer {
                true => with_transformer(settings),
                false => settings,
            };
            let (path, model) = model_of(folder.path(), first, &settings);
            let mut task = build(&learning_from(&path), SEED);
            let ids = Tensor::<2, Int>::from_data([[0], [1]], &Device::flex());
            let condition = conditioner.map(|_| Condition::Ids(ids));
            let want = by_hand(&task, &model, step(2), condition);
            let got = task.accumulate(&labelled(2), step(2)).unwrap();
            let want = want.get("nll").unwrap();
            let off = (got.get("nll").unwrap() / want - 1.0).abs();
            println!("{prediction:?}: {off:.1e} off {want}");
            assert!(off < 1e-5, "{prediction:?}: {got:?} for {want}");
            // Which is not what decoding the latents themselves gives.
            let plain = Stage1Config {
                denoiser: None,
                ..learning_from(&path)
            };
            let plain = build(&plain, SEED)
                .accumulate(&labelled(2), step(2))
                .unwrap();
            assert!(
                (plain.get("nll").unwrap() / want - 1.0).abs() > 1e-4,
                "{plain:?}"
            );
        }
    }
}

#[test]
fn captions_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = model(folder.path(), text(), Prediction::Flow);
    let mut task = build(&learning_from(&path), SEED);
    let mut loss = |change: &dyn Fn(&mut Example)| {
        let mut batch = labelled(1);
        batch.iter_mut().for_each(change);
        let report = task.accumulate(&batch, step(1));
        report.map(|report| report.get("nll").unwrap())
    };
    let own = loss(&|_| {}).unwrap();
    assert_eq!(loss(&|example| example.class = None).unwrap(), own);
    let other = loss(&|example| example.caption = Some("something else".to_owned())).unwrap();
    assert_ne!(other, own);
    let error = loss(&|example| example.caption = None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no caption"), "{error}");
    // Before the first step the trainer looks for them.
    assert!(matches!(task.needs(), latent_train::Needs::Captions { .. }));
}

#[test]
fn it_learns_and_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = model(folder.path(), None, Prediction::Flow);
    let config = Stage1Config {
        denoiser_times: Some([0.1, 0.3]),
        ..learning_from(&path)
    };
    ends_the_same_when_restored(&config);
    let mut task = build(&config, SEED);
    let measured = |task: &Stage1| {
        let report = task.validate(&batch(90, 32), step(0)).unwrap();
        ["psnr_guessed", "psnr"].map(|name| report.get(name).unwrap())
    };
    let before = measured(&task);
    let reports = train(&mut task, 0..40, 32);
    let after = measured(&task);
    println!("{before:?} then {after:?} dB");
    assert!(after[0] > before[0] + 3.0, "{before:?} then {after:?}");
    let mean = |reports: &[Report]| {
        let losses = reports.iter().map(|report| report.get("absolute").unwrap());
        losses.sum::<f64>() / reports.len() as f64
    };
    let (first, last) = (mean(&reports[..5]), mean(&reports[35..]));
    println!("{first} then {last}");
    assert!(last < 0.7 * first, "{first} then {last}");
    // What it writes states the scale that the denoiser knows.
    let out = folder.path().join("decoder");
    task.export(&out).unwrap();
    let again = FirstStage::open(&out, None, &Device::flex()).unwrap();
    assert!((again.scale() - SCALE).abs() < 1e-6);
}

#[test]
fn a_denoiser_of_other_latents_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner: LearnerSettings::default(),
        seed: SEED,
        side: None,
    };
    let refused = |path: &Path| {
        let error = Stage1::new(&learning_from(path), &context).unwrap_err();
        error.to_string()
    };
    let error = refused(&at("nothing"));
    assert!(
        error.starts_with("model.denoiser: ") && error.contains("nothing"),
        "{error}"
    );

    let write = |name: &str, first: FirstStage| {
        let settings = second_settings(first.channels(), None, Prediction::Flow);
        let task = second_stage(first, &settings);
        task.export(&at(name)).unwrap();
    };
    write("pixels", FirstStage::pixels(&Device::flex()));
    let error = refused(&at("pixels"));
    assert!(error.contains("a model with an autoencoder"), "{error}");

    let mut narrow = config(true);
    narrow.autoencoder.z_channels = 2;
    narrow.autoencoder.latent_channels = 2;
    write("narrow", first_stage(&narrow, SEED));
    let error = refused(&at("narrow"));
    for words in [
        "4 channels, 2 times smaller",
        "its have 2 channels, 2 times smaller",
    ] {
        assert!(error.contains(words), "{error}");
    }

    // Of the same kind, with other weights: known when weights are there.
    write("other", first_stage(&config(true), 99));
    let mut trained = build(&config(true), SEED);
    train(&mut trained, 0..2, 32);
    trained.export(&at("own")).unwrap();
    let begun = |path: &Path, begin_with: &str| {
        let mut task = Stage1::new(&learning_from(path), &context).unwrap();
        let begin_with = Checkpoint::open(at(begin_with)).unwrap();
        task.begin_with(&begin_with)
    };
    let error = begun(&at("other"), "own").unwrap_err().to_string();
    assert!(
        error.contains("those of its own encoder are others"),
        "{error}"
    );
    // The same encoder at another scale.
    let first = |scale| FirstStage::open(&at("own"), scale, &Device::flex()).unwrap();
    let scale = first(None).scale();
    write("right", first(None));
    begun(&at("right"), "own").unwrap();
    write("scaled", first(Some(1.5 * scale)));
    let error = begun(&at("scaled"), "own").unwrap_err().to_string();
    assert!(
        error.contains("the scale of those that begin_from names"),
        "{error}"
    );

    for (config, name) in [
        (
            Stage1Config {
                freeze: None,
                ..learning_from(&at("own"))
            },
            "model.denoiser = ",
        ),
        (
            Stage1Config {
                denoiser_times: Some([0.4, 0.1]),
                ..learning_from(&at("own"))
            },
            "model.denoiser_times = ",
        ),
        (
            Stage1Config {
                denoiser: None,
                denoiser_times: Some([0.1, 0.4]),
                ..learning_from(&at("own"))
            },
            "model.denoiser_times = ",
        ),
    ] {
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}
