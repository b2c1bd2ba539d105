//! Conversions between all forms.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use latent_checkpoint::convert::{Model, NamedPart, write_file, write_folder};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::tiny::{tiny_text_encoder, tiny_unet};
use latent_checkpoint::{
    Checkpoint, ConvertOptions, Converted, Dtype, Files, ModelError, Network, Role,
    SchedulerConfig, Scheme, StoredAutoencoder, Target, TensorFile, convert, inspect,
};
use latent_models::clip::Activation;
use latent_models::unet::{Attention, Heads, Level, Resample, TimeShift};
use latent_models::{ClipTextConfig, UNetConfig};
use latent_testkit::recipe;
use support::{Tensors, options, tiny, values};

fn to(output: &Path, dtype: Option<Dtype>) -> ConvertOptions {
    ConvertOptions {
        target: Target::of(output).unwrap(),
        dtype,
        moving_average: false,
        existing: Existing::Refuse,
    }
}

fn converted(input: &Path, output: &Path, dtype: Option<Dtype>) -> Converted {
    let checkpoint = Checkpoint::open(input).unwrap();
    convert(&checkpoint, output, &to(output, dtype), &mut |_, _| {}).unwrap()
}

type Contents = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Every tensor of a file or of a folder's files.
fn contents(path: &Path) -> Contents {
    let files: Vec<PathBuf> = match path.is_dir() {
        false => vec![path.to_owned()],
        true => [
            "unet/diffusion_pytorch_model",
            "vae/diffusion_pytorch_model",
            "text_encoder/model",
        ]
        .iter()
        .map(|name| path.join(format!("{name}.safetensors")))
        .collect(),
    };
    let mut all = BTreeMap::new();
    for file in files {
        let folder = file.parent().unwrap().file_name().unwrap().to_owned();
        let file = TensorFile::open(file).unwrap();
        for info in file.tensors() {
            let bytes = file.bytes(&info.name).unwrap().into_owned();
            let name = match path.is_dir() {
                true => format!("{}/{}", folder.display(), info.name),
                false => info.name.clone(),
            };
            all.insert(name, (info.dtype, info.shape.clone(), bytes));
        }
    }
    all
}

#[test]
fn every_form_goes_to_every_form_and_back_without_a_changed_bit() {
    let dir = tempfile::tempdir().unwrap();
    let forms = [
        (&tiny().folder, "diffusers"),
        (&tiny().safetensors, "a.safetensors"),
        (&tiny().ckpt, "a.ckpt"),
    ];
    for (from, (input, _)) in forms.iter().enumerate() {
        for (original, name) in &forms {
            let output = dir.path().join(format!("{from}-{name}"));
            let done = converted(input, &output, None);
            assert!(
                contents(&output) == contents(original),
                "{input:?} to {name}"
            );
            let checkpoint = Checkpoint::open(&output).unwrap();
            let info = inspect(&checkpoint, &Default::default(), &mut |_, _| {}).unwrap();
            let parameters = info.parts.iter().map(|part| part.parameters);
            assert_eq!(done.parameters, parameters.sum::<usize>());
            assert!(done.dropped.is_empty());
        }
    }
}

#[test]
fn single_files_have_the_shapes_that_are_published() {
    let file = contents(&tiny().safetensors);
    let shape = |name: &str| file[name].1.clone();
    assert_eq!(
        shape("first_stage_model.encoder.mid.attn_1.q.weight"),
        [64, 64, 1, 1]
    );
    assert_eq!(
        shape("first_stage_model.encoder.mid.attn_1.norm.weight"),
        [64]
    );
    assert_eq!(
        shape("model.diffusion_model.input_blocks.1.1.proj_in.weight"),
        [32, 32, 1, 1]
    );
    assert_eq!(
        shape("cond_stage_model.transformer.text_model.embeddings.position_embedding.weight"),
        [77, 48]
    );
}

#[test]
fn types_change_and_f16_survives_f32() {
    let dir = tempfile::tempdir().unwrap();
    let wide = dir.path().join("wide.safetensors");
    converted(&tiny().folder, &wide, Some(Dtype::F32));
    assert!(
        contents(&wide)
            .values()
            .all(|(dtype, ..)| *dtype == Dtype::F32)
    );
    let narrow = dir.path().join("narrow");
    converted(&wide, &narrow, Some(Dtype::F16));
    assert!(contents(&narrow) == contents(&tiny().folder));
    let brain = dir.path().join("brain.ckpt");
    converted(&wide, &brain, Some(Dtype::BF16));
    let name = "model.diffusion_model.out.2.bias";
    let exact = recipe::tensor("unet/conv_out.bias", &[4], 0);
    let expected: Vec<u8> = exact
        .iter()
        .flat_map(|&v| half::bf16::from_f32(v).to_le_bytes())
        .collect();
    assert_eq!(contents(&brain)[name].2, expected);
}

#[test]
fn a_folder_is_complete() {
    let folder = &tiny().folder;
    for file in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
    ] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let json = |file: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap()
    };
    let unet = json("unet/config.json");
    assert_eq!(unet["attention_head_dim"], 8);
    assert_eq!(unet["sample_size"], 8);
    assert_eq!(unet["cross_attention_dim"], 48);
    assert_eq!(json("vae/config.json")["sample_size"], 64);
    let index = json("model_index.json");
    assert_eq!(index["_class_name"], "StableDiffusionPipeline");
    let scheduler = json("scheduler/scheduler_config.json");
    assert_eq!(scheduler["_class_name"], "PNDMScheduler");
    assert_eq!(scheduler["steps_offset"], 1);
    assert!(scheduler.get("rescale_betas_zero_snr").is_none());
    assert_eq!(scheduler["set_alpha_to_one"], false);
}

/// Every file of a folder by its path in it.
fn files_in(folder: &Path, at: &str, found: &mut Vec<(&'static str, &'static [u8])>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{at}/{}", path.file_name().unwrap().to_str().unwrap());
        match path.is_dir() {
            true => files_in(&path, &name, found),
            false => found.push((name.leak(), std::fs::read(path).unwrap().leak())),
        }
    }
}

#[test]
fn a_folder_in_the_program_is_read_as_one_on_the_disk() {
    let disk = Checkpoint::open(&tiny().folder).unwrap();
    let mut found = Vec::new();
    files_in(&tiny().folder, "built-in", &mut found);
    let files = Files::Memory(found.leak());
    let memory = Checkpoint::open_in(files, "built-in").unwrap();
    assert_eq!(memory.files(), files);
    let parts = |checkpoint: &Checkpoint| format!("{:?}", checkpoint.parts());
    assert_eq!(parts(&memory), parts(&disk));
    for (memory, disk) in memory.weights().iter().zip(disk.weights()) {
        assert_eq!(memory.tensors(), disk.tensors());
        for info in disk.tensors() {
            let [a, b] = [memory, disk].map(|w| w.bytes(&info.name).unwrap().into_owned());
            assert_eq!(a, b, "{}", info.name);
        }
    }
    for (path, said) in [("other", "other"), ("built-in/unet/none", "none")] {
        let error = Checkpoint::open_in(files, path).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let limit = files.read(Path::new("built-in/model_index.json"), 10, "it");
    assert!(limit.unwrap_err().to_string().contains("10"));
}

#[test]
fn what_no_network_has_is_dropped_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    let ids = "cond_stage_model.transformer.text_model.embeddings.position_ids";
    tensors.add(ids, Dtype::I64, &[1, 77], vec![0; 77 * 8]);
    tensors.add("betas", Dtype::F32, &[1], vec![0; 4]);
    let input = tensors.write(&dir.path().join("in.safetensors"), &[]);
    let output = dir.path().join("out");
    let done = converted(&input, &output, None);
    let names: Vec<_> = done.dropped.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["betas", ids]);
    assert!(contents(&output) == contents(&tiny().folder));

    // As in drawing: named, and no reason to refuse the rest.
    let stranger = "control_model.zero.weight";
    tensors.add(stranger, Dtype::F32, &[1], vec![0; 4]);
    let input = tensors.write(&dir.path().join("in.safetensors"), &[]);
    let done = converted(&input, &dir.path().join("more"), None);
    let dropped = done.dropped.iter().find(|(name, _)| name == stranger);
    let (_, reason) = dropped.expect("it is reported");
    assert!(reason.contains("none of the networks"), "{reason}");
}

#[test]
fn an_output_that_exists_is_kept() {
    let checkpoint = Checkpoint::open(&tiny().folder).unwrap();
    let output = &tiny().ckpt;
    let error = convert(&checkpoint, output, &to(output, None), &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("exists already"), "{error}");
}

#[test]
fn values_beyond_f16_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wide = dir.path().join("wide.safetensors");
    converted(&tiny().folder, &wide, Some(Dtype::F32));
    let mut tensors = Tensors::read(&wide);
    let name = "model.diffusion_model.out.2.bias";
    for (info, bytes) in &mut tensors.0 {
        if info.name == name {
            bytes[4..8].copy_from_slice(&70000f32.to_le_bytes());
        }
    }
    let wide = tensors.write(&wide, &[]);
    let checkpoint = Checkpoint::open(&wide).unwrap();
    let output = dir.path().join("narrow.safetensors");
    let options = to(&output, Some(Dtype::F16));
    match convert(&checkpoint, &output, &options, &mut |_, _| {}).unwrap_err() {
        ModelError::Overflow {
            tensor, element, ..
        } => assert_eq!((tensor.as_str(), element), (name, 1)),
        other => panic!("{other}"),
    }
    assert!(!output.exists());
}

#[test]
fn an_autoencoder_alone_becomes_a_component_folder_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut tensors = Tensors::read(&tiny().safetensors);
    tensors.keep(|name| name.starts_with("first_stage_model."));
    tensors.rename(|name| name.replace("first_stage_model.", ""));
    let bare = tensors.write(&dir.path().join("vae.safetensors"), &[]);
    let folder = dir.path().join("vae");
    converted(&bare, &folder, None);
    assert!(folder.join("config.json").is_file() && !folder.join("model_index.json").exists());
    let back = dir.path().join("back.safetensors");
    converted(&folder, &back, None);
    assert!(contents(&back) == contents(&bare));
    let checkpoint = Checkpoint::open(&folder).unwrap();
    checkpoint
        .load::<StoredAutoencoder>(Role::AUTOENCODER, &options(), &mut |_, _| {})
        .unwrap();
}

/// Recipe values in f16 for any model.
fn model(parts: Vec<(Role, Network)>, scheduler: SchedulerConfig) -> Model {
    let parts = parts.into_iter().map(|(role, config)| NamedPart {
        role,
        dtypes: config
            .parameters()
            .into_iter()
            .map(|(name, _)| (name, Dtype::F16))
            .collect(),
        config,
    });
    Model {
        parts: parts.collect(),
        scheduler,
        sample_size: None,
        metadata: BTreeMap::new(),
        ..Model::default()
    }
}

fn draw(model: &Model) -> impl FnMut(Role, &str) -> Result<Vec<u8>, ModelError> + use<> {
    let shapes: HashMap<String, Vec<usize>> = model
        .parts
        .iter()
        .flat_map(|part| part.config.parameters())
        .collect();
    move |_, name| {
        let values = recipe::tensor_f16(name, &shapes[name], 0);
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }
}

fn unconditional(heads: Heads) -> UNetConfig {
    let attention = Attention { heads, depth: 1 };
    let level = |channels, attends: bool| Level {
        channels,
        resblocks: 1,
        attention: attends.then_some(attention),
    };
    UNetConfig {
        levels: vec![level(32, false), level(64, true)],
        middle: Some(attention),
        context: None,
        time_shift: TimeShift::ScaleShift,
        resample: Resample::Resnet,
        ..tiny_unet(4)
    }
}

#[test]
fn fused_attention_is_stacked_per_head_and_comes_apart_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = unconditional(Heads::Count(8));
    let model = model(
        vec![(Role::DENOISER, Network::Unet(config.clone()))],
        SchedulerConfig::stable_diffusion(),
    );
    let path = dir.path().join("unet.safetensors");
    write_file(
        &path,
        Target::Safetensors,
        &model,
        Existing::Refuse,
        &mut draw(&model),
    )
    .unwrap();
    let file = contents(&path);
    let (_, shape, qkv) = &file["model.diffusion_model.middle_block.1.qkv.weight"];
    assert_eq!(shape, &[192, 64, 1]);
    // Head 1 begins after three times eight rows; its keys are the second eight of them.
    let k = recipe::tensor_f16("mid_block.attentions.0.to_k.weight", &[64, 64], 0);
    let row = |at: usize| &qkv[at * 64 * 2..(at + 1) * 64 * 2];
    let expected: Vec<u8> = k[8 * 64..9 * 64]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    assert_eq!(row(24 + 8), expected);
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(
        checkpoint.part(Role::DENOISER).unwrap().config,
        Network::Unet(config)
    );
    let (unet, _) = checkpoint
        .load::<latent_models::UNetConfig>(Role::DENOISER, &options(), &mut |_, _| {})
        .unwrap();
    for (name, found) in values(&unet) {
        let shape = vec![found.len()];
        if name == "mid_block.attentions.0.to_k.weight" {
            let expected: Vec<f32> = k.iter().map(|v| v.to_f32()).collect();
            assert_eq!(found, expected);
        } else if name.ends_with("bias") {
            assert_eq!(found, recipe::tensor(&name, &shape, 0), "{name}");
        }
    }
}

#[test]
fn a_folder_of_an_unconditional_unet_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = Network::Unet(unconditional(Heads::Width(32)));
    let scheduler = SchedulerConfig::stable_diffusion();
    let model = model(vec![(Role::DENOISER, config.clone())], scheduler);
    let folder = dir.path().join("unet");
    write_folder(&folder, &model, Existing::Refuse, &mut draw(&model)).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    assert_eq!(checkpoint.part(Role::DENOISER).unwrap().config, config);
    // The guess for such a file would be eight heads; the single file must say 32 wide.
    let single = dir.path().join("unet.ckpt");
    converted(&folder, &single, None);
    let checkpoint = Checkpoint::open(&single).unwrap();
    assert_eq!(checkpoint.part(Role::DENOISER).unwrap().config, config);
    let back = dir.path().join("back");
    converted(&single, &back, None);
    let file = |folder: &Path| contents(&folder.join("diffusion_pytorch_model.safetensors"));
    assert!(file(&back) == file(&folder));
}

#[test]
fn open_clip_encoders_keep_their_layout_in_single_files() {
    let dir = tempfile::tempdir().unwrap();
    let text = ClipTextConfig {
        vocabulary: 16,
        width: 1024,
        layers: 2,
        heads: 16,
        intermediate: 64,
        activation: Activation::Gelu,
        positions: 4,
        projection: None,
    };
    let config = Network::TextEncoder(text);
    let scheduler = SchedulerConfig::stable_diffusion();
    let model = model(vec![(Role::TEXT_ENCODER, config.clone())], scheduler);
    let folder = dir.path().join("text_encoder");
    write_folder(&folder, &model, Existing::Refuse, &mut draw(&model)).unwrap();
    let single = dir.path().join("text.safetensors");
    converted(&folder, &single, None);
    let file = contents(&single);
    assert_eq!(
        file["transformer.resblocks.1.attn.in_proj_weight"].1,
        [3072, 1024]
    );
    let checkpoint = Checkpoint::open(&single).unwrap();
    let part = checkpoint.part(Role::TEXT_ENCODER).unwrap();
    assert_eq!((part.scheme, &part.config), (Scheme::OpenClip, &config));
    let back = dir.path().join("back");
    converted(&single, &back, None);
    let file = |folder: &Path| contents(&folder.join("model.safetensors"));
    assert!(file(&back) == file(&folder));
}

#[test]
fn prediction_schedule_and_heads_survive_a_single_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut unet = tiny_unet(4);
    for level in &mut unet.levels {
        if let Some(attention) = &mut level.attention {
            attention.heads = Heads::Count(4);
        }
    }
    unet.middle = Some(Attention {
        heads: Heads::Count(4),
        depth: 1,
    });
    let mut scheduler = SchedulerConfig::stable_diffusion();
    scheduler.class_name = "DDIMScheduler".into();
    scheduler.prediction_type = "v_prediction".into();
    scheduler.beta_end = 0.0195;
    scheduler.rescale_betas_zero_snr = true;
    scheduler.timestep_spacing = Some("trailing".into());
    let parts = vec![
        (Role::DENOISER, Network::Unet(unet.clone())),
        (
            Role::AUTOENCODER,
            Network::Autoencoder(StoredAutoencoder {
                scale: Some(0.5),
                ..latent_checkpoint::tiny::tiny_autoencoder().into()
            }),
        ),
        (
            Role::TEXT_ENCODER,
            Network::TextEncoder(tiny_text_encoder()),
        ),
    ];
    let model = model(parts.clone(), scheduler.clone());
    let folder = dir.path().join("model");
    write_folder(&folder, &model, Existing::Refuse, &mut draw(&model)).unwrap();
    for name in ["a.safetensors", "a.ckpt"] {
        let single = dir.path().join(name);
        converted(&folder, &single, None);
        let checkpoint = Checkpoint::open(&single).unwrap();
        for (part, config) in &parts {
            assert_eq!(&checkpoint.part(*part).unwrap().config, config);
        }
        let mut found = checkpoint.scheduler().clone();
        found.rest.clear();
        assert_eq!(found, scheduler);
    }
}
