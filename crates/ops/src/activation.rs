//! Activations.

use burn::tensor::{Tensor, activation};

/// x·sigmoid(x), also called swish.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// x·Φ(x) with the exact error function, not its tanh approximation.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// x·sigmoid(1.702 x): the approximation of [`gelu`] that OpenAI's CLIP was trained with.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::sigmoid(x.clone() * 1.702) * x
}

/// a·gelu(b) for x = [a, b] along the last dimension (Shazeer, "GLU Variants Improve Transformer", 2020).
///
/// # Shapes
///
/// `[…, 2 n]` → `[…, n]`
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let width = x.dims()[D - 1] / 2;
    let gate = gelu(x.clone().narrow(D - 1, width, width));
    x.narrow(D - 1, 0, width) * gate
}
