//! Networks' settings as diffusers and transformers write them.
//!
//! Every key is either read, known not to change what the network computes, or required to have the one value that is
//! built here. A key outside these lists is an error unless it is null or false, so that a new setting is never passed over.

use latent_models::UNetConfig;
use latent_models::unet::{Attention, Heads, Labels, Level, Projection, Resample, TimeShift};
use serde_json::{Value, json};

use super::DetectError;
use super::scheduler::short;

/// A `config.json` being read.
pub(super) struct Keys<'a> {
    pub(super) what: &'static str,
    pub(super) value: &'a Value,
}

/// A key with the only value accepted.
type Only = (&'static str, Value);

impl<'a> Keys<'a> {
    /// Checks every key of `value` against the three lists.
    pub(super) fn check(
        what: &'static str,
        value: &'a Value,
        read: &[&str],
        free: &[&str],
        only: &[Only],
    ) -> Result<Self, DetectError> {
        let keys = Self { what, value };
        for (key, found) in value.as_object().into_iter().flatten() {
            let listed = |list: &[&str]| list.contains(&key.as_str());
            if key.starts_with('_') || listed(free) {
                continue;
            }
            let expected = only.iter().find(|(name, _)| name == key);
            if found.is_null() {
                // For most settings null is not "the default" but a network without that part.
                if expected.is_some() || (listed(read) && !NULLABLE.contains(&key.as_str())) {
                    return Err(keys.bad(key, "a value"));
                }
                continue;
            }
            if listed(read) {
                continue;
            }
            match expected {
                Some((_, expected)) if same(found, expected) => {}
                Some((_, expected)) => return Err(keys.bad(key, &expected.to_string())),
                None if found == &Value::Bool(false) => {}
                None => return Err(keys.bad(key, "absent: this setting is not known here")),
            }
        }
        Ok(keys)
    }

    pub(super) fn bad(&self, key: &str, expected: &str) -> DetectError {
        let value = self.value.get(key).map_or("absent".into(), short);
        DetectError::Key {
            what: self.what,
            key: key.to_owned(),
            value,
            expected: expected.to_owned(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn size(&self, key: &str, default: usize) -> Result<usize, DetectError> {
        self.optional_size(key).map(|n| n.unwrap_or(default))
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, DetectError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().filter(|&n| n <= u64::from(u32::MAX));
        match number {
            Some(n) => Ok(Some(n as usize)),
            None => Err(self.bad(key, "a whole number")),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, DetectError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.bad(key, "a number")),
            },
        }
    }

    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, DetectError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.bad(key, "true or false")),
        }
    }

    pub(super) fn text(&self, key: &str, default: &'a str) -> Result<&'a str, DetectError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_str().ok_or_else(|| self.bad(key, "text")),
        }
    }

    /// A list of whole numbers, or one number for all `count` entries.
    pub(super) fn sizes(
        &self,
        key: &str,
        count: usize,
        default: usize,
    ) -> Result<Vec<usize>, DetectError> {
        let Some(Value::Array(list)) = self.get(key) else {
            return Ok(vec![self.size(key, default)?; count]);
        };
        let expected = format!("a whole number, or a list of {count}");
        let numbers = list.iter().map(|v| v.as_u64().map(|n| n as usize));
        match numbers.collect::<Option<Vec<usize>>>() {
            Some(numbers) if numbers.len() == count => Ok(numbers),
            _ => Err(self.bad(key, &expected)),
        }
    }

    pub(super) fn texts(
        &self,
        key: &str,
        default: &[&'a str],
    ) -> Result<Vec<&'a str>, DetectError> {
        let Some(value) = self.get(key) else {
            return Ok(default.to_vec());
        };
        let texts = value.as_array().map(|list| list.iter().map(Value::as_str));
        let texts = texts.and_then(|list| list.collect::<Option<Vec<_>>>());
        texts.ok_or_else(|| self.bad(key, "a list of texts"))
    }
}

/// Settings that are null in an ordinary network.
const NULLABLE: [&str; 10] = [
    "num_attention_heads",
    "attention_head_dim",
    "class_embed_type",
    "num_class_embeds",
    "addition_embed_type",
    "projection_class_embeddings_input_dim",
    "mid_block_only_cross_attention",
    "vq_embed_dim",
    "scaling_factor",
    "shift_factor",
];

/// Equal, with 1 and 1.0 the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

const UNET_READ: [&str; 23] = [
    "in_channels",
    "out_channels",
    "down_block_types",
    "up_block_types",
    "mid_block_type",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "attention_head_dim",
    "num_attention_heads",
    "use_linear_projection",
    "class_embed_type",
    "num_class_embeds",
    "addition_embed_type",
    "projection_class_embeddings_input_dim",
    "norm_num_groups",
    "resnet_time_scale_shift",
    "downsample_type",
    "upsample_type",
    "add_attention",
    "only_cross_attention",
    "mid_block_only_cross_attention",
];
/// Precision, training, and sizes that only describe.
const UNET_FREE: [&str; 6] = [
    "sample_size",
    "upcast_attention",
    "dropout",
    "num_train_timesteps",
    "addition_time_embed_dim",
    "addition_embed_type_num_heads",
];

fn unet_only() -> Vec<Only> {
    vec![
        ("center_input_sample", json!(false)),
        ("flip_sin_to_cos", json!(true)),
        ("freq_shift", json!(0)),
        ("downsample_padding", json!(1)),
        ("mid_block_scale_factor", json!(1)),
        ("act_fn", json!("silu")),
        ("norm_eps", json!(1e-5)),
        ("resnet_out_scale_factor", json!(1.0)),
        ("time_embedding_type", json!("positional")),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("attention_type", json!("default")),
    ]
}

/// The U-Net of a `config.json` of class `UNet2DConditionModel` or `UNet2DModel`.
///
/// In a `UNet2DConditionModel`, `attention_head_dim` is the **number** of heads, not their width: an early mistake
/// that diffusers keeps because published files depend on it. In a `UNet2DModel` it is the width.
///
/// # Errors
/// The first key whose value is not built here.
pub fn unet_from_json(value: &Value) -> Result<UNetConfig, DetectError> {
    let keys = Keys::check(
        "unet/config.json",
        value,
        &UNET_READ,
        &UNET_FREE,
        &unet_only(),
    )?;
    let conditional = keys.text("_class_name", "UNet2DConditionModel")? != "UNet2DModel";
    for key in ["only_cross_attention", "mid_block_only_cross_attention"] {
        if keys
            .get(key)
            .is_some_and(|value| value != &Value::Bool(false))
        {
            return Err(keys.bad(key, "false"));
        }
    }
    let (plain, attentive, middle): (&str, &str, &str) = if conditional {
        (
            "DownBlock2D",
            "CrossAttnDownBlock2D",
            "UNetMidBlock2DCrossAttn",
        )
    } else {
        ("DownBlock2D", "AttnDownBlock2D", "UNetMidBlock2D")
    };
    let default = if conditional {
        [attentive, attentive, attentive, plain]
    } else {
        [plain, attentive, attentive, attentive]
    };
    let down = keys.texts("down_block_types", &default)?;
    let attentions = down.iter().map(|&name| match name {
        name if name == plain => Ok(false),
        name if name == attentive => Ok(true),
        _ => Err(keys.bad("down_block_types", &format!("{plain} or {attentive}"))),
    });
    let attentions: Vec<bool> = attentions.collect::<Result<_, _>>()?;
    let mirrored: Vec<String> = down
        .iter()
        .rev()
        .map(|name| name.replace("Down", "Up"))
        .collect();
    let up = keys.texts("up_block_types", &[])?;
    if !up.is_empty() && up != mirrored {
        return Err(keys.bad(
            "up_block_types",
            &format!("{mirrored:?}, the way down mirrored"),
        ));
    }
    if keys.text("mid_block_type", middle)? != middle {
        return Err(keys.bad("mid_block_type", middle));
    }
    let count = down.len();
    let widths = if conditional {
        [320, 640, 1280, 1280]
    } else {
        [224, 448, 672, 896]
    };
    let channels = match keys.get("block_out_channels") {
        Some(_) => keys.sizes("block_out_channels", count, 0)?,
        None if count == 4 => widths.to_vec(),
        None => return Err(keys.bad("block_out_channels", &format!("a list of {count}"))),
    };
    let resblocks = keys.sizes("layers_per_block", count, 2)?;
    let depth = keys.sizes("transformer_layers_per_block", count, 1)?;
    let heads = heads(&keys, &channels, conditional)?;
    let at = |i: usize| Attention {
        heads: heads[i],
        depth: if conditional { depth[i] } else { 1 },
    };
    let levels: Vec<Level> = (0..count)
        .map(|i| Level {
            channels: channels[i],
            resblocks: resblocks[i],
            attention: attentions[i].then(|| at(i)),
        })
        .collect();
    let context = match conditional {
        true => Some(keys.size("cross_attention_dim", 1280)?),
        false => None,
    };
    let middle_attention = count > 0 && keys.flag("add_attention", true)?;
    let config = UNetConfig {
        in_channels: keys.size("in_channels", if conditional { 4 } else { 3 })?,
        out_channels: keys.size("out_channels", if conditional { 4 } else { 3 })?,
        model_channels: channels.first().copied().unwrap_or(0),
        middle: middle_attention.then(|| at(count - 1)),
        levels,
        context,
        projection: match keys.flag("use_linear_projection", false)? {
            true => Projection::Linear,
            false => Projection::Conv,
        },
        time_shift: match keys.text("resnet_time_scale_shift", "default")? {
            "default" => TimeShift::Additive,
            "scale_shift" => TimeShift::ScaleShift,
            _ => return Err(keys.bad("resnet_time_scale_shift", "default or scale_shift")),
        },
        resample: resample(&keys)?,
        labels: labels(&keys)?,
        norm_groups: keys.size("norm_num_groups", 32)?,
        middle_resblocks: 2,
        depths: None,
        context_only_levels: Vec::new(),
        guidance: None,
    };
    config.validate()?;
    Ok(config)
}

fn heads(
    keys: &Keys<'_>,
    channels: &[usize],
    conditional: bool,
) -> Result<Vec<Heads>, DetectError> {
    let count = channels.len();
    if !conditional {
        // Without a width the whole level is one head.
        let width = keys.optional_size("attention_head_dim");
        let width = match keys.value.get("attention_head_dim") {
            Some(Value::Null) => None,
            Some(_) => width?,
            None => Some(8),
        };
        return Ok(vec![width.map_or(Heads::Count(1), Heads::Width); count]);
    }
    let key = match keys.get("num_attention_heads") {
        Some(_) => "num_attention_heads",
        None => "attention_head_dim",
    };
    let numbers = keys.sizes(key, count, 8)?;
    Ok(numbers.into_iter().map(Heads::Count).collect())
}

fn resample(keys: &Keys<'_>) -> Result<Resample, DetectError> {
    let down = keys.text("downsample_type", "conv")?;
    if keys.text("upsample_type", "conv")? != down {
        return Err(keys.bad("upsample_type", "the same as downsample_type"));
    }
    match down {
        "conv" => Ok(Resample::Conv),
        "resnet" => Ok(Resample::Resnet),
        _ => Err(keys.bad("downsample_type", "conv or resnet")),
    }
}

fn labels(keys: &Keys<'_>) -> Result<Labels, DetectError> {
    let rows = keys.optional_size("num_class_embeds")?;
    let width = keys.optional_size("projection_class_embeddings_input_dim")?;
    match keys.text("addition_embed_type", "")? {
        "" => {}
        "text_time" => {
            return match (width, rows) {
                (Some(width), None) => Ok(Labels::Vector(width)),
                (None, _) => {
                    Err(keys.bad("projection_class_embeddings_input_dim", "a whole number"))
                }
                (_, Some(_)) => {
                    Err(keys.bad("num_class_embeds", "null beside addition_embed_type"))
                }
            };
        }
        _ => return Err(keys.bad("addition_embed_type", "null or text_time")),
    }
    match (keys.get("class_embed_type"), rows) {
        (None, Some(rows)) => Ok(Labels::Table(rows)),
        (None, None) => Ok(Labels::None),
        (Some(_), _) => Err(keys.bad("class_embed_type", "null")),
    }
}
