//! Denoisers and noise that tests inject.
#![allow(dead_code)] // each test file uses its part

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use latent_diffusion::{Denoise, Error, Mixing, Noise, Sampler, SamplerOptions, Sigmas, sample};
use latent_testkit::recipe;

pub const SHAPE: [usize; 4] = [2, 4, 4, 4];

pub fn tensor(values: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

pub fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("an f32 tensor")
}

/// What every golden starts from.
pub fn start() -> Tensor<4> {
    tensor(recipe::normal("sampler/x", &SHAPE), SHAPE)
}

/// A function as a denoiser; it counts its calls.
pub struct Function<F> {
    f: F,
    pub calls: usize,
    pub unconditional: Option<Tensor<4>>,
    pub mixing: Mixing,
}

impl<F: FnMut(Tensor<4>, f64) -> Tensor<4>> Function<F> {
    pub fn new(f: F) -> Self {
        Self {
            f,
            calls: 0,
            unconditional: None,
            mixing: Mixing::Added,
        }
    }

    /// The same on a rectified flow.
    pub fn on_flow(f: F) -> Self {
        Self {
            mixing: Mixing::Flow,
            ..Self::new(f)
        }
    }
}

impl<F: FnMut(Tensor<4>, f64) -> Tensor<4>> Denoise for Function<F> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, Error> {
        self.calls += 1;
        Ok((self.f)(x, sigma))
    }

    fn unconditional(&self) -> Option<Tensor<4>> {
        self.unconditional.clone()
    }

    fn mixing(&self) -> Mixing {
        self.mixing
    }
}

/// The n-th draw is `recipe::normal("noise/n")`.
#[derive(Default)]
pub struct RecipeNoise {
    pub drawn: usize,
}

impl Noise for RecipeNoise {
    fn between(&mut self, like: &Tensor<4>, _: f64, _: f64) -> Tensor<4> {
        let draw = recipe::normal(&format!("noise/{}", self.drawn), &like.dims());
        self.drawn += 1;
        tensor(draw, like.dims())
    }
}

/// Every sampler, and those of a flow on a flow.
pub fn everywhere() -> impl Iterator<Item = (Sampler, Mixing)> {
    let flows = Sampler::ALL
        .into_iter()
        .filter(|s| s.refused_on_flows().is_none());
    let added = Sampler::ALL.into_iter().map(|s| (s, Mixing::Added));
    added.chain(flows.map(|s| (s, Mixing::Flow)))
}

/// [`sample`] to the end.
pub fn run(
    sampler: Sampler,
    options: &SamplerOptions,
    d: &mut dyn Denoise,
    x: Tensor<4>,
    sigmas: &Sigmas,
    noise: &mut dyn Noise,
) -> Tensor<4> {
    let mut go_on = |_: latent_diffusion::Step<'_>| ControlFlow::Continue(());
    sample(sampler, options, d, x, sigmas, noise, &mut go_on).expect("a finished walk")
}

/// |got − want| / max |want|, printed and held to 10⁻⁴.
pub fn close(key: &str, got: &[f32], want: &[f32]) {
    let scale = want.iter().fold(0f32, |a, v| a.max(v.abs()));
    let error = latent_testkit::max_abs_difference(got, want) / f64::from(scale);
    println!("{key:40} {error:.1e}");
    assert!(error <= 1e-4, "{key}: {error:e}");
}
