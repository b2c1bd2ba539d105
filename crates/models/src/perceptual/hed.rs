//! Edges that a network was taught (Xie and Tu, "Holistically-Nested Edge Detection", 2015).

use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::sigmoid};
use latent_ops::{self as ops, Filter, Padding};

use super::{Vgg, VggConfig};
use crate::layers::Conv2d;

/// The detector: a VGG, a map of edges made of what each of its blocks gives, and one made of all maps.
#[derive(Module, Debug)]
pub struct Hed {
    /// The features.
    pub vgg: Vgg,
    /// From each block's features to one channel, 1×1.
    pub sides: Vec<Conv2d>,
    /// From these channels to one, 1×1.
    pub fuse: Conv2d,
}

impl Hed {
    /// On the features of `vgg`, with parameters that are zeros when read before they are loaded.
    pub fn new(vgg: &VggConfig, device: &Device) -> Self {
        let side = |block: &super::VggBlock| Conv2d::new(device, block.channels, 1, 1);
        Self {
            sides: vgg.blocks.iter().map(side).collect(),
            fuse: Conv2d::new(device, vgg.blocks.len(), 1, 1),
            vgg: vgg.init(device),
        }
    }

    /// How surely each pixel of a picture in −1..1 is an edge, 0 to 1.
    ///
    /// # Shapes
    ///
    /// `[batch, 3, height, width]` → `[batch, 1, height, width]`; both sides multiples of 2 to the number of blocks less one,
    /// since the published network halves odd sides otherwise
    pub fn edges(&self, picture: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = picture.dims();
        let features = self.vgg.features(picture).into_iter();
        let maps = features.zip(&self.sides).map(|(features, side)| {
            let map = side.forward(features, Padding::Zero);
            ops::resize(map, [height, width], Filter::Bilinear)
        });
        let maps = Tensor::cat(maps.collect(), 1);
        sigmoid(self.fuse.forward(maps, Padding::Zero))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};
    use latent_testkit::{max_abs_difference, recipe};

    use super::*;
    use crate::error::ParameterError;
    use crate::perceptual::VggBlock;

    /// Against torch: `tools/reference/hed.py`.
    #[test]
    fn edges_are_the_references() {
        let device = Device::flex();
        let block = |(channels, convolutions)| VggBlock {
            channels,
            convolutions,
        };
        let config = VggConfig {
            blocks: [(4, 2), (6, 1), (8, 2)].map(block).to_vec(),
        };
        let fetch = &mut |name: &str, shape: &[usize]| {
            // Small maps, so that the sigmoid shows something.
            let scale = if name.starts_with("sides") {
                256.0
            } else {
                1.0
            };
            let values = recipe::tensor(&format!("hed/{name}"), shape, 0).into_iter();
            let values: Vec<f32> = values.map(|v| v / scale).collect();
            Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
        };
        let net = crate::load(Hed::new(&config, &device), fetch, DType::F32).unwrap();
        let picture = recipe::normal("hed/picture", &[1, 3, 8, 12]);
        let picture: Vec<f32> = picture.into_iter().map(|v| v.clamp(-1.0, 1.0)).collect();
        let picture = Tensor::from_data(TensorData::new(picture, [1, 3, 8, 12]), &device);
        let edges = net.edges(picture);
        assert_eq!(edges.dims(), [1, 1, 8, 12]);
        let edges: Vec<f32> = edges.into_data().try_into_vec().unwrap();
        let strided: Vec<f32> = edges.into_iter().step_by(8).collect();
        let far = max_abs_difference(&strided, &EXPECTED);
        assert!(far < 1e-5, "{far:e}");
    }

    const EXPECTED: [f32; 12] = [
        0.51471454, 0.5104514, 0.5059933, 0.49991313, 0.50997263, 0.5658606, 0.5466332, 0.5170052,
        0.5620367, 0.52615076, 0.5107047, 0.5247205,
    ];
}
