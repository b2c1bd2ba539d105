//! The whole network.

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, Padding};

use super::config::ControlNetConfig;
use super::hint::HintEmbedding;
use super::union::UnionLayer;
use crate::denoiser::{Given, GivenError, GivenStates};
use crate::layers::{Conv2d, Linear, parameter};
use crate::unet::{
    Beside, Built, Change, ClassEmbedding, DownBlock, MidBlock, Part, Residuals, TimestepEmbedding,
    Trunk, timestep_sinusoid,
};
use crate::walk::layers;

/// A ControlNet, built by [`ControlNetConfig::init`].
#[derive(Module, Debug)]
pub struct ControlNet {
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
    /// Below them.
    pub mid_block: MidBlock,
    /// Of the picture.
    pub controlnet_cond_embedding: HintEmbedding,
    /// 1×1, one for each tensor that the U-Net keeps on the way down.
    pub controlnet_down_blocks: Vec<Conv2d>,
    /// 1×1, of the middle.
    pub controlnet_mid_block: Conv2d,
    /// Of each kind of pictures, `[kinds, model channels]`; in networks for several.
    pub task_embedding: Option<Param<Tensor<2>>>,
    /// Of which kind the picture is, added to the time embedding; in networks for several.
    pub control_add_embedding: Option<TimestepEmbedding>,
    /// Of the mean of the picture's states; in networks for several. The name is that of the published files.
    pub transformer_layes: Vec<UnionLayer>,
    /// After them; in networks for several.
    pub spatial_ch_projs: Option<Linear>,
    #[module(skip)]
    config: ControlNetConfig,
    #[module(skip)]
    padding: Padding,
    #[module(skip)]
    kind: usize,
}

/// What a ControlNet is called with.
#[derive(Debug, Clone)]
pub struct ControlInput<'a> {
    /// The noisy latent as the U-Net is given it, `[batch, in_channels, height, width]`.
    pub x: Tensor<4>,
    /// The training step, which may be fractional, `[batch]`.
    pub t: Tensor<1>,
    /// What was [made ready](ControlNet::prepare) once for all steps.
    pub given: &'a GivenStates,
    /// What was [made of the picture](ControlNet::embed) once for all steps: `[1 or batch, model channels, height, width]`.
    pub hint: &'a Tensor<4>,
}

impl ControlNet {
    pub(super) fn new(config: &ControlNetConfig, device: &Device) -> Self {
        let Built {
            conv_in,
            time_embedding,
            class_embedding,
            add_embedding,
            down_blocks,
            mid_block,
            kept,
        } = Built::of(&config.unet, device);
        let (width, time) = (config.unet.model_channels, config.unet.time_channels());
        let union = config.union;
        let zero = |channels: usize| Conv2d::new(device, channels, channels, 1);
        Self {
            conv_in,
            time_embedding,
            class_embedding,
            add_embedding,
            down_blocks,
            mid_block,
            controlnet_cond_embedding: HintEmbedding::new(config, device),
            controlnet_mid_block: zero(kept.last().copied().unwrap_or(0)),
            controlnet_down_blocks: kept.into_iter().map(zero).collect(),
            task_embedding: union.map(|union| parameter(device, [union.kinds, width])),
            control_add_embedding: union
                .map(|union| TimestepEmbedding::new(device, union.kinds * union.sinusoid, time)),
            transformer_layes: (0..union.map_or(0, |union| union.layers))
                .map(|_| UnionLayer::new(device, width))
                .collect(),
            spatial_ch_projs: union.map(|_| Linear::new(device, width, width, true)),
            config: config.clone(),
            padding: Padding::Zero,
            kind: 0,
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &ControlNetConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.trunk().dtype()
    }

    /// The same network with another treatment of the picture's edges. Copies no parameter.
    pub fn with_padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// The same network for a picture of that kind, where it reads several: less than
    /// [`UnionConfig::kinds`](super::UnionConfig::kinds). Copies no parameter.
    pub fn with_kind(self, kind: usize) -> Self {
        Self { kind, ..self }
    }

    /// What [`run`](Self::run) needs of what the U-Net is given: as much of it as this network has layers for. It holds for
    /// every step.
    ///
    /// # Errors
    ///
    /// Where something is not given that the network has a layer for, or of another shape.
    pub fn prepare(&self, given: Given) -> Result<GivenStates, GivenError> {
        let unet = &self.config.unet;
        let given = Given {
            context: given.context.filter(|_| unet.context.is_some()),
            vector: given.vector.filter(|_| unet.labels.width().is_some()),
            guidance: given.guidance.filter(|_| unet.guidance.is_some()),
        };
        given.check(&unet.interface())?;
        let mut states = self.trunk().prepare(&given, &[]);
        if let Some(told) = self.told_kind() {
            let labels = states.shifts.labels.take();
            states.shifts.labels = Some(match labels {
                Some(labels) => {
                    let shape = labels.shape();
                    labels + told.expand(shape)
                }
                None => told,
            });
        }
        Ok(states)
    }

    /// What is added to the time embedding of the kind of the picture: `[1, time channels]`. Of each kind it is told whether the
    /// picture is of it, as the sinusoid of 0 or 1.
    fn told_kind(&self) -> Option<Tensor<2>> {
        let (layer, union) = (self.control_add_embedding.as_ref()?, self.config.union?);
        let kinds = 0..union.kinds;
        let which: Vec<f32> = kinds
            .map(|kind| f32::from(u8::from(kind == self.kind)))
            .collect();
        let device = self.conv_in.bias.as_ref()?.device();
        let told = timestep_sinusoid(
            Tensor::from_floats(which.as_slice(), &device),
            union.sinusoid,
        );
        let told = told.reshape([1, union.kinds * union.sinusoid]);
        Some(layer.forward(told.cast(self.dtype())))
    }

    /// What [`run`](Self::run) needs of a picture. It holds for every step.
    ///
    /// # Shapes
    ///
    /// `[batch, hint channels, height, width]`, most often red, green, blue in 0..=1 → `[batch, model channels, …]`, both
    /// sides divided by [`ControlNetConfig::downsampling`], in the type of the network
    pub fn embed(&self, picture: Tensor<4>) -> Tensor<4> {
        let picture = picture.cast(self.dtype());
        let states = self
            .controlnet_cond_embedding
            .forward(picture, self.padding);
        let (Some(tasks), Some(last)) = (&self.task_embedding, &self.spatial_ch_projs) else {
            return states;
        };
        let [batch, channels, _, _] = states.dims();
        let mean = states.clone().mean_dim(2).mean_dim(3);
        let task = tasks.val().narrow(0, self.kind, 1);
        let mean = mean.reshape([batch, channels]) + task.expand([batch, channels]);
        let layers = self.transformer_layes.iter();
        let seen = last.forward(layers.fold(mean, |x, layer| layer.forward(x)));
        let shape = states.shape();
        states + seen.reshape([batch, channels, 1, 1]).expand(shape)
    }

    /// What is to be added to the states of the U-Net, in the type of the network.
    ///
    /// # Shapes
    ///
    /// As [`ControlInput`] and [`Residuals`] have them.
    ///
    /// # Panics
    ///
    /// Where the shapes differ from these; callers validate what comes from users.
    pub fn run(&self, input: ControlInput<'_>) -> Residuals {
        let trunk = self.trunk();
        let time = trunk.embed(input.t, &input.given.shifts);
        let context = &mut input.given.context.iter();
        let mut h = input.x;
        let mut kept = Vec::with_capacity(self.controlnet_down_blocks.len());
        let mut says = self.controlnet_down_blocks.iter();
        for part in trunk.parts() {
            h = trunk.block(part, h, &time);
            if part == Part::In {
                let hint = input.hint.clone().expand(h.shape());
                h = h + hint;
            }
            if let Some(attention) = trunk.attention(part) {
                let change = (Change::Nothing, &mut Beside::nothing());
                h = attention.forward(h, context, change);
            }
            if part.keeps()
                && let Some(says) = says.next()
            {
                let [seen, on] = ops::fork(h);
                kept.push(says.forward(seen, Padding::Zero));
                h = on;
            }
        }
        let residuals = Residuals {
            kept,
            middle: Some(self.controlnet_mid_block.forward(h, Padding::Zero)),
        };
        match self.config.pooled {
            true => residuals.pooled(),
            false => residuals,
        }
    }

    fn trunk(&self) -> Trunk<'_> {
        Trunk {
            conv_in: &self.conv_in,
            time_embedding: &self.time_embedding,
            class_embedding: self.class_embedding.as_ref(),
            add_embedding: self.add_embedding.as_ref(),
            down_blocks: &self.down_blocks,
            mid_block: &self.mid_block,
            config: &self.config.unet,
            padding: self.padding,
        }
    }
}

layers!(ControlNet {
    conv_in, time_embedding, class_embedding, add_embedding, down_blocks, mid_block, controlnet_cond_embedding,
    controlnet_down_blocks, controlnet_mid_block, control_add_embedding, transformer_layes, spatial_ch_projs;
    task_embedding, config, padding, kind
});
