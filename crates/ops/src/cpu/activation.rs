//! Functions of single numbers.

use burn::backend::flex::FlexTensor;
use latent_kernels::{Activation, geglu, output, unary};

use super::layout::{any_order, numbers, rows, tensor, tensor_like};
use super::{by_type, instructions};

/// The function of each number, as x lies.
pub(crate) fn activate(x: FlexTensor, activation: Activation) -> FlexTensor {
    let x = any_order(x);
    by_type!(x.dtype(), T => {
        let mut out = output::<T>(x.layout().num_elements());
        unary(instructions(), activation, numbers::<T>(&x), &mut out);
        tensor_like(out, &x)
    })
}

/// a·gelu(b) of the halves [a, b] of the last dimension.
pub(crate) fn gate(x: FlexTensor) -> FlexTensor {
    let x = rows(x);
    let mut shape = x.layout().shape().to_vec();
    let last = shape.len() - 1;
    shape[last] /= 2;
    let width = shape[last];
    by_type!(x.dtype(), T => {
        let mut out = output::<T>(shape.iter().product());
        let rows = out.len() / width.max(1);
        geglu(instructions(), rows, width, numbers::<T>(&x), &mut out);
        tensor(out, shape)
    })
}
