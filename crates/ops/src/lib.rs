//! The operations of latent diffusion networks, on burn tensors.
//!
//! Every network of the project is written with these functions, so that an operation has one
//! implementation, one test and one place to be made fast. They add to burn what the published
//! networks need and burn does not promise:
//!
//! * torch's weight layouts (`[out, in]` for a linear layer), used as they lie in the file;
//! * edges that wrap around, per axis, for tileable pictures: [`Padding`] is an argument, not a
//!   switch on a module;
//! * one result for a picture, whatever the batch it is computed in and however many threads
//!   compute it. Matrix products never fold the batch into the rows, because the order of summation
//!   may follow the number of rows;
//! * norms with statistics in f32 whatever the type of the network, and attention that never holds
//!   a whole score matrix.
//!
//! Shapes are the caller's duty: burn panics where they do not fit. Rejected: layers with
//! parameters here (they belong to `models`, which knows names), and burn's `nn` modules (see
//! `models`).

use burn::tensor::Device;

mod activation;
mod attention;
mod cast;
mod conv;
mod cpu;
mod linear;
mod norm;
mod optimise;
mod packed;
mod picture;
mod resize;

pub use activation::{geglu, gelu, leaky_relu, quick_gelu, relu, relu6, silu, tanh_gelu};
pub use attention::{cross_attention, multi_head_attention, self_attention};
pub use cast::cast;
pub use conv::{ConvShape, Padding, conv2d, conv2d_add, conv2d_doubled, depthwise_conv2d};
pub use latent_kernels::Cpu;
pub use linear::{
    embedding, linear, linear_add, linear_tanh_gelu, nearest_row_picture, nearest_rows,
};
pub use norm::{
    gated_add, group_norm, group_norm_silu, group_norm_silu_modulated, group_norm_silu_shifted,
    layer_norm, layer_norm_modulated, rms_norm,
};
pub use optimise::{AdamWStep, adamw, blend, square_sums};
pub use packed::{Form, PackedConv, PackedLinear};
pub use picture::{
    add, average_2x2, cat_channels, crop, fork, max_2x2, nearest_2x, to_picture, to_tokens,
};
pub use resize::{Filter, resize};

/// Whether `device` is the CPU, where some operations are faster written otherwise than on a GPU.
fn is_cpu(device: &Device) -> bool {
    device.clone().inner() == Device::flex()
}

#[cfg(test)]
mod test_support;
