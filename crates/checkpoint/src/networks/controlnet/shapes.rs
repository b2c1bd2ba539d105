//! A ControlNet's configuration from the names and shapes of its tensors: the levels as the way down shows them.

use latent_models::controlnet::UnionConfig;
use latent_models::unet::{Attention, Depths, Level, Projection, Resample, TimeShift};
use latent_models::{ControlNetConfig, UNetConfig};

use crate::networks::unet::names::{Attention as Layout, UnetLayout};
use crate::networks::unet::shapes::{Named, Signs, depth, has_attention, labels};
use crate::networks::{DetectError, Scheme, Shapes};

/// One level.
#[derive(Default)]
struct Seen {
    channels: usize,
    resblocks: usize,
    /// The names of its attention modules, in order.
    attentions: Vec<String>,
}

/// The configuration of the ControlNet whose tensors `shapes` lists.
///
/// # Errors
///
/// The first tensor that is missing or of a shape that no ControlNet has.
pub(super) fn control_config(
    shapes: &Shapes<'_>,
    scheme: Scheme,
) -> Result<ControlNetConfig, DetectError> {
    if shapes.has("lora_controlnet") {
        return Err(DetectError::Settings {
            what: "lora_controlnet",
            problem: "it is a Control-LoRA, changes of the U-Net that it is used with: it is nothing by itself".into(),
        });
    }
    let original = scheme == Scheme::Ldm;
    let seen = match original {
        true => levels_original(shapes)?,
        false => levels_diffusers(shapes)?,
    };
    let middle = match original {
        true => "middle_block.1",
        false => "mid_block.attentions.0",
    };
    let middle = has_attention(shapes, middle).then_some(middle);
    let middle_resblocks = match original {
        true => {
            let slots = 0..3;
            slots
                .filter(|i| shapes.has(&format!("middle_block.{i}.in_layers.0.weight")))
                .count()
        }
        false => shapes.count(|i| format!("mid_block.resnets.{i}.norm1.weight")),
    };
    let modules = seen.iter().flat_map(|level| level.attentions.iter());
    let transformer = modules.map(String::as_str).chain(middle).next();
    let (context, linear) = match transformer {
        Some(module) => {
            let to_k = format!("{module}.transformer_blocks.0.attn2.to_k.weight");
            let linear = shapes.any(&format!("{module}.proj_in.weight"))?.len() == 2;
            (Some(shapes.need(&to_k, 2)?[1]), linear)
        }
        None => (None, false),
    };
    let layout = UnetLayout {
        layers: seen.iter().map(|level| level.resblocks).collect(),
        attention: vec![Layout::None; seen.len()],
        middle: Layout::None,
        middle_layers: 0,
        projected_class: false,
        resample_by_resnet: false,
    };
    let top = Named {
        shapes,
        table: layout.table(scheme),
    };
    let entrance = top.shape("conv_in.weight", 4)?;
    let heads = Signs {
        in_channels: entrance[1],
        linear,
        context,
        channels: seen.iter().map(|level| level.channels).collect(),
        resample_by_resnet: false,
    }
    .heads();
    let depths: Vec<Vec<usize>> = seen
        .iter()
        .map(|level| {
            let modules = level.attentions.iter();
            modules.map(|module| depth(shapes, module).max(1)).collect()
        })
        .collect();
    let levels = seen.iter().zip(&depths).map(|(level, depths)| Level {
        channels: level.channels,
        resblocks: level.resblocks,
        attention: depths.iter().max().map(|depth| Attention {
            heads,
            depth: *depth,
        }),
    });
    // The way up, which is not here, as if it went on as the way down ends.
    let up = depths.iter().map(|level| {
        let last = level.last().copied();
        level.iter().copied().chain(last).collect()
    });
    let unet = UNetConfig {
        in_channels: entrance[1],
        out_channels: entrance[1],
        model_channels: entrance[0],
        levels: levels.collect(),
        middle: middle.map(|module| Attention {
            heads,
            depth: depth(shapes, module).max(1),
        }),
        middle_resblocks,
        context,
        projection: match linear {
            true => Projection::Linear,
            false => Projection::Conv,
        },
        time_shift: TimeShift::Additive,
        resample: Resample::Conv,
        labels: labels(&top)?,
        norm_groups: 32,
        depths: Depths {
            up: up.collect(),
            down: depths.clone(),
        }
        .ragged(),
        context_only_levels: Vec::new(),
        guidance: None,
    };
    let config = ControlNetConfig {
        union: union(shapes)?,
        ..hint_config(shapes, scheme, unet)?
    };
    config.validate()?;
    Ok(config)
}

/// The ControlNet of a U-Net whose tensors `shapes` lists, as far as they read the picture.
///
/// # Errors
///
/// The first of them that is missing or of a shape that no ControlNet has.
pub(crate) fn hint_config(
    shapes: &Shapes<'_>,
    scheme: Scheme,
    unet: UNetConfig,
) -> Result<ControlNetConfig, DetectError> {
    let original = scheme == Scheme::Ldm;
    let module = match original {
        true => "input_hint_block",
        false => "controlnet_cond_embedding",
    };
    let name = |conv: usize| match (original, conv) {
        (true, conv) => format!("{module}.{}.weight", 2 * conv),
        (false, 0) => format!("{module}.conv_in.weight"),
        (false, conv) => format!("{module}.blocks.{}.weight", conv - 1),
    };
    // The last of the original's is to the U-Net's width.
    let convs = shapes.count(name).saturating_sub(usize::from(original));
    let first = shapes.need(&name(0), 4)?;
    let mut hint_widths = vec![first[0]];
    for conv in (2..convs).step_by(2) {
        hint_widths.push(shapes.need(&name(conv), 4)?[0]);
    }
    Ok(ControlNetConfig {
        hint_channels: first[1],
        hint_widths,
        ..ControlNetConfig::of(unet)
    })
}

/// What a network for several kinds of pictures has more.
fn union(shapes: &Shapes<'_>) -> Result<Option<UnionConfig>, DetectError> {
    if !shapes.has("task_embedding") {
        return Ok(None);
    }
    let kinds = shapes.need("task_embedding", 2)?[0];
    let told = shapes.need("control_add_embedding.linear_1.weight", 2)?[1];
    Ok(Some(UnionConfig {
        kinds,
        layers: shapes.count(|i| format!("transformer_layes.{i}.ln_1.weight")),
        sinusoid: told / kinds.max(1),
    }))
}

fn levels_diffusers(shapes: &Shapes<'_>) -> Result<Vec<Seen>, DetectError> {
    let count = shapes.count(|i| format!("down_blocks.{i}.resnets.0.conv1.weight"));
    let level = |i: usize| {
        let block = format!("down_blocks.{i}");
        let resblocks = shapes.count(|j| format!("{block}.resnets.{j}.conv1.weight"));
        let attentions = (0..resblocks).map(|j| format!("{block}.attentions.{j}"));
        Ok(Seen {
            channels: shapes.need(&format!("{block}.resnets.0.conv1.weight"), 4)?[0],
            resblocks,
            attentions: attentions
                .filter(|module| has_attention(shapes, module))
                .collect(),
        })
    };
    match count {
        0 => Err(DetectError::Missing {
            tensor: shapes.full("down_blocks.0.resnets.0.conv1.weight"),
        }),
        count => (0..count).map(level).collect(),
    }
}

/// A level ends where the resolution is halved.
fn levels_original(shapes: &Shapes<'_>) -> Result<Vec<Seen>, DetectError> {
    let mut levels = vec![Seen::default()];
    for slot in 1.. {
        let block = format!("input_blocks.{slot}");
        let conv = format!("{block}.0.in_layers.2.weight");
        let Some(level) = levels.last_mut() else {
            break;
        };
        if shapes.has(&conv) {
            level.channels = shapes.need(&conv, 4)?[0];
            level.resblocks += 1;
            let module = format!("{block}.1");
            let attends = has_attention(shapes, &module);
            level.attentions.extend(attends.then_some(module));
        } else if shapes.has(&format!("{block}.0.op.weight")) {
            levels.push(Seen::default());
        } else {
            break;
        }
    }
    match levels.iter().any(|level| level.resblocks == 0) {
        true => Err(DetectError::Missing {
            tensor: shapes.full("input_blocks.1.0.in_layers.2.weight"),
        }),
        false => Ok(levels),
    }
}
