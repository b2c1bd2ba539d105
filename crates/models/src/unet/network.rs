//! The whole network.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, Padding};

use super::alter::{Alter, Change, Spot};
use super::attention::AttentionBlock;
use super::config::{UNetConfig, Way};
use super::cross::{Beside, KeysValues};
use super::embedding::TimestepEmbedding;
use super::extras::Extras;
use super::part::Part;
use super::resnet::{Resampler, Resnet};
use super::trunk::{self, Built, Trunk};
use crate::denoiser::{Given, GivenError, GivenStates, Input, Output, Shifts};
use crate::hypernetwork::Bend;
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
    #[module(skip)]
    bends: Vec<Bend>,
}

impl UNet {
    pub(super) fn new(config: &UNetConfig, device: &Device) -> Self {
        let Built {
            conv_in,
            time_embedding,
            class_embedding,
            add_embedding,
            down_blocks,
            mid_block,
            mut kept,
        } = Built::of(config, device);
        let count = config.levels.len();
        let mut channels = kept.last().copied().unwrap_or(0);
        let mut up_blocks = Vec::with_capacity(count);
        for (i, level) in config.levels.iter().enumerate().rev() {
            let mut block = UpBlock {
                resnets: Vec::new(),
                attentions: Vec::new(),
                upsamplers: Vec::new(),
            };
            for resblock in 0..=level.resblocks {
                let skip = kept.pop().unwrap_or(0);
                block.resnets.push(trunk::resnet(
                    device,
                    config,
                    [channels + skip, level.channels],
                ));
                let attention = trunk::attention_at(device, config, Way::Up, [i, resblock]);
                block.attentions.extend(attention);
                channels = level.channels;
            }
            if i > 0 {
                block
                    .upsamplers
                    .push(Resampler::up(device, config, channels));
            }
            up_blocks.push(block);
        }
        Self {
            conv_in,
            time_embedding,
            class_embedding,
            add_embedding,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(device, config.norm_groups, channels, super::NORM_EPS),
            conv_out: Conv2d::new(device, channels, config.out_channels, 3),
            config: config.clone(),
            padding: Padding::Zero,
            bends: Vec::new(),
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

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.conv_norm_out.weight.device()
    }

    /// The same network with another treatment of the picture's edges (tileable pictures). Copies
    /// no parameter.
    pub fn with_padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// The same network with hypernetworks that bend what its attentions read, one after the other. Copies no parameter. They
    /// compute in the type of the network, and act where it runs: training passes them by.
    pub fn with_bends(self, bends: Vec<Bend>) -> Self {
        Self { bends, ..self }
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
            extras: Extras::default(),
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
        given.check(&self.config.interface())?;
        let trunk = self.trunk();
        let mut states = trunk.prepare(&given, &self.bends);
        if let Some(context) = trunk.context(&given, &self.bends) {
            let up = self.up_blocks.iter().flat_map(|block| &block.attentions);
            let up = up.flat_map(|a| a.keys_values(&context));
            states.context.extend(up);
        }
        Ok(states)
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
        let mut extras = input.extras;
        let pictures = std::mem::take(&mut extras.pictures);
        let references = extras.references.take();
        let mut beside = Beside::new(&pictures, &self.bends);
        beside = beside.with(references.as_ref(), extras.remember);
        for part in self.parts() {
            let skip = part.skip(&mut kept);
            let (joined, skip) = extras.joined(part, h, skip, self.config.model_channels);
            h = joined;
            h = self.block(part, h, skip, &time);
            if let Some(attention) = self.attention(part) {
                if input.watch && matches!(part, Part::Mid(_)) {
                    attended = Some(attention.attended(h.clone(), &beside));
                }
                h = attention.forward(h, context, (input.alter.at(part), &mut beside));
            }
            block += usize::from(part.is_block());
            if part.is_block() && input.states == Some(block) {
                let [seen, on] = ops::fork(h);
                states = Some(seen);
                h = on;
            }
            h = extras.ended(self.ends(part), h);
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
            remembered: beside.remembered(),
        }
    }

    /// Whether there is attention at such a place.
    pub fn attends_at(&self, spot: Spot) -> bool {
        let mut parts = self.parts().into_iter();
        parts.any(|part| spot.covers(part) && self.attention(part).is_some())
    }

    /// The parts of the network in their order.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut parts = self.trunk().parts();
        for (level, block) in self.up_blocks.iter().enumerate() {
            parts.extend((0..block.resnets.len()).map(|i| Part::Up(level, i)));
            parts.extend(block.upsamplers.iter().map(|_| Part::Double(level)));
        }
        parts.push(Part::Out);
        parts
    }

    /// Whether a level of the way down ends with a part, or the middle: with the last attention of the level, where it has
    /// one; else where its resolution is halved, or its last resblock.
    fn ends(&self, part: Part) -> bool {
        match part {
            Part::Down(level, i) => {
                let block = &self.down_blocks[level];
                let last = i + 1 == block.resnets.len();
                last && (!block.attentions.is_empty() || block.downsamplers.is_empty())
            }
            Part::Halve(level) => self.down_blocks[level].attentions.is_empty(),
            Part::Mid(i) => i + 1 == self.mid_block.resnets.len(),
            Part::In | Part::Up(..) | Part::Double(_) | Part::Out => false,
        }
    }

    /// The attention of a part.
    pub(super) fn attention(&self, part: Part) -> Option<&AttentionBlock> {
        match part {
            Part::Up(level, i) => self.up_blocks[level].attentions.get(i),
            part => self.trunk().attention(part),
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
            Some(attention) => {
                let change = (Change::Nothing, &mut Beside::nothing());
                attention.forward(h, context, change)
            }
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
            Part::Up(level, i) => &self.up_blocks[level].resnets[i],
            part => return self.trunk().block(part, h, time),
        };
        let h = match skip {
            Some(skip) => ops::cat_channels(vec![h, skip]),
            None => h,
        };
        resnet.forward(h, Some(time), padding)
    }

    /// What is given beside the context, through its layers. It was checked before.
    pub(super) fn shifts(&self, given: &Given) -> Shifts {
        self.trunk().shifts(given)
    }

    /// The time embedding with all that is added to it, through the SiLU that every resblock begins
    /// with: `[batch, time channels]`.
    pub(super) fn embed(&self, t: Tensor<1>, shifts: &Shifts) -> Tensor<2> {
        self.trunk().embed(t, shifts)
    }

    /// The way down and the middle.
    fn trunk(&self) -> Trunk<'_> {
        Trunk {
            conv_in: &self.conv_in,
            time_embedding: &self.time_embedding,
            class_embedding: self.class_embedding.as_ref(),
            add_embedding: self.add_embedding.as_ref(),
            down_blocks: &self.down_blocks,
            mid_block: &self.mid_block,
            config: &self.config,
            padding: self.padding,
        }
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
    config, padding, bends
});
