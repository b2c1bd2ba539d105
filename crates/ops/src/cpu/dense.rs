//! Linear layers and convolutions.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    Activation, Edge, Picture, Window, column_sums, conv2d_weight_gradient, linear_weight_gradient,
    output,
};

use super::layout::{dims, from_f32, numbers, pixels, rows, tensor};
use super::operation::{Args, Operation, Saved, given};
use super::picture::undouble;
use super::weights::{Packing, bias, kernel_size};
use super::{Float, by_type, instructions};
use crate::conv::{ConvShape, Padding};

/// The function of x·Wᵀ + bias, plus residual. Inputs: x `[…, in]`, weight `[out, in]`, and perhaps bias `[out]` and
/// residual `[…, out]`. There is a way back from it where the function is none.
#[derive(Debug, Clone)]
pub(crate) struct Linear(pub Activation);

impl Operation<4> for Linear {
    /// Features of x.
    type Kept = usize;

    fn forward(&self, [x, weight, b, residual]: Args<4>, kept: Option<&mut usize>) -> FlexTensor {
        let (x, weight) = (given(x), given(weight));
        if let Some(kept) = kept {
            [_, *kept] = dims(&weight);
        }
        by_type!(x.dtype(), T => {
            Packing::<T>::direct(weight).product(x, bias::<T>(b).as_deref(), self.0, residual)
        })
    }

    fn reads(&self, [x, weight, ..]: [bool; 4]) -> [bool; 4] {
        [weight, x, false, false]
    }

    fn backward(&self, saved: Saved<4, usize>, gradient: FlexTensor) -> Args<4> {
        debug_assert_eq!(self.0, Activation::None, "what is learnt is composed");
        let ([x, weight, ..], wanted, input) = (saved.inputs, saved.wanted, saved.kept);
        by_type!(gradient.dtype(), T => {
            let gradient = rows(gradient);
            let shape = gradient.layout().shape();
            let out = shape[shape.num_dims() - 1];
            let count = shape.num_elements() / out.max(1);
            let of_x =
                wanted[0].then(|| Packing::<T>::back(given(weight)).product(gradient.clone(), None, Activation::None, None));
            let of_weight = wanted[1].then(|| {
                let x = rows(given(x));
                let (x, gradient) = (numbers::<T>(&x), numbers::<T>(&gradient));
                let mut sums = output(out * input);
                linear_weight_gradient(instructions(), x, gradient, [count, input, out], &mut sums);
                tensor(from_f32::<T>(sums), [out, input])
            });
            let of_bias = wanted[2].then(|| sums_of_columns::<T>(&gradient, out));
            [of_x, of_weight, of_bias, wanted[3].then_some(gradient)]
        })
    }
}

/// A convolution plus residual. Inputs: x `[b, in, h, w]`, weight `[out, in, k, k]`, and perhaps
/// bias `[out]` and residual, as large as the output.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    /// Stride and padding.
    pub shape: ConvShape,
    /// What lies beyond the edges.
    pub padding: Padding,
    /// The picture is first made twice as large by repetition, then cut to this height and width.
    pub doubled: Option<[usize; 2]>,
}

impl Convolution {
    /// The window over a picture of this height and width.
    pub fn window(&self, kernel: [usize; 2], size: [usize; 2]) -> Window {
        let [left, right, top, bottom] = self.shape.padding;
        let [height, width] = self.doubled.unwrap_or(size);
        let stride = self.shape.stride;
        let edge = |wraps: bool| if wraps { Edge::Wrap } else { Edge::Zero };
        Window {
            kernel,
            stride,
            before: [top as isize, left as isize],
            edges: [edge(self.padding.wraps_y()), edge(self.padding.wraps_x())],
            doubled: self.doubled,
            ..Window::same(
                1,
                (height + top + bottom - kernel[0]) / stride + 1,
                (width + left + right - kernel[1]) / stride + 1,
            )
        }
    }
}

impl Operation<4> for Convolution {
    /// The shape of x, rows and columns of the kernel.
    type Kept = ([usize; 4], [usize; 2]);

    fn forward(
        &self,
        [x, weight, b, residual]: Args<4>,
        kept: Option<&mut Self::Kept>,
    ) -> FlexTensor {
        let (x, weight) = (given(x), given(weight));
        let [_, _, rows, columns] = kernel_size(&weight);
        let shape @ [_, _, height, width] = dims(&x);
        if let Some(kept) = kept {
            *kept = (shape, [rows, columns]);
        }
        let window = self.window([rows, columns], [height, width]);
        by_type!(x.dtype(), T => {
            Packing::<T>::once(weight, &window).convolve(x, &window, bias::<T>(b).as_deref(), residual)
        })
    }

    fn reads(&self, [x, weight, ..]: [bool; 4]) -> [bool; 4] {
        [weight, x, false, false]
    }

    fn backward(&self, saved: Saved<4, Self::Kept>, gradient: FlexTensor) -> Args<4> {
        let ([x, weight, ..], wanted) = (saved.inputs, saved.wanted);
        let ([_, input, height, width], kernel) = saved.kept;
        let window = self.window(kernel, [height, width]);
        by_type!(gradient.dtype(), T => {
            let gradient = pixels::<T>(gradient);
            let [_, out, ..] = dims::<4>(&gradient);
            let of_x = wanted[0].then(|| {
                let [seen_height, seen_width] = self.doubled.unwrap_or([height, width]);
                let back = Window { doubled: None, ..window }.back(seen_height, seen_width);
                let seen = Packing::<T>::back_once(given(weight), &back).convolve(gradient.clone(), &back, None, None);
                match self.doubled {
                    Some(_) => undouble::<T>(&seen, [height, width]),
                    None => seen,
                }
            });
            let of_weight = wanted[1].then(|| {
                let shape = [out, input, kernel[0], kernel[1]];
                tensor(from_f32::<T>(weight_gradient::<T>(given(x), &gradient, &window, shape)), shape)
            });
            let of_bias = wanted[2].then(|| sums_of_columns::<T>(&gradient, out));
            [of_x, of_weight, of_bias, wanted[3].then_some(gradient)]
        })
    }
}

fn weight_gradient<T: Float>(
    x: FlexTensor,
    gradient: &FlexTensor,
    window: &Window,
    shape: [usize; 4],
) -> Vec<f32> {
    let x = pixels::<T>(x);
    let [batch, channels, height, width] = dims(&x);
    let (x, gradient) = (numbers::<T>(&x), numbers::<T>(gradient));
    let x = Picture::new(x, [batch, height, width, channels]);
    let mut sums = output(shape.iter().product());
    conv2d_weight_gradient(instructions(), &x, gradient, window, shape[0], &mut sums);
    sums
}

/// The sum of each of `columns` columns of a tensor that lies in rows of them.
fn sums_of_columns<T: Float>(x: &FlexTensor, columns: usize) -> FlexTensor {
    let x = numbers::<T>(x);
    let mut sums = output(columns);
    column_sums(
        instructions(),
        x.len() / columns.max(1),
        columns,
        x,
        &mut sums,
    );
    tensor(from_f32::<T>(sums), [columns])
}
