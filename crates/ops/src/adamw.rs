//! A step of AdamW.

use burn::tensor::Tensor;
pub use latent_kernels::AdamWStep;
use latent_kernels::adamw as kernel;

use crate::cpu;
use crate::is_cpu;

/// What AdamW remembers of a parameter: means of its gradients and of their squares, as large as it.
#[derive(Debug, Clone)]
pub struct Moments<const D: usize> {
    first: Tensor<D>,
    second: Tensor<D>,
}

impl<const D: usize> Moments<D> {
    /// Before the first step.
    pub fn zeros(parameter: &Tensor<D>) -> Self {
        let zeros = || parameter.clone().zeros_like();
        Self {
            first: zeros(),
            second: zeros(),
        }
    }
}

/// The parameter and its moments after a step along `gradient`. All are f32 and record no gradients;
/// on the CPU the numbers are changed in place where nobody else holds them.
///
/// # Shapes
///
/// All as the parameter.
pub fn adamw<const D: usize>(
    step: &AdamWStep,
    parameter: Tensor<D>,
    gradient: Tensor<D>,
    moments: Moments<D>,
) -> (Tensor<D>, Moments<D>) {
    let Moments { first, second } = moments;
    if is_cpu(&parameter.device()) {
        let [mut parameter, gradient, mut first, mut second] =
            [parameter, gradient, first, second].map(|t| cpu::rows(cpu::flex(t)));
        kernel(
            cpu::instructions(),
            step,
            parameter.storage_mut::<f32>(),
            cpu::numbers(&gradient),
            first.storage_mut::<f32>(),
            second.storage_mut::<f32>(),
        );
        let [parameter, first, second] = [parameter, first, second].map(cpu::wrap_flex);
        return (parameter, Moments { first, second });
    }
    let [keep1, keep2] = step.betas;
    let corrected = step.betas.map(|beta| 1.0 - beta.powf(step.step as f64));
    let first = first * keep1 + gradient.clone() * (1.0 - keep1);
    let second = second * keep2 + gradient.square() * (1.0 - keep2);
    let size = (second.clone() / corrected[1]).sqrt() + step.eps;
    let moved = parameter * (1.0 - step.rate * step.decay)
        - first.clone() / size * (step.rate / corrected[0]);
    (moved, Moments { first, second })
}
