//! Activations.

use burn::tensor::{Tensor, activation};
use latent_kernels::Activation;

use crate::cpu::{self, input};
use crate::is_cpu;

/// x·sigmoid(x), also called swish.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return activate(x, Activation::Silu);
    }
    activation::silu(x)
}

/// x·Φ(x) with the exact error function, not its tanh approximation.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return activate(x, Activation::Gelu);
    }
    activation::gelu(x)
}

/// x·sigmoid(1.702 x): the approximation of [`gelu`] that OpenAI's CLIP was trained with.
pub fn quick_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return activate(x, Activation::QuickGelu);
    }
    activation::sigmoid(x.clone() * 1.702) * x
}

/// x/2·(1 + tanh(√(2/π)·(x + 0.044715 x³))): the approximation of [`gelu`] that diffusion transformers were trained with.
pub fn tanh_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return activate(x, Activation::TanhGelu);
    }
    let inner = (x.clone().square() * 0.044715 + 1.0) * x.clone();
    x * activation::sigmoid(inner * (8.0 / std::f64::consts::PI).sqrt())
}

/// The positive part of x.
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return activate(x, Activation::Relu);
    }
    activation::relu(x)
}

/// x within 0..6.
pub fn relu6<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return activate(x, Activation::Relu6);
    }
    x.clamp(0.0, 6.0)
}

/// x where it is positive, x / 5 elsewhere: the slope of every published patch discriminator.
pub fn leaky_relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return activate(x, Activation::LeakyRelu);
    }
    activation::leaky_relu(x, 0.2)
}

/// a·gelu(b) for x = [a, b] along the last dimension (Shazeer, "GLU Variants Improve Transformer",
/// 2020).
///
/// # Shapes
///
/// `[…, 2 n]` → `[…, n]`
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if is_cpu(&x.device()) {
        let dtype = x.dtype();
        return cpu::run(cpu::Gate, [input(x, dtype)]).cast(dtype);
    }
    let width = x.dims()[D - 1] / 2;
    let gate = gelu(x.clone().narrow(D - 1, width, width));
    x.narrow(D - 1, 0, width) * gate
}

fn activate<const D: usize>(x: Tensor<D>, activation: Activation) -> Tensor<D> {
    let dtype = x.dtype();
    cpu::run(cpu::Activate(activation), [input(x, dtype)]).cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_close, normal, numbers};

    /// Φ(x) by Simpson's rule on the density, from zero.
    fn phi(x: f64) -> f64 {
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let steps = 2000;
        let h = x / f64::from(steps);
        let inside = |i: i32| density(f64::from(i) * h) * if i % 2 == 1 { 4.0 } else { 2.0 };
        0.5 + h / 3.0 * (density(0.0) + density(x) + (1..steps).map(inside).sum::<f64>())
    }

    fn sigmoid(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// Six hundred numbers within −6..6.
    fn wide() -> (Tensor<2>, Vec<f64>) {
        let x = normal("x", [6, 100]) * 3.5;
        let values: Vec<f32> = x.clone().into_data().try_into_vec().unwrap();
        (x, values.into_iter().map(f64::from).collect())
    }

    #[test]
    fn activations_equal_their_formulas() {
        let (x, values) = wide();
        let map = |f: fn(f64) -> f64| values.iter().map(|&v| f(v)).collect::<Vec<_>>();
        assert_close(silu(x.clone()), [6, 100], &map(|v| v * sigmoid(v)));
        assert_close(
            quick_gelu(x.clone()),
            [6, 100],
            &map(|v| v * sigmoid(1.702 * v)),
        );
        assert_close(gelu(x.clone()), [6, 100], &map(|v| v * phi(v)));
        let tanh = |v: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v.powi(3));
            0.5 * v * (1.0 + inner.tanh())
        };
        assert_close(tanh_gelu(x.clone()), [6, 100], &map(tanh));
        assert_close(relu(x.clone()), [6, 100], &map(|v| v.max(0.0)));
        assert_close(
            relu6(x.clone() * 1.5),
            [6, 100],
            &map(|v| (v * 1.5).clamp(0.0, 6.0)),
        );
        assert_close(leaky_relu(x), [6, 100], &map(|v| v.max(0.2 * v)));
    }

    #[test]
    fn the_second_half_gates_the_first() {
        let x = numbers("x", 30);
        let want: Vec<f64> = x
            .chunks(10)
            .flat_map(|row| (0..5).map(|i| row[i] * row[5 + i] * phi(row[5 + i])))
            .collect();
        assert_close(geglu(normal("x", [1, 3, 10])), [1, 3, 5], &want);
    }
}
