//! Convolution of each channel by a kernel of its own.

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use latent_kernels::{Picture, Window, depthwise, output};

use super::dense::Convolution;
use super::layout::{dims, numbers, picture, pixels};
use super::operation::{Args, Operation, Saved, given};
use super::{Float, by_type, instructions};
use crate::conv::{ConvShape, Padding};

/// Each channel of x `[batch, channels, height, width]` by its own kernel. Weights and bias are settings: they get no
/// gradient.
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    /// `[kernel · kernel, channels]`.
    pub weight: Arc<[f32]>,
    /// `[channels]`.
    pub bias: Arc<[f32]>,
    /// Side of the kernel.
    pub kernel: usize,
    pub shape: ConvShape,
}

impl Depthwise {
    fn window(&self, size: [usize; 2]) -> Window {
        let convolution = Convolution {
            shape: self.shape,
            padding: Padding::Zero,
            doubled: None,
        };
        convolution.window([self.kernel; 2], size)
    }
}

fn convolve<T: Float>(x: FlexTensor, window: &Window, weight: &[f32], bias: &[f32]) -> FlexTensor {
    let [batch, channels, height, width] = dims(&x);
    let x = pixels::<T>(x);
    let x = Picture::new(numbers::<T>(&x), [batch, height, width, channels]);
    let [height, width] = window.output;
    let mut out = output::<T>(batch * height * width * channels);
    depthwise(instructions(), &x, window, weight, bias, &mut out);
    picture(out, [batch, channels, height, width])
}

impl Operation<1> for Depthwise {
    /// Height and width of x.
    type Kept = [usize; 2];

    fn forward(&self, [x]: Args<1>, kept: Option<&mut [usize; 2]>) -> FlexTensor {
        let x = given(x);
        let [_, _, height, width] = dims(&x);
        if let Some(kept) = kept {
            *kept = [height, width];
        }
        let window = self.window([height, width]);
        by_type!(x.dtype(), T => convolve::<T>(x, &window, &self.weight, &self.bias))
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, saved: Saved<1, [usize; 2]>, gradient: FlexTensor) -> Args<1> {
        let [height, width] = saved.kept;
        let back = self.window([height, width]).back(height, width);
        // Turned round, tap by tap.
        let taps = self.weight.chunks_exact(self.bias.len().max(1)).rev();
        let weight: Vec<f32> = taps.flatten().copied().collect();
        let nothing = vec![0.0; self.bias.len()];
        by_type!(gradient.dtype(), T => {
            [Some(convolve::<T>(gradient, &back, &weight, &nothing))]
        })
    }
}
