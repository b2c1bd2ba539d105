//! The time embedding.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_ops as ops;

use crate::layers::Linear;

/// Two linear layers with SiLU between them.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    /// To the embedding's width.
    pub linear_1: Linear,
    /// At the embedding's width.
    pub linear_2: Linear,
}

impl TimestepEmbedding {
    pub(super) fn new(device: &Device, input: usize, output: usize) -> Self {
        Self {
            linear_1: Linear::new(device, input, output, true),
            linear_2: Linear::new(device, output, output, true),
        }
    }

    /// # Shapes
    ///
    /// `[batch, in]` → `[batch, time channels]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(ops::silu(self.linear_1.forward(x)))
    }
}

/// cos(t·f_i), then sin(t·f_i), for f_i = 10000^(−i / (channels / 2)): `[batch]` → `[batch,
/// channels]`, f32.
///
/// Steps may be fractional. Computed on the host in f64, because f32 frequencies times a step near
/// 1000 are wrong in the fourth digit on some devices, and the result is a few thousand numbers. An
/// odd last channel is zero.
pub fn timestep_sinusoid(t: Tensor<1>, channels: usize) -> Tensor<2> {
    let device = t.device();
    let [batch] = t.dims();
    let half = channels / 2;
    let mut values = vec![0f32; batch * channels];
    let steps: Vec<f64> = t
        .into_data_dtype(DType::F64)
        .try_into_vec()
        .unwrap_or_default();
    for (row, t) in values.chunks_exact_mut(channels.max(1)).zip(steps) {
        for i in 0..half {
            let angle = t * (-(10000f64.ln()) * i as f64 / half as f64).exp();
            row[i] = angle.cos() as f32;
            row[half + i] = angle.sin() as f32;
        }
    }
    Tensor::from_data(
        TensorData::new(values, [batch, channels]),
        (&device, DType::F32),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sinusoid_is_cosines_then_sines_of_falling_frequencies() {
        let t = Tensor::from_data([999.5f32, 0.0], &Device::flex());
        let values: Vec<f32> = timestep_sinusoid(t, 320)
            .into_data()
            .try_into_vec()
            .unwrap();
        for i in [0, 1, 80, 159] {
            let angle = 999.5 / 10000f64.powf(i as f64 / 160.0);
            assert!((f64::from(values[i]) - angle.cos()).abs() < 1e-7, "{i}");
            assert!(
                (f64::from(values[160 + i]) - angle.sin()).abs() < 1e-7,
                "{i}"
            );
            assert_eq!((values[320 + i], values[480 + i]), (1.0, 0.0));
        }
    }
}
