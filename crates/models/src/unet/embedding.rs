//! The time embedding.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_ops as ops;

use crate::layers::Linear;
use crate::walk::layers;

/// Two linear layers with SiLU between them.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    /// To the embedding's width.
    pub linear_1: Linear,
    /// At the embedding's width.
    pub linear_2: Linear,
    /// Of the embedding of a guidance scale to what is added before `linear_1`, without bias.
    pub cond_proj: Option<Linear>,
}

impl TimestepEmbedding {
    pub(crate) fn new(device: &Device, input: usize, output: usize) -> Self {
        Self {
            linear_1: Linear::new(device, input, output, true),
            linear_2: Linear::new(device, output, output, true),
            cond_proj: None,
        }
    }

    /// The same with `cond_proj` of an embedding of `width` numbers.
    pub(super) fn with_guidance(self, device: &Device, input: usize, width: usize) -> Self {
        Self {
            cond_proj: Some(Linear::new(device, width, input, false)),
            ..self
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

/// sin(1000·w·f_i), then cos(1000·w·f_i), for f_i = 10000^(−i / (width / 2 − 1)): the embedding of a
/// guidance scale as networks with [`guidance`](super::UNetConfig::guidance) were trained with it
/// (`get_guidance_scale_embedding` of diffusers). `[batch, width]`, f32; an odd last number is zero.
///
/// `w` is what guidance adds: a scale s of classifier-free guidance, e_u + s·(e_c − e_u), is w = s − 1.
pub fn guidance_sinusoid(w: &[f64], width: usize, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let mut values = vec![0f32; w.len() * width];
    for (row, w) in values.chunks_exact_mut(width.max(1)).zip(w) {
        for i in 0..half {
            let falls = -(10000f64.ln()) * i as f64 / (half as f64 - 1.0).max(1.0);
            let angle = 1000.0 * w * falls.exp();
            row[i] = angle.sin() as f32;
            row[half + i] = angle.cos() as f32;
        }
    }
    Tensor::from_data(
        TensorData::new(values, [w.len(), width]),
        (device, DType::F32),
    )
}

layers!(TimestepEmbedding {
    linear_1,
    linear_2,
    cond_proj
});

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
