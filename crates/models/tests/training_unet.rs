//! The training golden: the first loss and every gradient of the tiny U-Net, then the losses of ten
//! AdamW steps, as torch computes them.

mod common;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use common::training::{AdamW, check_gradients, gradients, number};
use common::*;
use latent_models::parameters;
use latent_models::unet::UNet;
use latent_testkit::{Golden, golden};

/// The loss of step `step` on the recipe's latents, noise and context.
fn loss(unet: &UNet, step: usize, alphas_cumprod: &[f64]) -> Tensor<1> {
    let steps = [(137 * step + 11) % 1000, (911 * step + 502) % 1000];
    let [z, eps]: [Tensor<4>; 2] =
        ["z", "eps"].map(|name| normal(&format!("train/{step}/{name}"), [2, 4, 8, 8]));
    let context = normal(&format!("train/{step}/context"), [2, 77, 48]);
    // x = √ᾱ·z + √(1 − ᾱ)·ε
    let factors = |of: fn(f64) -> f64| -> Tensor<4> {
        let numbers = steps.map(|t| of(alphas_cumprod[t]).sqrt() as f32);
        Tensor::<1>::from_data(numbers, &Device::flex()).reshape([2, 1, 1, 1])
    };
    let x = z * factors(|a| a) + eps.clone() * factors(|a| 1.0 - a);
    let t = Tensor::from_data(steps.map(|t| t as f32), &Device::flex());
    let predicted = unet.forward(x, t, looking_at(context)).unwrap();
    (predicted - eps).square().mean()
}

/// The network's coarsest level is one pixel whose groups are three numbers, so this run is badly
/// conditioned: z times 1 + 1e-7 moves the second loss by 4e-5 and the ninth by 5e-3. As it stands,
/// the kernels come to 1.5e-4 of torch and burn's operations to 2.3e-4.
fn tolerance(step: usize) -> f64 {
    match step {
        0 => 1e-5,
        1 => 2e-4,
        _ => 2e-2,
    }
}

#[test]
fn losses_and_gradients_are_torchs() {
    let golden = Golden::training_unet();
    let schedules: serde_json::Value = serde_json::from_str(golden::SCHEDULES).unwrap();
    let alphas: Vec<f64> =
        serde_json::from_value(schedules["alphas_cumprod/scaled_linear"].clone()).unwrap();
    let mut unet = fill("unet", tiny_unet(4).init(&Device::flex().autodiff()));
    let names: Vec<_> = parameters(&unet)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let mut optimiser = AdamW::new(&unet, 1e-3, 1e-2);

    for (step, &want) in golden.values("losses").iter().enumerate() {
        let loss = loss(&unet, step, &alphas);
        let error = (number(&loss) / f64::from(want) - 1.0).abs();
        println!("loss {step}: {} {error:.2e}", number(&loss));
        assert!(error < tolerance(step), "loss {step}: {error:.2e}");

        let found = gradients(&unet, loss);
        if step == 0 {
            check_gradients(&golden, names.iter().map(String::as_str).zip(&found));
        }
        unet = optimiser.step(unet, found);
    }
}

/// The gradient of every parameter, summed over backward passes.
fn sums(unet: &UNet, passes: Vec<Gradients>) -> Vec<Vec<f64>> {
    struct Sums {
        passes: Vec<Gradients>,
        found: Vec<Vec<f64>>,
    }
    impl ModuleVisitor for Sums {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val();
            let mut sum = vec![0.0; value.shape().num_elements()];
            for gradient in self.passes.iter_mut().filter_map(|g| value.grad_remove(g)) {
                let numbers = values(gradient).into_iter().map(f64::from);
                sum.iter_mut()
                    .zip(numbers)
                    .for_each(|(sum, more)| *sum += more);
            }
            self.found.push(sum);
        }
    }
    let mut reader = Sums {
        passes,
        found: Vec::new(),
    };
    unet.visit(&mut reader);
    reader.found
}

/// What a block gives can be seen, changes nothing, and is learnt through: recorded, and computed again.
#[test]
fn the_states_of_every_block_are_seen_and_learnt_through() {
    let mut config = tiny_unet(4);
    config.levels.remove(3);
    config
        .levels
        .iter_mut()
        .for_each(|level| level.resblocks = 1);
    let unet = fill("unet", config.init(&Device::flex().autodiff()));
    let blocks = config.blocks();
    assert_eq!(blocks, [32, 64, 64, 64, 64, 64, 64, 64, 64, 32, 32]);
    assert_eq!(config.middle_block(), 5);
    let x = || normal("states/x", [2, 4, 8, 8]);
    let t = || Tensor::from_data([3.0f32, 700.0], &Device::flex());
    let given = || looking_at(normal("states/context", [2, 7, 48]));
    let plain = values(unet.forward(x(), t(), given()).unwrap());
    for (at, &channels) in blocks.iter().enumerate() {
        let (y, states) = unet.forward_seen(x(), t(), given(), Some(at + 1)).unwrap();
        let states = states.expect("a block of that number");
        let side = [8, 4, 2, 2, 2, 2, 2, 4, 4, 8, 8][at];
        assert_eq!(states.dims(), [2, channels, side, side], "block {}", at + 1);
        assert_eq!(values(y.clone()), plain);
        let loss = |y: Tensor<4>, states: Tensor<4>| {
            let towards = normal("states/towards", states.dims());
            (y.square().mean() * 0.1 + (states * towards).mean()) * 10.0
        };
        let kept = sums(&unet, vec![loss(y, states).backward()]);
        let outline = unet.outline(x(), t(), given(), Some(at + 1)).unwrap();
        let states = outline.states().expect("a block of that number");
        let mut passes = vec![loss(outline.output(), states).backward()];
        let more = outline.backward(&mut passes[0]);
        passes.extend(more);
        let again = sums(&unet, passes);
        for ((name, _), (a, b)) in parameters(&unet).iter().zip(kept.iter().zip(&again)) {
            let apart = a
                .iter()
                .zip(b)
                .map(|(a, b)| (a - b).powi(2))
                .sum::<f64>()
                .sqrt();
            let size = a.iter().map(|a| a * a).sum::<f64>().sqrt();
            assert!(
                apart <= 1e-4 * size + 1e-6,
                "block {}, {name}: {apart} of {size}",
                at + 1
            );
        }
    }
    let (_, none) = unet.forward_seen(x(), t(), given(), None).unwrap();
    assert!(none.is_none());
}
