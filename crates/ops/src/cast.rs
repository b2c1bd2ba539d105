//! Changes of type.

use burn::tensor::{DType, Tensor};

use crate::cpu::{self, compute_type};
use crate::is_cpu;

/// `x` as `dtype`, rounded to the nearest, ties to even. On the CPU f32 and bf16 are converted in vectors, which burn's
/// cast is not.
///
/// # Shapes
///
/// `[…]` → as x
pub fn cast<const D: usize>(x: Tensor<D>, dtype: DType) -> Tensor<D> {
    let from = x.dtype();
    let known = |dtype| compute_type(dtype) == dtype;
    if from == dtype || !known(from) || !known(dtype) || !is_cpu(&x.device()) {
        return x.cast(dtype);
    }
    let cast = cpu::Cast { from, to: dtype };
    cpu::run(cast, [Some(x.into_dispatch())])
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::test_support::normal;

    #[test]
    fn numbers_and_gradients_are_those_of_burns_cast() {
        let x: Tensor<4> = normal("x", [2, 3, 4, 5]);
        let narrow = cast(x.clone(), DType::BF16);
        assert_eq!(narrow.dtype(), DType::BF16);
        let bits = |x: Tensor<4>| {
            x.into_data()
                .iter::<f32>()
                .map(f32::to_bits)
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(narrow.clone()), bits(x.clone().cast(DType::BF16)));
        assert_eq!(bits(cast(narrow.clone(), DType::F32)), bits(narrow));
        let gradient = |cast: &dyn Fn(Tensor<4>) -> Tensor<4>| {
            let x = x.clone().autodiff().require_grad();
            let loss = cast(x.clone()).powf_scalar(2.0).sum();
            let gradient = x.grad(&loss.backward()).unwrap();
            assert_eq!(gradient.dtype(), DType::F32);
            bits(gradient)
        };
        let own = gradient(&|x| cast(x, DType::BF16));
        assert_eq!(own, gradient(&|x| x.cast(DType::BF16)));
    }
}
