//! Convolution.

use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Tensor, TensorData, module};

use crate::cpu::{self, input};
use crate::is_cpu;
use crate::picture::{crop, nearest_2x};

/// What lies beyond a picture's edges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Padding {
    /// Zeros.
    #[default]
    Zero,
    /// Left and right edges join; zeros above and below.
    CircularX,
    /// Upper and lower edges join; zeros left and right.
    CircularY,
    /// Opposite edges join.
    Circular,
}

impl Padding {
    /// Left and right edges join.
    pub fn wraps_x(self) -> bool {
        matches!(self, Self::CircularX | Self::Circular)
    }

    /// Upper and lower edges join.
    pub fn wraps_y(self) -> bool {
        matches!(self, Self::CircularY | Self::Circular)
    }
}

/// The stride of a convolution and the pixels added beyond each edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvShape {
    /// Of both axes.
    pub stride: usize,
    /// Left, right, top, bottom.
    pub padding: [usize; 4],
}

impl ConvShape {
    /// 3×3 of stride two around every second pixel: the U-Net's.
    pub const HALVE: Self = Self {
        stride: 2,
        padding: [1; 4],
    };
    /// 3×3 of stride two that pads only right and below: the autoencoder's.
    pub const HALVE_FROM_CORNER: Self = Self {
        stride: 2,
        padding: [0, 1, 0, 1],
    };

    /// Keeps the size, for odd kernels.
    pub const fn same(kernel: usize) -> Self {
        Self {
            stride: 1,
            padding: [kernel / 2; 4],
        }
    }
}

/// A convolution with torch's weight layout.
///
/// # Shapes
///
/// - x `[batch, in, height, width]`, weight `[out, in, kernel, kernel]`, bias `[out]`
/// - output `[batch, out, h, w]` with h = (height + top + bottom − kernel) / stride + 1, w likewise
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    shape: ConvShape,
    padding: Padding,
) -> Tensor<4> {
    if is_cpu(&x.device()) {
        let (x, shape, padding) = unwrapped(x, &weight, shape, padding);
        let convolution = cpu::Convolution {
            shape,
            padding,
            doubled: None,
        };
        return by_kernel(convolution, x, weight, bias, None);
    }
    let [left, right, top, bottom] = shape.padding;
    let mut x = x;
    // What is not wrapped is padded with zeros: by the convolution itself where both sides are
    // alike.
    let mut zeros = [left, right, top, bottom];
    if padding.wraps_x() {
        x = wrap(x, 3, left, right);
        (zeros[0], zeros[1]) = (0, 0);
    }
    if padding.wraps_y() {
        x = wrap(x, 2, top, bottom);
        (zeros[2], zeros[3]) = (0, 0);
    }
    let [left, right, top, bottom] = zeros;
    let mut inside = [top, left];
    if left != right || top != bottom {
        x = x.pad((left, right, top, bottom), PadMode::Constant(0.0));
        inside = [0, 0];
    }
    let options = ConvOptions::new([shape.stride; 2], inside, [1, 1], 1);
    module::conv2d(x, weight, bias, options)
}

/// A convolution of each channel by a kernel of its own. `weight` and `bias` are constants: no gradient reaches them.
///
/// # Shapes
///
/// - x `[batch, channels, height, width]`, weight `[channels, 1, kernel, kernel]`, bias `[channels]`
/// - output as [`conv2d`]'s, with as many channels
pub fn depthwise_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    shape: ConvShape,
) -> Tensor<4> {
    let [channels, _, kernel, _] = weight.dims();
    if is_cpu(&x.device()) {
        let numbers = |data: TensorData| data.convert::<f32>().iter::<f32>().collect();
        let taps = weight.reshape([channels, kernel * kernel]).transpose();
        let depthwise = cpu::Depthwise {
            weight: numbers(taps.into_data()),
            bias: numbers(bias.into_data()),
            kernel,
            shape,
        };
        let dtype = x.dtype();
        return cpu::run(depthwise, [input(x, dtype)]).cast(dtype);
    }
    let [left, right, top, bottom] = shape.padding;
    let x = x.pad((left, right, top, bottom), PadMode::Constant(0.0));
    let options = ConvOptions::new([shape.stride; 2], [0, 0], [1, 1], channels);
    module::conv2d(x, weight.detach(), Some(bias.detach()), options)
}

/// [`conv2d`] plus `residual`, which has the shape of its output.
pub fn conv2d_add(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    shape: ConvShape,
    padding: Padding,
    residual: Tensor<4>,
) -> Tensor<4> {
    if is_cpu(&x.device()) {
        let (x, shape, padding) = unwrapped(x, &weight, shape, padding);
        let convolution = cpu::Convolution {
            shape,
            padding,
            doubled: None,
        };
        return by_kernel(convolution, x, weight, bias, Some(residual));
    }
    conv2d(x, weight, bias, shape, padding) + residual
}

/// [`conv2d`] of `x` twice as large by repetition, cut to `size` (height, width). It keeps the size:
/// `kernel` is odd and padded as [`ConvShape::same`] does.
pub fn conv2d_doubled(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    padding: Padding,
    size: [usize; 2],
) -> Tensor<4> {
    let [_, _, kernel, _] = weight.dims();
    let shape = ConvShape::same(kernel);
    if !is_cpu(&x.device()) {
        return conv2d(crop(nearest_2x(x), size), weight, bias, shape, padding);
    }
    let [_, _, height, width] = x.dims();
    let convolution = cpu::Convolution {
        shape,
        padding,
        doubled: Some([size[0].min(2 * height), size[1].min(2 * width)]),
    };
    by_kernel(convolution, x, weight, bias, None)
}

fn by_kernel(
    convolution: cpu::Convolution,
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    let dtype = x.dtype();
    let inputs = [
        input(x, dtype),
        input(weight, dtype),
        bias.and_then(|bias| input(bias, dtype)),
        residual.and_then(|residual| input(residual, dtype)),
    ];
    cpu::run(convolution, inputs).cast(dtype)
}

/// What the kernels can also take back: edges that join are put beside the picture first where the
/// convolution is not one of stride one that keeps the size.
fn unwrapped(
    mut x: Tensor<4>,
    weight: &Tensor<4>,
    mut shape: ConvShape,
    padding: Padding,
) -> (Tensor<4>, ConvShape, Padding) {
    let [_, _, rows, columns] = weight.dims();
    let [left, right, top, bottom] = shape.padding;
    let keeps = shape.stride == 1 && left + right + 1 == columns && top + bottom + 1 == rows;
    if keeps {
        return (x, shape, padding);
    }
    if padding.wraps_x() {
        x = wrap(x, 3, left, right);
        (shape.padding[0], shape.padding[1]) = (0, 0);
    }
    if padding.wraps_y() {
        x = wrap(x, 2, top, bottom);
        (shape.padding[2], shape.padding[3]) = (0, 0);
    }
    (x, shape, Padding::Zero)
}

/// Repeats the far edges of dimension `dim` before and after it. Counts beyond the size go round
/// again.
fn wrap(x: Tensor<4>, dim: usize, before: usize, after: usize) -> Tensor<4> {
    let size = x.dims()[dim];
    if size == 0 || before + after == 0 {
        return x;
    }
    let mut parts = Vec::new();
    let turns = before / size;
    if !before.is_multiple_of(size) {
        parts.push(x.clone().narrow(dim, size - before % size, before % size));
    }
    for _ in 0..turns + 1 + after / size {
        parts.push(x.clone());
    }
    if !after.is_multiple_of(size) {
        parts.push(x.narrow(dim, 0, after % size));
    }
    Tensor::cat(parts, dim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_within, normal, numbers};
    use proptest::prelude::*;

    struct Case {
        batch: usize,
        channels: [usize; 2],
        size: [usize; 2],
        kernel: usize,
        shape: ConvShape,
        padding: Padding,
    }

    impl Case {
        fn scalar(&self) -> ([usize; 4], Vec<f64>) {
            let [input, output] = self.channels;
            let [height, width] = self.size;
            let k = self.kernel;
            let [left, right, top, bottom] = self.shape.padding;
            let x = numbers("x", self.batch * input * height * width);
            let weight = numbers("weight", output * input * k * k);
            let bias = numbers("bias", output);
            let out_height = (height + top + bottom - k) / self.shape.stride + 1;
            let out_width = (width + left + right - k) / self.shape.stride + 1;
            // An index into an axis: within it, wrapped into it, or in the zeros beyond.
            let find = |at: isize, size: usize, wraps: bool| {
                let inside = (0..size as isize).contains(&at);
                (inside || wraps).then(|| at.rem_euclid(size as isize) as usize)
            };
            let mut y = Vec::new();
            for b in 0..self.batch {
                for o in 0..output {
                    for i in 0..out_height * out_width {
                        let row = (i / out_width * self.shape.stride) as isize - top as isize;
                        let column = (i % out_width * self.shape.stride) as isize - left as isize;
                        let mut sum = bias[o];
                        for c in 0..input {
                            for tap in 0..k * k {
                                let r =
                                    find(row + (tap / k) as isize, height, self.padding.wraps_y());
                                let s = find(
                                    column + (tap % k) as isize,
                                    width,
                                    self.padding.wraps_x(),
                                );
                                if let (Some(r), Some(s)) = (r, s) {
                                    sum += x[((b * input + c) * height + r) * width + s]
                                        * weight[(o * input + c) * k * k + tap];
                                }
                            }
                        }
                        y.push(sum);
                    }
                }
            }
            ([self.batch, output, out_height, out_width], y)
        }

        fn check(&self) {
            let [input, output] = self.channels;
            let y = conv2d(
                normal("x", [self.batch, input, self.size[0], self.size[1]]),
                normal("weight", [output, input, self.kernel, self.kernel]),
                Some(normal("bias", [output])),
                self.shape,
                self.padding,
            );
            let (shape, want) = self.scalar();
            // Where there are many pixels, Winograd's transforms add to the rounding.
            let limit = if shape[2] * shape[3] < 256 {
                1e-6
            } else {
                5e-6
            };
            assert_within(limit, y, shape, &want);
        }
    }

    fn paddings() -> impl Strategy<Value = Padding> {
        prop::sample::select(vec![
            Padding::Zero,
            Padding::CircularX,
            Padding::CircularY,
            Padding::Circular,
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn conv2d_equals_its_twin(
            batch in 1usize..3, input in 1usize..12, output in 1usize..10,
            h in 2usize..12, w in 2usize..12, kind in 0usize..4, padding in paddings(),
        ) {
            let (kernel, shape) = [
                (3, ConvShape::same(3)),
                (1, ConvShape::same(1)),
                (3, ConvShape::HALVE),
                (3, ConvShape::HALVE_FROM_CORNER),
            ][kind];
            Case { batch, channels: [input, output], size: [h, w], kernel, shape, padding }.check();
        }
    }

    #[test]
    fn a_kernel_wider_than_the_picture_goes_round() {
        let shape = ConvShape {
            stride: 1,
            padding: [5, 4, 3, 2],
        };
        for padding in [Padding::Circular, Padding::CircularX, Padding::Zero] {
            Case {
                batch: 1,
                channels: [2, 3],
                size: [2, 2],
                kernel: 3,
                shape,
                padding,
            }
            .check();
        }
    }

    #[test]
    fn many_channels_and_few_take_the_same_sum() {
        let padding = Padding::Zero;
        for shape in [ConvShape::same(3), ConvShape::HALVE] {
            // Fewer pixels than output channels, then more: both ways of computing.
            for (channels, size) in [([64, 80], [7, 8]), ([64, 40], [24, 23])] {
                Case {
                    batch: 2,
                    channels,
                    size,
                    kernel: 3,
                    shape,
                    padding,
                }
                .check();
            }
        }
    }

    #[test]
    fn a_kernel_for_each_channel_is_a_convolution_that_mixes_none() {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 2)] {
            let x: Tensor<4> = normal("x", [2, 3, 6, 7]);
            let weight: Tensor<4> = normal("weight", [3, 1, kernel, kernel]);
            let bias: Tensor<1> = normal("bias", [3]);
            let shape = ConvShape {
                stride,
                padding: [kernel / 2, kernel / 2, kernel / 2, 1],
            };
            let alone = Tensor::<2>::eye(3, &x.device()).reshape([3, 3, 1, 1]);
            let dense = weight.clone().expand([3, 3, kernel, kernel]) * alone;
            let run = |f: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let x = x.clone().autodiff().require_grad();
                let y = f(x.clone());
                let upstream =
                    Tensor::from_data(normal::<4>("upstream", y.dims()).into_data(), &y.device());
                let gradient = x.grad(&(y.clone() * upstream).sum().backward());
                [y.inner(), gradient.unwrap()]
            };
            let up = |t: Tensor<4>, x: &Tensor<4>| Tensor::from_data(t.into_data(), &x.device());
            let got = run(&|x| depthwise_conv2d(x, weight.clone(), bias.clone(), shape));
            let want = run(&|x| {
                let weight = up(dense.clone(), &x);
                let bias = Tensor::from_data(bias.clone().into_data(), &x.device());
                conv2d(x, weight, Some(bias), shape, Padding::Zero)
            });
            for (got, want) in got.into_iter().zip(want) {
                let want_numbers: Vec<f64> = want.to_data().iter::<f32>().map(f64::from).collect();
                assert_within(1e-5, got, want.dims(), &want_numbers);
            }
        }
    }
}
