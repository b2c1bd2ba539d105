//! Changes of type.

use burn::backend::flex::FlexTensor;
use burn::tensor::DType;

use super::by_type;
use super::layout::{any_order, from_f32, numbers, tensor_like, to_f32};
use super::operation::{Args, Operation, Saved, given};

/// The same numbers, as near as another type has them: f32 or bf16. The gradient has the type of the input.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    /// Of the input.
    pub from: DType,
    /// Of the output.
    pub to: DType,
}

fn converted(x: FlexTensor, to: DType) -> FlexTensor {
    let x = any_order(x);
    by_type!(x.dtype(), T => {
        let wide = to_f32(numbers::<T>(&x)).into_owned();
        by_type!(to, U => tensor_like(from_f32::<U>(wide), &x))
    })
}

impl Operation<1> for Cast {
    type Kept = ();

    fn forward(&self, [x]: Args<1>, _: Option<&mut ()>) -> FlexTensor {
        converted(given(x), self.to)
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, _: Saved<1, ()>, gradient: FlexTensor) -> Args<1> {
        [Some(converted(gradient, self.from))]
    }
}
