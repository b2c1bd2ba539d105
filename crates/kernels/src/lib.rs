//! Compute on slices for CPUs: matrix products, convolution, attention, norms, and their gradients.
//!
//! This crate knows slices of f32 and bf16, no tensor, and is the project's one place for `unsafe`
//! code. `ops` puts it behind burn's tensors; nothing else should call it but benchmarks.
//!
//! **One loop.** Nearly all time goes into one small loop (`tile`): six rows of numbers times a
//! panel of 64 columns, summed in registers. Linear layers, convolutions, attention and the
//! gradients of weights are different ways to feed it. Rows are read where they lie, through
//! pointers; the other matrix is packed into panels beforehand. That is why pictures are
//! channels-last here: the numbers of a pixel are a row, and so no input is ever rearranged.
//!
//! **One source, several instruction sets.** A kernel is generic over a trait of vectors (`simd`) and is compiled
//! for AVX-512 with bf16 products, AVX-512, AVX2 and plain Rust; [`Cpu`] says at run time which one to
//! use, and that an instruction set exists wherever a `Cpu` for it does.
//!
//! **One result.** A sum is made in one order, which follows from the shape of one picture alone.
//! Neither the number of threads nor the rest of the batch changes a bit. Instruction sets do.
//!
//! Functions panic where lengths do not fit; whoever calls them has checked what users gave.
//! Rejected: a matrix library (the `gemm` crate has no bf16 products, no panels that are packed once
//! and no way to fuse what follows), and generated code or assembly (the compiler's code for `tile`
//! reaches the peak).

mod adamw;
mod attention;
mod buffer;
mod cpu;
mod dense;
mod depthwise;
mod elementwise;
mod epilogue;
mod gate;
mod geometry;
mod int8;
mod layout;
mod max_pool;
mod norm;
mod number;
mod packed;
mod peak;
mod pool;
mod recycle;
mod reduce;
mod simd;
mod tile;
#[cfg(test)]
mod twin;
mod weight;
mod weight_gradient;
mod winograd;

pub use adamw::{AdamWStep, adamw};
pub use attention::{AttentionShape, Tokens, attention, attention_backward};
pub use buffer::output;
pub use cpu::{Cpu, Level};
pub use dense::{conv2d, linear};
pub use depthwise::depthwise;
pub use elementwise::{add, blend, convert, geglu, geglu_backward, scale, unary, unary_backward};
pub use epilogue::{Activation, Epilogue};
pub use gate::{GateShape, gated_add, gated_add_backward};
pub use geometry::{Edge, Picture, Window};
pub use int8::{Int8Weight, conv2d_int8, linear_int8};
pub use layout::{Pool2x2, cat_channels, pool2x2, pool2x2_backward, split_channels, transpose};
pub use max_pool::{max2x2, max2x2_backward};
pub use norm::{
    GroupNormGradients, GroupNormParameters, GroupNormShape, LayerNormGradients, LayerNormShape,
    group_norm, group_norm_backward, layer_norm, layer_norm_backward,
};
pub use number::Number;
pub use peak::{peak, peak_int8, peaks};
pub use recycle::Recycler;
pub use reduce::{column_sums, square_sum};
pub use weight::Weight;
pub use weight_gradient::{conv2d_weight_gradient, linear_weight_gradient};
pub use winograd::{Tile, WinogradWeight, winograd};
