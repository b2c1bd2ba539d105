//! What files say beside their weights, and where it lies.

use crate::quiet;
use crate::support::{Tensors, all_values, options, tiny};
use latent_checkpoint::file::write::{Existing, TorchLayout, torch_zip};
use latent_checkpoint::{Checkpoint, Dtype, Kind, Network, Role, StoredAutoencoder};
use latent_models::unet::Heads;
use latent_models::{ClipTextConfig, UNetConfig, named};
use serde_json::json;

#[test]
fn files_say_what_they_predict() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    let prediction = |path: &std::path::Path| {
        Checkpoint::open(path)
            .unwrap()
            .scheduler()
            .prediction_type
            .clone()
    };
    let path = dir.path().join("v.safetensors");
    for (metadata, expected) in [
        (&[] as &[(&str, &str)], "epsilon"),
        (&[("modelspec.prediction_type", "v")], "v_prediction"),
        (&[("ss_v_parameterization", "True")], "v_prediction"),
        (&[("modelspec.prediction_type", "epsilon")], "epsilon"),
    ] {
        tensors.write(&path, metadata);
        assert_eq!(prediction(&path), expected, "{metadata:?}");
    }
    tensors.add("v_pred", Dtype::F32, &[0], Vec::new());
    tensors.add("ztsnr", Dtype::F32, &[0], Vec::new());
    tensors.write(&path, &[]);
    assert_eq!(prediction(&path), "v_prediction");
    assert!(
        Checkpoint::open(&path)
            .unwrap()
            .scheduler()
            .rescale_betas_zero_snr
    );

    let ckpt = dir.path().join("a.ckpt");
    std::fs::copy(&tiny().ckpt, &ckpt).unwrap();
    assert_eq!(prediction(&ckpt), "epsilon");
    std::fs::write(
        dir.path().join("a.yaml"),
        "model:\n  params:\n    parameterization: \"v\"\n",
    )
    .unwrap();
    assert_eq!(prediction(&ckpt), "v_prediction");
}

#[test]
fn trained_betas_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    let (a, b) = (0.0015f64.sqrt(), 0.0195f64.sqrt());
    let betas = (0..1000).map(|i| (a + (b - a) * f64::from(i) / 999.0).powi(2) as f32);
    let bytes = betas.flat_map(f32::to_le_bytes).collect();
    tensors.add("betas", Dtype::F32, &[1000], bytes);
    tensors.add(
        "scale_factor",
        Dtype::F32,
        &[],
        0.25f32.to_le_bytes().to_vec(),
    );
    let path = tensors.write(&dir.path().join("betas.safetensors"), &[]);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.scheduler().beta_end, 0.0195);
    match &checkpoint.part(Role::AUTOENCODER).unwrap().config {
        Network::Autoencoder(StoredAutoencoder { scale, .. }) => assert_eq!(*scale, Some(0.25)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn published_settings_are_read() {
    let sd15 = json!({
        "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu", "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280], "center_input_sample": false, "cross_attention_dim": 768,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0, "in_channels": 4, "layers_per_block": 2,
        "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32, "out_channels": 4, "sample_size": 64,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]
    });
    assert_eq!(
        <UNetConfig as Kind>::from_json(&sd15).unwrap(),
        named::unet_sd1()
    );
    let mut sd2 = sd15.clone();
    sd2["attention_head_dim"] = json!([5, 10, 20, 20]);
    sd2["cross_attention_dim"] = json!(1024);
    sd2["use_linear_projection"] = json!(true);
    let found = <UNetConfig as Kind>::from_json(&sd2).unwrap();
    let heads = found
        .levels
        .iter()
        .filter_map(|level| level.attention)
        .map(|a| a.heads);
    assert_eq!(
        heads.collect::<Vec<_>>(),
        [Heads::Count(5), Heads::Count(10), Heads::Count(20)]
    );
    assert_eq!(found.middle.unwrap().heads, Heads::Count(20));
    let faces = json!({
        "_class_name": "UNet2DModel", "attention_head_dim": 32, "block_out_channels": [224, 448, 672, 896],
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "in_channels": 3,
        "out_channels": 3, "sample_size": 64
    });
    assert_eq!(
        <UNetConfig as Kind>::from_json(&faces).unwrap(),
        named::unet_celebahq()
    );
    let vae = json!({
        "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "in_channels": 3, "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "out_channels": 3,
        "sample_size": 512,
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]
    });
    assert_eq!(
        StoredAutoencoder::from_json(&vae).unwrap(),
        named::autoencoder_kl_f8().into()
    );
    let text = json!({
        "architectures": ["CLIPTextModel"], "hidden_act": "quick_gelu", "hidden_size": 768, "intermediate_size": 3072,
        "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "model_type": "clip_text_model",
        "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768, "torch_dtype": "float32",
        "transformers_version": "4.22.0.dev0", "vocab_size": 49408, "bos_token_id": 0, "eos_token_id": 2
    });
    assert_eq!(
        <ClipTextConfig as Kind>::from_json(&text).unwrap(),
        named::clip_l()
    );
}

#[test]
fn settings_that_would_change_the_picture_are_not_passed_over() {
    for (key, value) in [
        ("act_fn", json!("gelu")),
        ("encoder_hid_dim", json!(512)),
        ("time_cond_proj_dim", json!("wide")),
        ("dual_cross_attention", json!(true)),
        ("something_new", json!(3)),
        ("attention_head_dim", json!("eight")),
        ("attention_head_dim", json!(7)),
        (
            "down_block_types",
            json!(["CrossAttnDownBlock2D", "KDownBlock2D"]),
        ),
        ("up_block_types", json!(["UpBlock2D"])),
        ("class_embed_type", json!("timestep")),
        ("resnet_time_scale_shift", json!("spatial")),
        ("layers_per_block", json!([2, 2])),
        ("in_channels", json!(-4)),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        ("norm_num_groups", json!(null)),
        ("act_fn", json!(null)),
    ] {
        let config = json!({"_class_name": "UNet2DConditionModel", key: value.clone()});
        let error = <UNetConfig as Kind>::from_json(&config)
            .unwrap_err()
            .to_string();
        // What the network's own check refuses is named by the network's field.
        let key = if value == 7 { "heads" } else { key };
        assert!(error.contains(key), "{key}: {error}");
    }
    let error = <ClipTextConfig as Kind>::from_json(&json!({"hidden_act": "relu"}))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("hidden_act") && error.contains("relu"),
        "{error}"
    );
    let error = StoredAutoencoder::from_json(&json!({"latents_mean": [0.1]}))
        .unwrap_err()
        .to_string();
    assert!(error.contains("latents_mean"), "{error}");
    for scale in [-3.0, 0.0] {
        let error = StoredAutoencoder::from_json(&json!({"scaling_factor": scale}));
        let error = error.unwrap_err().to_string();
        let expected = "; expected a finite number above 0";
        assert!(
            error.contains("config.json: `scaling_factor` is") && error.contains(expected),
            "{error}"
        );
    }
}

/// Each message names the file, the key, the value and what is expected, and the file once.
#[test]
fn a_folder_with_a_wrong_value_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    copy(&tiny().folder, &folder);
    for (file, key, value, message) in [
        (
            "model_index.json",
            "force_zeros_for_empty_prompt",
            json!("maybe"),
            "model: model_index.json: `force_zeros_for_empty_prompt` is \"maybe\"; expected true or false",
        ),
        (
            "scheduler/scheduler_config.json",
            "timestep_spacing",
            json!("bogus"),
            "model/scheduler: scheduler_config.json: `timestep_spacing` is bogus; expected leading, trailing or linspace",
        ),
        (
            "unet/config.json",
            "sample_size",
            json!("abc"),
            "model/unet: config.json: `sample_size` is \"abc\"; expected a whole number, at least 1",
        ),
        (
            "vae/config.json",
            "scaling_factor",
            json!(-3),
            "model/vae: config.json: `scaling_factor` is -3; expected a finite number above 0",
        ),
    ] {
        let path = folder.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
        changed[key] = value;
        std::fs::write(&path, changed.to_string()).unwrap();
        let error = Checkpoint::open(&folder).unwrap_err().to_string();
        assert!(error.ends_with(message), "{error}");
        std::fs::write(&path, text).unwrap();
    }
    Checkpoint::open(&folder).unwrap();
    std::fs::remove_dir_all(folder.join("unet")).unwrap();
    let error = Checkpoint::open(&folder).unwrap_err().to_string();
    let missing = "the folder is missing, though model_index.json names it";
    assert!(
        error.contains("model/unet") && error.contains(missing),
        "{error}"
    );
    // What may not be looked into is not said to be empty.
    let error = latent_checkpoint::Folder::open(&tiny().safetensors).unwrap_err();
    assert!(error.to_string().contains("cannot list"), "{error}");
}

#[test]
fn a_single_file_with_a_wrong_value_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    let path = dir.path().join("a.safetensors");
    tensors.write(&path, &[("latent.sample_size", "abc")]);
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    let message =
        "a.safetensors: the metadata: `latent.sample_size` is abc; expected a whole number";
    assert!(error.contains(message), "{error}");
    tensors.add(
        "scale_factor",
        Dtype::F32,
        &[],
        (-1f32).to_le_bytes().into(),
    );
    tensors.write(&path, &[]);
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    let message = "`scale_factor`: it is -1; expected a finite number above 0";
    assert!(error.contains(message), "{error}");

    let ckpt = dir.path().join("b.ckpt");
    std::fs::copy(&tiny().ckpt, &ckpt).unwrap();
    for (yaml, message) in [
        (&b"parameterization: \"vv\""[..], "`parameterization` is vv"),
        (b"no mapping at all", "it is no YAML: line 1"),
        (b"\xff\xfe\x00", "it is not text"),
    ] {
        std::fs::write(dir.path().join("b.yaml"), yaml).unwrap();
        let error = Checkpoint::open(&ckpt).unwrap_err().to_string();
        assert!(
            error.contains("b.yaml: ") && error.contains(message),
            "{error}"
        );
    }
}

/// A scheduler that the index names and that is not there is no foreign component.
#[test]
fn a_missing_scheduler_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    copy(&tiny().folder, &folder);
    assert!(Checkpoint::open(&folder).unwrap().missing().is_empty());
    std::fs::remove_dir_all(folder.join("scheduler")).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let names = checkpoint.missing().iter().map(|m| m.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["scheduler"]);
    let others = checkpoint.other_components();
    assert!(
        others.iter().all(|other| !other.starts_with("scheduler")),
        "{others:?}"
    );
    assert!(!checkpoint.states_prediction());
}

#[test]
fn a_file_without_networks_says_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors(Vec::new());
    tensors.add("lora_unet_down.weight", Dtype::F32, &[1], vec![0; 4]);
    let path = tensors.write(&dir.path().join("lora.safetensors"), &[]);
    let error = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("lora_unet_down.weight") && error.contains("lora.safetensors"),
        "{error}"
    );
    let mut only_vae = Tensors::read(&tiny().safetensors);
    only_vae.keep(|name| name.starts_with("first_stage_model."));
    let path = only_vae.write(&path, &[]);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error = checkpoint
        .load::<latent_models::UNetConfig>(Role::DENOISER, &options(), &mut quiet)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no denoiser") && error.contains("autoencoder"),
        "{error}"
    );
}

/// Copies a folder.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_folder_may_hold_variants_and_pickles() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    copy(&tiny().folder, &folder);
    for (part, stem) in [
        ("unet", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ] {
        let path = folder.join(part).join(format!("{stem}.safetensors"));
        std::fs::rename(&path, path.with_extension("fp16.safetensors")).unwrap();
    }
    let path = folder.join("vae/diffusion_pytorch_model.safetensors");
    let tensors = Tensors::read(&path);
    let infos: Vec<_> = tensors.0.iter().map(|(info, _)| info.clone()).collect();
    let mut queue = tensors.0.iter();
    torch_zip::<latent_checkpoint::Error>(
        &path.with_extension("bin"),
        &infos,
        TorchLayout::Bare,
        Existing::Refuse,
        |_| Ok(queue.next().unwrap().1.as_slice().into()),
    )
    .unwrap();
    std::fs::remove_file(path).unwrap();
    assert!(all_values(&folder) == all_values(&tiny().folder));
}

#[test]
fn settings_that_ask_for_billions_of_layers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("model");
    copy(&tiny().folder, &folder);
    let path = folder.join("unet/config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    for (key, old, new) in [
        (
            "resblocks",
            "\"layers_per_block\": 2",
            "\"layers_per_block\": 4000000000",
        ),
        (
            "attention depth",
            "\"transformer_layers_per_block\": 1",
            "\"transformer_layers_per_block\": 4000000000",
        ),
        (
            "in_channels",
            "\"in_channels\": 4",
            "\"in_channels\": 4000000000",
        ),
    ] {
        let changed = text.replace(old, new);
        assert_ne!(changed, text);
        std::fs::write(&path, changed).unwrap();
        let error = Checkpoint::open(&folder).unwrap_err().to_string();
        assert!(
            error.contains(key) && error.contains("4000000000"),
            "{error}"
        );
    }
}
