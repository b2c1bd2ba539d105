//! Latents of another rank: five axes, as video has them, are walked as four are.

mod common;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use common::{Function, RecipeNoise, everywhere, run, start, values};
use latent_diffusion::{Denoise, Error, Mixing, Noise, SamplerOptions, Sigmas, sample};

fn wide<const D: usize>(x: Tensor<D>) -> Tensor<5> {
    x.reshape([2, 4, 2, 2, 4])
}

struct Video(Mixing);

impl Denoise<5> for Video {
    fn denoise(&mut self, x: Tensor<5>, sigma: f64) -> Result<Tensor<5>, Error> {
        Ok((x * 0.4).sin() / (1.0 + sigma))
    }
    fn unconditional(&self) -> Option<Tensor<5>> {
        Some(wide(start()))
    }
    fn mixing(&self) -> Mixing {
        self.0
    }
}

impl Noise<5> for RecipeNoise {
    fn between(&mut self, _: &Tensor<5>, sigma: f64, sigma_next: f64) -> Tensor<5> {
        wide(Noise::<4>::between(self, &start(), sigma, sigma_next))
    }
}

#[test]
fn five_axes_are_walked_as_four() {
    for (sampler, mixing) in everywhere() {
        let ladder = Sigmas::new(vec![1.0, 0.8, 0.5, 0.2, 0.0]).expect("a ladder");
        let options = SamplerOptions::default();
        let mut flat = Function::new(|x: Tensor<4>, s: f64| (x * 0.4).sin() / (1.0 + s));
        (flat.unconditional, flat.mixing) = (Some(start()), mixing);
        let mut noise = RecipeNoise::default();
        let want = values(run(
            sampler,
            &options,
            &mut flat,
            start(),
            &ladder,
            &mut noise,
        ));
        let got = sample(
            sampler,
            &options,
            &mut Video(mixing),
            wide(start()),
            &ladder,
            &mut RecipeNoise::default(),
            &mut |_| ControlFlow::Continue(()),
        );
        let got: Vec<f32> = got.expect("a latent").into_data().iter::<f32>().collect();
        assert_eq!(got, want, "{sampler:?} {mixing:?}");
    }
}
