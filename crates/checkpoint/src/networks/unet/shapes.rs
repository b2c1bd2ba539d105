//! A U-Net's configuration from the names and shapes of its tensors.

use latent_models::unet::{
    Attention, Depths, Heads, Labels, Level, Projection, Resample, TimeShift,
};
use latent_models::{UNetConfig, unet};

use super::names::{Attention as Layout, UnetLayout};
use crate::names::Table;
use crate::networks::{DetectError, Scheme, Shapes};

/// One row per family of heads that shapes cannot tell apart. The first row that fits decides; the last fits all.
/// Source of the values: the published training configurations of CompVis/latent-diffusion and of SGM.
struct HeadRule {
    fits: fn(&Signs) -> bool,
    heads: Heads,
}

/// What the choice of heads is made from.
pub(in crate::networks) struct Signs {
    pub in_channels: usize,
    pub linear: bool,
    pub context: Option<usize>,
    pub channels: Vec<usize>,
    pub resample_by_resnet: bool,
}

impl Signs {
    /// The heads of published networks that look like this.
    pub fn heads(&self) -> Heads {
        // The last row fits everything.
        let rule = HEADS.iter().find(|rule| (rule.fits)(self));
        rule.map_or(Heads::Width(32), |rule| rule.heads)
    }
}

const HEADS: [HeadRule; 8] = [
    // The ×4 upscaler of Stable Diffusion 2.
    HeadRule {
        fits: |s| s.linear && s.in_channels == 7,
        heads: Heads::Count(8),
    },
    // Stable Diffusion 2, SDXL.
    HeadRule {
        fits: |s| s.linear,
        heads: Heads::Width(64),
    },
    // Class-conditional ImageNet at f4 ("cin256-v2"): one head.
    HeadRule {
        fits: |s| s.context == Some(512) && s.channels == [192, 384, 576, 960],
        heads: Heads::Count(1),
    },
    // The other context models of latent diffusion: class-conditional f8, text to image at f4, layouts, retrieval.
    HeadRule {
        fits: |s| {
            matches!(
                (s.context, s.channels.as_slice()),
                (Some(512), [256, 512, 1024])
                    | (Some(640), [192, 384, 576, 960])
                    | (Some(512), [128, 256, 384, 512])
                    | (Some(768), [448, 896, 1344, 1792])
            )
        },
        heads: Heads::Width(32),
    },
    // Stable Diffusion 1 and the 1.45-billion text-to-image model.
    HeadRule {
        fits: |s| s.context.is_some(),
        heads: Heads::Count(8),
    },
    // Churches, the large inpainting model.
    HeadRule {
        fits: |s| s.resample_by_resnet,
        heads: Heads::Count(8),
    },
    // Semantic synthesis.
    HeadRule {
        fits: |s| s.channels == [128, 512, 1024],
        heads: Heads::Count(8),
    },
    // Faces, bedrooms, super-resolution.
    HeadRule {
        fits: |_| true,
        heads: Heads::Width(32),
    },
];

/// One level as the way up shows it.
struct Seen {
    channels: usize,
    resblocks: usize,
    /// The names of the attention modules on the way up, in the order of computation; none in a level without.
    attentions: Vec<String>,
    by_resnet: bool,
}

/// The middle of the network.
struct Middle {
    /// The name of its attention module, if there is one.
    attention: Option<&'static str>,
    resblocks: usize,
}

impl Middle {
    fn of(shapes: &Shapes<'_>, scheme: Scheme) -> Self {
        let (attention, resblocks) = match scheme {
            Scheme::Ldm => (
                "middle_block.1",
                (0..3)
                    .filter(|i| shapes.has(&format!("middle_block.{i}.in_layers.0.weight")))
                    .count(),
            ),
            _ => (
                "mid_block.attentions.0",
                shapes.count(|i| format!("mid_block.resnets.{i}.norm1.weight")),
            ),
        };
        Self {
            attention: has_attention(shapes, attention).then_some(attention),
            resblocks,
        }
    }
}

pub(in crate::networks) fn has_attention(shapes: &Shapes<'_>, module: &str) -> bool {
    let norms = ["norm", "group_norm"];
    norms
        .iter()
        .any(|norm| shapes.has(&format!("{module}.{norm}.weight")))
}

/// The configuration of the U-Net whose tensors `shapes` lists.
///
/// # Errors
///
/// The first tensor that is missing or of a shape that no U-Net has.
pub fn unet_config(shapes: &Shapes<'_>, scheme: Scheme) -> Result<UNetConfig, DetectError> {
    let mut seen = match scheme {
        Scheme::Ldm => levels_original(shapes)?,
        Scheme::Diffusers | Scheme::OpenClip => levels_diffusers(shapes)?,
    };
    seen.reverse();
    let middle = Middle::of(shapes, scheme);
    let modules = seen.iter().flat_map(|level| level.attentions.clone());
    let modules: Vec<String> = modules.chain(middle.attention.map(str::to_owned)).collect();
    let transformer = modules
        .iter()
        .find(|module| shapes.has(&format!("{module}.proj_in.weight")));
    let (context, linear) = match transformer {
        Some(module) => {
            let to_k = format!("{module}.transformer_blocks.0.attn2.to_k.weight");
            let linear = shapes.any(&format!("{module}.proj_in.weight"))?.len() == 2;
            (Some(shapes.need(&to_k, 2)?[1]), linear)
        }
        None => (None, false),
    };
    let signs = Signs {
        in_channels: shapes.need(entrance(scheme), 4)?[1],
        linear,
        context,
        channels: seen.iter().map(|level| level.channels).collect(),
        resample_by_resnet: seen.iter().any(|level| level.by_resnet),
    };
    let heads = signs.heads();
    let depths = depths(shapes, scheme, &seen);
    let levels: Vec<Level> = seen
        .iter()
        .enumerate()
        .map(|(i, level)| Level {
            channels: level.channels,
            resblocks: level.resblocks,
            attention: (!level.attentions.is_empty()).then(|| {
                let all = depths.down[i].iter().chain(&depths.up[i]);
                Attention {
                    heads,
                    depth: all.copied().max().unwrap_or(1),
                }
            }),
        })
        .collect();
    let context_only = |(i, level): (usize, &Seen)| {
        let module = level.attentions.first()?;
        let to_k = shapes.get(&format!("{module}.transformer_blocks.0.attn1.to_k.weight"))?;
        (to_k.get(1) != Some(&level.channels)).then_some(i)
    };
    let layout = UnetLayout {
        layers: levels.iter().map(|level| level.resblocks).collect(),
        attention: vec![Layout::None; levels.len()],
        middle: Layout::None,
        middle_layers: 0,
        projected_class: match scheme {
            Scheme::Ldm => context == Some(UNCLIP_CONTEXT),
            _ => shapes.has("class_embedding.linear_1.weight"),
        },
        resample_by_resnet: signs.resample_by_resnet,
    };
    let top = Named {
        shapes,
        table: layout.table(scheme),
    };
    let entrance = top.shape("conv_in.weight", 4)?;
    let time = top.shape("down_blocks.0.resnets.0.time_emb_proj.weight", 2)?;
    let width = top.shape("down_blocks.0.resnets.0.conv1.weight", 4)?;
    let config = UNetConfig {
        in_channels: entrance[1],
        out_channels: top.shape("conv_out.weight", 4)?[0],
        model_channels: entrance[0],
        middle: middle.attention.map(|module| Attention {
            heads,
            depth: depth(shapes, module).max(1),
        }),
        middle_resblocks: middle.resblocks,
        context_only_levels: seen.iter().enumerate().filter_map(context_only).collect(),
        depths: depths.ragged(),
        levels,
        context,
        projection: if linear {
            Projection::Linear
        } else {
            Projection::Conv
        },
        time_shift: if time[0] == 2 * width[0] {
            TimeShift::ScaleShift
        } else {
            TimeShift::Additive
        },
        resample: if signs.resample_by_resnet {
            Resample::Resnet
        } else {
            Resample::Conv
        },
        labels: labels(&top)?,
        norm_groups: 32,
        guidance: match top.find("time_embedding.cond_proj.weight") {
            Some(&[_, width]) => Some(width),
            _ => None,
        },
    };
    config.validate()?;
    Ok(config)
}

/// Shapes under our names.
pub(in crate::networks) struct Named<'a> {
    pub shapes: &'a Shapes<'a>,
    pub table: Table,
}

impl Named<'_> {
    pub fn find(&self, ours: &str) -> Option<&[usize]> {
        self.shapes.get(&self.table.place(ours)?.name)
    }

    pub fn shape(&self, ours: &str, dims: usize) -> Result<&[usize], DetectError> {
        let name = self.table.place(ours).map_or(ours.to_owned(), |p| p.name);
        self.shapes.need(&name, dims)
    }
}

/// The width of the text states beside which a vector is a noised picture embedding, under the original names.
const UNCLIP_CONTEXT: usize = 1024;

pub(in crate::networks) fn labels(top: &Named<'_>) -> Result<Labels, DetectError> {
    if let Some(&[rows, _]) = top.find("class_embedding.weight") {
        return Ok(Labels::Table(rows));
    }
    if top.find("class_embedding.linear_1.weight").is_some() {
        let shape = top.shape("class_embedding.linear_1.weight", 2)?;
        return Ok(Labels::Projection(shape[1]));
    }
    if top.find("add_embedding.linear_1.weight").is_some() {
        let shape = top.shape("add_embedding.linear_1.weight", 2)?;
        return Ok(Labels::Vector(shape[1]));
    }
    Ok(Labels::None)
}

/// The name of the first convolution.
fn entrance(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Ldm => "input_blocks.0.0.weight",
        _ => "conv_in.weight",
    }
}

/// Transformer blocks of every attention.
fn depths(shapes: &Shapes<'_>, scheme: Scheme, seen: &[Seen]) -> Depths {
    let (mut down, mut slot) = (Vec::with_capacity(seen.len()), 1);
    for (i, level) in seen.iter().enumerate() {
        let module = |resblock: usize| match scheme {
            Scheme::Ldm => format!("input_blocks.{}.1", slot + resblock),
            _ => format!("down_blocks.{i}.attentions.{resblock}"),
        };
        let count = level.resblocks.min(level.attentions.len());
        down.push(
            (0..count)
                .map(|j| depth(shapes, &module(j)).max(1))
                .collect(),
        );
        slot += level.resblocks + 1;
    }
    let up = seen.iter().map(|level| {
        let modules = level.attentions.iter();
        modules.map(|module| depth(shapes, module).max(1)).collect()
    });
    Depths {
        up: up.collect(),
        down,
    }
}

pub(in crate::networks) fn depth(shapes: &Shapes<'_>, module: &str) -> usize {
    shapes.count(|i| format!("{module}.transformer_blocks.{i}.norm1.weight"))
}

/// The levels in the order of the way up: a level ends where the resolution changes, which the way up marks plainly.
fn levels_original(shapes: &Shapes<'_>) -> Result<Vec<Seen>, DetectError> {
    let mut levels = Vec::new();
    let (mut blocks, mut slot, mut attentions) = (0, 0, Vec::new());
    while shapes.has(&format!("output_blocks.{slot}.0.in_layers.0.weight")) {
        let block = format!("output_blocks.{slot}");
        blocks += 1;
        slot += 1;
        let has_attention = shapes.has(&format!("{block}.1.norm.weight"));
        attentions.extend(has_attention.then(|| format!("{block}.1")));
        let spot = if has_attention { 2 } else { 1 };
        let by_resnet = shapes.has(&format!("{block}.{spot}.in_layers.0.weight"));
        let by_conv = shapes.has(&format!("{block}.{spot}.conv.weight"));
        let last = !shapes.has(&format!("output_blocks.{slot}.0.in_layers.0.weight"));
        if by_resnet || by_conv || last {
            let channels = shapes.need(&format!("{block}.0.out_layers.3.weight"), 4)?[0];
            levels.push(Seen {
                channels,
                resblocks: blocks - 1,
                attentions: std::mem::take(&mut attentions),
                by_resnet,
            });
            blocks = 0;
        }
    }
    if levels.is_empty() {
        return Err(DetectError::Missing {
            tensor: shapes.full("output_blocks.0.0.in_layers.0.weight"),
        });
    }
    Ok(levels)
}

fn levels_diffusers(shapes: &Shapes<'_>) -> Result<Vec<Seen>, DetectError> {
    let count = shapes.count(|i| format!("up_blocks.{i}.resnets.0.conv2.weight"));
    let level = |i: usize| {
        let block = format!("up_blocks.{i}");
        let resnets = shapes.count(|j| format!("{block}.resnets.{j}.conv2.weight"));
        let attentions = (0..resnets).map(|j| format!("{block}.attentions.{j}"));
        Ok(Seen {
            channels: shapes.need(&format!("{block}.resnets.0.conv2.weight"), 4)?[0],
            resblocks: resnets - 1,
            attentions: attentions
                .filter(|module| has_attention(shapes, module))
                .collect(),
            by_resnet: shapes.has(&format!("{block}.upsamplers.0.norm1.weight")),
        })
    };
    if count == 0 {
        return Err(DetectError::Missing {
            tensor: shapes.full("up_blocks.0.resnets.0.conv2.weight"),
        });
    }
    (0..count).map(level).collect()
}

/// What a configuration says about names.
pub fn unet_layout(config: &UNetConfig) -> UnetLayout {
    let layout = |attention: Option<unet::Attention>, channels: usize| match attention {
        None => Layout::None,
        Some(_) if config.context.is_some() => Layout::Transformer,
        Some(attention) => Layout::Fused {
            heads: attention.heads.count(channels),
        },
    };
    let attention = config.levels.iter();
    UnetLayout {
        layers: config.levels.iter().map(|l| l.resblocks).collect(),
        attention: attention
            .map(|level| layout(level.attention, level.channels))
            .collect(),
        middle: layout(
            config.middle,
            config.levels.last().map_or(0, |level| level.channels),
        ),
        middle_layers: config.middle_resblocks,
        projected_class: matches!(config.labels, Labels::Projection(_)),
        resample_by_resnet: config.resample == Resample::Resnet,
    }
}
