//! The weights before the first step.

use burn::module::Module;
use burn::tensor::{DType, TensorData};
use latent_models::{ParameterError, load, parameters};

use crate::Random;

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// One number everywhere.
    Constant(f32),
    /// Between −x and x.
    Uniform(f64),
    /// Of mean 0 and this deviation.
    Normal(f64),
    /// Of this mean and this deviation.
    NormalAround(f64, f64),
}

/// The module with every parameter filled as `rule` says for its name and shape, in f32. The numbers of a
/// parameter depend on the seed and its name alone.
///
/// # Errors
/// Never in practice: values that do not fit their parameter.
pub fn initialise<M: Module>(
    module: M,
    seed: u64,
    rule: &dyn Fn(&str, &[usize]) -> Fill,
) -> Result<M, ParameterError> {
    let fetch = &mut |name: &str, shape: &[usize]| {
        let mut random = Random::new(seed, &format!("initialise/{name}"), 0, 0);
        let fill = rule(name, shape);
        let numbers: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| match fill {
                Fill::Constant(number) => number,
                Fill::Uniform(bound) => (bound * (2.0 * random.uniform() - 1.0)) as f32,
                Fill::Normal(deviation) => (deviation * random.normal()) as f32,
                Fill::NormalAround(mean, deviation) => (mean + deviation * random.normal()) as f32,
            })
            .collect();
        Ok(TensorData::new(numbers, shape.to_vec()))
    };
    load(module, fetch, DType::F32)
}

/// How torch's layers begin: ±1/√fan_in for the weight and the bias of linear layers and convolutions,
/// 1 and 0 for those of norms. `zeros` are the names, by their ends, that the published code sets to zero.
/// What else a network has (embeddings) is for the caller to say first.
pub fn torch_default<M: Module>(
    module: &M,
    zeros: &[&str],
) -> impl Fn(&str, &[usize]) -> Fill + use<M> {
    let shapes: std::collections::HashMap<_, _> = parameters(module).into_iter().collect();
    let zeros: Vec<String> = zeros.iter().map(|&name| name.to_owned()).collect();
    let bound = |shape: &[usize]| {
        let fan_in: usize = shape[1..].iter().product();
        Fill::Uniform(1.0 / (fan_in.max(1) as f64).sqrt())
    };
    move |name, shape| {
        if zeros.iter().any(|zero| name.ends_with(zero.as_str())) {
            return Fill::Constant(0.0);
        }
        if shape.len() >= 2 {
            return bound(shape);
        }
        match name.strip_suffix("bias") {
            None => Fill::Constant(1.0),
            Some(layer) => match shapes.get(&format!("{layer}weight")) {
                Some(weight) if weight.len() >= 2 => bound(weight),
                _ => Fill::Constant(0.0),
            },
        }
    }
}
