//! The CLIP encoder of pictures in files: transformers', and the half of OpenCLIP's and OpenAI's models that looks at pictures.

use burn::tensor::Device;
use latent_models::clip::Activation;
use latent_models::{ClipVision, ClipVisionConfig};
use serde_json::{Value, json};

use super::clip_text::names::{RESBLOCKS, stacked_layers};
use super::keys::Keys;
use super::{DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most};
use crate::names::Table;

const MODULE: &str = "vision_model";
const PROJECTION: &str = "visual_projection.weight";
/// transformers' names outside the layers, and OpenCLIP's.
const TOP: [(&str, &str); 5] = [
    ("embeddings.class_embedding", "class_embedding"),
    ("embeddings.patch_embedding", "conv1"),
    (
        "embeddings.position_embedding.weight",
        "positional_embedding",
    ),
    ("pre_layrnorm", "ln_pre"),
    ("post_layernorm", "ln_post"),
];
/// From this width on, published encoders have [`HEADS`] heads.
const LARGE: usize = 1024;
const HEADS: usize = 16;
/// The width of a head in smaller ones.
const HEAD: usize = 64;
/// The number of heads taken where the width is no multiple of [`HEAD`]: test models only.
const SMALL_HEADS: usize = 4;
/// Width and projection of OpenAI's ViT-L/14, which alone among the large ones has the quick GELU.
const OPEN_AI: [usize; 2] = [1024, 768];

const AT: Role = Role::IMAGE_ENCODER;

impl Kind for ClipVisionConfig {
    type Net = ClipVision;
    const OWN: &str = "ImageEncoder";
    const CLASSES: &[&str] = &["CLIPVisionModelWithProjection"];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[
        // Stable Diffusion 2.x unCLIP.
        AT.spot(Scheme::OpenClip, "embedder.model.visual.", "conv1.weight"),
        AT.spot(Scheme::OpenClip, "visual.", "conv1.weight"),
        AT.spot(
            Scheme::Diffusers,
            "",
            "vision_model.embeddings.class_embedding",
        ),
        AT.spot(
            Scheme::Diffusers,
            "image_encoder.",
            "vision_model.embeddings.class_embedding",
        ),
    ];
    const TRANSFORMERS: bool = true;

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::ImageEncoder(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> ClipVision {
        self.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        let mut table = Table::default();
        if scheme != Scheme::OpenClip {
            table.pair("", "");
            return table;
        }
        table.transposed(PROJECTION, "proj");
        for (ours, theirs) in TOP {
            table.pair(format!("{MODULE}.{ours}"), theirs);
        }
        let ours = format!("{MODULE}.encoder.layers");
        stacked_layers(&mut table, &ours, RESBLOCKS, self.layers);
        table
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        let open_clip = scheme == Scheme::OpenClip;
        let [patches, positions, fc1, projection] = match open_clip {
            true => [
                "conv1.weight",
                "positional_embedding",
                "transformer.resblocks.0.mlp.c_fc.weight",
                "proj",
            ],
            false => [
                "vision_model.embeddings.patch_embedding.weight",
                "vision_model.embeddings.position_embedding.weight",
                "vision_model.encoder.layers.0.mlp.fc1.weight",
                PROJECTION,
            ],
        };
        let layers = shapes.count(|i| match open_clip {
            true => format!("transformer.resblocks.{i}.ln_1.weight"),
            false => format!("{MODULE}.encoder.layers.{i}.layer_norm1.weight"),
        });
        let patch = shapes.need(patches, 4)?;
        let (width, patch) = (patch[0], patch[3]);
        // One token stands for the whole picture.
        let tokens = shapes.need(positions, 2)?[0].saturating_sub(1);
        let projection = shapes.need(projection, 2)?[usize::from(open_clip)];
        let config = Self {
            image: tokens.isqrt().saturating_mul(patch),
            patch,
            width,
            layers,
            heads: match width {
                LARGE.. => HEADS,
                _ if width.is_multiple_of(HEAD) => width / HEAD,
                _ => SMALL_HEADS,
            },
            intermediate: shapes.need(fc1, 2)?[0],
            activation: match [width, projection] {
                OPEN_AI => Activation::QuickGelu,
                _ => Activation::Gelu,
            },
            projection,
        };
        config.validate()?;
        Ok(config)
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        let only = [
            ("layer_norm_eps", json!(1e-5)),
            ("num_channels", json!(3)),
            ("model_type", json!("clip_vision_model")),
        ];
        let keys = Keys::check("config.json", value, &READ, &FREE, &only)?;
        Ok(Self {
            image: keys.size("image_size", 224)?,
            patch: keys.size("patch_size", 32)?,
            width: keys.size("hidden_size", 768)?,
            layers: keys.size("num_hidden_layers", 12)?,
            heads: keys.size("num_attention_heads", 12)?,
            intermediate: keys.size("intermediate_size", 3072)?,
            activation: match keys.text("hidden_act", "quick_gelu")? {
                "quick_gelu" => Activation::QuickGelu,
                "gelu" => Activation::Gelu,
                _ => return Err(keys.bad("hidden_act", "quick_gelu or gelu")),
            },
            projection: keys.size("projection_dim", 512)?,
        })
    }

    fn to_json(&self, _side: usize) -> Result<Value, String> {
        Ok(json!({
            "architectures": ["CLIPVisionModelWithProjection"], "attention_dropout": 0.0, "dtype": "float32",
            "hidden_act": match self.activation { Activation::QuickGelu => "quick_gelu", Activation::Gelu => "gelu" },
            "hidden_size": self.width, "image_size": self.image, "initializer_factor": 1.0,
            "initializer_range": 0.02, "intermediate_size": self.intermediate, "layer_norm_eps": 1e-5,
            "model_type": "clip_vision_model", "num_attention_heads": self.heads, "num_channels": 3,
            "num_hidden_layers": self.layers, "patch_size": self.patch, "projection_dim": self.projection,
            "transformers_version": "5.23.0",
        }))
    }

    fn check(&self) -> Result<(), DetectError> {
        at_most("image", self.image, WIDEST)?;
        at_most("width", self.width, WIDEST)?;
        at_most("intermediate", self.intermediate, WIDEST)?;
        at_most("projection", self.projection, WIDEST)?;
        at_most("layers", self.layers, LONGEST)?;
        self.validate()?;
        // Its positions are listed one by one.
        at_most("patches", (self.image / self.patch).pow(2), WIDEST)
    }

    fn file_scheme(&self) -> Scheme {
        Scheme::OpenClip
    }
}

const READ: [&str; 8] = [
    "image_size",
    "patch_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
    "projection_dim",
];
/// Training settings, bookkeeping.
const FREE: [&str; 10] = [
    "architectures",
    "attention_dropout",
    "dropout",
    "dtype",
    "gradient_checkpointing",
    "initializer_factor",
    "initializer_range",
    "torch_dtype",
    "transformers_version",
    "return_dict",
];
