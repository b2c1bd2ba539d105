//! Parameters' tensors of other numbers.

use burn::tensor::{GradientCheckpointingStrategy, Tensor};

/// What a parameter's tensor is, beside its numbers.
pub(super) struct Like<const D: usize> {
    shape: [usize; D],
    wants_gradient: bool,
    /// How it records gradients, if it does.
    strategy: Option<GradientCheckpointingStrategy>,
}

impl<const D: usize> Like<D> {
    pub fn of(tensor: &Tensor<D>) -> Self {
        Self {
            shape: tensor.dims(),
            wants_gradient: tensor.is_require_grad(),
            strategy: tensor.gradient_checkpointing_strategy(),
        }
    }

    /// Such a tensor of other numbers.
    pub fn tensor(&self, numbers: Tensor<1>) -> Tensor<D> {
        let tensor = numbers.reshape(self.shape);
        match self.strategy {
            None => tensor,
            Some(strategy) => Tensor::from_inner(tensor)
                .with_gradient_checkpointing_strategy(strategy)
                .set_require_grad(self.wants_gradient),
        }
    }
}
