//! A training step: forward, backward, AdamW.

use burn::tensor::{Device, Tensor};
use latent_models::Given;
use latent_models::unet::Heads;
use latent_train::{Alone, Learner, LearnerSettings, Step, Update};

use super::Bench;
use super::networks::{fill, normal, three_levels};
use crate::failure::Failure;

/// Steps of one network in f32.
pub fn run(bench: &Bench) -> Result<(), Failure> {
    let plain = Device::flex();
    let device = plain.clone().autodiff();
    let config = three_levels([128, 256, 512], Heads::Count(4), false);
    let unet = fill(config.init(&device), burn::tensor::DType::F32)?;
    let mut learner = Learner::new(unet, LearnerSettings::default());
    let z = normal("bench/z", [4, 4, 32, 32], &plain);
    let eps = normal("bench/eps", [4, 4, 32, 32], &plain);
    let context = normal("bench/train_context", [4, 77, 256], &plain);
    let update = Update {
        step: Step {
            number: 0,
            seed: 0,
            first: 0,
        },
        rate: 1e-4,
        peers: &Alone,
    };
    let (mut failure, mut given_wrong) = (None, None);
    bench.time("train_step_unet128_b4_32", "f32", &mut || {
        let t = Tensor::from_floats([10.0f32, 300.0, 600.0, 900.0], &plain);
        let given = Given {
            context: Some(context.clone()),
            ..Given::default()
        };
        let predicted = match learner.module().forward(z.clone(), t, given) {
            Ok(predicted) => predicted,
            Err(error) => {
                given_wrong = Some(error);
                return;
            }
        };
        let loss: Tensor<1> = (predicted - eps.clone()).square().mean();
        std::hint::black_box(loss.clone().into_data());
        learner.accumulate(loss.backward(), 4.0);
        failure = learner.apply(&update).err();
    });
    if let Some(error) = given_wrong {
        return Err(Failure::run(error));
    }
    failure.map_or(Ok(()), |e| Err(Failure::run(e)))
}
