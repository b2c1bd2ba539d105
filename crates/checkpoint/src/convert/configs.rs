//! Settings files as diffusers 0.42 and transformers 5 write them.

use std::path::Path;

use latent_models::autoencoder::AutoencoderLevel;
use latent_models::clip::Activation;
use latent_models::unet::{Heads, Labels, Level, Projection, Resample, TimeShift};
use latent_models::{AutoencoderConfig, ClipTextConfig, UNetConfig};
use serde_json::{Map, Value, json};

use super::write::{Model, NamedPart};
use super::{default_scale, request};
use crate::detect::{OPEN_CLIP_WIDTH, OWN_CLASS, PartConfig, SchedulerConfig};
use crate::names::{Part, Scheme};
use crate::report::ModelError;

const DIFFUSERS: &str = "0.42.1";

/// The scheme of a network's names in a single file.
pub(super) fn single_file_scheme(part: Part, config: &PartConfig) -> Scheme {
    match (part, config) {
        (Part::Unet | Part::Autoencoder, _) => Scheme::Ldm,
        (_, PartConfig::TextEncoder(text)) if text.width >= OPEN_CLIP_WIDTH => Scheme::OpenClip,
        _ => Scheme::Diffusers,
    }
}

/// The component's subfolder; a codebook model is called `vqvae` by diffusers' unconditional pipeline.
pub(super) fn folder(part: &NamedPart) -> &'static str {
    match &part.config {
        PartConfig::Autoencoder { network, .. } if network.codebook.is_some() => "vqvae",
        _ => part.part.folder(),
    }
}

/// A component's `config.json`.
pub(super) fn part_json(path: &Path, part: &NamedPart, model: &Model) -> Result<Value, ModelError> {
    let value = match &part.config {
        PartConfig::Unet(config) => unet_json(path, config, model.sample_size(config))?,
        PartConfig::Autoencoder {
            network,
            scale,
            shift,
        } => {
            let scale = scale.unwrap_or(default_scale(network));
            autoencoder_json(path, network, scale, *shift, model)?
        }
        PartConfig::TextEncoder(config) => clip_json(config),
        PartConfig::Conditioner(_) => own_json(part),
    };
    Ok(sorted(value))
}

/// The `config.json` of a network that diffusers has no class for.
pub(super) fn own_json(part: &NamedPart) -> Value {
    let (class, network) = match &part.config {
        PartConfig::Unet(config) => ("UNet", json!(config)),
        PartConfig::Autoencoder { network, .. } => ("Autoencoder", json!(network)),
        PartConfig::TextEncoder(config) => ("TextEncoder", json!(config)),
        PartConfig::Conditioner(config) => ("Conditioner", json!(config)),
    };
    let mut value = json!({"_class_name": format!("{OWN_CLASS}{class}"), "network": network});
    if let PartConfig::Autoencoder { scale, shift, .. } = &part.config {
        extend(
            &mut value,
            json!({"scaling_factor": scale, "shift_factor": shift}),
        );
    }
    value
}

/// The `model_index.json` of networks that diffusers has no pipeline for, from their folders and classes.
pub(super) fn own_index(model: &Model, parts: &[(String, Value)]) -> Value {
    let mut index = Map::new();
    index.insert("_class_name".into(), json!("LatentPipeline"));
    index.insert("_diffusers_version".into(), json!(DIFFUSERS));
    let scheduler = scheduler_class(&model.scheduler);
    index.insert("scheduler".into(), json!(["diffusers", scheduler]));
    for (folder, config) in parts {
        let class = config.get("_class_name").and_then(Value::as_str);
        let class = class.unwrap_or("CLIPTextModel");
        let library = match class {
            "CLIPTextModel" => "transformers",
            own if own.starts_with(OWN_CLASS) => "latent",
            _ => "diffusers",
        };
        index.insert(folder.clone(), json!([library, class]));
    }
    sorted(Value::Object(index))
}

impl Model {
    fn sample_size(&self, _: &UNetConfig) -> usize {
        let v = self.scheduler.prediction_type == "v_prediction";
        self.sample_size.unwrap_or(if v { 96 } else { 64 })
    }
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut pairs: Vec<_> = object.into_iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
        value => value,
    }
}

/// One number if all are equal, else the list: diffusers takes either.
fn one_or_list(numbers: &[usize]) -> Value {
    match numbers.split_first() {
        Some((first, rest)) if rest.iter().all(|n| n == first) => json!(first),
        _ => json!(numbers),
    }
}

fn extend(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

fn unet_json(path: &Path, config: &UNetConfig, sample_size: usize) -> Result<Value, ModelError> {
    let conditional = config.context.is_some();
    let names = |plain: &str, attentive: &str| -> Vec<String> {
        let name = |level: &Level| {
            if level.attention.is_some() {
                attentive
            } else {
                plain
            }
        };
        config
            .levels
            .iter()
            .map(|level| name(level).to_owned())
            .collect()
    };
    let attentive = if conditional { "CrossAttn" } else { "Attn" };
    let down = names("DownBlock2D", &format!("{attentive}DownBlock2D"));
    let mut up = names("UpBlock2D", &format!("{attentive}UpBlock2D"));
    up.reverse();
    let channels: Vec<usize> = config.levels.iter().map(|level| level.channels).collect();
    let resblocks: Vec<usize> = config.levels.iter().map(|level| level.resblocks).collect();
    if channels.first() != Some(&config.model_channels) {
        return Err(request(
            path,
            "diffusers cannot say that the first level is wider than the entrance",
        ));
    }
    let mut value = json!({
        "_diffusers_version": DIFFUSERS,
        "act_fn": "silu", "block_out_channels": channels, "center_input_sample": false,
        "down_block_types": down, "downsample_padding": 1, "dropout": 0.0, "flip_sin_to_cos": true, "freq_shift": 0,
        "in_channels": config.in_channels, "layers_per_block": one_or_list(&resblocks), "mid_block_scale_factor": 1,
        "norm_eps": 1e-5, "norm_num_groups": config.norm_groups, "out_channels": config.out_channels,
        "resnet_time_scale_shift": match config.time_shift { TimeShift::Additive => "default", TimeShift::ScaleShift => "scale_shift" },
        "sample_size": sample_size, "time_embedding_type": "positional", "up_block_types": up,
        "class_embed_type": null,
        "num_class_embeds": match config.labels { Labels::Table(rows) => Some(rows), _ => None },
    });
    let more = match conditional {
        true => conditional_json(path, config)?,
        false => unconditional_json(path, config)?,
    };
    extend(&mut value, more);
    Ok(value)
}

fn conditional_json(path: &Path, config: &UNetConfig) -> Result<Value, ModelError> {
    if config.resample == Resample::Resnet {
        return Err(request(
            path,
            "diffusers has no context U-Net that resamples by residual blocks",
        ));
    }
    let Some(middle) = config.middle else {
        return Err(request(
            path,
            "diffusers has no context U-Net without attention in the middle",
        ));
    };
    // A level without attention has an entry all the same; the middle uses the last level's.
    let attention = |level: &Level| level.attention.unwrap_or(middle);
    let heads = config
        .levels
        .iter()
        .map(|level| attention(level).heads.count(level.channels));
    let heads: Vec<usize> = heads.collect();
    let depth: Vec<usize> = config
        .levels
        .iter()
        .map(|level| attention(level).depth)
        .collect();
    let last = config.levels.len().saturating_sub(1);
    let channels = config.levels[last].channels;
    if (heads[last], depth[last]) != (middle.heads.count(channels), middle.depth) {
        return Err(request(
            path,
            "diffusers cannot say that the middle's attention differs from the last level's",
        ));
    }
    let vector = match config.labels {
        Labels::Vector(width) => Some(width),
        _ => None,
    };
    Ok(json!({
        "_class_name": "UNet2DConditionModel",
        "addition_embed_type": vector.map(|_| "text_time"), "addition_embed_type_num_heads": 64,
        "addition_time_embed_dim": vector.map(|_| 256), "attention_head_dim": one_or_list(&heads),
        "attention_type": "default", "class_embeddings_concat": false, "conv_in_kernel": 3, "conv_out_kernel": 3,
        "cross_attention_dim": config.context, "cross_attention_norm": null, "dual_cross_attention": false,
        "encoder_hid_dim": null, "encoder_hid_dim_type": null, "mid_block_only_cross_attention": null,
        "mid_block_type": "UNetMidBlock2DCrossAttn", "num_attention_heads": null, "only_cross_attention": false,
        "projection_class_embeddings_input_dim": vector, "resnet_out_scale_factor": 1.0,
        "resnet_skip_time_act": false, "reverse_transformer_layers_per_block": null, "time_cond_proj_dim": null,
        "time_embedding_act_fn": null, "time_embedding_dim": null, "timestep_post_act": null,
        "transformer_layers_per_block": one_or_list(&depth), "upcast_attention": false,
        "use_linear_projection": config.projection == Projection::Linear,
    }))
}

fn unconditional_json(path: &Path, config: &UNetConfig) -> Result<Value, ModelError> {
    let attentions = config
        .levels
        .iter()
        .filter_map(|level| level.attention)
        .chain(config.middle);
    let mut widths = attentions.map(|attention| match attention.heads {
        Heads::Width(width) => Some(Some(width)),
        Heads::Count(1) => Some(None),
        Heads::Count(_) => None,
    });
    let width = widths.next().unwrap_or(Some(Some(8)));
    let Some(width) = width.filter(|first| widths.all(|other| other == Some(*first))) else {
        return Err(request(
            path,
            "diffusers cannot say a number of heads for a U-Net without context",
        ));
    };
    if matches!(config.labels, Labels::Vector(_)) {
        return Err(request(
            path,
            "diffusers has no U-Net that takes a vector and no context",
        ));
    }
    let sampling = match config.resample {
        Resample::Conv => "conv",
        Resample::Resnet => "resnet",
    };
    Ok(json!({
        "_class_name": "UNet2DModel", "add_attention": config.middle.is_some(), "attention_head_dim": width,
        "attn_norm_num_groups": null, "downsample_type": sampling, "upsample_type": sampling,
        "mid_block_type": "UNetMidBlock2D", "num_train_timesteps": null, "time_embedding_dim": null,
    }))
}

fn autoencoder_json(
    path: &Path,
    config: &AutoencoderConfig,
    scale: f64,
    shift: Option<f64>,
    model: &Model,
) -> Result<Value, ModelError> {
    let names = |plain: &str, attentive: &str| -> Vec<String> {
        let name = |level: &AutoencoderLevel| if level.attention { attentive } else { plain };
        config
            .levels
            .iter()
            .map(|level| name(level).to_owned())
            .collect()
    };
    let down = names("DownEncoderBlock2D", "AttnDownEncoderBlock2D");
    let mut up = names("UpDecoderBlock2D", "AttnUpDecoderBlock2D");
    up.reverse();
    let channels: Vec<usize> = config.levels.iter().map(|level| level.channels).collect();
    let latent = model.sample_size.unwrap_or(64);
    let mut value = json!({
        "_diffusers_version": DIFFUSERS,
        "act_fn": "silu", "block_out_channels": channels, "down_block_types": down,
        "in_channels": config.in_channels, "latent_channels": config.z_channels, "layers_per_block": config.resblocks,
        "mid_block_add_attention": config.middle_attention, "norm_num_groups": config.norm_groups,
        "out_channels": config.out_channels, "sample_size": latent * config.downsampling(),
        "scaling_factor": scale, "up_block_types": up,
    });
    let more = match (config.codebook, config.double_z) {
        (None, true) if config.latent_channels == config.z_channels => json!({
            "_class_name": "AutoencoderKL", "force_upcast": true, "latents_mean": null, "latents_std": null,
            "shift_factor": shift, "use_quant_conv": config.quant_conv, "use_post_quant_conv": config.post_quant_conv,
        }),
        (Some(entries), false) if config.quant_conv && config.post_quant_conv => json!({
            "_class_name": "VQModel", "force_upcast": false, "lookup_from_codebook": false, "norm_type": "group",
            "num_vq_embeddings": entries, "vq_embed_dim": config.latent_channels,
        }),
        _ => {
            return Err(request(
                path,
                "diffusers has no class for this kind of autoencoder",
            ));
        }
    };
    extend(&mut value, more);
    Ok(value)
}

fn clip_json(config: &ClipTextConfig) -> Value {
    json!({
        "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 49406, "dtype": "float32",
        "eos_token_id": 49407,
        "hidden_act": match config.activation { Activation::QuickGelu => "quick_gelu", Activation::Gelu => "gelu" },
        "hidden_size": config.width, "initializer_factor": 1.0, "initializer_range": 0.02,
        "intermediate_size": config.intermediate, "layer_norm_eps": 1e-5,
        "max_position_embeddings": config.positions, "model_type": "clip_text_model",
        "num_attention_heads": config.heads, "num_hidden_layers": config.layers, "pad_token_id": 49407,
        "projection_dim": config.width, "transformers_version": "5.23.0", "vocab_size": config.vocabulary,
    })
}

/// The class to write: PNDM cannot rescale β, and would pass the setting over.
fn scheduler_class(scheduler: &SchedulerConfig) -> &str {
    match (
        scheduler.class_name.as_str(),
        scheduler.rescale_betas_zero_snr,
    ) {
        ("", _) | ("PNDMScheduler", true) => "DDIMScheduler",
        (class, _) => class,
    }
}

/// `scheduler_config.json`.
pub(super) fn scheduler_json(scheduler: &SchedulerConfig) -> Value {
    let mut value = scheduler.to_json();
    if let Some(object) = value.as_object_mut() {
        object.insert("_diffusers_version".into(), json!(DIFFUSERS));
        object.insert("_class_name".into(), json!(scheduler_class(scheduler)));
    }
    sorted(value)
}

/// `model_index.json`: the pipeline that draws with exactly these networks.
pub(super) fn model_index(path: &Path, model: &Model) -> Result<Value, ModelError> {
    let config = |wanted: Part| {
        let part = model.parts.iter().find(|part| part.part == wanted);
        part.map(|part| &part.config)
    };
    let parts = (
        config(Part::Unet),
        config(Part::Autoencoder),
        config(Part::TextEncoder),
    );
    let scheduler = scheduler_class(&model.scheduler);
    let mut index = Map::new();
    let conditioner = config(Part::Conditioner).is_some();
    let (pipeline, vae, rest) = match parts {
        _ if conditioner => {
            return Err(request(
                path,
                "diffusers has no pipeline with a conditioner",
            ));
        }
        (
            Some(PartConfig::Unet(unet)),
            Some(PartConfig::Autoencoder { network, .. }),
            Some(PartConfig::TextEncoder(_)),
        ) if unet.context.is_some() && network.codebook.is_none() => {
            let pipeline = match unet.in_channels == network.latent_channels * 2 + 1 {
                true => "StableDiffusionInpaintPipeline",
                false => "StableDiffusionPipeline",
            };
            let rest = json!({
                "feature_extractor": [null, null], "image_encoder": [null, null], "requires_safety_checker": false,
                "safety_checker": [null, null],
                "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
                "unet": ["diffusers", "UNet2DConditionModel"],
            });
            (pipeline, ("vae", "AutoencoderKL"), rest)
        }
        (Some(PartConfig::Unet(unet)), Some(PartConfig::Autoencoder { network, .. }), None)
            if unet.context.is_none() && network.codebook.is_some() =>
        {
            let rest = json!({"unet": ["diffusers", "UNet2DModel"]});
            ("LDMPipeline", ("vqvae", "VQModel"), rest)
        }
        _ => {
            let problem =
                "diffusers has no pipeline for just these networks; convert them one by one";
            return Err(request(path, problem));
        }
    };
    index.insert("_class_name".into(), json!(pipeline));
    index.insert("_diffusers_version".into(), json!(DIFFUSERS));
    index.insert("scheduler".into(), json!(["diffusers", scheduler]));
    index.insert(vae.0.into(), json!(["diffusers", vae.1]));
    if let Value::Object(rest) = rest {
        index.extend(rest);
    }
    Ok(sorted(Value::Object(index)))
}
