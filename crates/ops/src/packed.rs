//! Layers whose weights lie as the CPU's kernels read them.

use std::sync::Arc;

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensor, Flex};
use burn::tensor::{DType, Tensor};
use half::bf16;
use latent_kernels::Tile;

use crate::conv::{ConvShape, Padding};
use crate::cpu::{self, Convolution, Float, Packing, compute_type, input};
use crate::is_cpu;

/// How weights are stored in a packed layer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// In the network's type.
    #[default]
    Plain,
    /// In eight bits, products too.
    Int8,
}
