//! Compute on slices for CPUs.
mod attention;
mod buffer;
mod cpu;
mod dense;
mod epilogue;
mod geometry;
mod int8;
mod number;
mod packed;
mod pool;
mod simd;
mod tile;
#[cfg(test)]
mod twin;
mod weight_gradient;
mod winograd;

pub use attention::{AttentionShape, Tokens, attention, attention_backward};
pub use cpu::{Cpu, Level};
pub use dense::{Weight, conv2d, linear};
pub use epilogue::{Activation, Epilogue};
pub use geometry::{Edge, Picture, Window};
pub use int8::{Int8Weight, conv2d_int8, linear_int8};
pub use number::Number;
pub use weight_gradient::{conv2d_weight_gradient, linear_weight_gradient};
pub use winograd::{Tile, WinogradWeight, winograd};
