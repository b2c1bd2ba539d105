//! FreeU: on the way up, the first half of what comes from below counts more, and the lowest frequencies of what was kept count
//! less (Si et al., "FreeU: Free Lunch in Diffusion U-Net", 2023).

use std::f64::consts::TAU;

use burn::tensor::{DType, Tensor, TensorData};
use latent_ops as ops;

/// The factors of FreeU, of two stages each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FreeU {
    /// On the first half of the channels of what comes from below.
    pub backbone: [f64; 2],
    /// On the lowest frequencies of what was kept.
    pub kept: [f64; 2],
    /// Where the stages are.
    pub stages: FreeUStages,
}

/// Where the two stages of FreeU are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeUStages {
    /// The first two levels of the way up.
    Levels,
    /// Where what comes from below is four times as wide as the first convolution, and where it is twice as wide.
    Widths,
}

impl FreeU {
    /// The stage, 0 or 1, of a resblock of a level of the way up to which so many channels come from below.
    pub(super) fn stage(&self, level: usize, below: usize, model_channels: usize) -> Option<usize> {
        match self.stages {
            FreeUStages::Levels => (level < 2).then_some(level),
            FreeUStages::Widths if below == 4 * model_channels => Some(0),
            FreeUStages::Widths if below == 2 * model_channels => Some(1),
            FreeUStages::Widths => None,
        }
    }

    /// What comes from below in a stage.
    pub(super) fn below(&self, stage: usize, h: Tensor<4>) -> Tensor<4> {
        let [_, channels, _, _] = h.dims();
        let half = channels / 2;
        let factor = |c| if c < half { self.backbone[stage] } else { 1.0 };
        let factors: Vec<f32> = (0..channels).map(|c| factor(c) as f32).collect();
        let data = TensorData::new(factors, [1, channels, 1, 1]);
        let dtype = h.dtype();
        let factors: Tensor<4> = Tensor::from_data(data, &h.device());
        h * factors.cast(dtype)
    }

    /// What was kept, in a stage: plus (s − 1) times its lowest frequencies, −1 and 0 cycles in each direction.
    pub(super) fn kept(&self, stage: usize, skip: Tensor<4>) -> Tensor<4> {
        let [batch, _, height, width] = skip.dims();
        let (dtype, device) = (skip.dtype(), skip.device());
        let waves = waves(height, width);
        let count = waves.len();
        let data = TensorData::new(waves.concat(), [1, count, height * width]);
        let waves: Tensor<3> = Tensor::from_data(data, &device);
        let waves = waves.expand([batch, count, height * width]);
        let tokens = ops::to_tokens(skip.clone()).cast(DType::F32);
        let parts = waves.clone().matmul(tokens);
        let low = waves.swap_dims(1, 2).matmul(parts);
        let factor = (self.kept[stage] - 1.0) / (height * width) as f64;
        skip + ops::to_picture(low * factor, height, width).cast(dtype)
    }
}

/// Cosine and sine over the pixels of each of the lowest frequencies; the sine of the mean is left out.
///
/// The real part of what a Fourier transform of which only these are left gives is the sum of the projections on them, over the
/// number of pixels.
fn waves(height: usize, width: usize) -> Vec<Vec<f32>> {
    let cycles = |pixels: usize| {
        if pixels > 1 {
            vec![-1.0, 0.0]
        } else {
            vec![0.0]
        }
    };
    let mut waves = Vec::new();
    for down in cycles(height) {
        for across in cycles(width) {
            let angle = |i: usize| {
                let (y, x) = ((i / width) as f64, (i % width) as f64);
                TAU * (down * y / height as f64 + across * x / width as f64)
            };
            let pixels = 0..height * width;
            waves.push(pixels.clone().map(|i| angle(i).cos() as f32).collect());
            if down != 0.0 || across != 0.0 {
                waves.push(pixels.map(|i| angle(i).sin() as f32).collect());
            }
        }
    }
    waves
}
