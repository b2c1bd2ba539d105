//! A text encoder's configuration, from its tensors or from transformers' `config.json`.

use latent_models::ClipTextConfig;
use latent_models::clip::Activation;
use serde_json::{Value, json};

use super::config_json::Keys;
use super::{DetectError, Shapes};
use crate::names::{ClipLayout, Scheme};

/// The width of a head in every published CLIP text encoder.
const HEAD: usize = 64;
/// The number of heads taken where the width is no multiple of [`HEAD`]: test models only.
const SMALL_HEADS: usize = 4;
/// Width and used layers of OpenCLIP's encoders: of ViT-H 23 of 24, of ViT-bigG 31 of 32.
const OPEN_CLIP: [(usize, usize); 2] = [(1024, 23), (1280, 31)];
/// From this width on, published encoders are OpenCLIP's, with the exact GELU, whoever renamed their tensors.
pub(crate) const OPEN_CLIP_WIDTH: usize = 1024;

/// The configuration of the text encoder whose tensors `shapes` lists (below `text_model`).
///
/// Of OpenCLIP's two published encoders the **last layer is left out**: the models that carry one draw from the layer
/// before it, and their published folders leave it out likewise.
///
/// # Errors
/// The first tensor that is missing or of a shape that no text encoder has.
pub fn clip_config(shapes: &Shapes<'_>, scheme: Scheme) -> Result<ClipTextConfig, DetectError> {
    let open_clip = scheme == Scheme::OpenClip;
    let [tokens, positions, fc1] = if open_clip {
        [
            "token_embedding.weight",
            "positional_embedding",
            "transformer.resblocks.0.mlp.c_fc.weight",
        ]
    } else {
        [
            "embeddings.token_embedding.weight",
            "embeddings.position_embedding.weight",
            "encoder.layers.0.mlp.fc1.weight",
        ]
    };
    let embedding = shapes.need(tokens, 2)?;
    let (vocabulary, width) = (embedding[0], embedding[1]);
    let layers = if open_clip {
        let there = shapes.count(|i| format!("transformer.resblocks.{i}.ln_1.weight"));
        let used = OPEN_CLIP.iter().find(|(known, _)| *known == width);
        used.map_or(there, |&(_, layers)| there.min(layers))
    } else {
        shapes.count(|i| format!("encoder.layers.{i}.layer_norm1.weight"))
    };
    let config = ClipTextConfig {
        vocabulary,
        width,
        layers,
        heads: match width % HEAD {
            0 => width / HEAD,
            _ => SMALL_HEADS,
        },
        intermediate: shapes.need(fc1, 2)?[0],
        activation: match open_clip || width >= OPEN_CLIP_WIDTH {
            true => Activation::Gelu,
            false => Activation::QuickGelu,
        },
        positions: shapes.need(positions, 2)?[0],
        projection: None,
    };
    config.validate()?;
    Ok(config)
}

const READ: [&str; 8] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "model_type",
];
/// Token numbers that the tokenizer fixes, training settings, bookkeeping.
const FREE: [&str; 15] = [
    "architectures",
    "attention_dropout",
    "bos_token_id",
    "dropout",
    "dtype",
    "eos_token_id",
    "gradient_checkpointing",
    "initializer_factor",
    "initializer_range",
    "pad_token_id",
    "projection_dim",
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "return_dict",
];

/// The text encoder of a transformers `config.json`.
///
/// # Errors
/// The first key whose value is not built here.
pub fn clip_from_json(value: &Value) -> Result<ClipTextConfig, DetectError> {
    let only = [("layer_norm_eps", json!(1e-5))];
    let keys = Keys::check("text_encoder/config.json", value, &READ, &FREE, &only)?;
    let kind = keys.text("model_type", "clip_text_model")?;
    if kind != "clip_text_model" {
        return Err(keys.bad("model_type", "clip_text_model"));
    }
    let config = ClipTextConfig {
        vocabulary: keys.size("vocab_size", 49408)?,
        width: keys.size("hidden_size", 512)?,
        layers: keys.size("num_hidden_layers", 12)?,
        heads: keys.size("num_attention_heads", 8)?,
        intermediate: keys.size("intermediate_size", 2048)?,
        activation: match keys.text("hidden_act", "quick_gelu")? {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            _ => return Err(keys.bad("hidden_act", "quick_gelu or gelu")),
        },
        positions: keys.size("max_position_embeddings", 77)?,
        projection: None,
    };
    config.validate()?;
    Ok(config)
}

/// What a configuration says about names.
pub fn clip_layout(config: &ClipTextConfig) -> ClipLayout {
    ClipLayout {
        layers: config.layers,
    }
}
