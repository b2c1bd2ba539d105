//! What an optimiser does to flat lists of numbers: parameters, gradients, averages.
//!
//! All tensors are f32, record no gradients and have one dimension; on the CPU numbers are changed in
//! place where nobody else holds them.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
use latent_kernels as kernels;
pub use latent_kernels::AdamWStep;

use crate::cpu;
use crate::is_cpu;

/// The numbers of a tensor of the CPU, in order.
fn flat(x: Tensor<1>) -> FlexTensor {
    cpu::rows(cpu::flex(x))
}

/// The parameter and its moments (means of its gradients and of their squares, zeros before the first
/// step) after a step of AdamW along `gradient`.
///
/// # Shapes
///
/// All alike.
pub fn adamw(
    step: &AdamWStep,
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
) -> (Tensor<1>, [Tensor<1>; 2]) {
    if is_cpu(&parameter.device()) {
        let [mut parameter, gradient, mut first, mut second] =
            [parameter, gradient, first, second].map(flat);
        kernels::adamw(
            cpu::instructions(),
            step,
            parameter.storage_mut::<f32>(),
            cpu::numbers(&gradient),
            first.storage_mut::<f32>(),
            second.storage_mut::<f32>(),
        );
        let [parameter, first, second] = [parameter, first, second].map(cpu::wrap_flex);
        return (parameter, [first, second]);
    }
    let gradient = gradient * step.scale;
    let [keep1, keep2] = step.betas;
    let corrected = step.betas.map(|beta| 1.0 - beta.powf(step.step as f64));
    let first = first * keep1 + gradient.clone() * (1.0 - keep1);
    let second = second * keep2 + gradient.square() * (1.0 - keep2);
    let size = (second.clone() / corrected[1]).sqrt() + step.eps;
    let moved = parameter * (1.0 - step.rate * step.decay)
        - first.clone() / size * (step.rate / corrected[0]);
    (moved, [first, second])
}

/// `keep·a + take·b`: a moving average, or a weighted sum.
///
/// # Shapes
///
/// All alike.
pub fn blend(a: Tensor<1>, keep: f64, b: Tensor<1>, take: f64) -> Tensor<1> {
    if is_cpu(&a.device()) {
        let [mut a, b] = [a, b].map(flat);
        kernels::blend(
            cpu::instructions(),
            a.storage_mut::<f32>(),
            keep as f32,
            cpu::numbers(&b),
            take as f32,
        );
        return cpu::wrap_flex(a);
    }
    a * keep + b * take
}

/// The sums of squares of tensors of one device. On the CPU in f64, alike on any number of threads; from a GPU they are
/// read all at once.
pub fn square_sums(tensors: Vec<Tensor<1>>) -> Vec<f64> {
    let Some(first) = tensors.first() else {
        return Vec::new();
    };
    if is_cpu(&first.device()) {
        let sum = |x| kernels::square_sum(cpu::numbers(&flat(x)));
        return tensors.into_iter().map(sum).collect();
    }
    let sums = tensors.into_iter().map(|x| x.square().sum()).collect();
    let sums = Tensor::cat(sums, 0).into_data();
    sums.iter::<f32>().map(f64::from).collect()
}
