//! The way down and the middle of a U-Net: what a ControlNet copies.

use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, Padding};

use super::attention::{AttentionBlock, Place};
use super::config::{Attention, Labels, UNetConfig, Way};
use super::embedding::{TimestepEmbedding, timestep_sinusoid};
use super::network::{ClassEmbedding, DownBlock, MidBlock};
use super::part::Part;
use super::resnet::{Resampler, Resnet, Resolution};
use crate::denoiser::{Given, GivenStates, Shifts};
use crate::hypernetwork::{Bend, bent};
use crate::layers::{Conv2d, Embedding};

/// The parts of it, whosever they are.
#[derive(Clone, Copy)]
pub(crate) struct Trunk<'a> {
    pub conv_in: &'a Conv2d,
    pub time_embedding: &'a TimestepEmbedding,
    pub class_embedding: Option<&'a ClassEmbedding>,
    pub add_embedding: Option<&'a TimestepEmbedding>,
    pub down_blocks: &'a [DownBlock],
    pub mid_block: &'a MidBlock,
    pub config: &'a UNetConfig,
    pub padding: Padding,
}

/// The same, newly built.
pub(crate) struct Built {
    pub conv_in: Conv2d,
    pub time_embedding: TimestepEmbedding,
    pub class_embedding: Option<ClassEmbedding>,
    pub add_embedding: Option<TimestepEmbedding>,
    pub down_blocks: Vec<DownBlock>,
    pub mid_block: MidBlock,
    /// Channels of the tensors kept on the way down, in order.
    pub kept: Vec<usize>,
}

/// A resblock from and to so many channels.
pub(super) fn resnet(device: &Device, config: &UNetConfig, [input, output]: [usize; 2]) -> Resnet {
    Resnet::new(device, config, input, output, Resolution::Keep)
}

/// The attention after a resblock of a level, if there is one.
pub(super) fn attention_at(
    device: &Device,
    config: &UNetConfig,
    way: Way,
    [i, resblock]: [usize; 2],
) -> Option<AttentionBlock> {
    let (level, depth) = (config.levels[i], config.depth(way, i, resblock));
    let context_only = config.context_only_levels.contains(&i);
    attention(
        device,
        config,
        level.channels,
        (level.attention, depth, context_only),
    )
}

fn attention(
    device: &Device,
    config: &UNetConfig,
    channels: usize,
    (attention, depth, context_only): (Option<Attention>, usize, bool),
) -> Option<AttentionBlock> {
    let place = attention.map(|attention| Place {
        channels,
        heads: attention.heads,
        depth,
        context_only,
    });
    place.map(|place| AttentionBlock::new(device, config, place))
}

impl Built {
    pub fn of(config: &UNetConfig, device: &Device) -> Self {
        let count = config.levels.len();
        let mut channels = config.model_channels;
        let mut kept = vec![channels];
        let mut down_blocks = Vec::with_capacity(count);
        for (i, level) in config.levels.iter().enumerate() {
            let mut block = DownBlock {
                resnets: Vec::new(),
                attentions: Vec::new(),
                downsamplers: Vec::new(),
            };
            for resblock in 0..level.resblocks {
                block
                    .resnets
                    .push(resnet(device, config, [channels, level.channels]));
                let attention = attention_at(device, config, Way::Down, [i, resblock]);
                block.attentions.extend(attention);
                channels = level.channels;
                kept.push(channels);
            }
            if i + 1 < count {
                block
                    .downsamplers
                    .push(Resampler::down(device, config, channels));
                kept.push(channels);
            }
            down_blocks.push(block);
        }
        let middle_depth = config.middle.map_or(0, |middle| middle.depth);
        let middle = (config.middle, middle_depth, false);
        let mid_block = MidBlock {
            attentions: attention(device, config, channels, middle)
                .into_iter()
                .collect(),
            resnets: (0..config.middle_resblocks)
                .map(|_| resnet(device, config, [channels, channels]))
                .collect(),
        };
        let time = config.time_channels();
        let embedding = |width| TimestepEmbedding::new(device, width, time);
        let time_embedding = embedding(config.model_channels);
        Self {
            conv_in: Conv2d::new(device, config.in_channels, config.model_channels, 3),
            time_embedding: match config.guidance {
                Some(width) => time_embedding.with_guidance(device, config.model_channels, width),
                None => time_embedding,
            },
            class_embedding: match config.labels {
                Labels::Table(rows) => {
                    Some(ClassEmbedding::Table(Embedding::new(device, rows, time)))
                }
                Labels::Projection(width) => Some(ClassEmbedding::Projection(embedding(width))),
                Labels::None | Labels::Vector(_) => None,
            },
            add_embedding: match config.labels {
                Labels::Vector(width) => Some(embedding(width)),
                _ => None,
            },
            down_blocks,
            mid_block,
            kept,
        }
    }
}

impl<'a> Trunk<'a> {
    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        let first = &self.down_blocks[0].resnets[0];
        first.norm1.weight.val().dtype()
    }

    /// Its parts in their order.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::In];
        for (level, block) in self.down_blocks.iter().enumerate() {
            parts.extend((0..block.resnets.len()).map(|i| Part::Down(level, i)));
            parts.extend(block.downsamplers.iter().map(|_| Part::Halve(level)));
        }
        parts.extend((0..self.mid_block.resnets.len()).map(Part::Mid));
        parts
    }

    /// Every attention, in order.
    pub fn attentions(&self) -> impl Iterator<Item = &'a AttentionBlock> + use<'a> {
        let down = self.down_blocks.iter().flat_map(|block| &block.attentions);
        down.chain(&self.mid_block.attentions)
    }

    /// The attention of one of its parts.
    pub fn attention(&self, part: Part) -> Option<&'a AttentionBlock> {
        match part {
            Part::Down(level, i) => self.down_blocks[level].attentions.get(i),
            Part::Mid(i) => self.mid_block.attentions.get(i),
            _ => None,
        }
    }

    /// What one of its parts makes before its attention.
    pub fn block(&self, part: Part, h: Tensor<4>, time: &Tensor<2>) -> Tensor<4> {
        let resnet = match part {
            Part::Down(level, i) => &self.down_blocks[level].resnets[i],
            Part::Mid(i) => &self.mid_block.resnets[i],
            Part::Halve(level) => {
                let down = &self.down_blocks[level].downsamplers[0];
                return down.halve(h, time, self.padding);
            }
            // Only the first convolution is left.
            _ => return self.conv_in.forward(h.cast(self.dtype()), self.padding),
        };
        resnet.forward(h, Some(time), self.padding)
    }

    /// What is given, which was checked before, through its layers; `bends` change what it makes of the context.
    pub fn prepare(&self, given: &Given, bends: &[Bend]) -> GivenStates {
        let context = self.context(given, bends);
        let of = |context: &[Tensor<3>; 2]| -> Vec<_> {
            let attentions = self.attentions();
            attentions.flat_map(|a| a.keys_values(context)).collect()
        };
        GivenStates {
            context: context.as_ref().map(of).unwrap_or_default(),
            joined: Vec::new(),
            shifts: self.shifts(given),
        }
    }

    /// What keys and values of the context are made of.
    pub fn context(&self, given: &Given, bends: &[Bend]) -> Option<[Tensor<3>; 2]> {
        let context = given.context.clone()?.cast(self.dtype());
        Some(bent(bends, context))
    }

    /// What is given beside the context, through its layers. It was checked before.
    pub fn shifts(&self, given: &Given) -> Shifts {
        let dtype = self.dtype();
        let projected =
            |layer: &TimestepEmbedding, vector: Tensor<2>| layer.forward(vector.cast(dtype));
        let row = |table: &Embedding, number: Tensor<2>| {
            let [batch, _] = number.dims();
            table
                .forward(number.int())
                .reshape([batch, self.config.time_channels()])
        };
        let labels = given.vector.clone().and_then(|vector| {
            Some(match (self.class_embedding, self.add_embedding) {
                (Some(ClassEmbedding::Table(table)), _) => row(table, vector),
                (Some(ClassEmbedding::Projection(layer)), _) => projected(layer, vector),
                (None, layer) => projected(layer?, vector),
            })
        });
        let guidance = given.guidance.clone().and_then(|guidance| {
            let layer = self.time_embedding.cond_proj.as_ref()?;
            Some(layer.forward(guidance.cast(dtype)))
        });
        Shifts { guidance, labels }
    }

    /// The time embedding with all that is added to it, through the SiLU that every resblock begins
    /// with: `[batch, time channels]`.
    pub fn embed(&self, t: Tensor<1>, shifts: &Shifts) -> Tensor<2> {
        let plus = |x: Tensor<2>, shift: &Option<Tensor<2>>| match shift {
            Some(shift) => x + shift.clone(),
            None => x,
        };
        let sinusoid = timestep_sinusoid(t, self.config.model_channels).cast(self.dtype());
        let time = self
            .time_embedding
            .forward(plus(sinusoid, &shifts.guidance));
        ops::silu(plus(time, &shifts.labels))
    }
}
