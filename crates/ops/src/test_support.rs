//! Helpers of the tests: inputs by name, and comparison with scalar twins computed in f64.

use burn::tensor::{Device, Tensor, TensorData};
use latent_testkit::{closeness, recipe};

/// A tensor of roughly unit variance, by name.
pub fn normal<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let values = recipe::normal(name, &shape);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The same numbers, in f64.
pub fn numbers(name: &str, count: usize) -> Vec<f64> {
    let values = recipe::normal(name, &[count]);
    values.into_iter().map(f64::from).collect()
}

/// Asserts that `got` has `shape` and equals `want` to 1e-6 of the norm.
pub fn assert_close<const D: usize>(got: Tensor<D>, shape: [usize; D], want: &[f64]) {
    assert_within(1e-6, got, shape, want);
}

/// The same with another limit.
pub fn assert_within<const D: usize>(limit: f64, got: Tensor<D>, shape: [usize; D], want: &[f64]) {
    assert_eq!(got.dims(), shape);
    let got: Vec<f32> = got.into_data().try_into_vec().unwrap();
    let want: Vec<f32> = want.iter().map(|&v| v as f32).collect();
    let error = closeness(&got, &want);
    assert!(error < limit, "{error:.2e} where {limit:.0e} is allowed");
}
