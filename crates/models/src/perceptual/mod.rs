//! How alike two pictures look, by the features of a classifier.
//!
//! Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018: each
//! pixel's features are brought to length one, and the squared distances are averaged over the picture.
//! Where the published distance weighs channels by numbers fitted to one training run of one network,
//! here all weigh alike, so that any network serves.

mod efficient;
mod hed;
mod vgg;

use burn::module::Module;
use burn::tensor::Tensor;
use latent_ops as ops;

pub use efficient::{DepthwiseConv, EfficientNet, EfficientNetConfig, MbConv, Stage};
pub use hed::Hed;
pub use vgg::{Layer, Vgg, VggBlock, VggConfig};

/// A network whose features are compared.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a handful of values, and burn has no modules in boxes
pub enum Perceptual {
    /// VGG's blocks.
    Vgg(Vgg),
    /// An EfficientNet's stages.
    EfficientNet(EfficientNet),
}

impl Perceptual {
    /// The features of a picture in −1..1, finest first, each `[batch, channels, height, width]`.
    ///
    /// # Shapes
    ///
    /// `[batch, 3, height, width]`
    pub fn features(&self, picture: Tensor<4>) -> Vec<Tensor<4>> {
        match self {
            Self::Vgg(vgg) => vgg.features(picture),
            Self::EfficientNet(net) => net.stages(picture),
        }
    }

    /// Channels, height and width of each of the [features](Self::features) of a picture of that height and width.
    pub fn maps(&self, size: [usize; 2]) -> Vec<[usize; 3]> {
        match self {
            Self::Vgg(vgg) => vgg.maps(size),
            Self::EfficientNet(net) => net.maps(size),
        }
    }

    /// The shortest side of a picture that it can look at.
    pub fn smallest(&self) -> usize {
        match self {
            Self::Vgg(vgg) => vgg.smallest(),
            Self::EfficientNet(_) => 1,
        }
    }
}

/// How far apart pictures are by their features: 0 for the same, 2 for features at right angles
/// everywhere; `[batch]`.
pub fn feature_distance(a: Vec<Tensor<4>>, b: Vec<Tensor<4>>) -> Tensor<1> {
    /// Added to squared lengths, so that a pixel without features has a gradient.
    const EPS: f64 = 1e-10;
    let unit = |x: Tensor<4>| {
        let tokens = ops::to_tokens(x);
        let length = (tokens.clone().square().sum_dim(2) + EPS).sqrt();
        tokens / length
    };
    let layers = a.len() as f64;
    let each = a.into_iter().zip(b).map(|(a, b)| {
        let distance: Tensor<3> = (unit(a) - unit(b)).square().sum_dim(2).mean_dim(1);
        distance.flatten::<1>(0, 2)
    });
    let total = each.reduce(|a, b| a + b);
    total.expect("a network gives features") / layers
}
