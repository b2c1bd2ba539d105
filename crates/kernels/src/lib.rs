//! Compute on slices for CPUs.
mod attention;
mod buffer;
mod cpu;
mod dense;
mod elementwise;
mod epilogue;
mod geometry;
mod int8;
mod layout;
mod norm;
mod number;
mod packed;
mod peak;
mod pool;
mod recycle;
mod simd;
mod tile;
#[cfg(test)]
mod twin;
mod weight_gradient;
mod winograd;

pub use attention::{AttentionShape, Tokens, attention, attention_backward};
pub use buffer::output;
pub use cpu::{Cpu, Level};
pub use dense::{Weight, conv2d, linear};
pub use elementwise::{add, add_assign, convert, geglu, geglu_backward, scale, scale_add, unary, unary_backward};
pub use epilogue::{Activation, Epilogue};
pub use geometry::{Edge, Picture, Window};
pub use int8::{Int8Weight, conv2d_int8, linear_int8};
pub use layout::{Pool2x2, cat_channels, pool2x2, pool2x2_backward, split_channels, transpose};
pub use norm::{GroupMoments, GroupNormParameters, GroupNormShape, LayerNormShape, group_norm, group_norm_apply, group_norm_statistics, layer_norm};
pub use number::Number;
pub use peak::{peak, peak_int8, peaks};
pub use recycle::Recycler;
pub use weight_gradient::{conv2d_weight_gradient, linear_weight_gradient};
pub use winograd::{Tile, WinogradWeight, winograd};
