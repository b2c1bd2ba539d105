//! What a U-Net is made of, as data.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{Side, UNet};
use crate::denoiser::Interface;
use crate::error::{ConfigError, at_least_one, levels_of, multiple_of};

/// A latent-diffusion U-Net.
///
/// Field by field it can say everything that the configurations of the latent-diffusion, Stable
/// Diffusion and SGM repositories say. [`validate`](Self::validate) tells whether a network can be
/// built from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels that enter: the latent's and any that are concatenated to it (mask, low-resolution
    /// picture, …).
    pub in_channels: usize,
    /// Channels that leave: the latent's.
    pub out_channels: usize,
    /// Channels of the sinusoidal time embedding and of the first convolution; the embedding is
    /// four times as wide.
    pub model_channels: usize,
    /// Resolution levels, finest first. Each after the first works at half the resolution of the
    /// one before.
    pub levels: Vec<Level>,
    /// Attention in the middle block, between its two resblocks.
    pub middle: Option<Attention>,
    /// Resblocks of the middle block: two, or in pruned networks one or none, without attention.
    #[serde(default = "two", skip_serializing_if = "is_two")]
    pub middle_resblocks: usize,
    /// Width of the context tokens. With `None` attention is the plain self-attention block of
    /// unconditional models.
    #[serde(default)]
    pub context: Option<usize>,
    /// How a transformer block's input and output projections are stored.
    #[serde(default)]
    pub projection: Projection,
    /// How the time embedding enters a resblock.
    #[serde(default)]
    pub time_shift: TimeShift,
    /// How the resolution changes between levels.
    #[serde(default)]
    pub resample: Resample,
    /// What is added to the time embedding.
    #[serde(default)]
    pub labels: Labels,
    /// Groups of every GroupNorm.
    #[serde(default = "thirty_two")]
    pub norm_groups: usize,
    /// Transformer blocks where they differ among the attentions of a level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depths: Option<Depths>,
    /// Levels, counted from 0 at the finest, in whose transformer blocks the first attention too
    /// reads the context instead of the pixels ("only cross attention").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context_only_levels: Vec<usize>,
    /// Width of the embedding of a guidance scale, in networks that were distilled to take it as an
    /// input (Meng et al., "On Distillation of Guided Diffusion Models", 2023).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<usize>,
}

fn thirty_two() -> usize {
    32
}

fn two() -> usize {
    2
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_two(count: &usize) -> bool {
    *count == 2
}

/// Transformer blocks of each attention by level, finest first in both; empty for a level without.
///
/// The deepest of a level is its [`Attention::depth`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depths {
    /// On the way down: one number for each resblock.
    pub down: Vec<Vec<usize>>,
    /// On the way up, in the order of computation: one more.
    pub up: Vec<Vec<usize>>,
}

impl Depths {
    /// The same, or `None` where the attentions of every level have as many blocks as each other.
    pub fn ragged(self) -> Option<Self> {
        let same = |(down, up): (&Vec<usize>, &Vec<usize>)| {
            let mut all = down.iter().chain(up);
            let first = all.next();
            all.all(|depth| Some(depth) == first)
        };
        let every = self.down.iter().zip(&self.up).all(same);
        (!every).then_some(self)
    }
}

/// A way through the levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To coarser levels.
    Down,
    /// To finer levels.
    Up,
}

/// One resolution of a [`UNetConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Channels at this resolution.
    pub channels: usize,
    /// Resblocks on the way down; the way up has one more.
    pub resblocks: usize,
    /// Attention after each resblock, or none at this resolution.
    #[serde(default)]
    pub attention: Option<Attention>,
}

/// Attention at one resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// How the channels are divided into heads.
    pub heads: Heads,
    /// Transformer blocks one after another (1 or more; 1 in a network without context). Where
    /// [`Depths`] are given, the most of them.
    pub depth: usize,
}

/// How channels are divided into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Heads {
    /// This many heads; their width follows.
    Count(usize),
    /// Heads of this width; their number follows.
    Width(usize),
}

impl Heads {
    /// The number of heads that `channels` channels are divided into.
    pub fn count(self, channels: usize) -> usize {
        match self {
            Heads::Count(count) => count,
            Heads::Width(width) => channels / width.max(1),
        }
    }
}

/// How a transformer's input and output projections are stored: the same map, but tensors of
/// another shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// 1×1 convolutions, `[out, in, 1, 1]`.
    #[default]
    Conv,
    /// Linear layers, `[out, in]`.
    Linear,
}

/// How the time embedding enters a resblock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeShift {
    /// Added after the first convolution.
    #[default]
    Additive,
    /// Scales and shifts the second normalisation ("AdaGN").
    ScaleShift,
}

/// How the resolution changes between levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resample {
    /// A convolution of stride two; nearest-neighbour enlargement and a convolution.
    #[default]
    Conv,
    /// A resblock that averages or repeats pixels on both of its branches.
    Resnet,
}

/// What is added to the time embedding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Nothing.
    #[default]
    None,
    /// A row of a table with this many rows, by number (a class, a noise level).
    Table(usize),
    /// A vector of this width, through two linear layers (SDXL's pooled text and sizes).
    Vector(usize),
    /// The same by other names: diffusers files have the layers as `class_embedding` in place of
    /// `add_embedding` (the noised image embedding of unCLIP).
    Projection(usize),
}

impl Labels {
    /// Width of what is given: of the vector, or 1 for a row's number; `None` where nothing is.
    pub fn width(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Table(_) => Some(1),
            Self::Vector(width) | Self::Projection(width) => Some(width),
        }
    }
}

impl UNetConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates
    /// nothing.
    ///
    /// The configuration should be [valid](Self::validate): the network of another panics when it
    /// is run.
    pub fn init(&self, device: &Device) -> UNet {
        UNet::new(self, device)
    }

    /// What goes in and out.
    pub fn interface(&self) -> Interface {
        Interface {
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            context: self.context,
            labels: self.labels,
            guidance: self.guidance,
        }
    }

    /// Width of the time embedding.
    pub fn time_channels(&self) -> usize {
        4 * self.model_channels
    }

    /// The factor that the latent's height and width must be a multiple of for every level to halve
    /// exactly.
    pub fn downsampling(&self) -> usize {
        1 << self.levels.len().saturating_sub(1)
    }

    /// Channels of the states after each block, in the order in which blocks are computed. A block is a resblock with the
    /// attention after it: on the way down, in the middle, on the way up.
    pub fn blocks(&self) -> Vec<usize> {
        let level = |level: &Level, more| vec![level.channels; level.resblocks + more];
        let middle = self.levels.last().map_or(0, |level| level.channels);
        let down = self.levels.iter().flat_map(|l| level(l, 0));
        let up = self.levels.iter().rev().flat_map(|l| level(l, 1));
        let middle = vec![middle; self.middle_resblocks];
        down.chain(middle).chain(up).collect()
    }

    /// The block, counted from 1, that ends the middle; in a network without one, the last on the way down.
    pub fn middle_block(&self) -> usize {
        let down: usize = self.levels.iter().map(|level| level.resblocks).sum();
        down + self.middle_resblocks
    }

    /// Transformer blocks of an attention, by the number of its resblock; 0 where there is none.
    pub fn depth(&self, way: Way, level: usize, resblock: usize) -> usize {
        let listed = self.depths.as_ref().map(|depths| match way {
            Way::Down => &depths.down,
            Way::Up => &depths.up,
        });
        match listed {
            Some(listed) => listed
                .get(level)
                .and_then(|level| level.get(resblock))
                .copied()
                .unwrap_or(0),
            None => self
                .levels
                .get(level)
                .and_then(|level| level.attention)
                .map_or(0, |attention| attention.depth),
        }
    }

    /// Channels of every attention on the context that stands beside one on the pixels, in the order in which they are computed:
    /// on the way down, in the middle, on the way up.
    pub fn attentions_on_context(&self) -> [Vec<usize>; 3] {
        if self.context.is_none() {
            return Default::default();
        }
        let way = |way, more: usize| {
            let level = move |(i, level): (usize, &Level)| {
                let resblocks = 0..level.resblocks + more;
                let depth = resblocks.map(|resblock| self.depth(way, i, resblock)).sum();
                vec![level.channels; depth]
            };
            self.levels.iter().enumerate().map(level)
        };
        let up: Vec<_> = way(Way::Up, 1).collect();
        let last = self.levels.last().map_or(0, |level| level.channels);
        [
            way(Way::Down, 0).flatten().collect(),
            vec![last; self.middle.map_or(0, |middle| middle.depth)],
            up.into_iter().rev().flatten().collect(),
        ]
    }

    /// The transformers on the pixels in the order in which they are computed: the side of each, and how many blocks it has.
    pub fn transformers(&self) -> Vec<(Side, usize)> {
        let of = |side, way, more: usize| {
            let levels = self.levels.iter().enumerate();
            let depths = levels.map(move |(i, level)| {
                let resblocks = 0..level.resblocks + more;
                let depths = resblocks.map(|resblock| (side, self.depth(way, i, resblock)));
                depths.collect::<Vec<_>>()
            });
            depths.collect::<Vec<_>>()
        };
        let up = of(Side::Up, Way::Up, 1).into_iter().rev();
        let middle = (Side::Middle, self.middle.map_or(0, |middle| middle.depth));
        let down = of(Side::Down, Way::Down, 0).into_iter();
        let all = down.chain([vec![middle]]).chain(up).flatten();
        all.filter(|(_, depth)| *depth > 0).collect()
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("in_channels", self.in_channels)?;
        at_least_one("out_channels", self.out_channels)?;
        at_least_one("norm_groups", self.norm_groups)?;
        multiple_of("model_channels", self.model_channels, self.norm_groups)?;
        if !self.model_channels.is_multiple_of(2) {
            return Err(ConfigError::new(
                "model_channels",
                self.model_channels,
                "even",
            ));
        }
        let channels = self.levels.iter().map(|level| level.channels);
        levels_of(channels, self.norm_groups)?;
        for (i, level) in self.levels.iter().enumerate() {
            at_least_one(&format!("levels[{i}].resblocks"), level.resblocks)?;
            if let Some(attention) = level.attention {
                self.validate_attention(
                    &format!("levels[{i}].attention"),
                    attention,
                    level.channels,
                )?;
            }
        }
        if let (Some(middle), Some(last)) = (self.middle, self.levels.last()) {
            self.validate_attention("middle", middle, last.channels)?;
        }
        if let Some(width) = self.context {
            at_least_one("context", width)?;
        }
        if let Some(width) = self.guidance {
            at_least_one("guidance", width)?;
        }
        self.validate_middle()?;
        self.validate_depths()?;
        self.validate_context_only()?;
        match self.labels {
            Labels::None => Ok(()),
            Labels::Table(rows) => at_least_one("labels.table", rows),
            Labels::Vector(width) => at_least_one("labels.vector", width),
            Labels::Projection(width) => at_least_one("labels.projection", width),
        }
    }

    fn validate_middle(&self) -> Result<(), ConfigError> {
        let expected = match self.middle {
            Some(_) if self.middle_resblocks != 2 => "2, with the middle's attention between them",
            None if self.middle_resblocks > 2 => "at most 2",
            _ => return Ok(()),
        };
        let found = self.middle_resblocks;
        Err(ConfigError::new("middle_resblocks", found, expected))
    }

    fn validate_depths(&self) -> Result<(), ConfigError> {
        let Some(depths) = &self.depths else {
            return Ok(());
        };
        for (way, all, more) in [("down", &depths.down, 0), ("up", &depths.up, 1)] {
            let field = format!("depths.{way}");
            if all.len() != self.levels.len() {
                let expected = format!("one list for each of the {} levels", self.levels.len());
                return Err(ConfigError::new(field, all, expected));
            }
            for (i, (level, found)) in self.levels.iter().zip(all).enumerate() {
                let field = || format!("{field}[{i}]");
                let count = level.attention.map_or(0, |_| level.resblocks + more);
                if found.len() != count || found.contains(&0) {
                    let expected = format!("{count} numbers, each at least 1");
                    return Err(ConfigError::new(field(), found, expected));
                }
            }
        }
        for (i, level) in self.levels.iter().enumerate() {
            let listed = depths.down[i].iter().chain(&depths.up[i]);
            if let (Some(attention), Some(&most)) = (level.attention, listed.max())
                && attention.depth != most
            {
                let field = format!("levels[{i}].attention.depth");
                let expected = format!("{most}, the most of the level's `depths`");
                return Err(ConfigError::new(field, attention.depth, expected));
            }
        }
        Ok(())
    }

    fn validate_context_only(&self) -> Result<(), ConfigError> {
        let attends = |i: &usize| {
            let level = self.levels.get(*i);
            level.is_some_and(|level| level.attention.is_some())
        };
        let listed = &self.context_only_levels;
        let fits = listed.iter().all(attends) && listed.is_sorted_by(|a, b| a < b);
        if listed.is_empty() || fits && self.context.is_some() {
            return Ok(());
        }
        let expected = match self.context {
            Some(_) => "levels with attention, in rising order, counted from 0 at the finest",
            None => "empty in a network without context",
        };
        Err(ConfigError::new("context_only_levels", listed, expected))
    }

    fn validate_attention(
        &self,
        field: &str,
        attention: Attention,
        channels: usize,
    ) -> Result<(), ConfigError> {
        let divisor = match attention.heads {
            Heads::Count(n) | Heads::Width(n) => n,
        };
        if divisor == 0 || !channels.is_multiple_of(divisor) {
            let expected = format!("a divisor of the level's {channels} channels");
            return Err(ConfigError::new(
                format!("{field}.heads"),
                attention.heads,
                expected,
            ));
        }
        at_least_one(&format!("{field}.depth"), attention.depth)?;
        if self.context.is_none() && attention.depth != 1 {
            let expected = "1 in a network without context";
            return Err(ConfigError::new(
                format!("{field}.depth"),
                attention.depth,
                expected,
            ));
        }
        Ok(())
    }
}
