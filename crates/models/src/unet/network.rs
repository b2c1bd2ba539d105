//! The whole network.

use burn::module::Module;
use burn::tensor::{DType, Device, Int, Tensor};
use latent_ops::{self as ops, Padding};

use super::attention::{AttentionBlock, KeysValues};
use super::config::{Attention, Labels, UNetConfig};
use super::embedding::{TimestepEmbedding, timestep_sinusoid};
use super::resnet::{Resampler, Resnet, Resolution};
use crate::layers::{Conv2d, Embedding, GroupNorm};

/// One level on the way down.
#[derive(Module, Debug)]
pub struct DownBlock {
    /// One after another, each followed by its attention.
    pub resnets: Vec<Resnet>,
    /// As many as `resnets`, or none.
    pub attentions: Vec<AttentionBlock>,
    /// One, except in the coarsest level.
    pub downsamplers: Vec<Resampler>,
}

/// The middle of the network.
#[derive(Module, Debug)]
pub struct MidBlock {
    /// Between the two resblocks, if any.
    pub attentions: Vec<AttentionBlock>,
    /// Two.
    pub resnets: Vec<Resnet>,
}

/// One level on the way up.
#[derive(Module, Debug)]
pub struct UpBlock {
    /// One more than on the way down; each takes one of the tensors kept then.
    pub resnets: Vec<Resnet>,
    /// As many as `resnets`, or none.
    pub attentions: Vec<AttentionBlock>,
    /// One, except in the finest level.
    pub upsamplers: Vec<Resampler>,
}

/// A latent-diffusion U-Net, built by [`UNetConfig::init`].
#[derive(Module, Debug)]
pub struct UNet {
    /// 3×3, from the latent.
    pub conv_in: Conv2d,
    /// Of the sinusoid of the step.
    pub time_embedding: TimestepEmbedding,
    /// Rows added to the time embedding by number.
    pub class_embedding: Option<Embedding>,
    /// Of a vector added to the time embedding.
    pub add_embedding: Option<TimestepEmbedding>,
    /// Finest level first.
    pub down_blocks: Vec<DownBlock>,
    /// Between them.
    pub mid_block: MidBlock,
    /// Coarsest level first.
    pub up_blocks: Vec<UpBlock>,
    /// Before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// 3×3, to the latent.
    pub conv_out: Conv2d,
    #[module(skip)]
    config: UNetConfig,
    #[module(skip)]
    padding: Padding,
}

/// A part of the network, by its level and its place there. What one part makes is all that the next
/// one sees, besides the tensors kept on the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The first convolution.
    In,
    /// A resblock on the way down and its attention.
    Down(usize, usize),
    /// A change to half the resolution.
    Halve(usize),
    /// A resblock in the middle and its attention.
    Mid(usize),
    /// A resblock on the way up and its attention.
    Up(usize, usize),
    /// A change to twice the resolution.
    Double(usize),
    /// The last norm and convolution.
    Out,
}

impl Part {
    /// Whether what it makes is kept for the way up.
    pub(super) fn keeps(self) -> bool {
        matches!(self, Self::In | Self::Down(..) | Self::Halve(_))
    }

    /// What it is given of the tensors kept: the last one, to join or for its size alone.
    pub(super) fn skip<T: Clone>(self, kept: &mut Vec<T>) -> Option<T> {
        match self {
            Self::Up(..) => kept.pop(),
            Self::Double(_) => kept.last().cloned(),
            _ => None,
        }
    }
}

/// What a U-Net makes of a context once for all steps: the keys and values of every attention on it.
#[derive(Debug, Clone, Default)]
pub struct ContextStates(Vec<KeysValues>);

impl UNet {
    pub(super) fn new(config: &UNetConfig, device: &Device) -> Self {
        let resnet = |input, output| Resnet::new(device, config, input, output, Resolution::Keep);
        let attention = |channels, attention: Option<Attention>| {
            attention.map(|a| AttentionBlock::new(device, config, channels, a))
        };
        let count = config.levels.len();
        let mut channels = config.model_channels;
        // The widths of the tensors kept on the way down, which the way up takes from the end.
        let mut kept = vec![channels];
        let mut down_blocks = Vec::with_capacity(count);
        for (i, level) in config.levels.iter().enumerate() {
            let mut block = DownBlock {
                resnets: Vec::new(),
                attentions: Vec::new(),
                downsamplers: Vec::new(),
            };
            for _ in 0..level.resblocks {
                block.resnets.push(resnet(channels, level.channels));
                block
                    .attentions
                    .extend(attention(level.channels, level.attention));
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
        let mid_block = MidBlock {
            attentions: attention(channels, config.middle).into_iter().collect(),
            resnets: vec![resnet(channels, channels), resnet(channels, channels)],
        };
        let mut up_blocks = Vec::with_capacity(count);
        for (i, level) in config.levels.iter().enumerate().rev() {
            let mut block = UpBlock {
                resnets: Vec::new(),
                attentions: Vec::new(),
                upsamplers: Vec::new(),
            };
            for _ in 0..=level.resblocks {
                let skip = kept.pop().unwrap_or(0);
                block.resnets.push(resnet(channels + skip, level.channels));
                block
                    .attentions
                    .extend(attention(level.channels, level.attention));
                channels = level.channels;
            }
            if i > 0 {
                block
                    .upsamplers
                    .push(Resampler::up(device, config, channels));
            }
            up_blocks.push(block);
        }
        let time = config.time_channels();
        Self {
            conv_in: Conv2d::new(device, config.in_channels, config.model_channels, 3),
            time_embedding: TimestepEmbedding::new(device, config.model_channels, time),
            class_embedding: match config.labels {
                Labels::Table(rows) => Some(Embedding::new(device, rows, time)),
                _ => None,
            },
            add_embedding: match config.labels {
                Labels::Vector(width) => Some(TimestepEmbedding::new(device, width, time)),
                _ => None,
            },
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(device, config.norm_groups, channels, super::NORM_EPS),
            conv_out: Conv2d::new(device, channels, config.out_channels, 3),
            config: config.clone(),
            padding: Padding::Zero,
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.conv_norm_out.weight.val().dtype()
    }

    /// The same network with another treatment of the picture's edges (tileable pictures). Copies
    /// no parameter.
    pub fn with_padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// The network's prediction, in f32.
    ///
    /// `t` is the training step, which may be fractional. `context` is needed exactly by a network
    /// with a context width, `vector` exactly by one with labels: the vector itself, or for a table
    /// the row's number as a single column.
    ///
    /// # Shapes
    ///
    /// - x `[batch, in_channels, height, width]`, t `[batch]`
    /// - context `[batch, tokens, context]`, vector `[batch, width]` or `[batch, 1]`
    /// - output `[batch, out_channels, height, width]`
    ///
    /// Any height and width, except with [`Resample::Resnet`](super::Resample::Resnet): multiples
    /// of [`UNetConfig::downsampling`].
    ///
    /// # Panics
    ///
    /// Where the shapes differ from these; callers validate what comes from users.
    pub fn forward(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        context: Option<Tensor<3>>,
        vector: Option<Tensor<2>>,
    ) -> Tensor<4> {
        let context = context.map(|context| self.context(context));
        self.forward_with(x, t, &context.unwrap_or_default(), vector)
    }

    /// What [`forward_with`](Self::forward_with) needs of a context. It holds for every step.
    ///
    /// # Shapes
    ///
    /// `[batch, tokens, context]`
    pub fn context(&self, context: Tensor<3>) -> ContextStates {
        let context = context.cast(self.dtype());
        let down = self.down_blocks.iter().map(|block| &block.attentions);
        let up = self.up_blocks.iter().map(|block| &block.attentions);
        let all = down.chain([&self.mid_block.attentions]).chain(up).flatten();
        ContextStates(all.flat_map(|a| a.keys_values(&context)).collect())
    }

    /// [`forward`](Self::forward) with a context made ready; an empty one for a network without.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_with(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        context: &ContextStates,
        vector: Option<Tensor<2>>,
    ) -> Tensor<4> {
        let time = self.embed(t, vector);
        let context = &mut context.0.iter();
        let mut h = x;
        let mut kept = Vec::new();
        for part in self.parts() {
            let skip = part.skip(&mut kept);
            h = self.part(part, h, skip, &time, context);
            if part.keeps() {
                let [skip, on] = ops::fork(h);
                kept.push(skip);
                h = on;
            }
        }
        h
    }

    /// The parts of the network in their order.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::In];
        for (level, block) in self.down_blocks.iter().enumerate() {
            parts.extend((0..block.resnets.len()).map(|i| Part::Down(level, i)));
            parts.extend(block.downsamplers.iter().map(|_| Part::Halve(level)));
        }
        parts.extend((0..self.mid_block.resnets.len()).map(Part::Mid));
        for (level, block) in self.up_blocks.iter().enumerate() {
            parts.extend((0..block.resnets.len()).map(|i| Part::Up(level, i)));
            parts.extend(block.upsamplers.iter().map(|_| Part::Double(level)));
        }
        parts.push(Part::Out);
        parts
    }

    /// The attention of a part.
    pub(super) fn attention(&self, part: Part) -> Option<&AttentionBlock> {
        match part {
            Part::Down(level, i) => self.down_blocks[level].attentions.get(i),
            Part::Mid(i) => self.mid_block.attentions.get(i),
            Part::Up(level, i) => self.up_blocks[level].attentions.get(i),
            Part::In | Part::Halve(_) | Part::Double(_) | Part::Out => None,
        }
    }

    /// What a part makes of what the part before it made, a tensor kept on the way down where it
    /// [takes](Part::skip) one, and the time; its attention takes what it needs from `context`.
    pub(super) fn part<'a>(
        &self,
        part: Part,
        h: Tensor<4>,
        skip: Option<Tensor<4>>,
        time: &Tensor<2>,
        context: &mut impl Iterator<Item = &'a KeysValues>,
    ) -> Tensor<4> {
        let padding = self.padding;
        let resnet = match part {
            Part::In => return self.conv_in.forward(h.cast(self.dtype()), padding),
            Part::Halve(level) => {
                let down = &self.down_blocks[level].downsamplers[0];
                return down.halve(h, time, padding);
            }
            Part::Double(level) => {
                let up = &self.up_blocks[level].upsamplers[0];
                // An odd size was rounded up when it was halved: the tensor kept then has the size
                // to return to.
                let [_, _, height, width] = h.dims();
                let size = skip.map_or([2 * height, 2 * width], |skip| {
                    let [_, _, height, width] = skip.dims();
                    [height, width]
                });
                return up.double(h, time, size, padding);
            }
            Part::Out => {
                let h = self.conv_norm_out.forward_silu(h);
                return self.conv_out.forward(h, padding).cast(DType::F32);
            }
            Part::Down(level, i) => &self.down_blocks[level].resnets[i],
            Part::Mid(i) => &self.mid_block.resnets[i],
            Part::Up(level, i) => &self.up_blocks[level].resnets[i],
        };
        let h = match skip {
            Some(skip) => ops::cat_channels(vec![h, skip]),
            None => h,
        };
        let h = resnet.forward(h, Some(time), padding);
        match self.attention(part) {
            Some(attention) => attention.forward(h, context),
            None => h,
        }
    }

    /// The time embedding with its labels, through the SiLU that every resblock begins with:
    /// `[batch, time channels]`.
    pub(super) fn embed(&self, t: Tensor<1>, vector: Option<Tensor<2>>) -> Tensor<2> {
        let dtype = self.dtype();
        let sinusoid = timestep_sinusoid(t, self.config.model_channels).cast(dtype);
        let mut time = self.time_embedding.forward(sinusoid);
        if let (Some(layer), Some(vector)) = (&self.add_embedding, &vector) {
            time = time + layer.forward(vector.clone().cast(dtype));
        }
        if let (Some(table), Some(vector)) = (&self.class_embedding, &vector) {
            let rows: Tensor<2, Int> = vector.clone().int();
            let [batch, _] = rows.dims();
            let width = self.config.time_channels();
            time = time + table.forward(rows).reshape([batch, width]);
        }
        ops::silu(time)
    }
}
