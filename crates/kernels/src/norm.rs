//! Group norm and layer norm, forward and backward.
//!
//! Sums run over fixed chunks of pixels (or rows), the chunks' sums are combined in their order, and
//! where a chunk ends depends on nothing but the number of channels. So neither the number of
//! threads nor what else is in the batch shows in a result.

#[cfg(test)]
mod gradient_tests;
mod group;
mod group_backward;
mod layer;
mod layer_backward;
mod moments;
#[cfg(test)]
mod tests;

pub use group::{GroupNormParameters, GroupNormShape, group_norm};
pub use group_backward::{GroupNormGradients, group_norm_backward};
pub use layer::{LayerNormShape, layer_norm};
pub use layer_backward::{LayerNormGradients, layer_norm_backward};

/// Numbers whose sums one job takes: a few tens of microseconds' worth.
const CHUNK: usize = 1 << 16;

/// Rows whose sums are held in registers before they are added to those of the chunk: sums of sums
/// lose fewer digits than one long sum.
const BLOCK: usize = 32;
