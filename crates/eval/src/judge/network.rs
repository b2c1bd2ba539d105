//! The network of the judge.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_models::Padding;
use latent_models::layers::{BatchNorm, Conv2d, Linear};
use latent_ops::{self as ops, ConvShape};

/// Side of the pictures that it looks at.
pub(crate) const SIDE: u32 = 64;
/// Channels of the first convolution, which halves the picture.
const STEM: usize = 32;
/// Channels of each stage, before which the picture is halved, and further convolutions in it.
const STAGES: [(usize, usize); 3] = [(64, 0), (128, 1), (256, 1)];

/// What a norm does with a picture: by the batch's own statistics or by the running ones.
type Normalise<'a> = dyn FnMut(&BatchNorm, Tensor<4>) -> Tensor<4> + 'a;

/// A convolution with norm and SiLU.
#[derive(Module, Debug)]
pub(super) struct Block {
    pub conv: Conv2d,
    pub norm: BatchNorm,
}

impl Block {
    fn new(device: &Device, input: usize, output: usize) -> Self {
        Self {
            conv: Conv2d::new(device, input, output, 3).without_bias(),
            norm: BatchNorm::new(device, output),
        }
    }

    fn forward(&self, x: Tensor<4>, normalise: &mut Normalise<'_>) -> Tensor<4> {
        let x = self.conv.forward(x, Padding::Zero);
        ops::silu(normalise(&self.norm, x))
    }
}

/// A block to its channels, and blocks around which what they are given goes on.
#[derive(Module, Debug)]
pub(super) struct Stage {
    pub enter: Block,
    pub further: Vec<Block>,
}

/// How likely a picture shows each of so many things.
#[derive(Module, Debug)]
pub(super) struct Network {
    pub stem: Block,
    pub stages: Vec<Stage>,
    pub head: Linear,
}

impl Network {
    /// With parameters that are zeros when read before they are filled.
    pub fn new(things: usize, device: &Device) -> Self {
        let mut width = STEM;
        let stages = STAGES.map(|(channels, further)| {
            let enter = Block::new(device, std::mem::replace(&mut width, channels), channels);
            let further = (0..further).map(|_| Block::new(device, channels, channels));
            Stage {
                enter,
                further: further.collect(),
            }
        });
        Self {
            stem: Block {
                conv: Conv2d::with_shape(device, 3, STEM, 4, ConvShape::HALVE).without_bias(),
                norm: BatchNorm::new(device, STEM),
            },
            stages: Vec::from(stages),
            head: Linear::new(device, width, things, true),
        }
    }

    /// What is seen of a picture, the mean over its pixels, by the running statistics.
    ///
    /// # Shapes
    ///
    /// `[batch, 3, 64, 64]` within −1..=1 → `[batch, 256]`
    pub fn features(&self, pictures: Tensor<4>) -> Tensor<2> {
        self.seen(pictures, &mut |norm, x| norm.forward(x))
    }

    /// The same by the batch's own statistics, for learning.
    pub fn features_training(&self, pictures: Tensor<4>) -> Tensor<2> {
        self.seen(pictures, &mut |norm, x| norm.forward_training(x).0)
    }

    /// Brings the running statistics nearer to those of pictures.
    pub fn track(&mut self, pictures: Tensor<4>) {
        let mut found = Vec::new();
        self.seen(pictures, &mut |norm, x| {
            let (x, statistics) = norm.forward_training(x);
            found.push(statistics);
            x
        });
        let stages = self.stages.iter_mut();
        let blocks =
            stages.flat_map(|stage| std::iter::once(&mut stage.enter).chain(&mut stage.further));
        let blocks = std::iter::once(&mut self.stem).chain(blocks);
        for (block, statistics) in blocks.zip(found) {
            block.norm.track(statistics);
        }
    }

    fn seen(&self, pictures: Tensor<4>, normalise: &mut Normalise<'_>) -> Tensor<2> {
        let mut x = self.stem.forward(pictures, normalise);
        for stage in &self.stages {
            x = stage.enter.forward(ops::max_2x2(x), normalise);
            for block in &stage.further {
                let [past, through] = ops::fork(x);
                x = ops::add(past, block.forward(through, normalise));
            }
        }
        let tokens = ops::to_tokens(x);
        let [batch, _, channels] = tokens.dims();
        tokens.mean_dim(1).reshape([batch, channels])
    }

    /// The logarithms of how likely each thing is, but for a constant of each picture.
    ///
    /// # Shapes
    ///
    /// `[batch, 256]` → `[batch, things]`
    pub fn scores(&self, features: Tensor<2>) -> Tensor<2> {
        self.head.forward(features)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use latent_train::{initialise, torch_default};

    use super::*;

    #[test]
    fn running_statistics_become_those_of_what_was_tracked() {
        let device = Device::flex();
        let network = Network::new(3, &device);
        let rule = torch_default(&network, &[]);
        let mut network = initialise(network, 5, &rule).unwrap();
        let side = SIDE as usize;
        let numbers =
            (0..8 * 3 * side * side).map(|i| ((i * i + i / 97) % 211) as f32 / 105.0 - 1.0);
        let data = TensorData::new(numbers.collect::<Vec<f32>>(), [8, 3, side, side]);
        let x = Tensor::<4>::from_data(data, &device);
        let apart = |network: &Network| {
            let by_batch = network.features_training(x.clone());
            let difference = by_batch - network.features(x.clone());
            difference.abs().max().into_scalar::<f32>()
        };
        let before = apart(&network);
        for _ in 0..80 {
            network.track(x.clone());
        }
        let after = apart(&network);
        // What is left: running variances are without bias, and the last ones are of 128 numbers.
        assert!(after < 0.1 && before > 10.0 * after, "{before} {after}");
        let scores = network.scores(network.features(x.clone()));
        assert_eq!(scores.dims(), [8, 3]);
    }
}
