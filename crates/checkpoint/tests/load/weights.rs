//! Weights of every form and variant.

use crate::quiet;
use crate::support::{Tensors, all_values, options, tiny, values};
use latent_checkpoint::names::ema_name;
use latent_checkpoint::tiny::{tiny_autoencoder, tiny_text_encoder, tiny_unet};
use latent_checkpoint::{
    Checkpoint, Dtype, Mismatch, ModelError, Network, Role, SchedulerConfig, Scheme,
    StoredAutoencoder, inspect,
};
use latent_testkit::recipe;

#[test]
fn the_three_forms_load_to_the_recipe_bit_for_bit() {
    let paths = tiny();
    let forms = [&paths.folder, &paths.safetensors, &paths.ckpt];
    let loaded: Vec<_> = forms.iter().map(|path| all_values(path)).collect();
    let shapes = [
        ("unet", Network::Unet(tiny_unet(4)).parameters()),
        (
            "text_encoder",
            Network::TextEncoder(tiny_text_encoder()).parameters(),
        ),
    ];
    for (component, parameters) in shapes {
        for (name, shape) in parameters {
            let name = format!("{component}/{name}");
            assert_eq!(loaded[0][&name], recipe::tensor(&name, &shape, 0), "{name}");
        }
    }
    assert!(loaded[0] == loaded[1], "folder and safetensors differ");
    assert!(loaded[0] == loaded[2], "folder and ckpt differ");
}

#[test]
fn every_form_is_recognised() {
    let paths = tiny();
    for path in [&paths.folder, &paths.safetensors, &paths.ckpt] {
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(checkpoint.parts().len(), 3);
        for part in checkpoint.parts() {
            match &part.config {
                Network::Unet(config) => assert_eq!(config, &tiny_unet(4)),
                Network::Autoencoder(StoredAutoencoder { network, scale, .. }) => {
                    assert_eq!(network, &tiny_autoencoder());
                    let folder = path == &paths.folder;
                    assert_eq!(*scale, folder.then_some(0.18215));
                }
                Network::TextEncoder(config) => assert_eq!(config, &tiny_text_encoder()),
                other => panic!("{other:?}"),
            }
        }
        let mut scheduler = checkpoint.scheduler().clone();
        scheduler.rest.clear();
        assert_eq!(scheduler, SchedulerConfig::stable_diffusion());
    }
}

#[test]
fn nine_channels_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let paths = crate::support::write(dir.path(), 9);
    for path in [&paths.folder, &paths.safetensors] {
        let checkpoint = Checkpoint::open(path).unwrap();
        let part = checkpoint.part(Role::DENOISER).unwrap();
        assert_eq!(part.config, Network::Unet(tiny_unet(9)));
    }
    let index = std::fs::read_to_string(paths.folder.join("model_index.json")).unwrap();
    assert!(index.contains("StableDiffusionInpaintPipeline"));
}

fn mismatch(error: ModelError) -> Mismatch {
    match error {
        ModelError::Mismatch(mismatch) => *mismatch,
        other => panic!("expected a mismatch, got {other}"),
    }
}

#[test]
fn missing_unused_and_misshapen_are_one_error_with_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    let prefix = "model.diffusion_model.";
    tensors.keep(|name| name != "model.diffusion_model.input_blocks.2.0.in_layers.2.bias");
    tensors.add(
        "model.diffusion_model.input_blocks.2.0.lora",
        Dtype::F16,
        &[1],
        vec![0; 2],
    );
    tensors.reshape(|name, shape| {
        if name == "model.diffusion_model.middle_block.0.in_layers.0.weight" {
            *shape = vec![2, 48];
        }
    });
    let path = tensors.write(&dir.path().join("bad.safetensors"), &[]);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let error = checkpoint
        .load::<latent_models::UNetConfig>(Role::DENOISER, &options(), &mut quiet)
        .unwrap_err();
    let text = error.to_string();
    let found = mismatch(error);
    assert_eq!(
        found.missing,
        [format!("{prefix}input_blocks.2.0.in_layers.2.bias")]
    );
    assert_eq!(found.unused, [format!("{prefix}input_blocks.2.0.lora")]);
    assert_eq!(found.misshapen[0].expected, [96]);
    assert_eq!(found.misshapen[0].found, [2, 48]);
    for name in [
        "in_layers.2.bias",
        "lora",
        "middle_block.0.in_layers.0.weight",
        "bad.safetensors",
    ] {
        assert!(text.contains(name), "{text}");
    }
    // The other networks of the file are unharmed.
    checkpoint
        .load::<StoredAutoencoder>(Role::AUTOENCODER, &options(), &mut quiet)
        .unwrap();
    checkpoint
        .load::<latent_models::ClipTextConfig>(Role::TEXT_ENCODER, &options(), &mut quiet)
        .unwrap();
    let info = inspect(
        &Checkpoint::open(&path).unwrap(),
        &Default::default(),
        &mut |_, _| {},
    )
    .unwrap();
    let problems = info.parts.iter().filter(|part| part.problem.is_some());
    assert_eq!(problems.count(), 1);
}

#[test]
fn weights_that_are_not_numbers_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for (bits, shown) in [(0x7E00u16, "NaN"), (0xFC00, "-inf")] {
        let mut tensors = Tensors::read(&tiny().safetensors);
        for (info, bytes) in &mut tensors.0 {
            if info.name == "first_stage_model.decoder.conv_in.weight" {
                bytes[10..12].copy_from_slice(&bits.to_le_bytes());
            }
        }
        let path = tensors.write(&dir.path().join("nan.safetensors"), &[]);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let error = checkpoint
            .load::<StoredAutoencoder>(Role::AUTOENCODER, &options(), &mut quiet)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("first_stage_model.decoder.conv_in.weight"),
            "{error}"
        );
        assert!(
            error.contains("element 5") && error.contains(shown),
            "{error}"
        );
        let mut careless = options();
        careless.check_finite = false;
        checkpoint
            .load::<StoredAutoencoder>(Role::AUTOENCODER, &careless, &mut quiet)
            .unwrap();
    }
}

#[test]
fn historical_single_files_load_to_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    // Attention of the first stage as matrices; no `text_model`; what training leaves behind.
    tensors.reshape(|name, shape| {
        if name.contains("attn_1") && shape.len() == 4 {
            shape.truncate(2);
        }
    });
    tensors.rename(|name| name.replace("transformer.text_model.", "transformer."));
    let ids: Vec<u8> = (0..77i64).flat_map(i64::to_le_bytes).collect();
    tensors.add(
        "cond_stage_model.transformer.embeddings.position_ids",
        Dtype::I64,
        &[1, 77],
        ids,
    );
    for name in [
        "alphas_cumprod",
        "log_one_minus_alphas_cumprod",
        "loss.logvar",
        "cond_stage_model.logit_scale",
    ] {
        tensors.add(name, Dtype::F32, &[1], vec![0; 4]);
    }
    tensors.add("model_ema.num_updates", Dtype::I32, &[], vec![0; 4]);
    let path = tensors.write(&dir.path().join("old.safetensors"), &[]);
    assert!(all_values(&path) == all_values(&tiny().folder));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let (_, report) = checkpoint
        .load::<latent_models::ClipTextConfig>(Role::TEXT_ENCODER, &options(), &mut quiet)
        .unwrap();
    assert_eq!(report.ignored.len(), 1);
    assert!(report.ignored[0].0.ends_with("position_ids"));
    let text = Network::TextEncoder(tiny_text_encoder());
    assert_eq!(report.applied.len(), text.parameters().len());
}

#[test]
fn autoencoders_of_2022_and_bare_files_load_to_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Checkpoint::open(&tiny().folder).unwrap();
    let (vae, _) = whole
        .load::<StoredAutoencoder>(Role::AUTOENCODER, &options(), &mut quiet)
        .unwrap();
    let expected = values(&vae);
    let check = |tensors: &Tensors, scheme: Scheme| {
        let path = tensors.write(&dir.path().join("vae.safetensors"), &[]);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let part = checkpoint.part(Role::AUTOENCODER).unwrap();
        assert_eq!((part.scheme, checkpoint.parts().len()), (scheme, 1));
        let (vae, _) = checkpoint
            .load::<StoredAutoencoder>(Role::AUTOENCODER, &options(), &mut quiet)
            .unwrap();
        assert!(values(&vae) == expected);
    };
    let diffusers = tiny()
        .folder
        .join("vae/diffusion_pytorch_model.safetensors");
    let mut old = Tensors::read(&diffusers);
    check(&old, Scheme::Diffusers);
    old.rename(|name| {
        let name = name.replace(".to_q.", ".query.").replace(".to_k.", ".key.");
        name.replace(".to_v.", ".value.")
            .replace(".to_out.0.", ".proj_attn.")
    });
    check(&old, Scheme::Diffusers);
    old.reshape(|name, shape| {
        if name.contains("attentions") && shape.len() == 2 {
            shape.extend([1, 1]);
        }
    });
    check(&old, Scheme::Diffusers);
    let mut bare = Tensors::read(&tiny().safetensors);
    bare.keep(|name| name.starts_with("first_stage_model."));
    check(&bare, Scheme::Ldm);
    bare.rename(|name| name.replace("first_stage_model.", ""));
    bare.add(
        "loss.discriminator.main.0.weight",
        Dtype::F32,
        &[1],
        vec![0; 4],
    );
    bare.add(
        "model_ema.encoderconv_inweight",
        Dtype::F32,
        &[1],
        vec![0; 4],
    );
    check(&bare, Scheme::Ldm);
    let info = inspect(
        &Checkpoint::open(dir.path().join("vae.safetensors")).unwrap(),
        &Default::default(),
        &mut |_, _| {},
    );
    let info = info.unwrap();
    assert!(info.moving_average);
}

#[test]
fn text_encoders_load_alone_and_in_open_clips_layout() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Checkpoint::open(&tiny().folder).unwrap();
    let (text, _) = whole
        .load::<latent_models::ClipTextConfig>(Role::TEXT_ENCODER, &options(), &mut quiet)
        .unwrap();
    let expected = values(&text);
    let alone = tiny().folder.join("text_encoder/model.safetensors");
    let mut tensors = Tensors::read(&alone);
    for prefix in ["text_model.", ""] {
        tensors.rename(|name| name.replace("text_model.", prefix));
        let path = tensors.write(&dir.path().join("text.safetensors"), &[]);
        let checkpoint = Checkpoint::open(&path).unwrap();
        let (text, _) = checkpoint
            .load::<latent_models::ClipTextConfig>(Role::TEXT_ENCODER, &options(), &mut quiet)
            .unwrap();
        assert!(values(&text) == expected);
    }
    // The same weights stacked as OpenCLIP stacks them.
    let table = Network::TextEncoder(tiny_text_encoder()).table(Scheme::OpenClip);
    let mut stacked = Tensors(Vec::new());
    for layer in 0..3 {
        for kind in ["weight", "bias"] {
            let mut bytes = Vec::new();
            for part in ["q", "k", "v"] {
                let name = format!("encoder.layers.{layer}.self_attn.{part}_proj.{kind}");
                let found = tensors
                    .0
                    .iter()
                    .find(|(info, _)| info.name == name)
                    .unwrap();
                bytes.extend_from_slice(&found.1);
            }
            let shape = if kind == "weight" {
                vec![144, 48]
            } else {
                vec![144]
            };
            let name =
                format!("cond_stage_model.model.transformer.resblocks.{layer}.attn.in_proj_{kind}");
            stacked.add(&name, Dtype::F16, &shape, bytes);
        }
    }
    for (info, bytes) in &tensors.0 {
        if !["q_proj", "k_proj", "v_proj"]
            .iter()
            .any(|part| info.name.contains(part))
        {
            let place = table.place(&format!("text_model.{}", info.name)).unwrap();
            let name = format!("cond_stage_model.model.{}", place.name);
            stacked.add(&name, Dtype::F16, &info.shape, bytes.clone());
        }
    }
    stacked.add(
        "cond_stage_model.model.text_projection",
        Dtype::F16,
        &[1],
        vec![0; 2],
    );
    stacked.add(
        "cond_stage_model.model.logit_scale",
        Dtype::F16,
        &[],
        vec![0; 2],
    );
    let path = stacked.write(&dir.path().join("stacked.safetensors"), &[]);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let (text, report) = checkpoint
        .load::<latent_models::ClipTextConfig>(Role::TEXT_ENCODER, &options(), &mut quiet)
        .unwrap();
    assert!(values(&text) == expected);
    assert_eq!(report.ignored.len(), 2);
}

#[test]
fn the_moving_average_is_loaded_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    let prefix = "model.diffusion_model.";
    let mut averages = Vec::new();
    for (info, bytes) in &tensors.0 {
        if let Some(name) = info.name.strip_prefix(prefix) {
            let mut info = info.clone();
            info.name = ema_name(name);
            averages.push((info, vec![0u8; bytes.len()]));
        }
    }
    tensors.0.extend(averages);
    let path = tensors.write(&dir.path().join("ema.safetensors"), &[]);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let (unet, report) = checkpoint
        .load::<latent_models::UNetConfig>(Role::DENOISER, &options(), &mut quiet)
        .unwrap();
    assert!(!report.moving_average && values(&unet)["conv_in.weight"][0] != 0.0);
    let mut average = options();
    average.moving_average = true;
    let (unet, report) = checkpoint
        .load::<latent_models::UNetConfig>(Role::DENOISER, &average, &mut quiet)
        .unwrap();
    assert!(report.moving_average);
    assert!(values(&unet).values().flatten().all(|&v| v == 0.0));
    let names: Vec<_> = report
        .ignored
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(names.contains(&"model.diffusion_model.out.2.weight"));
}
