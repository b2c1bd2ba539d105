//! The operations on the CPU: the crate `kernels`, as operations of burn's Flex backend.
//!
//! **An operation** is a value with its settings (a stride, a number of heads) that implements
//! [`Operation`]: a forward pass, and a backward pass that gets back what the forward pass kept.
//! [`run`] takes it through burn, so that it works on plain tensors and on tensors that record
//! gradients alike. There is one trait method for all operations, because a method of its own for
//! each would repeat burn's routing, and its graph, for every one of them.
//!
//! **Pictures lie channels-last.** Their shape stays `[batch, channels, height, width]`, but the
//! numbers of a pixel are neighbours in memory: the rows that a matrix product wants. Operations
//! take any layout, rearrange where they must, and return this one. Between layers nothing is
//! moved, and pixels as tokens are a view. burn's own operations read such a tensor rightly, but
//! most return the other layout ([`layout`] says which).

mod activation;
mod attention;
mod cast;
mod dense;
mod depthwise;
pub(crate) mod layout;
mod norm;
mod operation;
mod picture;
mod weights;

pub(crate) use activation::{Activate, Gate};
pub(crate) use attention::{Attention, JoinedAttention};
pub(crate) use cast::Cast;
pub(crate) use dense::{Convolution, Linear};
pub(crate) use depthwise::Depthwise;
pub(crate) use layout::{numbers, rows};
pub(crate) use norm::{GatedAdd, GroupNorm, LayerNorm};
pub(crate) use operation::{given, run};
pub(crate) use picture::{Add, Average, CatChannels, Double, Largest};
pub(crate) use weights::{Packing, bias};

use burn::backend::flex::FlexTensor;
use burn::backend::{BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind};
use burn::tensor::{DType, Element, Tensor};
use latent_kernels::{Cpu, Number};

/// The number types that kernels compute in.
pub(crate) trait Float: Number + Element + bytemuck::Pod {}
impl Float for f32 {}
impl Float for half::bf16 {}

/// Runs an expression with `$T` as the number type of a tensor's `DType`.
macro_rules! by_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            burn::tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            burn::tensor::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            other => unreachable!("{other:?} is cast before it reaches a kernel"),
        }
    };
}
pub(crate) use by_type;

/// The type that kernels compute a network of type `dtype` in: bf16 as it is, anything else in f32.
pub(crate) fn compute_type(dtype: DType) -> DType {
    match dtype {
        DType::BF16 => DType::BF16,
        _ => DType::F32,
    }
}

/// A tensor as an input of [`run`], in the type to compute in.
pub(crate) fn input<const D: usize>(
    x: Tensor<D>,
    dtype: DType,
) -> Option<burn::backend::DispatchTensor> {
    Some(x.cast(compute_type(dtype)).into_dispatch())
}

/// The Flex tensor behind a tensor of the plain CPU device.
pub(crate) fn flex<const D: usize>(x: Tensor<D>) -> FlexTensor {
    match x.into_dispatch().kind {
        DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => tensor,
        _ => unreachable!("kernels are given plain tensors of the CPU"),
    }
}

/// The tensor over a Flex tensor.
pub(crate) fn wrap_flex<const D: usize>(x: FlexTensor) -> Tensor<D> {
    Tensor::from_dispatch(DispatchTensor {
        kind: DispatchTensorKind::Flex(BackendTensor::Float(x)),
        autodiff: DispatchAutodiffContext::Disabled,
    })
}

/// The instructions to use.
pub(crate) fn instructions() -> Cpu {
    Cpu::current()
}
