//! Convolution and the changes of resolution around it.

use burn::tensor::Tensor;
use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, PadMode};

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
    let [left, right, top, bottom] = shape.padding;
    let mut x = x;
    // What is not wrapped is padded with zeros: by the convolution itself where both sides are alike.
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

/// Repeats the far edges of dimension `dim` before and after it. Counts beyond the size go round again.
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

/// Each pixel twice in both directions: `[batch, channels, h, w]` → `[batch, channels, 2 h, 2 w]`.
pub fn nearest_2x(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height, 1, width, 1])
        .expand([batch, channels, height, 2, width, 2])
        .reshape([batch, channels, 2 * height, 2 * width])
}

/// The mean of squares of four pixels: `[batch, channels, h, w]` → `[batch, channels, h / 2, w / 2]`.
pub fn average_2x2(x: Tensor<4>) -> Tensor<4> {
    module::avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]))
}

/// The upper left corner of `size` (height, width); all of a picture that is no larger.
pub fn crop(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    x.narrow(2, 0, height.min(size[0]))
        .narrow(3, 0, width.min(size[1]))
}
