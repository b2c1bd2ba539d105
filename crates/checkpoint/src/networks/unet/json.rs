//! A U-Net's settings as diffusers writes them, read and written.

use latent_models::UNetConfig;
use latent_models::unet::{
    Attention, Depths, Heads, Labels, Level, Projection, Resample, TimeShift,
};
use serde_json::{Value, json};

use crate::networks::keys::{Keys, Nested, Only};
use crate::networks::{DIFFUSERS, DetectError, LONGEST, at_most, extend, one_or_list};

const UNET_READ: [&str; 25] = [
    "reverse_transformer_layers_per_block",
    "time_cond_proj_dim",
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
    let keys = Keys::check("config.json", value, &UNET_READ, &UNET_FREE, &unet_only())?;
    let conditional = keys.text("_class_name", "UNet2DConditionModel")? != "UNet2DModel";
    let key = "mid_block_only_cross_attention";
    if keys.flag(key, false)? {
        return Err(keys.bad(key, "false"));
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
    let pruned = "UNetMidBlock2D";
    let middle_resblocks = match value.get("mid_block_type") {
        Some(Value::Null) if conditional => 0,
        _ => match keys.text("mid_block_type", middle)? {
            found if found == middle => 2,
            found if found == pruned && conditional => 1,
            _ => {
                let expected = format!("{middle}, {pruned} or null");
                return Err(keys.bad("mid_block_type", &expected));
            }
        },
    };
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
    let depths = depths(&keys, &resblocks, &attentions)?;
    let heads = heads(&keys, &channels, conditional)?;
    let at = |i: usize| Attention {
        heads: heads[i],
        depth: match conditional {
            true => depths.down[i]
                .iter()
                .chain(&depths.up[i])
                .copied()
                .max()
                .unwrap_or(1),
            false => 1,
        },
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
    let middle_attention =
        count > 0 && middle_resblocks == 2 && keys.flag("add_attention", true)?;
    let middle_depth = keys.last_size("transformer_layers_per_block", 1)?;
    let context_only = keys.flags("only_cross_attention", count, false)?;
    let context_only = context_only.into_iter().zip(&attentions).enumerate();
    let context_only =
        context_only.filter_map(|(i, (only, attends))| (only && *attends).then_some(i));
    let config = UNetConfig {
        in_channels: keys.size("in_channels", if conditional { 4 } else { 3 })?,
        out_channels: keys.size("out_channels", if conditional { 4 } else { 3 })?,
        model_channels: channels.first().copied().unwrap_or(0),
        middle: middle_attention.then(|| Attention {
            depth: if conditional { middle_depth } else { 1 },
            ..at(count - 1)
        }),
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
        middle_resblocks,
        depths: if conditional { depths.ragged() } else { None },
        context_only_levels: context_only.collect(),
        guidance: keys.optional_size("time_cond_proj_dim")?,
    };
    config.validate()?;
    Ok(config)
}

/// Transformer blocks of every attention: a number for all, or for each level a number or a list; the way up, coarsest
/// level first, mirrors the way down where it has no list of its own.
fn depths(
    keys: &Keys<'_>,
    resblocks: &[usize],
    attentions: &[bool],
) -> Result<Depths, DetectError> {
    const DOWN: &str = "transformer_layers_per_block";
    const UP: &str = "reverse_transformer_layers_per_block";
    for resblocks in resblocks {
        at_most("resblocks", *resblocks, LONGEST)?;
    }
    let of = |key: &str, reversed: bool, more: usize| {
        let mut levels = keys.nested_sizes(key, resblocks.len(), 1)?;
        if reversed {
            levels.reverse();
        }
        let levels = levels.into_iter().zip(resblocks.iter().zip(attentions));
        levels
            .map(|(listed, (resblocks, attends))| match (attends, listed) {
                (false, _) => Ok(Vec::new()),
                (true, Nested::One(depth)) => Ok(vec![depth; resblocks + more]),
                (true, Nested::Each(list)) if list.len() == resblocks + more => Ok(list),
                (true, Nested::Each(_)) => {
                    let expected = format!(
                        "{} numbers in a level of {resblocks} blocks",
                        resblocks + more
                    );
                    Err(keys.bad(key, &expected))
                }
            })
            .collect::<Result<Vec<Vec<usize>>, DetectError>>()
    };
    Ok(Depths {
        down: of(DOWN, false, 0)?,
        up: match keys.get(UP) {
            Some(_) => of(UP, true, 1)?,
            None => of(DOWN, false, 1)?,
        },
    })
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
    const WIDTH: &str = "projection_class_embeddings_input_dim";
    let rows = keys.optional_size("num_class_embeds")?;
    let width = keys.optional_size(WIDTH)?;
    let addition = match keys.text("addition_embed_type", "")? {
        "" => false,
        "text_time" => true,
        _ => return Err(keys.bad("addition_embed_type", "null or text_time")),
    };
    let projection = match keys.text("class_embed_type", "")? {
        "" => false,
        "projection" => true,
        _ => return Err(keys.bad("class_embed_type", "null or projection")),
    };
    let known = || width.ok_or_else(|| keys.bad(WIDTH, "a whole number"));
    match (addition, projection, rows) {
        (false, false, None) => Ok(Labels::None),
        (false, false, Some(rows)) => Ok(Labels::Table(rows)),
        (true, false, None) => Ok(Labels::Vector(known()?)),
        (false, true, None) => Ok(Labels::Projection(known()?)),
        _ => Err(keys.bad(
            "num_class_embeds",
            "one of num_class_embeds, class_embed_type and addition_embed_type",
        )),
    }
}

/// The `config.json` of a U-Net; `side` is that of the latent square it draws by default.
///
/// # Errors
/// Why diffusers' classes cannot say it.
pub(super) fn unet_json(config: &UNetConfig, side: usize) -> Result<Value, String> {
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
        return Err("diffusers cannot say that the first level is wider than the entrance".into());
    }
    let mut value = json!({
        "_diffusers_version": DIFFUSERS,
        "act_fn": "silu", "block_out_channels": channels, "center_input_sample": false,
        "down_block_types": down, "downsample_padding": 1, "dropout": 0.0, "flip_sin_to_cos": true, "freq_shift": 0,
        "in_channels": config.in_channels, "layers_per_block": one_or_list(&resblocks), "mid_block_scale_factor": 1,
        "norm_eps": 1e-5, "norm_num_groups": config.norm_groups, "out_channels": config.out_channels,
        "resnet_time_scale_shift": match config.time_shift { TimeShift::Additive => "default", TimeShift::ScaleShift => "scale_shift" },
        "sample_size": side, "time_embedding_type": "positional", "up_block_types": up,
        "num_class_embeds": match config.labels { Labels::Table(rows) => Some(rows), _ => None },
    });
    let more = match conditional {
        true => conditional_json(config)?,
        false => unconditional_json(config)?,
    };
    extend(&mut value, more);
    Ok(value)
}

fn conditional_json(config: &UNetConfig) -> Result<Value, String> {
    if config.resample == Resample::Resnet {
        return Err("diffusers has no context U-Net that resamples by residual blocks".into());
    }
    let middle_type = match (config.middle, config.middle_resblocks) {
        (Some(_), _) => Some("UNetMidBlock2DCrossAttn"),
        (None, 1) => Some("UNetMidBlock2D"),
        (None, 0) => None,
        (None, _) => {
            return Err("diffusers has no context U-Net without attention in the middle".into());
        }
    };
    // A level without attention has an entry all the same; the middle uses the last level's.
    let any = config.levels.iter().find_map(|level| level.attention);
    let any = config.middle.or(any).unwrap_or(Attention {
        heads: Heads::Count(1),
        depth: 1,
    });
    let attention = |level: &Level| level.attention.unwrap_or(any);
    let heads = config
        .levels
        .iter()
        .map(|level| attention(level).heads.count(level.channels).max(1));
    let heads: Vec<usize> = heads.collect();
    let last = config.levels.len().saturating_sub(1);
    if let Some(middle) = config.middle {
        let level = config.levels[last];
        let own = (
            attention(&level).heads.count(level.channels).max(1),
            attention(&level).depth,
        );
        if own != (middle.heads.count(level.channels).max(1), middle.depth) {
            return Err(
                "diffusers cannot say that the middle's attention differs from the last level's"
                    .into(),
            );
        }
    }
    let (depth, reverse) = match &config.depths {
        None => {
            let depth: Vec<usize> = config.levels.iter().map(|l| attention(l).depth).collect();
            (one_or_list(&depth), Value::Null)
        }
        Some(depths) => {
            let listed = |levels: &[Vec<usize>]| -> Vec<Value> {
                let level = |level: &Vec<usize>| match level.is_empty() {
                    true => json!(1),
                    false => json!(level),
                };
                levels.iter().map(level).collect()
            };
            let mut up = listed(&depths.up);
            up.reverse();
            (json!(listed(&depths.down)), json!(up))
        }
    };
    let (vector, projection) = match config.labels {
        Labels::Vector(width) => (Some(width), None),
        Labels::Projection(width) => (None, Some(width)),
        _ => (None, None),
    };
    let only: Vec<bool> = (0..=last)
        .map(|i| config.context_only_levels.contains(&i))
        .collect();
    let only = match only.contains(&true) {
        true => json!(only),
        false => json!(false),
    };
    Ok(json!({
        "_class_name": "UNet2DConditionModel",
        "addition_embed_type": vector.map(|_| "text_time"), "addition_embed_type_num_heads": 64,
        "addition_time_embed_dim": vector.map(|_| 256), "attention_head_dim": one_or_list(&heads),
        "attention_type": "default", "class_embeddings_concat": false, "conv_in_kernel": 3, "conv_out_kernel": 3,
        "cross_attention_dim": config.context, "cross_attention_norm": null, "dual_cross_attention": false,
        "encoder_hid_dim": null, "encoder_hid_dim_type": null, "mid_block_only_cross_attention": null,
        "mid_block_type": middle_type, "num_attention_heads": null, "only_cross_attention": only,
        "class_embed_type": projection.map(|_| "projection"),
        "projection_class_embeddings_input_dim": vector.or(projection), "resnet_out_scale_factor": 1.0,
        "resnet_skip_time_act": false, "reverse_transformer_layers_per_block": reverse, "time_cond_proj_dim": config.guidance,
        "time_embedding_act_fn": null, "time_embedding_dim": null, "timestep_post_act": null,
        "transformer_layers_per_block": depth, "upcast_attention": false,
        "use_linear_projection": config.projection == Projection::Linear,
    }))
}

fn unconditional_json(config: &UNetConfig) -> Result<Value, String> {
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
        return Err("diffusers cannot say a number of heads for a U-Net without context".into());
    };
    if matches!(config.labels, Labels::Vector(_) | Labels::Projection(_)) {
        return Err("diffusers has no U-Net that takes a vector and no context".into());
    }
    let sampling = match config.resample {
        Resample::Conv => "conv",
        Resample::Resnet => "resnet",
    };
    Ok(json!({
        "_class_name": "UNet2DModel", "class_embed_type": null, "add_attention": config.middle.is_some(), "attention_head_dim": width,
        "attn_norm_num_groups": null, "downsample_type": sampling, "upsample_type": sampling,
        "mid_block_type": "UNetMidBlock2D", "num_train_timesteps": null, "time_embedding_dim": null,
    }))
}
