//! T2I-Adapters: small networks that make of a picture what is added to a U-Net's states at the end of each level of the way
//! down (Mou et al., "T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for Text-to-Image Diffusion
//! Models", 2023). It is the same for every step. Parameter names are those of diffusers' `T2IAdapter`.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};
use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, at_least_one};
use crate::layers::Conv2d;
use crate::unet::UNetConfig;

/// A T2I-Adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct T2iAdapterConfig {
    /// Channels of the picture: three, or one (the first, red).
    pub in_channels: usize,
    /// So many pixels along each side become channels at first.
    pub unshuffle: usize,
    /// Channels of each level.
    pub channels: Vec<usize>,
    /// Residual blocks of each level.
    pub resblocks: usize,
    /// How its levels are built.
    pub form: T2iForm,
}

/// How the levels of a T2I-Adapter are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum T2iForm {
    /// As wide as the U-Net's; every level after the first is half as large as the one before.
    Full,
    /// The same with the third alone half as large, for U-Nets of three levels whose middle takes the fourth.
    FullXl,
    /// A quarter as wide inside; every level after the first is half as large.
    Light,
}

impl T2iAdapterConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    ///
    /// The configuration should be [valid](Self::validate).
    pub fn init(&self, device: &Device) -> T2iAdapter {
        let entrance = self.in_channels * self.unshuffle * self.unshuffle;
        let first = self.channels.first().copied().unwrap_or(1);
        let light = self.form == T2iForm::Light;
        let mut before = if light { entrance } else { first };
        let level = |&channels: &usize| {
            let inside = if light { channels / LIGHT } else { channels };
            let change = light || before != channels;
            let level = AdapterLevel {
                in_conv: change.then(|| Conv2d::new(device, before, inside, 1)),
                resnets: (0..self.resblocks)
                    .map(|_| AdapterResnet {
                        block1: Conv2d::new(device, inside, inside, 3),
                        block2: Conv2d::new(device, inside, inside, if light { 3 } else { 1 }),
                    })
                    .collect(),
                out_conv: light.then(|| Conv2d::new(device, inside, channels, 1)),
            };
            before = channels;
            level
        };
        let body = self.channels.iter().map(level).collect();
        T2iAdapter {
            adapter: AdapterBody {
                conv_in: (!light)
                    .then(|| Conv2d::with_shape(device, entrance, first, 3, ConvShape::same(3))),
                body,
            },
            config: self.clone(),
        }
    }

    /// Whether a level is half as large as the one before.
    fn halves(&self, level: usize) -> bool {
        match self.form {
            T2iForm::Full | T2iForm::Light => level > 0,
            T2iForm::FullXl => level == 2,
        }
    }

    /// What the sides of a picture must be multiples of. Odd sides of levels are rounded up where they are halved, as the U-Net's.
    pub fn multiple(&self) -> usize {
        self.unshuffle
    }

    /// Why it does not go with a U-Net, as the first thing in which they differ; both in words.
    pub fn misfit(&self, unet: &UNetConfig) -> Option<[String; 2]> {
        let mut wanted: Vec<usize> = unet.levels.iter().map(|level| level.channels).collect();
        if self.form == T2iForm::FullXl {
            wanted.extend(wanted.last().copied());
        }
        let words = |channels: &[usize]| {
            let widths: Vec<_> = channels.iter().map(ToString::to_string).collect();
            format!("levels of {} channels", widths.join(", "))
        };
        (wanted != self.channels).then(|| [words(&self.channels), words(&wanted)])
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("in_channels", self.in_channels)?;
        at_least_one("unshuffle", self.unshuffle)?;
        at_least_one("resblocks", self.resblocks)?;
        at_least_one("channels (how many)", self.channels.len())?;
        for channels in &self.channels {
            at_least_one(
                "channels",
                *channels
                    / if self.form == T2iForm::Light {
                        LIGHT
                    } else {
                        1
                    },
            )?;
        }
        Ok(())
    }
}

/// A light adapter's width is one of so many parts of a level's.
const LIGHT: usize = 4;

/// A T2I-Adapter, built by [`T2iAdapterConfig::init`].
#[derive(Module, Debug)]
pub struct T2iAdapter {
    /// All of it: published files have one name around it.
    pub adapter: AdapterBody,
    #[module(skip)]
    config: T2iAdapterConfig,
}

/// The levels, and in full ones a convolution before them.
#[derive(Module, Debug)]
pub struct AdapterBody {
    /// 3×3.
    pub conv_in: Option<Conv2d>,
    /// Finest first.
    pub body: Vec<AdapterLevel>,
}

/// One level.
#[derive(Module, Debug)]
pub struct AdapterLevel {
    /// 1×1, where the width changes.
    pub in_conv: Option<Conv2d>,
    /// One after another.
    pub resnets: Vec<AdapterResnet>,
    /// 1×1, of light ones.
    pub out_conv: Option<Conv2d>,
}

/// A convolution, ReLU, a convolution; plus the input.
#[derive(Module, Debug)]
pub struct AdapterResnet {
    /// 3×3.
    pub block1: Conv2d,
    /// 1×1; in light ones 3×3.
    pub block2: Conv2d,
}

impl T2iAdapter {
    /// What the network is made of.
    pub fn config(&self) -> &T2iAdapterConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        let bias = self.adapter.body[0].resnets[0].block1.bias.as_ref();
        bias.map_or(DType::F32, |bias| bias.val().dtype())
    }

    /// What is added to the U-Net's states at the end of each level, finest first; of networks for U-Nets of three levels also
    /// what is added to the middle's.
    ///
    /// # Shapes
    ///
    /// picture `[1, 3, height, width]` in 0..=1, multiples of [`T2iAdapterConfig::multiple`] → `[1, channels, h, w]` each
    pub fn forward(&self, picture: Tensor<4>) -> Vec<Tensor<4>> {
        let picture = picture.narrow(1, 0, self.config.in_channels);
        let mut h = unshuffled(picture.cast(self.dtype()), self.config.unshuffle);
        if let Some(conv) = &self.adapter.conv_in {
            h = conv.forward(h, Padding::Zero);
        }
        let levels = self.adapter.body.iter().enumerate();
        let levels = levels.map(|(i, level)| {
            if self.config.halves(i) {
                h = halved(h.clone());
            }
            if let Some(conv) = &level.in_conv {
                h = conv.forward(h.clone(), Padding::Zero);
            }
            for resnet in &level.resnets {
                let inner =
                    burn::tensor::activation::relu(resnet.block1.forward(h.clone(), Padding::Zero));
                h = resnet.block2.forward_add(inner, Padding::Zero, h.clone());
            }
            if let Some(conv) = &level.out_conv {
                h = conv.forward(h.clone(), Padding::Zero);
            }
            h.clone()
        });
        levels.collect()
    }
}

/// Squares of `by` by `by` pixels as channels: the pixels of the first channel first.
fn unshuffled(x: Tensor<4>, by: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let (h, w) = (height / by, width / by);
    let split: Tensor<6> = x.reshape([batch, channels, h, by, w, by]);
    let split = split.permute([0, 1, 3, 5, 2, 4]);
    split.reshape([batch, channels * by * by, h, w])
}

/// Means of squares of four pixels; at an odd end, of what is there.
fn halved(x: Tensor<4>) -> Tensor<4> {
    let even = |x: Tensor<4>, side: usize| match x.dims()[side] {
        n if n.is_multiple_of(2) => x,
        n => {
            let last = x.clone().narrow(side, n - 1, 1);
            Tensor::cat(vec![x, last], side)
        }
    };
    ops::average_2x2(even(even(x, 2), 3))
}
