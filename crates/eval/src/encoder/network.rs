//! The networks of the encoder.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_models::Padding;
use latent_models::condition::{TokenTransformer, TokenTransformerConfig};
use latent_models::layers::{Conv2d, GroupNorm, Linear};
use latent_ops as ops;

use super::words::NOTHING;

/// Side of the pictures that it looks at.
pub(super) const SIDE: u32 = 64;
/// Words of a caption that it reads.
pub(super) const WORDS: usize = 32;
/// Numbers of a vector.
pub(super) const WIDTH: usize = 128;
/// Channels of the convolutions; a halving follows each of the first four.
const CHANNELS: [usize; 6] = [3, 32, 64, 128, 128, 128];
const HALVINGS: usize = 4;

/// Pictures and captions as vectors of length one, near to each other where they belong together.
///
/// The last convolution's pixels are not averaged but read by a linear layer, each place by weights of its own, since
/// captions say what is left and what is right.
#[derive(Module, Debug)]
pub(super) struct DualEncoder {
    pub convs: Vec<Conv2d>,
    pub norms: Vec<GroupNorm>,
    pub picture_head: Linear,
    pub transformer: TokenTransformer,
    pub text_head: Linear,
}

impl DualEncoder {
    /// With parameters that are zeros when read before they are filled; `vocabulary` is how many word numbers there are.
    pub fn new(vocabulary: usize, device: &Device) -> Self {
        let rest = SIDE as usize >> HALVINGS;
        let transformer = TokenTransformerConfig {
            vocabulary,
            positions: WORDS,
            width: WIDTH,
            layers: 2,
            heads: 4,
            head_width: 32,
        };
        Self {
            convs: CHANNELS
                .windows(2)
                .map(|w| Conv2d::new(device, w[0], w[1], 3))
                .collect(),
            norms: CHANNELS[1..]
                .iter()
                .map(|&channels| GroupNorm::new(device, 8, channels, 1e-5))
                .collect(),
            picture_head: Linear::new(device, rest * rest * CHANNELS[5], WIDTH, true),
            transformer: transformer.init(device),
            text_head: Linear::new(device, WIDTH, WIDTH, true),
        }
    }

    /// # Shapes
    ///
    /// `[batch, 3, 64, 64]` within −1..=1 → `[batch, 128]`, of length one
    pub fn pictures(&self, pictures: Tensor<4>) -> Tensor<2> {
        let mut x = pictures;
        for (i, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            x = norm.forward_silu(conv.forward(x, Padding::Zero));
            if i < HALVINGS {
                x = ops::max_2x2(x);
            }
        }
        let tokens = ops::to_tokens(x);
        let [batch, pixels, channels] = tokens.dims();
        unit(
            self.picture_head
                .forward(tokens.reshape([batch, pixels * channels])),
        )
    }

    /// The numbers of words → `[batch, 128]`, of length one.
    pub fn texts(&self, rows: &[Vec<u32>], device: &Device) -> Tensor<2> {
        let size = [rows.len(), WORDS];
        let ids: Vec<i64> = rows.iter().flatten().map(|&id| i64::from(id)).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, size), device);
        // The mean over the words that are there.
        let shares: Vec<f32> = rows
            .iter()
            .flat_map(|row| {
                let words = row.iter().filter(|id| **id != NOTHING).count().max(1);
                let share = 1.0 / words as f32;
                row.iter()
                    .map(move |id| if *id == NOTHING { 0.0 } else { share })
            })
            .collect();
        let shares =
            Tensor::<3>::from_data(TensorData::new(shares, [rows.len(), WORDS, 1]), device);
        let mean: Tensor<3> = (self.transformer.forward(ids) * shares).sum_dim(1);
        unit(self.text_head.forward(mean.reshape([rows.len(), WIDTH])))
    }
}

/// Vectors of length one.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone().square().sum_dim(1) + 1e-12).sqrt();
    x / length
}
