//! The whole network.
#![allow(non_snake_case, reason = "`adaLN_modulation` is the published name")]

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};

use super::block::{Block, Mlp, Modulated, vectors};
use super::config::{Modulation, TransformerConfig};
use super::{EPS, SINUSOID, positions};
use crate::denoiser::{Given, GivenError, GivenStates, Input, Output, Shifts};
use crate::layers::{Conv2d, Embedding, Gap, Linear, parameter};
use crate::unet::{Alter, Extras, Labels, timestep_sinusoid};
use crate::walk::layers;

/// Patches to tokens.
#[derive(Module, Debug)]
pub struct PatchEmbedder {
    /// As large as a patch, and as far from one to the next.
    pub proj: Conv2d,
}

/// Two linear layers with SiLU between them.
#[derive(Module, Debug)]
pub struct TimeEmbedder {
    /// A layer, SiLU, a layer: published files number them 0, 1, 2.
    pub mlp: (Linear, Gap, Linear),
}

/// The layers of a [`TimeEmbedder`], from a width to another.
fn two_layers(device: &Device, input: usize, width: usize) -> (Linear, Gap, Linear) {
    (
        Linear::new(device, input, width, true),
        Gap {},
        Linear::new(device, width, width, true),
    )
}

fn embed((first, _, second): &(Linear, Gap, Linear), x: Tensor<2>) -> Tensor<2> {
    second.forward(ops::silu(first.forward(x)))
}

/// What is given beside the latent and the time. It has what the configuration says, or nothing.
#[derive(Module, Debug)]
pub struct LabelEmbedder {
    /// Rows by number, added to the time.
    pub embedding_table: Option<Embedding>,
    /// Of a vector that is added to the time.
    pub mlp: Option<(Linear, Gap, Linear)>,
    /// Of context tokens.
    pub y_proj: Option<Mlp>,
}

/// Tokens to patches.
#[derive(Module, Debug)]
pub struct FinalLayer {
    /// To the numbers of a patch: by row, by column, by channel.
    pub linear: Linear,
    /// The time to a shift and a scale, after SiLU, where blocks have layers of their own for that.
    pub adaLN_modulation: Option<(Gap, Linear)>,
    /// What is added to the time, where all blocks share a layer: a shift and a scale, `[2, width]`.
    pub scale_shift_table: Option<Param<Tensor<2>>>,
}

/// A diffusion transformer, built by [`TransformerConfig::init`].
#[derive(Module, Debug)]
pub struct Transformer {
    /// Patches to tokens.
    pub x_embedder: PatchEmbedder,
    /// Of the sinusoid of the step.
    pub t_embedder: TimeEmbedder,
    /// Of what is given beside the time.
    pub y_embedder: LabelEmbedder,
    /// SiLU, and the layer that makes the shifts, scales and gates that all blocks share: published files number it 1.
    pub t_block: Option<(Gap, Linear)>,
    /// One after another.
    pub blocks: Vec<Block>,
    /// Tokens to patches.
    pub final_layer: FinalLayer,
    #[module(skip)]
    config: TransformerConfig,
}

impl Transformer {
    pub(super) fn new(config: &TransformerConfig, device: &Device) -> Self {
        let (width, patch) = (config.width, config.patch);
        let patches = ConvShape {
            stride: patch,
            padding: [0; 4],
        };
        let own = config.modulation == Modulation::PerBlock;
        let modulation = |vectors| (Gap {}, Linear::new(device, width, vectors * width, true));
        let projected = config.context.filter(|_| config.context_projection);
        Self {
            x_embedder: PatchEmbedder {
                proj: Conv2d::with_shape(device, config.in_channels, width, patch, patches),
            },
            t_embedder: TimeEmbedder {
                mlp: two_layers(device, SINUSOID, width),
            },
            y_embedder: LabelEmbedder {
                embedding_table: match config.labels {
                    Labels::Table(rows) => Some(Embedding::new(device, rows, width)),
                    _ => None,
                },
                mlp: match config.labels {
                    Labels::Vector(from) => Some(two_layers(device, from, width)),
                    _ => None,
                },
                y_proj: projected.map(|context| Mlp::new(device, [context, width, width])),
            },
            t_block: (!own).then(|| modulation(6)),
            blocks: (0..config.depth)
                .map(|number| Block::new(device, config, number))
                .collect(),
            final_layer: FinalLayer {
                linear: Linear::new(device, width, patch * patch * config.out_channels, true),
                adaLN_modulation: own.then(|| modulation(2)),
                scale_shift_table: (!own).then(|| parameter(device, [2, width])),
            },
            config: config.clone(),
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &TransformerConfig {
        &self.config
    }

    /// The type that the network computes in: that of its parameters.
    pub fn dtype(&self) -> DType {
        self.bias().dtype()
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.bias().device()
    }

    /// A parameter that no packing takes away.
    fn bias(&self) -> Tensor<1> {
        let bias = self.final_layer.linear.bias.as_ref();
        bias.expect("the last layer has a bias").val()
    }

    /// The network's prediction, in f32. `t` is the training step, which may be fractional.
    ///
    /// # Shapes
    ///
    /// - x `[batch, in_channels, height, width]`, t `[batch]`; [`Given`] has its own
    /// - output `[batch, out_channels, height, width]`; height and width multiples of the patch
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn forward(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        given: Given,
    ) -> Result<Tensor<4>, GivenError> {
        Ok(self.forward_seen(x, t, given, None)?.0)
    }

    /// [`forward`](Self::forward), and the tokens that block number `states` makes, counted from 1, as a picture of patches.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward); states `[batch, width, height / patch, width / patch]`, in the type of the network
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
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
    /// Where something is not given that the network has a layer for, or given that it has none for, or of another shape.
    pub fn prepare(&self, given: Given) -> Result<GivenStates, GivenError> {
        given.check(&self.config.interface())?;
        let dtype = self.dtype();
        let labels = given.vector.and_then(|vector| {
            let [batch, _] = vector.dims();
            match &self.y_embedder {
                LabelEmbedder {
                    embedding_table: Some(table),
                    ..
                } => {
                    let rows = table.forward(vector.int());
                    Some(rows.reshape([batch, self.config.width]))
                }
                LabelEmbedder {
                    mlp: Some(layers), ..
                } => Some(embed(layers, vector.cast(dtype))),
                _ => None,
            }
        });
        let context = given.context.map(|context| context.cast(dtype));
        let context = match &self.y_embedder.y_proj {
            Some(layers) => context.map(|context| layers.forward(context)),
            None => context,
        };
        let attentions = self
            .blocks
            .iter()
            .filter_map(|block| block.cross_attn.as_ref());
        let joined = context.iter().flat_map(|context| {
            let attentions = attentions.clone();
            attentions.map(move |attention| attention.keys_values(context.clone()))
        });
        Ok(GivenStates {
            context: Vec::new(),
            joined: joined.collect(),
            shifts: Shifts {
                guidance: None,
                labels,
            },
        })
    }

    /// [`forward`](Self::forward) with what was given made ready.
    ///
    /// # Shapes
    ///
    /// As [`forward`](Self::forward).
    ///
    /// # Panics
    ///
    /// Where attention blocks are to do something else than what they were trained to, or where something is added inside:
    /// [`Alter`] and [`Extras`] go by a U-Net's levels, which a transformer does not have, so callers refuse both.
    pub fn run(&self, input: Input<'_>) -> Output {
        assert_eq!(*input.alter, Alter::Nothing, "a transformer has no levels");
        assert!(input.extras.is_empty(), "nothing is added to a transformer");
        let patch = self.config.patch;
        let [_, _, height, width] = input.x.dims();
        let grid @ [rows, columns] = [height / patch, width / patch];
        let time = self.time(input.t, input.given.shifts.labels.as_ref());
        let mut x = self.tokens(input.x, grid);
        let mut keys_values = input.given.joined.iter();
        let mut states = None;
        for (number, block) in self.blocks.iter().enumerate() {
            let seen = match block.cross_attn {
                Some(_) => keys_values.next(),
                None => None,
            };
            x = block.forward(x, &time, seen);
            if input.states == Some(number + 1) {
                states = Some(ops::to_picture(x.clone(), rows, columns));
            }
        }
        Output {
            x: self.picture(x, &time, grid),
            attended: None,
            states,
            remembered: Vec::new(),
        }
    }

    /// The embedding of the step with what is added to it, as blocks read it.
    fn time(&self, t: Tensor<1>, labels: Option<&Tensor<2>>) -> Modulated {
        let sinusoid = timestep_sinusoid(t, SINUSOID).cast(self.dtype());
        let time = embed(&self.t_embedder.mlp, sinusoid);
        let time = match labels {
            Some(labels) => time + labels.clone(),
            None => time,
        };
        let silu = ops::silu(time.clone());
        let [batch, width] = time.dims();
        let shared = self.t_block.as_ref();
        let shared = shared.map(|(_, layer)| {
            let all = layer.forward(silu.clone());
            all.reshape([batch, 6, width])
        });
        Modulated { time, silu, shared }
    }

    /// A latent's patches, with where they stand: `[batch, in_channels, height, width]` → `[batch, patches, width]`.
    fn tokens(&self, x: Tensor<4>, grid @ [rows, columns]: [usize; 2]) -> Tensor<3> {
        let [batch, ..] = x.dims();
        let (width, dtype) = (self.config.width, self.dtype());
        let table = positions::table(self.config.positions, grid, width, &x.device());
        let table = table.cast(dtype).expand([batch, width, rows, columns]);
        let proj = &self.x_embedder.proj;
        ops::to_tokens(proj.forward_add(x.cast(dtype), Padding::Zero, table))
    }

    /// The latent that tokens say: `[batch, patches, width]` → `[batch, out_channels, height, width]`, f32.
    fn picture(&self, x: Tensor<3>, time: &Modulated, [rows, columns]: [usize; 2]) -> Tensor<4> {
        let [batch, _, width] = x.dims();
        let layer = &self.final_layer;
        let [shift, scale] = vectors(match (&layer.adaLN_modulation, &layer.scale_shift_table) {
            (Some((_, layer)), _) => layer.forward(time.silu.clone()).reshape([batch, 2, width]),
            (None, Some(table)) => {
                table.val().unsqueeze::<3>() + time.time.clone().unsqueeze_dim::<3>(1)
            }
            (None, None) => unreachable!("the last layer has one of them"),
        });
        let x = layer
            .linear
            .forward(ops::layer_norm_modulated(x, [scale, shift], EPS));
        let (patch, channels) = (self.config.patch, self.config.out_channels);
        // By the patch's row and by the row in it, and the same of columns.
        let x: Tensor<6> = x.reshape([batch, rows, columns, patch, patch, channels]);
        let x = x.permute([0, 5, 1, 3, 2, 4]);
        x.reshape([batch, channels, rows * patch, columns * patch])
            .cast(DType::F32)
    }
}

layers!(PatchEmbedder { proj });
layers!(TimeEmbedder { mlp });
layers!(LabelEmbedder {
    embedding_table,
    mlp,
    y_proj
});
layers!(FinalLayer { linear, adaLN_modulation; scale_shift_table });
layers!(Transformer { x_embedder, t_embedder, y_embedder, t_block, blocks, final_layer; config });
