//! What a file holds beside its networks, or in place of one: one rule for loading, describing and converting.

mod support;

use latent_checkpoint::file::write::Existing;
use latent_checkpoint::names::ema_name;
use latent_checkpoint::{Checkpoint, ConvertOptions, Dtype, Role, Target, convert, inspect};
use latent_models::UNetConfig;
use support::{Tensors, all_values, options, tiny};

const PLAIN: &str = "model.diffusion_model.";

#[test]
fn tensors_of_no_network_are_left_out_and_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "safety_checker.concept_embeds",
        "control_model.input_blocks.0.0.weight",
        "embedding_manager.string_to_param_dict.*",
        "lora_unet_down_blocks_0.alpha",
        "notes.日本語 ключ",
    ] {
        let mut tensors = Tensors::read(&tiny().safetensors);
        tensors.add(name, Dtype::F16, &[2], vec![0; 4]);
        let path = tensors.write(&dir.path().join("with.safetensors"), &[]);
        assert_eq!(all_values(&path), all_values(&tiny().safetensors));
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.strangers(), [name]);
        let info = inspect(&checkpoint, &Default::default(), &mut |_, _| {}).unwrap();
        assert_eq!(info.strangers, [name]);
        assert!(info.parts.iter().all(|part| part.problem.is_none()));
        let output = dir.path().join("without.safetensors");
        let done = to(&path, &output, false);
        assert_eq!(done.dropped.len(), 1, "{done:?}");
        assert!(done.dropped[0].0 == name && done.dropped[0].1.contains("none of the networks"));
        assert_eq!(all_values(&output), all_values(&tiny().safetensors));
    }
    assert!(
        Checkpoint::open(&tiny().ckpt)
            .unwrap()
            .strangers()
            .is_empty()
    );
}

fn to(
    input: &std::path::Path,
    output: &std::path::Path,
    ema: bool,
) -> latent_checkpoint::Converted {
    let options = ConvertOptions {
        target: Target::of(output).unwrap(),
        dtype: None,
        moving_average: ema,
        existing: Existing::Replace,
    };
    convert(
        &Checkpoint::open(input).unwrap(),
        output,
        &options,
        &mut |_, _| {},
    )
    .unwrap()
}

/// A file whose U-Net is only there as the training's moving average: that is the U-Net.
#[test]
fn a_moving_average_alone_is_the_unet() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    tensors.rename(|name| match name.strip_prefix(PLAIN) {
        Some(name) => ema_name(name),
        None => name.to_owned(),
    });
    tensors.add("model_ema.decay", Dtype::F32, &[], vec![0; 4]);
    tensors.add("model_ema.num_updates", Dtype::I32, &[], vec![0; 4]);
    let path = tensors.write(&dir.path().join("ema.safetensors"), &[]);
    assert_eq!(all_values(&path), all_values(&tiny().safetensors));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let loaded = checkpoint.load::<UNetConfig>(Role::DENOISER, &options(), &mut |_, _| {});
    assert!(loaded.unwrap().1.moving_average);
    let info = inspect(&checkpoint, &Default::default(), &mut |_, _| {}).unwrap();
    assert_eq!(info.parts.len(), 3);
    for ema in [false, true] {
        let output = dir.path().join("plain.safetensors");
        let done = to(&path, &output, ema);
        assert!(done.moving_average);
        assert!(
            done.dropped
                .iter()
                .all(|(name, _)| !name.contains("diffusion_model")),
            "{done:?}"
        );
        assert_eq!(all_values(&output), all_values(&tiny().safetensors));
    }
}

/// diffusers loads the class that `model_index.json` names, whatever the settings call themselves.
#[test]
fn the_index_names_the_scheduler() {
    let dir = tempfile::tempdir().unwrap();
    let paths = support::write(dir.path(), 4);
    let settings = paths.folder.join("scheduler/scheduler_config.json");
    let text = std::fs::read_to_string(&settings).unwrap();
    assert!(text.contains("PNDMScheduler"));
    std::fs::write(
        &settings,
        text.replace("PNDMScheduler", "EulerAncestralDiscreteScheduler"),
    )
    .unwrap();
    let checkpoint = Checkpoint::open(&paths.folder).unwrap();
    assert_eq!(checkpoint.scheduler().class_name, "PNDMScheduler");
}
