//! A second stage whose denoiser is a diffusion transformer.

mod models;

use std::path::Path;

use burn::tensor::Device;
use latent_checkpoint::Checkpoint;
use latent_diffusion::Prediction;
use latent_models::condition::{Entry, TokenTransformerConfig, Tokenizer};
use latent_models::transformer::Modulation;
use latent_models::unet::Labels;
use latent_models::{ConditionerConfig, Denoiser, TransformerConfig};
use latent_train::{
    AlignConfig, FirstStage, LearnerSettings, ObjectiveConfig, Precision, Stage2, Stage2Config,
    StateReader, StateWriter, Step, Task, TaskContext,
};
use models::*;

fn config(conditioner: Option<ConditionerConfig>) -> Stage2Config {
    let entry = conditioner.as_ref().and_then(|c| c.entry());
    let tokens = match entry {
        Some((Entry::CrossAttention | Entry::CrossAttentionAndPooled, width)) => Some(width),
        _ => None,
    };
    let extra = conditioner
        .as_ref()
        .map_or(0, ConditionerConfig::concatenated);
    Stage2Config {
        first_stage: None,
        scale: None,
        unet: None,
        transformer: Some(TransformerConfig {
            in_channels: 3 + extra,
            out_channels: 3,
            patch: 2,
            width: 32,
            depth: 2,
            heads: 2,
            context: tokens,
            context_every: if tokens.is_some() { 2 } else { 1 },
            context_projection: false,
            labels: match entry {
                Some((Entry::AdaptiveNorm | Entry::CrossAttentionAndPooled, width)) => {
                    Labels::Vector(width)
                }
                _ => Labels::None,
            },
            modulation: Modulation::Shared,
            positions: Default::default(),
            qk_norm: false,
        }),
        conditioner,
        objective: ObjectiveConfig {
            prediction: Prediction::Flow,
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

fn class(entry: Entry) -> Option<ConditionerConfig> {
    Some(ConditionerConfig::Class {
        rows: 4,
        width: 16,
        entry,
    })
}

fn text() -> Option<ConditionerConfig> {
    Some(ConditionerConfig::Text {
        tokenizer: Tokenizer::Clip,
        transformer: TokenTransformerConfig {
            vocabulary: 49408,
            positions: 8,
            width: 16,
            layers: 1,
            heads: 1,
            head_width: 16,
        },
        entry: Entry::CrossAttentionAndPooled,
    })
}

fn built(learner: LearnerSettings, config: &Stage2Config) -> Result<Stage2, latent_train::Error> {
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner,
        seed: 3,
        side: None,
    };
    Stage2::on(config, FirstStage::pixels(&Device::flex()), &context)
}

fn task(config: &Stage2Config) -> Stage2 {
    built(LearnerSettings::default(), config).unwrap()
}

/// Writes the state of a task to the path.
fn save(task: &Stage2, path: &Path) -> StateWriter {
    let mut out = StateWriter::new();
    task.save(&mut out);
    out.write(path).unwrap();
    out
}

fn state(task: &Stage2) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    save(task, &path);
    std::fs::read(path).unwrap()
}

/// With every conditioner that fits, in both types, to the bit after a restart, and into a folder that is opened again.
#[test]
fn it_learns_goes_on_to_the_bit_and_is_exported() {
    let batch: Vec<_> = (0..2).map(|i| example(i, 8, 4)).collect();
    let entries = [
        Entry::CrossAttention,
        Entry::AdaptiveNorm,
        Entry::CrossAttentionAndPooled,
        Entry::Concatenation(2),
    ];
    let all = entries.map(class).into_iter().chain([None, text()]);
    for conditioner in all {
        let what = format!("{conditioner:?}");
        let settings = config(conditioner);
        let mut straight = task(&settings);
        let at = Step {
            number: 0,
            seed: 1,
            first: 0,
        };
        let of = |task: &Stage2| task.validate(&batch, at).unwrap().get("loss").unwrap();
        let before = of(&straight);
        for number in 0..12 {
            step(&mut straight, &batch, number, 5e-3);
        }
        let after = of(&straight);
        assert!(after < 0.98 * before, "{what}: {before} {after}");
        let mut first = task(&settings);
        for number in 0..5 {
            step(&mut first, &batch, number, 5e-3);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        let numbers = save(&first, &path).numbers().clone();
        let mut second = task(&settings);
        let mut reader = StateReader::open(&path, numbers).unwrap();
        second.restore(&mut reader).unwrap();
        for number in 5..12 {
            step(&mut second, &batch, number, 5e-3);
        }
        assert!(state(&straight) == state(&second), "{what}");
        let model = folder.path().join("model");
        straight.export(&model).unwrap();
        assert!(model.join("transformer/config.json").exists(), "{what}");
        let checkpoint = Checkpoint::open(&model).unwrap();
        let mut other = task(&settings);
        other.begin_with(&checkpoint).unwrap();
        assert_eq!(of(&straight), of(&other), "{what}");
        assert!(straight.sheet(at).unwrap().is_some(), "{what}");
    }
    let narrow = LearnerSettings {
        precision: Precision::Bf16,
        ..LearnerSettings::default()
    };
    let mut narrow = built(narrow, &config(text())).unwrap();
    let mut wide = task(&config(text()));
    let [wide, narrow] = [&mut wide, &mut narrow].map(|task| {
        let losses = (0..4).map(|number| step(task, &batch, number, 5e-3).get("loss").unwrap());
        losses.last().unwrap()
    });
    assert!(
        (narrow - wide).abs() < 0.05 * wide && narrow != wide,
        "{narrow} {wide}"
    );
}

/// What each of its blocks makes is aligned, the first third's where no block is said; the loss that is shown stays its own.
#[test]
fn its_blocks_are_aligned_with_features() {
    let folder = tempfile::tempdir().unwrap();
    let features = folder.path().join("vgg.safetensors");
    write_vgg(&features);
    let batch: Vec<_> = (0..4).map(|i| example(i, 16, 3)).collect();
    let settings = |align: Option<AlignConfig>| Stage2Config {
        align,
        ..config(class(Entry::CrossAttention))
    };
    let at = |block| AlignConfig {
        features: features.clone(),
        layer: 2,
        block,
        weight: 1.0,
        until: None,
    };
    let trained = |align| {
        let mut task = task(&settings(align));
        let steps = (0..40).map(|number| step(&mut task, &batch, number, 2e-3));
        let reports: Vec<_> = steps.collect();
        (state(&task), reports, task)
    };
    let (_, plain, _) = trained(None);
    let [first, last, unsaid] = [Some(1), Some(2), None].map(|block| {
        let (bytes, reports, task) = trained(Some(at(block)));
        assert_eq!(reports[0].get("loss"), plain[0].get("loss"));
        assert!(reports[39].get("loss") != plain[39].get("loss"));
        let found = [0, 39].map(|i: usize| reports[i].get("align").unwrap());
        assert!(found[1] < found[0] - 0.2, "block {block:?}: {found:?}");
        let projection = ("align".to_owned(), 128 * (32 * 9 + 1));
        assert_eq!(task.parameters().last(), Some(&projection));
        bytes
    });
    assert!(first != last && first == unsaid);
    let error = settings(Some(at(Some(3)))).validate().unwrap_err();
    let error = error.to_string();
    assert!(error.contains("1 to 2, the blocks"), "{error}");
}

/// As published: the answer is nothing, and what attends to words and modulates a block adds nothing.
#[test]
fn it_begins_as_published() {
    for modulation in [Modulation::Shared, Modulation::PerBlock] {
        let mut settings = config(class(Entry::CrossAttentionAndPooled));
        if let Some(transformer) = &mut settings.transformer {
            (transformer.modulation, transformer.qk_norm) = (modulation, true);
        }
        let task = task(&settings);
        let Denoiser::Transformer(network) = &task.learner().module().unet else {
            panic!("a transformer");
        };
        let sizes = |x: burn::tensor::Tensor<2>| -> (f32, f32) {
            let squares: f32 = x.clone().square().mean().into_scalar();
            (squares.sqrt(), x.abs().max().into_scalar())
        };
        let linear = &network.final_layer.linear;
        assert_eq!(sizes(linear.weight.val()).1, 0.0);
        let block = &network.blocks[1];
        let cross = block.cross_attn.as_ref().unwrap();
        assert_eq!(sizes(cross.proj.weight.val()).1, 0.0);
        let (deviation, most) = sizes(block.attn.qkv.weight.val());
        // Xavier's rule: √(6 / (32 + 96)), whose uniform numbers have a deviation of 1/√3 of that.
        let bound = (6.0f32 / 128.0).sqrt();
        assert!(most <= bound && (deviation / bound * 3f32.sqrt() - 1.0).abs() < 0.05);
        let norm = &block.attn.ln_q.as_ref().unwrap().weight;
        assert_eq!(norm.val().mean().into_scalar::<f32>(), 1.0);
        match modulation {
            Modulation::PerBlock => {
                let (_, layer) = block.adaLN_modulation.as_ref().unwrap();
                assert_eq!(sizes(layer.weight.val()).1, 0.0);
            }
            Modulation::Shared => {
                let table = block.scale_shift_table.as_ref().unwrap();
                let (deviation, _) = sizes(table.val());
                assert!((deviation * 32f32.sqrt() - 1.0).abs() < 0.3, "{deviation}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let said = |config: &Stage2Config| config.validate().unwrap_err().to_string();
    let good = config(class(Entry::CrossAttention));
    good.validate().unwrap();
    let change = |change: &dyn Fn(&mut TransformerConfig)| {
        let mut config = good.clone();
        change(config.transformer.as_mut().unwrap());
        said(&config)
    };
    let error = change(&|t| t.context = Some(20));
    assert!(error.contains("transformer.context"), "{error}");
    let error = change(&|t| t.labels = Labels::Vector(16));
    assert!(error.contains("transformer.labels"), "{error}");
    let error = change(&|t| t.heads = 3);
    assert!(error.contains("`heads` is 3"), "{error}");
    let mut none = config(None);
    none.transformer = None;
    assert!(said(&none).contains("neither"), "{}", said(&none));
    let mut alone = config(None);
    alone.transformer.as_mut().unwrap().labels = Labels::Vector(3);
    assert!(said(&alone).contains("model.transformer"));
    let recomputes = LearnerSettings {
        activation_checkpointing: true,
        ..LearnerSettings::default()
    };
    let error = built(recomputes, &good).unwrap_err().to_string();
    assert!(
        error.contains("activation_checkpointing") && error.contains("transformer"),
        "{error}"
    );
    let odd = example(0, 9, 4);
    let at = Step {
        number: 0,
        seed: 0,
        first: 0,
    };
    let error = task(&good).accumulate(&[odd], at).unwrap_err().to_string();
    assert!(
        error.contains("9×9") && error.contains("multiples of 2"),
        "{error}"
    );
}
