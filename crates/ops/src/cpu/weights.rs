//! Weights as the kernels read them, and the products with them.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    Activation, Epilogue, Int8Weight, Picture, Tile, Weight, Window, WinogradWeight, conv2d,
    conv2d_int8, output, winograd,
};

use super::layout::{as_f32, dims, numbers, picture, pixels, pixels_with_gaps, rows, tensor, view};
use super::{Float, instructions};

/// A packed weight.
#[derive(Debug)]
pub(crate) enum Packing<T> {
    /// For products as they are defined.
    Direct(Weight<T>),
    /// For 3×3 convolutions of stride one by Winograd's method.
    Winograd(WinogradWeight<T>),
    /// In eight bits.
    Int8(Int8Weight),
}

impl<T: Float> Packing<T> {
    /// A weight `[out, in]` or `[out, in, k, k]`.
    pub fn direct(weight: FlexTensor) -> Self {
        let size = kernel_size(&weight);
        Self::Direct(Weight::conv(instructions(), numbers(&rows(weight)), size))
    }

    /// The weight of the product that takes the gradient of the output to that of the input.
    pub fn back(weight: FlexTensor) -> Self {
        let size = kernel_size(&weight);
        Self::Direct(Weight::conv_back(
            instructions(),
            numbers(&rows(weight)),
            size,
        ))
    }

    /// For one pass of a convolution over `window`, by the method that is fastest there.
    pub fn once(weight: FlexTensor, window: &Window) -> Self {
        match tile::<T>(window) {
            Some(tile) => Self::winograd(weight, tile, true),
            None => Self::direct(weight),
        }
    }

    /// [`back`](Self::back) for one pass over `window`.
    pub fn back_once(weight: FlexTensor, window: &Window) -> Self {
        let Some(tile) = tile::<T>(window) else {
            return Self::back(weight);
        };
        let [out, input, ..] = kernel_size(&weight);
        let (weight, size) = (rows(weight), [out, input]);
        Self::Winograd(WinogradWeight::back(
            instructions(),
            tile,
            numbers(&weight),
            size,
        ))
    }

    /// A linear layer to `[a, b]` whose output is a·gelu(b).
    pub fn gated(weight: FlexTensor) -> Self {
        let size = dims(&weight);
        Self::Direct(Weight::gated(instructions(), numbers(&rows(weight)), size))
    }

    /// A weight `[out, in, 3, 3]`, transformed now, or at each use if `lean`.
    pub fn winograd(weight: FlexTensor, tile: Tile, lean: bool) -> Self {
        let [out, input, ..] = kernel_size(&weight);
        let weight = rows(weight);
        let make = if lean {
            WinogradWeight::lean
        } else {
            WinogradWeight::new
        };
        Self::Winograd(make(instructions(), tile, numbers(&weight), [out, input]))
    }

    /// A weight `[out, in]` or `[out, in, k, k]`.
    pub fn int8(weight: FlexTensor) -> Self {
        let size = kernel_size(&weight);
        Self::Int8(Int8Weight::conv(
            instructions(),
            numbers::<T>(&rows(weight)),
            size,
        ))
    }

    /// Channels of the output.
    pub fn output(&self) -> usize {
        match self {
            Self::Direct(weight) => weight.output(),
            Self::Winograd(weight) => weight.output(),
            Self::Int8(weight) => weight.output(),
        }
    }

    fn apply(
        &self,
        x: &Picture<'_, T>,
        window: &Window,
        epilogue: &Epilogue<'_, T>,
        out: &mut [T],
    ) {
        match self {
            Self::Direct(weight) => conv2d(x, weight, window, epilogue, out),
            Self::Winograd(weight) => winograd(x, weight, window, epilogue, out),
            Self::Int8(weight) => conv2d_int8(x, weight, window, epilogue, out),
        }
    }

    /// A convolution of the picture x `[b, in, h, w]`, plus what is given.
    pub fn convolve(
        &self,
        x: FlexTensor,
        window: &Window,
        bias: Option<&[f32]>,
        residual: Option<FlexTensor>,
    ) -> FlexTensor {
        let x = pixels_with_gaps::<T>(x);
        let [batch, ..] = dims::<4>(&x);
        let [height, width] = window.output;
        let residual = residual.map(pixels::<T>);
        let mut out = output(batch * height * width * self.output());
        let epilogue = epilogue(bias, Activation::None, &residual);
        self.apply(&view(&x), window, &epilogue, &mut out);
        picture(out, [batch, self.output(), height, width])
    }

    /// The function of the rows of x `[…, in]` times the weight plus the bias, plus the residual.
    pub fn product(
        &self,
        x: FlexTensor,
        bias: Option<&[f32]>,
        activation: Activation,
        residual: Option<FlexTensor>,
    ) -> FlexTensor {
        let x = rows(x);
        let residual = residual.map(rows);
        let mut shape = x.layout().shape().to_vec();
        let width = shape.pop().unwrap_or(1);
        let count = shape.iter().product();
        shape.push(self.output());
        let mut out = output(count * self.output());
        let picture = Picture::new(numbers(&x), [1, count, 1, width]);
        let window = Window::same(1, count, 1);
        let epilogue = epilogue(bias, activation, &residual);
        self.apply(&picture, &window, &epilogue, &mut out);
        tensor(out, shape)
    }
}

/// The Winograd tile for one pass over a picture, if it pays. The size of the batch has no say, so that
/// it changes no picture.
fn tile<T: Float>(window: &Window) -> Option<Tile> {
    let near = window.kernel == [3, 3] && window.stride == 1 && window.dilation == 1;
    if !near || window.spread > 1 {
        return None;
    }
    match window.output[0] * window.output[1] {
        ..64 => None,
        256.. if size_of::<T>() == 4 => Some(Tile::Four),
        _ => Some(Tile::Two),
    }
}

fn epilogue<'a, T: Float>(
    bias: Option<&'a [f32]>,
    activation: Activation,
    residual: &'a Option<FlexTensor>,
) -> Epilogue<'a, T> {
    Epilogue {
        bias,
        activation,
        residual: residual.as_ref().map(numbers),
    }
}

/// `[out, in, rows, columns]` of a convolution's or a linear layer's weight.
pub(crate) fn kernel_size(weight: &FlexTensor) -> [usize; 4] {
    let shape = weight.layout().shape();
    std::array::from_fn(|i| shape.get(i).copied().unwrap_or(1))
}

/// A bias as the kernels read it.
pub(crate) fn bias<T: Float>(bias: Option<FlexTensor>) -> Option<Vec<f32>> {
    bias.map(|bias| as_f32::<T>(&bias))
}
