//! Networks that pictures are compared by.

use crate::perceptual::{EfficientNetConfig, Stage, VggBlock, VggConfig};

/// VGG16 up to relu4_3.
pub fn vgg16() -> VggConfig {
    let mut whole = vgg16_whole();
    whole.blocks.truncate(4);
    whole
}

/// All of VGG16 but its classifier.
pub fn vgg16_whole() -> VggConfig {
    let block = |(channels, convolutions)| VggBlock {
        channels,
        convolutions,
    };
    let blocks = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];
    VggConfig {
        blocks: blocks.map(block).to_vec(),
    }
}

/// EfficientNet-Lite0, with its classifier of ImageNet's thousand classes.
pub fn efficientnet_lite0() -> EfficientNetConfig {
    let stage = |[blocks, kernel, stride, expansion, channels]: [usize; 5]| Stage {
        blocks,
        kernel,
        stride,
        expansion,
        channels,
    };
    EfficientNetConfig {
        stem: 32,
        stages: [
            [1, 3, 1, 1, 16],
            [2, 3, 2, 6, 24],
            [2, 5, 2, 6, 40],
            [3, 3, 2, 6, 80],
            [3, 5, 1, 6, 112],
            [4, 5, 2, 6, 192],
            [1, 3, 1, 6, 320],
        ]
        .map(stage)
        .to_vec(),
        features: 1280,
        classes: 1000,
    }
}
