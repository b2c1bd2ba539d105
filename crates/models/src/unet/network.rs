//! The whole network.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, Padding};

use super::alter::{Alter, Change, Spot};
use super::attention::{AttentionBlock, KeysValues, Place};
use super::config::{Attention, Labels, UNetConfig, Way};
use super::embedding::{TimestepEmbedding, timestep_sinusoid};
use super::given::{Given, GivenError, GivenStates, TimeShifts};
use super::input::{Input, Output};
use super::part::Part;
use super::resnet::{Resampler, Resnet, Resolution};
use crate::layers::{Conv2d, Embedding, GroupNorm};
use crate::walk::layers;

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
    /// Two; in pruned networks one or none.
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

/// What is added to the time embedding.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum ClassEmbedding {
    /// Rows by number.
    Table(Embedding),
    /// Of a vector.
    Projection(TimestepEmbedding),
}

/// A latent-diffusion U-Net, built by [`UNetConfig::init`].
#[derive(Module, Debug)]
pub struct UNet {
    /// 3×3, from the latent.
    pub conv_in: Conv2d,
    /// Of the sinusoid of the step.
    pub time_embedding: TimestepEmbedding,
    /// What is added to the time embedding, by the first of its names.
    pub class_embedding: Option<ClassEmbedding>,
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

impl UNet {
    pub(super) fn new(config: &UNetConfig, device: &Device) -> Self {
        let resnet = |input, output| Resnet::new(device, config, input, output, Resolution::Keep);
        let attention = |channels, attention: Option<Attention>, depth, context_only| {
            let place = attention.map(|attention| Place {
                channels,
                heads: attention.heads,
                depth,
                context_only,
            });
            place.map(|place| AttentionBlock::new(device, config, place))
        };
        let attention_at = |way, i: usize, resblock| {
            let (level, depth) = (config.levels[i], config.depth(way, i, resblock));
            let context_only = config.context_only_levels.contains(&i);
            attention(level.channels, level.attention, depth, context_only)
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
            for resblock in 0..level.resblocks {
                block.resnets.push(resnet(channels, level.channels));
                block
                    .attentions
                    .extend(attention_at(Way::Down, i, resblock));
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
            attentions: {
                let depth = config.middle.map_or(0, |middle| middle.depth);
                let middle = attention(channels, config.middle, depth, false);
                middle.into_iter().collect()
            },
            resnets: (0..config.middle_resblocks)
                .map(|_| resnet(channels, channels))
                .collect(),
        };
        let mut up_blocks = Vec::with_capacity(count);
        for (i, level) in config.levels.iter().enumerate().rev() {
            let mut block = UpBlock {
                resnets: Vec::new(),
                attentions: Vec::new(),
                upsamplers: Vec::new(),
            };
            for resblock in 0..=level.resblocks {
                let skip = kept.pop().unwrap_or(0);
                block.resnets.push(resnet(channels + skip, level.channels));
                block.attentions.extend(attention_at(Way::Up, i, resblock));
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
    /// `t` is the training step, which may be fractional.
    ///
    /// # Shapes
    ///
    /// - x `[batch, in_channels, height, width]`, t `[batch]`; [`Given`] has its own
    /// - output `[batch, out_channels, height, width]`
    ///
    /// Any height and width, except with [`Resample::Resnet`](super::Resample::Resnet): multiples
    /// of [`UNetConfig::downsampling`].
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    ///
    /// # Panics
    ///
    /// Where the shape of x differs from this; callers validate what comes from users.
    pub fn forward(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        given: Given,
    ) -> Result<Tensor<4>, GivenError> {
        Ok(self.forward_seen(x, t, given, None)?.0)
    }

    /// [`forward`](Self::forward), and what the block number `states` gave, counted from 1 as
    /// [`UNetConfig::blocks`] does.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward); states `[batch, channels, h, w]`, in the type of the network
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    ///
    /// # Panics
    ///
    /// As [`forward`](Self::forward).
    pub fn forward_seen(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        given: Given,
        states: Option<usize>,
    ) -> Result<(Tensor<4>, Option<Tensor<4>>), GivenError> {
        let given = &self.prepare(given)?;
        let input = Input {
            x,
            t,
            given,
            alter: &Alter::Nothing,
            watch: false,
            states,
        };
        let output = self.run(input);
        Ok((output.x, output.states))
    }

    /// What [`run`](Self::run) needs of what is given. It holds for every step.
    ///
    /// # Errors
    ///
    /// Where something is not given that the network has a layer for, or given that it has none
    /// for, or of another shape.
    pub fn prepare(&self, given: Given) -> Result<GivenStates, GivenError> {
        given.check(&self.config)?;
        let shifts = self.shifts(&given);
        let Some(context) = given.context.map(|context| context.cast(self.dtype())) else {
            return Ok(GivenStates {
                context: Vec::new(),
                shifts,
            });
        };
        let down = self.down_blocks.iter().map(|block| &block.attentions);
        let up = self.up_blocks.iter().map(|block| &block.attentions);
        let all = down.chain([&self.mid_block.attentions]).chain(up).flatten();
        Ok(GivenStates {
            context: all.flat_map(|a| a.keys_values(&context)).collect(),
            shifts,
        })
    }

    /// [`forward`](Self::forward) with what was given made ready.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    pub fn run(&self, input: Input<'_>) -> Output {
        let time = self.embed(input.t, &input.given.shifts);
        let context = &mut input.given.context.iter();
        let mut h = input.x;
        let (mut kept, mut attended) = (Vec::new(), None);
        let (mut block, mut states) = (0, None);
        for part in self.parts() {
            let skip = part.skip(&mut kept);
            h = self.block(part, h, skip, &time);
            if let Some(attention) = self.attention(part) {
                if input.watch && matches!(part, Part::Mid(_)) {
                    attended = Some(attention.attended(h.clone()));
                }
                h = attention.forward(h, context, input.alter.at(part));
            }
            block += usize::from(part.is_block());
            if part.is_block() && input.states == Some(block) {
                let [seen, on] = ops::fork(h);
                states = Some(seen);
                h = on;
            }
            if part.keeps() {
                let [skip, on] = ops::fork(h);
                kept.push(skip);
                h = on;
            }
        }
        Output {
            x: h,
            attended,
            states,
        }
    }

    /// Whether there is attention at such a place.
    pub fn attends_at(&self, spot: Spot) -> bool {
        let mut parts = self.parts().into_iter();
        parts.any(|part| spot.covers(part) && self.attention(part).is_some())
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
        let h = self.block(part, h, skip, time);
        match self.attention(part) {
            Some(attention) => attention.forward(h, context, Change::Nothing),
            None => h,
        }
    }

    /// What a part makes before its attention.
    fn block(
        &self,
        part: Part,
        h: Tensor<4>,
        skip: Option<Tensor<4>>,
        time: &Tensor<2>,
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
        resnet.forward(h, Some(time), padding)
    }

    /// What is given beside the context, through its layers. It was checked before.
    pub(super) fn shifts(&self, given: &Given) -> TimeShifts {
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
            Some(match (&self.class_embedding, &self.add_embedding) {
                (Some(ClassEmbedding::Table(table)), _) => row(table, vector),
                (Some(ClassEmbedding::Projection(layer)), _) => projected(layer, vector),
                (None, layer) => projected(layer.as_ref()?, vector),
            })
        });
        let guidance = given.guidance.clone().and_then(|guidance| {
            let layer = self.time_embedding.cond_proj.as_ref()?;
            Some(layer.forward(guidance.cast(dtype)))
        });
        TimeShifts { guidance, labels }
    }

    /// The time embedding with all that is added to it, through the SiLU that every resblock begins
    /// with: `[batch, time channels]`.
    pub(super) fn embed(&self, t: Tensor<1>, shifts: &TimeShifts) -> Tensor<2> {
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

layers!(DownBlock {
    resnets,
    attentions,
    downsamplers
});
layers!(MidBlock {
    attentions,
    resnets
});
layers!(UpBlock {
    resnets,
    attentions,
    upsamplers
});
layers!(
    enum ClassEmbedding {
        Table,
        Projection,
    }
);
layers!(UNet {
    conv_in, time_embedding, class_embedding, add_embedding, down_blocks, mid_block, up_blocks,
    conv_norm_out, conv_out;
    config, padding
});
