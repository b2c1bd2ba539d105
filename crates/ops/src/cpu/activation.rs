//! Functions of single numbers.

use burn::backend::flex::FlexTensor;
use latent_kernels::{Activation, geglu, geglu_backward, output, unary, unary_backward};

use super::layout::{any_order, in_order_of, numbers, rows, tensor, tensor_like};
use super::operation::{Args, Operation, Saved, given};
use super::{by_type, instructions};

/// The function of each number, as x lies.
#[derive(Debug, Clone)]
pub(crate) struct Activate(pub Activation);

impl Operation<1> for Activate {
    type Kept = ();

    fn forward(&self, [x]: Args<1>, _: Option<&mut ()>) -> FlexTensor {
        let x = any_order(given(x));
        by_type!(x.dtype(), T => {
            let mut out = output::<T>(x.layout().num_elements());
            unary(instructions(), self.0, numbers::<T>(&x), &mut out);
            tensor_like(out, &x)
        })
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [true]
    }

    fn backward(&self, saved: Saved<1, ()>, gradient: FlexTensor) -> Args<1> {
        let x = any_order(given(saved.inputs.into_iter().flatten().next()));
        by_type!(x.dtype(), T => {
            let gradient = in_order_of::<T>(gradient, &x);
            let mut out = output::<T>(x.layout().num_elements());
            unary_backward(instructions(), self.0, numbers::<T>(&x), numbers(&gradient), &mut out);
            [Some(tensor_like(out, &x))]
        })
    }
}

/// a·gelu(b) of the halves [a, b] of the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct Gate;

impl Operation<1> for Gate {
    type Kept = ();

    fn forward(&self, [x]: Args<1>, _: Option<&mut ()>) -> FlexTensor {
        let x = rows(given(x));
        let mut shape = x.layout().shape().to_vec();
        let twice = shape.pop().unwrap_or(0);
        let (count, width) = (shape.iter().product::<usize>(), twice / 2);
        shape.push(width);
        by_type!(x.dtype(), T => {
            let mut out = output::<T>(count * width);
            geglu(instructions(), count, width, numbers::<T>(&x), &mut out);
            tensor(out, shape)
        })
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [true]
    }

    fn backward(&self, saved: Saved<1, ()>, gradient: FlexTensor) -> Args<1> {
        let [x] = saved.inputs.map(|x| rows(given(x)));
        let shape = x.layout().shape().clone();
        let width = shape[shape.num_dims() - 1] / 2;
        let count = shape.num_elements() / (2 * width).max(1);
        by_type!(x.dtype(), T => {
            let gradient = rows(gradient);
            let mut out = output::<T>(shape.num_elements());
            let (x, gradient) = (numbers::<T>(&x), numbers(&gradient));
            geglu_backward(instructions(), count, width, x, gradient, &mut out);
            [Some(tensor(out, shape))]
        })
    }
}
