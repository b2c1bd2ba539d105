//! The CLIP text encoder in files: OpenAI's as transformers writes it, OpenCLIP's under its own names.

pub(in crate::networks) mod names;

use burn::tensor::Device;
use latent_models::clip::Activation;
use latent_models::{ClipText, ClipTextConfig};
use serde_json::{Value, json};

use super::keys::Keys;
use super::{DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most};
use crate::names::Table;
use names::{ClipLayout, TEXT_MODEL};

/// The width of a head in every published CLIP text encoder.
const HEAD: usize = 64;
/// The number of heads taken where the width is no multiple of [`HEAD`]: test models only.
const SMALL_HEADS: usize = 4;
/// From this width on, published encoders are OpenCLIP's, with the exact GELU, whoever renamed their tensors.
const OPEN_CLIP_WIDTH: usize = 1024;

/// The configuration of the text encoder whose tensors `shapes` lists (below `text_model`).
///
/// # Errors
/// The first tensor that is missing or of a shape that no text encoder has.
fn clip_config(shapes: &Shapes<'_>, scheme: Scheme) -> Result<ClipTextConfig, DetectError> {
    let open_clip = scheme == Scheme::OpenClip;
    let module = match shapes.has(&format!("{TEXT_MODEL}.{TOKENS}")) {
        true => format!("{TEXT_MODEL}."),
        false => String::new(),
    };
    let [tokens, positions, fc1] = if open_clip {
        [
            "token_embedding.weight",
            "positional_embedding",
            "transformer.resblocks.0.mlp.c_fc.weight",
        ]
    } else {
        [
            TOKENS,
            "embeddings.position_embedding.weight",
            "encoder.layers.0.mlp.fc1.weight",
        ]
    }
    .map(|name| match open_clip {
        true => name.to_owned(),
        false => format!("{module}{name}"),
    });
    let embedding = shapes.need(&tokens, 2)?;
    let (vocabulary, width) = (embedding[0], embedding[1]);
    let layers = shapes.count(|i| match open_clip {
        true => format!("transformer.resblocks.{i}.ln_1.weight"),
        false => format!("{module}encoder.layers.{i}.layer_norm1.weight"),
    });
    let projection = match open_clip {
        true => shapes.get("text_projection"),
        false => shapes.get("text_projection.weight"),
    };
    let projection = projection.filter(|shape| shape.len() == 2);
    let projection = projection.map(|shape| shape[usize::from(open_clip)]);
    let config = ClipTextConfig {
        vocabulary,
        width,
        layers,
        heads: match width % HEAD {
            0 => width / HEAD,
            _ => SMALL_HEADS,
        },
        intermediate: shapes.need(&fc1, 2)?[0],
        activation: match open_clip || width >= OPEN_CLIP_WIDTH {
            true => Activation::Gelu,
            false => Activation::QuickGelu,
        },
        positions: shapes.need(&positions, 2)?[0],
        projection,
    };
    config.validate()?;
    Ok(config)
}

const READ: [&str; 9] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "hidden_act",
    "model_type",
    "projection_dim",
];
/// Token numbers that the tokenizer fixes, training settings, bookkeeping.
const FREE: [&str; 14] = [
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
    "torch_dtype",
    "transformers_version",
    "use_cache",
    "return_dict",
];

/// The text encoder of a transformers `config.json`.
///
/// # Errors
/// The first key whose value is not built here.
fn clip_from_json(value: &Value) -> Result<ClipTextConfig, DetectError> {
    let only = [("layer_norm_eps", json!(1e-5))];
    let keys = Keys::check("config.json", value, &READ, &FREE, &only)?;
    let kind = keys.text("model_type", "clip_text_model")?;
    if kind != "clip_text_model" {
        return Err(keys.bad("model_type", "clip_text_model"));
    }
    let class = value
        .get("architectures")
        .and_then(|list| list.get(0)?.as_str());
    let projects = class == Some("CLIPTextModelWithProjection");
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
        projection: projects.then_some(keys.size("projection_dim", 512)?),
    };
    config.validate()?;
    Ok(config)
}

/// transformers' `config.json` of a text encoder.
fn clip_json(config: &ClipTextConfig) -> Value {
    let class = match config.projection {
        Some(_) => "CLIPTextModelWithProjection",
        None => "CLIPTextModel",
    };
    json!({
        "architectures": [class], "attention_dropout": 0.0, "bos_token_id": 49406, "dtype": "float32",
        "eos_token_id": 49407,
        "hidden_act": match config.activation { Activation::QuickGelu => "quick_gelu", Activation::Gelu => "gelu" },
        "hidden_size": config.width, "initializer_factor": 1.0, "initializer_range": 0.02,
        "intermediate_size": config.intermediate, "layer_norm_eps": 1e-5,
        "max_position_embeddings": config.positions, "model_type": "clip_text_model",
        "num_attention_heads": config.heads, "num_hidden_layers": config.layers, "pad_token_id": 49407,
        "projection_dim": config.projection.unwrap_or(config.width), "transformers_version": "5.23.0", "vocab_size": config.vocabulary,
    })
}

const TOKENS: &str = "embeddings.token_embedding.weight";
const MODEL_TOKENS: &str = "text_model.embeddings.token_embedding.weight";
const STACKED: &str = "transformer.resblocks.0.attn.in_proj_weight";
const LATER_LAYER: &str = "a layer after the one that the model reads";
const UNREAD_PROJECTION: &str = "of the pooled text, which the model does not read";

const fn spot(
    role: Role,
    scheme: Scheme,
    prefix: &'static str,
    anchor: &'static str,
    texts: Option<usize>,
) -> Spot {
    Spot {
        texts,
        ..role.spot(scheme, prefix, anchor)
    }
}

impl Kind for ClipTextConfig {
    type Net = ClipText;
    const OWN: &str = "TextEncoder";
    const CLASSES: &[&str] = &["CLIPTextModel", "CLIPTextModelWithProjection"];
    const ROLES: &[Role] = &[Role::TEXT_ENCODER, Role::TEXT_ENCODER_2];
    const SPOTS: &[Spot] = {
        use Scheme::{Diffusers, OpenClip};
        const FIRST: Role = Role::TEXT_ENCODER;
        const SECOND: Role = Role::TEXT_ENCODER_2;
        const OLD: &str = "cond_stage_model.transformer.";
        const NEW: &str = "conditioner.embedders.0.transformer.";
        &[
            spot(FIRST, Diffusers, OLD, MODEL_TOKENS, Some(1)),
            spot(FIRST, Diffusers, OLD, TOKENS, Some(1)),
            spot(FIRST, Diffusers, NEW, MODEL_TOKENS, Some(2)),
            spot(FIRST, Diffusers, "text_encoder.", MODEL_TOKENS, None),
            spot(FIRST, Diffusers, "", MODEL_TOKENS, None),
            spot(FIRST, Diffusers, "", TOKENS, None),
            spot(FIRST, OpenClip, "cond_stage_model.model.", STACKED, Some(1)),
            // SDXL's refiner has the second encoder alone.
            spot(
                SECOND,
                OpenClip,
                "conditioner.embedders.0.model.",
                STACKED,
                Some(1),
            ),
            spot(FIRST, OpenClip, "", STACKED, None),
            spot(
                SECOND,
                OpenClip,
                "conditioner.embedders.1.model.",
                STACKED,
                Some(2),
            ),
            spot(SECOND, Diffusers, "text_encoder_2.", MODEL_TOKENS, None),
        ]
    };
    const TRANSFORMERS: bool = true;

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::TextEncoder(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> ClipText {
        self.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        let layers = self.layers;
        ClipLayout { layers }.table(scheme)
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        clip_config(shapes, scheme)
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        clip_from_json(value)
    }

    fn to_json(&self, _side: usize) -> Result<Value, String> {
        Ok(clip_json(self))
    }

    fn check(&self) -> Result<(), DetectError> {
        at_most("vocabulary", self.vocabulary, WIDEST)?;
        at_most("width", self.width, WIDEST)?;
        at_most("intermediate", self.intermediate, WIDEST)?;
        at_most("positions", self.positions, WIDEST)?;
        at_most("layers", self.layers, LONGEST)?;
        Ok(self.validate()?)
    }

    fn file_scheme(&self) -> Scheme {
        match self.activation {
            Activation::Gelu => Scheme::OpenClip,
            Activation::QuickGelu => Scheme::Diffusers,
        }
    }

    fn ignored(&self, scheme: Scheme, name: &str) -> Option<&'static str> {
        let layers = match scheme {
            Scheme::OpenClip => "transformer.resblocks.",
            _ => "encoder.layers.",
        };
        let name = name.strip_prefix("text_model.").unwrap_or(name);
        let layer = name
            .strip_prefix(layers)
            .and_then(|rest| rest.split('.').next());
        let later = layer.and_then(|layer| layer.parse().ok()) >= Some(self.layers);
        let projection = self.projection.is_none() && name.starts_with("text_projection");
        match (later, projection) {
            (true, _) => Some(LATER_LAYER),
            (_, true) => Some(UNREAD_PROJECTION),
            _ => None,
        }
    }
}
