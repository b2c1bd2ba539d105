//! What other programs read of what is written here, and files that leave something open.

use std::path::Path;

use burn::tensor::{DType, Device};
use latent_checkpoint::tiny::{TINY_FAMILIES, TinyFamily, tiny_taesd};
use latent_checkpoint::{Files, InfoOptions, LoadOptions, Network, Role, Scheme};
use latent_diffusion::Prediction;
use latent_models::AutoencoderTinyConfig;
use latent_pipeline::family::{self, Recognised};
use latent_pipeline::model::predicted;
use latent_testkit::recipe;
use serde_json::{Value, json};

use crate::{
    Contents, MARKS, assert_recipe, common, contents, names, opened, published, rewritten, to,
    tree, write,
};

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn folders_are_as_diffusers_writes_them() {
    for &kind in TINY_FAMILIES {
        let dir = tempfile::tempdir().unwrap();
        let folder = write(dir.path(), kind).folder;
        let index = json_of(&folder.join("model_index.json"));
        assert_eq!(index["_class_name"], names(kind).1, "{kind:?}");
        let components = index.as_object().unwrap().iter();
        for (name, entry) in components {
            let Some(class) = entry.get(1) else { continue };
            let there = folder.join(name).is_dir();
            assert_eq!(there, !class.is_null(), "{kind:?}: {name}");
        }
        let scheduler = json_of(&folder.join("scheduler/scheduler_config.json"));
        assert_eq!(scheduler["_class_name"], kind.scheduler().class_name);
        // OpenCLIP's texts are filled up with "!", OpenAI's with their end.
        for (tokenizer, encoder) in [
            ("tokenizer", "text_encoder"),
            ("tokenizer_2", "text_encoder_2"),
        ] {
            let config = folder.join(encoder).join("config.json");
            if !config.is_file() {
                assert!(!folder.join(tokenizer).exists(), "{kind:?}");
                continue;
            }
            let pad = match json_of(&config)["hidden_act"].as_str() {
                Some("gelu") => "!",
                _ => "<|endoftext|>",
            };
            for file in ["special_tokens_map.json", "tokenizer_config.json"] {
                let settings = json_of(&folder.join(tokenizer).join(file));
                assert_eq!(settings["pad_token"], pad, "{kind:?}: {tokenizer}/{file}");
            }
            assert_eq!(index[tokenizer], json!(["transformers", "CLIPTokenizer"]));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let folder = write(dir.path(), TinyFamily::Refiner).folder;
    let index = json_of(&folder.join("model_index.json"));
    assert_eq!(index["text_encoder"], json!([null, null]));
    assert_eq!(index["requires_aesthetics_score"], true);
    assert_eq!(
        index["text_encoder_2"],
        json!(["transformers", "CLIPTextModelWithProjection"])
    );
    let dir = tempfile::tempdir().unwrap();
    let folder = write(dir.path(), TinyFamily::Upscaler).folder;
    let low = json_of(&folder.join("low_res_scheduler/scheduler_config.json"));
    assert_eq!(
        (&low["beta_end"], &low["clip_sample"]),
        (&json!(0.02), &json!(true))
    );
    let dir = tempfile::tempdir().unwrap();
    let folder = write(dir.path(), TinyFamily::Sd2UnClip).folder;
    let index = json_of(&folder.join("model_index.json"));
    assert_eq!(
        index["image_normalizer"],
        json!(["stable_diffusion", "StableUnCLIPImageNormalizer"])
    );
}

#[test]
fn converted_files_bear_the_original_names() {
    let dir = tempfile::tempdir().unwrap();
    let converted = |kind: TinyFamily| {
        let folder = write(dir.path(), kind).folder;
        let file = dir.path().join(format!("{kind:?}.safetensors"));
        to(&folder, &file);
        contents(&file)
    };
    let stacked = |file: &Contents, name: &str, width: usize| {
        let (info, _) = &file[name];
        assert_eq!(info.shape, [3 * width, width], "{name}");
    };
    let second = converted(TinyFamily::Sd2);
    stacked(
        &second,
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight",
        48,
    );
    assert!(
        !second
            .keys()
            .any(|name| name.starts_with("cond_stage_model.transformer."))
    );
    assert!(second.contains_key("first_stage_model.decoder.up.0.block.0.conv1.weight"));
    let xl = converted(TinyFamily::Sdxl);
    let first = "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight";
    assert_eq!(xl[first].0.shape, [49408, 32]);
    stacked(
        &xl,
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
        48,
    );
    assert!(xl.contains_key("model.diffusion_model.label_emb.0.0.weight"));
    assert!(xl.contains_key("conditioner.embedders.1.model.ln_final.weight"));
    // The projection is multiplied from the other side.
    let (info, bytes) = &xl["conditioner.embedders.1.model.text_projection"];
    let ours = recipe::tensor_f16("text_encoder_2/text_projection.weight", &[48, 48], 0);
    let theirs = bytes.as_chunks::<2>().0;
    assert_eq!(info.shape, [48, 48]);
    for (row, column) in [(0, 1), (5, 40), (47, 3)] {
        let (a, b) = (ours[row * 48 + column], theirs[column * 48 + row]);
        assert_eq!(a.to_le_bytes(), b);
    }
    let refiner = converted(TinyFamily::Refiner);
    stacked(
        &refiner,
        "conditioner.embedders.0.model.transformer.resblocks.11.attn.in_proj_weight",
        48,
    );
    let small = converted(TinyFamily::Upscaler);
    assert_eq!(
        small["model.diffusion_model.label_emb.weight"].0.shape,
        [1000, 128]
    );
    let marks = |file: &Contents| -> Vec<String> {
        let marks = file.keys().filter(|name| MARKS.contains(&name.as_str()));
        marks.cloned().collect()
    };
    assert!(marks(&xl).is_empty());
    assert_eq!(marks(&converted(TinyFamily::SdxlV)), ["v_pred", "ztsnr"]);
    let playground = converted(TinyFamily::Playground);
    assert_eq!(marks(&playground), ["edm_mean", "edm_std"]);
    assert_eq!(playground["edm_std"].0.shape, [1, 4, 1, 1]);
    let cosine = marks(&converted(TinyFamily::CosXl));
    assert_eq!(cosine, ["edm_vpred.sigma_max", "edm_vpred.sigma_min"]);
    let picture = converted(TinyFamily::Sd2UnClip);
    stacked(
        &picture,
        "embedder.model.visual.transformer.resblocks.2.attn.in_proj_weight",
        32,
    );
    assert_eq!(picture["noise_augmentor.data_mean"].0.shape, [1, 32]);
}

#[test]
fn an_unmarked_file_of_the_second_generation_leaves_open_what_it_predicts() {
    let dir = tempfile::tempdir().unwrap();
    let paths = write(dir.path(), TinyFamily::Sd2);
    let bare = dir.path().join("bare.safetensors");
    published(&paths.safetensors, &bare, &["v_pred"]);
    let (checkpoint, _) = opened(&bare);
    assert_eq!(checkpoint.scheduler().prediction_type, "epsilon");
    assert!(!checkpoint.states_prediction());
    // Converting does not make a statement of it.
    let again = dir.path().join("again.safetensors");
    to(&bare, &again);
    let (checkpoint, _) = opened(&again);
    assert!(!checkpoint.states_prediction());
    assert_eq!(
        checkpoint.part(Role::TEXT_ENCODER).unwrap().scheme,
        Scheme::OpenClip
    );
}

/// A network that answers the latent it is given predicts noise; one that takes far more from it, velocity.
#[test]
fn what_no_file_says_the_network_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let paths = write(dir.path(), TinyFamily::Sd2);
    let mut file = contents(&paths.safetensors);
    file.remove("v_pred").unwrap();
    for (bias, prediction) in [(0.5, Prediction::Epsilon), (-9.0, Prediction::V)] {
        let path = dir.path().join(format!("{prediction:?}.safetensors"));
        let (_, bytes) = file.get_mut("model.diffusion_model.out.2.bias").unwrap();
        let value = half::f16::from_f32(bias).to_le_bytes();
        *bytes = value.repeat(bytes.len() / 2);
        rewritten(&file, &path);
        let (checkpoint, _) = opened(&path);
        assert_eq!(predicted(&checkpoint).unwrap(), prediction);
    }
}

#[test]
fn a_tiny_autoencoder_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let [folder, whole, decoder] = common::taesd(dir.path());
    for path in [&folder, &whole, &decoder] {
        let (checkpoint, recognised) = opened(path);
        assert!(matches!(recognised, Recognised::Part));
        assert_eq!(
            checkpoint.part(Role::AUTOENCODER).unwrap().config,
            Network::AutoencoderTiny(tiny_taesd())
        );
        let options = LoadOptions::new(Device::flex(), DType::F32);
        let (network, _) = checkpoint
            .load::<AutoencoderTinyConfig>(Role::AUTOENCODER, &options, &mut |_, _| {})
            .unwrap();
        assert_recipe(Role::AUTOENCODER, &network);
        let info = family::inspect(path, Files::Disk, &InfoOptions::default(), &mut |_, _| {});
        assert_eq!(info.unwrap().family.as_deref(), Some("autoencoder alone"));
        let again = dir.path().join("again");
        to(path, &again);
        assert!(tree(&again) == tree(&folder), "{}", path.display());
        let file = dir.path().join("again.safetensors");
        to(&again, &file);
        assert!(contents(&file) == contents(&whole), "{}", path.display());
        std::fs::remove_dir_all(again).unwrap();
        std::fs::remove_file(file).unwrap();
    }
}
