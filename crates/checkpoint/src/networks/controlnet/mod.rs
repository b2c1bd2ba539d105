//! A ControlNet in files: its U-Net's names on the way down, what reads the picture, and a 1×1 convolution for each tensor
//! that the U-Net keeps.

mod shapes;

use burn::tensor::Device;
use latent_models::controlnet::UnionConfig;
use latent_models::unet::Projection;
use latent_models::{ControlNet, ControlNetConfig, UNetConfig};
use serde_json::{Value, json};
pub(crate) use shapes::hint_config;

use super::keys::{Keys, Only};
use super::unet::json::unet_from_json;
use super::{DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most};
use crate::names::Table;

/// The first convolution over the picture, under diffusers' names.
pub(super) const HINT: &str = "controlnet_cond_embedding.conv_in.weight";
/// The same under the original names.
pub(super) const ORIGINAL_HINT: &str = "input_hint_block.0.weight";
const EMBEDDING: &str = "controlnet_cond_embedding";

const AT: Role = Role::CONTROLNET;

/// What a `config.json` says beside what it says of a U-Net.
const READ: [&str; 8] = [
    "conditioning_channels",
    "conditioning_embedding_out_channels",
    "global_pool_conditions",
    "num_control_type",
    "num_trans_layer",
    "num_trans_channel",
    "num_trans_head",
    "num_proj_channel",
];

fn only() -> Vec<Only> {
    vec![("controlnet_conditioning_channel_order", json!("rgb"))]
}

/// Keys of a U-Net that a ControlNet has too.
const SHARED: [&str; 26] = [
    "_diffusers_version",
    "act_fn",
    "addition_embed_type",
    "addition_embed_type_num_heads",
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "class_embed_type",
    "cross_attention_dim",
    "down_block_types",
    "downsample_padding",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "flip_sin_to_cos",
    "freq_shift",
    "in_channels",
    "layers_per_block",
    "mid_block_scale_factor",
    "mid_block_type",
    "norm_eps",
    "norm_num_groups",
    "num_class_embeds",
    "projection_class_embeddings_input_dim",
    "resnet_time_scale_shift",
    "transformer_layers_per_block",
    "use_linear_projection",
];

impl Kind for ControlNetConfig {
    type Net = ControlNet;
    const OWN: &str = "ControlNet";
    const CLASSES: &[&str] = &["ControlNetModel", "ControlNetUnionModel"];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[
        AT.spot(Scheme::Ldm, "control_model.", ORIGINAL_HINT),
        AT.spot(Scheme::Ldm, "", ORIGINAL_HINT),
        AT.spot(Scheme::Diffusers, "", HINT),
        AT.spot(Scheme::Diffusers, "controlnet.", HINT),
    ];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::ControlNet(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> ControlNet {
        self.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        let mut table = self.unet.table(scheme);
        if scheme != Scheme::Ldm {
            return table;
        }
        let blocks = 2 * self.hint_widths.len().saturating_sub(1);
        let mut pair = |ours: String, slot: usize| {
            table.pair(
                format!("{EMBEDDING}.{ours}"),
                format!("input_hint_block.{slot}"),
            );
        };
        pair("conv_in".into(), 0);
        for block in 0..blocks {
            pair(format!("blocks.{block}"), 2 * block + 2);
        }
        pair("conv_out".into(), 2 * blocks + 2);
        for kept in 0..self.kept() {
            table.pair(
                format!("controlnet_down_blocks.{kept}"),
                format!("zero_convs.{kept}.0"),
            );
        }
        table.pair("controlnet_mid_block", "middle_block_out.0");
        table
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        shapes::control_config(shapes, scheme)
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        let (mut own, mut unet) = (value.clone(), value.clone());
        if let (Some(own), Some(unet)) = (own.as_object_mut(), unet.as_object_mut()) {
            let of_own =
                |key: &str| READ.contains(&key) || only().iter().any(|(name, _)| *name == key);
            own.retain(|key, _| of_own(key));
            unet.retain(|key, _| !of_own(key));
            unet.insert("_class_name".into(), json!("UNet2DConditionModel"));
            // It has no way up.
            let channels = unet.get("in_channels").cloned().unwrap_or(json!(4));
            unet.insert("out_channels".into(), channels);
            if unet.get("num_attention_heads").is_some_and(Value::is_null) {
                unet.remove("num_attention_heads");
            }
        }
        let mut unet = unet_from_json(&unet)?;
        if unet.middle.is_none() && unet.levels.iter().all(|level| level.attention.is_none()) {
            (unet.context, unet.projection) = (None, Projection::Conv);
        }
        let keys = Keys::check("config.json", &own, &READ, &[], &only())?;
        let plain = Self::of(unet);
        let widths = "conditioning_embedding_out_channels";
        Ok(Self {
            hint_channels: keys.size("conditioning_channels", plain.hint_channels)?,
            hint_widths: match keys.get(widths) {
                Some(Value::Array(list)) => keys.sizes(widths, list.len(), 0)?,
                Some(_) => return Err(keys.bad(widths, "a list of numbers")),
                None => plain.hint_widths,
            },
            pooled: keys.flag("global_pool_conditions", false)?,
            union: union(&keys, value, plain.unet.model_channels)?,
            unet: plain.unet,
        })
    }

    fn to_json(&self, side: usize) -> Result<Value, String> {
        // A network without attention says a width of text states all the same.
        let context = self.unet.context.unwrap_or(CONTEXT);
        let unet = UNetConfig {
            context: Some(context),
            ..self.unet.clone()
        };
        let mut value = Kind::to_json(&unet, side)?;
        if let Some(value) = value.as_object_mut() {
            value.retain(|key, _| SHARED.contains(&key.as_str()));
            let class = match self.union {
                Some(_) => "ControlNetUnionModel",
                None => "ControlNetModel",
            };
            value.insert("_class_name".into(), json!(class));
            if let Some(union) = self.union {
                let width = self.unet.model_channels;
                value.insert("num_control_type".into(), json!(union.kinds));
                value.insert("num_trans_layer".into(), json!(union.layers));
                value.insert("num_trans_channel".into(), json!(width));
                value.insert("num_trans_head".into(), json!(8));
                value.insert("num_proj_channel".into(), json!(width));
                value.insert("addition_time_embed_dim".into(), json!(union.sinusoid));
            }
            value.insert("conditioning_channels".into(), json!(self.hint_channels));
            value.insert(
                "conditioning_embedding_out_channels".into(),
                json!(self.hint_widths),
            );
            value.insert("global_pool_conditions".into(), json!(self.pooled));
            value.insert("controlnet_conditioning_channel_order".into(), json!("rgb"));
        }
        Ok(value)
    }

    fn check(&self) -> Result<(), DetectError> {
        Kind::check(&self.unet)?;
        at_most("hint_channels", self.hint_channels, WIDEST)?;
        at_most("hint_widths", self.hint_widths.len(), LONGEST.min(16))?;
        if let Some(union) = self.union {
            at_most("union.kinds", union.kinds, LONGEST)?;
            at_most("union.layers", union.layers, LONGEST)?;
            at_most("union.sinusoid", union.sinusoid, WIDEST)?;
        }
        for width in &self.hint_widths {
            at_most("hint_widths", *width, WIDEST)?;
        }
        Ok(self.validate()?)
    }

    /// Tensors do not say whether what it says is a mean.
    fn is_found_as(&self, found: &Self) -> bool {
        let alike = |config: &Self| Self {
            pooled: false,
            unet: found.unet.clone(),
            ..config.clone()
        };
        alike(self) == alike(found) && self.unet.is_found_as(&found.unet)
    }

    /// Those for several kinds of pictures have no original names.
    fn file_scheme(&self) -> Scheme {
        match self.union {
            Some(_) => Scheme::Diffusers,
            None => Scheme::Ldm,
        }
    }
}

/// What a network for several kinds of pictures has more, of a configuration that says so.
fn union(keys: &Keys<'_>, whole: &Value, width: usize) -> Result<Option<UnionConfig>, DetectError> {
    let class = whole.get("_class_name").and_then(Value::as_str);
    if keys.get("num_control_type").is_none() && class != Some("ControlNetUnionModel") {
        return Ok(None);
    }
    for key in ["num_trans_channel", "num_proj_channel"] {
        if keys.size(key, width)? != width {
            return Err(keys.bad(key, &format!("{width}, as the first of block_out_channels")));
        }
    }
    let sinusoid = whole.get("addition_time_embed_dim").and_then(Value::as_u64);
    Ok(Some(UnionConfig {
        kinds: keys.size("num_control_type", 6)?,
        layers: keys.size("num_trans_layer", 1)?,
        sinusoid: sinusoid.map_or(256, |n| n as usize),
    }))
}

/// The width of text states that diffusers' class has by default.
const CONTEXT: usize = 1280;
