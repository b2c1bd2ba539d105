//! Residual blocks and changes of resolution.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use latent_ops::{self as ops, ConvShape, Padding};

use super::config::{Resample, TimeShift, UNetConfig};
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::walk::layers;

/// What a resblock does to the resolution, on both of its branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing.
    Keep,
    /// Averages squares of four pixels.
    Halve,
    /// Repeats each pixel.
    Double,
}

/// norm, SiLU, convolution; time; norm, SiLU, convolution; plus the input.
#[derive(Module, Debug)]
pub struct Resnet {
    /// Before the first convolution.
    pub norm1: GroupNorm,
    /// 3×3.
    pub conv1: Conv2d,
    /// The time embedding to one shift per channel, or to a scale and a shift. Autoencoders have
    /// none.
    pub time_emb_proj: Option<Linear>,
    /// Before the second convolution.
    pub norm2: GroupNorm,
    /// 3×3.
    pub conv2: Conv2d,
    /// 1×1, where the number of channels changes.
    pub conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    time_shift: TimeShift,
    #[module(skip)]
    resolution: Resolution,
}

impl Resnet {
    /// One block of a U-Net.
    pub(super) fn new(
        device: &Device,
        config: &UNetConfig,
        input: usize,
        output: usize,
        resolution: Resolution,
    ) -> Self {
        let shifts = match config.time_shift {
            TimeShift::Additive => output,
            TimeShift::ScaleShift => 2 * output,
        };
        let time = Linear::new(device, config.time_channels(), shifts, true);
        Self {
            time_emb_proj: Some(time),
            time_shift: config.time_shift,
            resolution,
            ..Self::without_time(device, config.norm_groups, input, output, super::NORM_EPS)
        }
    }

    /// One block of an autoencoder.
    pub fn without_time(
        device: &Device,
        groups: usize,
        input: usize,
        output: usize,
        eps: f64,
    ) -> Self {
        Self {
            norm1: GroupNorm::new(device, groups, input, eps),
            conv1: Conv2d::new(device, input, output, 3),
            time_emb_proj: None,
            norm2: GroupNorm::new(device, groups, output, eps),
            conv2: Conv2d::new(device, output, output, 3),
            conv_shortcut: (input != output).then(|| Conv2d::new(device, input, output, 1)),
            time_shift: TimeShift::Additive,
            resolution: Resolution::Keep,
        }
    }

    fn resample(&self, x: Tensor<4>) -> Tensor<4> {
        match self.resolution {
            Resolution::Keep => x,
            Resolution::Halve => ops::average_2x2(x),
            Resolution::Double => ops::nearest_2x(x),
        }
    }

    /// # Shapes
    ///
    /// - x `[batch, in, height, width]`; time `[batch, time channels]`, already through SiLU
    /// - output `[batch, out, height, width]`, height and width halved or doubled where the block
    ///   does that
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>, padding: Padding) -> Tensor<4> {
        let [h, x] = ops::fork(x);
        let h = self.resample(self.norm1.forward_silu(h));
        let mut h = self.conv1.forward(h, padding);
        let shifts = match (&self.time_emb_proj, time) {
            (Some(layer), Some(time)) => Some(layer.forward(time.clone())),
            _ => None,
        };
        h = match (shifts, self.time_shift) {
            (None, _) => self.norm2.forward_silu(h),
            (Some(shift), TimeShift::Additive) => self.norm2.forward_silu_shifted(h, shift),
            (Some(both), TimeShift::ScaleShift) => {
                let half = both.dims()[1] / 2;
                let by = [0, half].map(|start| both.clone().narrow(1, start, half));
                self.norm2.forward_silu_modulated(h, by)
            }
        };
        let x = self.resample(x);
        let x = match &self.conv_shortcut {
            Some(shortcut) => shortcut.forward(x, padding),
            None => x,
        };
        self.conv2.forward_add(h, padding, x)
    }
}

/// A 3×3 convolution that halves or follows a doubling of the resolution.
#[derive(Module, Debug)]
pub struct ResampleConv {
    /// The convolution.
    pub conv: Conv2d,
}

/// The change of resolution after a level.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Resampler {
    /// By a convolution.
    Conv(ResampleConv),
    /// By a resblock.
    Resnet(Resnet),
}

impl Resampler {
    /// To half the resolution.
    pub(super) fn down(device: &Device, config: &UNetConfig, channels: usize) -> Self {
        match config.resample {
            Resample::Conv => Self::Conv(ResampleConv {
                conv: Conv2d::with_shape(device, channels, channels, 3, ConvShape::HALVE),
            }),
            Resample::Resnet => Self::Resnet(Resnet::new(
                device,
                config,
                channels,
                channels,
                Resolution::Halve,
            )),
        }
    }

    /// To twice the resolution.
    pub(super) fn up(device: &Device, config: &UNetConfig, channels: usize) -> Self {
        match config.resample {
            Resample::Conv => Self::Conv(ResampleConv {
                conv: Conv2d::new(device, channels, channels, 3),
            }),
            Resample::Resnet => Self::Resnet(Resnet::new(
                device,
                config,
                channels,
                channels,
                Resolution::Double,
            )),
        }
    }

    pub(super) fn halve(&self, x: Tensor<4>, time: &Tensor<2>, padding: Padding) -> Tensor<4> {
        match self {
            Self::Conv(down) => down.conv.forward(x, padding),
            Self::Resnet(block) => block.forward(x, Some(time), padding),
        }
    }

    /// To `size`, which is twice the height and width of `x` or one less (where an odd size was
    /// halved).
    pub(super) fn double(
        &self,
        x: Tensor<4>,
        time: &Tensor<2>,
        size: [usize; 2],
        padding: Padding,
    ) -> Tensor<4> {
        match self {
            Self::Conv(up) => up.conv.forward_doubled(x, padding, size),
            Self::Resnet(block) => ops::crop(block.forward(x, Some(time), padding), size),
        }
    }
}

layers!(Resnet { norm1, conv1, time_emb_proj, norm2, conv2, conv_shortcut; time_shift, resolution });
layers!(ResampleConv { conv });
layers!(
    enum Resampler {
        Conv,
        Resnet,
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ParameterError;
    use crate::named;
    use crate::params::load;
    use burn::tensor::{DType, TensorData};
    use latent_testkit::{closeness, recipe};

    /// A picture `[channels, height, width]` in f64, and the layers of a resblock on it.
    #[derive(Clone)]
    struct Scalar {
        shape: [usize; 3],
        values: Vec<f64>,
    }

    fn weights(name: &str, shape: &[usize]) -> Vec<f64> {
        recipe::tensor(name, shape, 0)
            .into_iter()
            .map(f64::from)
            .collect()
    }

    impl Scalar {
        /// A picture of `shape` whose value at (channel, row, column) is given.
        fn of(shape: [usize; 3], value: impl Fn(usize, usize, usize) -> f64) -> Self {
            let [_, h, w] = shape;
            let values = (0..shape.iter().product())
                .map(|i| value(i / (h * w), i / w % h, i % w))
                .collect();
            Self { shape, values }
        }

        fn at(&self, c: usize, y: usize, x: usize) -> f64 {
            let [_, h, w] = self.shape;
            self.values[(c * h + y) * w + x]
        }

        fn norm(&self, name: &str, groups: usize) -> Self {
            let [channels, h, w] = self.shape;
            let weight = weights(&format!("{name}.weight"), &[channels]);
            let bias = weights(&format!("{name}.bias"), &[channels]);
            let mut values = Vec::new();
            for group in self.values.chunks(channels / groups * h * w) {
                let count = group.len() as f64;
                let mean = group.iter().sum::<f64>() / count;
                let variance = group.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                values.extend(group.iter().map(|v| (v - mean) / (variance + 1e-5).sqrt()));
            }
            let plain = Self { values, ..*self };
            Self::of(self.shape, |c, y, x| {
                plain.at(c, y, x) * weight[c] + bias[c]
            })
        }

        fn silu(&self) -> Self {
            Self::of(self.shape, |c, y, x| silu(self.at(c, y, x)))
        }

        fn conv(&self, name: &str, output: usize, kernel: usize) -> Self {
            let [input, h, w] = self.shape;
            let shape = [output, input, kernel, kernel];
            let weight = weights(&format!("{name}.weight"), &shape);
            let bias = weights(&format!("{name}.bias"), &[output]);
            let reach = kernel / 2;
            Self::of([output, h, w], |o, y, x| {
                let mut sum = bias[o];
                for c in 0..input {
                    for tap in 0..kernel * kernel {
                        let (y, x) = (y + tap / kernel, x + tap % kernel);
                        if (reach..h + reach).contains(&y) && (reach..w + reach).contains(&x) {
                            sum += weight[(o * input + c) * kernel * kernel + tap]
                                * self.at(c, y - reach, x - reach);
                        }
                    }
                }
                sum
            })
        }

        fn resample(&self, resolution: Resolution) -> Self {
            let [c, h, w] = self.shape;
            match resolution {
                Resolution::Keep => self.clone(),
                Resolution::Double => {
                    Self::of([c, 2 * h, 2 * w], |c, y, x| self.at(c, y / 2, x / 2))
                }
                Resolution::Halve => Self::of([c, h / 2, w / 2], |c, y, x| {
                    let of_row = |y| self.at(c, y, 2 * x) + self.at(c, y, 2 * x + 1);
                    (of_row(2 * y) + of_row(2 * y + 1)) / 4.0
                }),
            }
        }
    }

    fn silu(v: f64) -> f64 {
        v / (1.0 + (-v).exp())
    }

    #[test]
    fn every_kind_of_resblock_equals_its_twin() {
        let (input, output, size) = (8, 12, [4, 6]);
        let x = weights("x", &[input, size[0] * size[1]]);
        let time = weights("time", &[1, 32]);
        let device = Device::flex();
        let tensor = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
            Tensor::<1>::from_data(values.as_slice(), &device)
        };
        for time_shift in [TimeShift::Additive, TimeShift::ScaleShift] {
            for resolution in [Resolution::Keep, Resolution::Halve, Resolution::Double] {
                let config = UNetConfig {
                    model_channels: 8,
                    norm_groups: 4,
                    time_shift,
                    ..named::unet_sd1()
                };
                let block = Resnet::new(&device, &config, input, output, resolution);
                let fetch = &mut |path: &str, shape: &[usize]| {
                    let values = recipe::tensor(path, shape, 0);
                    Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
                };
                let block = load(block, fetch, DType::F32).unwrap();
                let got = block.forward(
                    tensor(&x).reshape([1, input, size[0], size[1]]),
                    Some(&tensor(&time).reshape([1, 32])),
                    Padding::Zero,
                );

                let shape = [input, size[0], size[1]];
                let x = Scalar {
                    shape,
                    values: x.clone(),
                };
                let scale_shift = time_shift == TimeShift::ScaleShift;
                let shifts = if scale_shift { 2 * output } else { output };
                let weight = weights("time_emb_proj.weight", &[shifts, 32]);
                let mut shift = weights("time_emb_proj.bias", &[shifts]);
                for (s, row) in shift.iter_mut().zip(weight.chunks(32)) {
                    *s += row.iter().zip(&time).map(|(a, b)| a * b).sum::<f64>();
                }
                let h = x.norm("norm1", 4).silu().resample(resolution);
                let h = h.conv("conv1", output, 3);
                let h = if scale_shift {
                    let h = h.norm("norm2", 4);
                    Scalar::of(h.shape, |c, y, x| {
                        h.at(c, y, x) * (1.0 + shift[c]) + shift[output + c]
                    })
                } else {
                    Scalar::of(h.shape, |c, y, x| h.at(c, y, x) + shift[c]).norm("norm2", 4)
                };
                let h = h.silu().conv("conv2", output, 3);
                let x = x.resample(resolution).conv("conv_shortcut", output, 1);
                let want: Vec<f32> = h
                    .values
                    .iter()
                    .zip(&x.values)
                    .map(|(a, b)| (a + b) as f32)
                    .collect();

                assert_eq!(got.dims(), [1, output, h.shape[1], h.shape[2]]);
                let got: Vec<f32> = got.into_data().try_into_vec().unwrap();
                let error = closeness(&got, &want);
                assert!(error < 2e-6, "{time_shift:?} {resolution:?}: {error:.2e}");
            }
        }
    }
}
