//! The training golden: the first loss and every gradient of the tiny U-Net, then the losses of ten
//! AdamW steps, as torch computes them.

mod common;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use common::*;
use latent_models::parameters;
use latent_models::unet::UNet;
use latent_testkit::{Golden, closeness, golden};

/// Reads the gradient of every parameter, in the order of [`parameters`].
struct Reader {
    gradients: Gradients,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for Reader {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad_remove(&mut self.gradients);
        let gradient = gradient.expect("a gradient for every parameter");
        assert_eq!(gradient.dims(), param.val().dims());
        self.found.push(values(gradient));
    }
}

/// torch's AdamW with β = (0.9, 0.999), ε = 1e-8.
struct AdamW {
    step: i32,
    rate: f64,
    decay: f64,
    /// First and second moments of every parameter.
    moments: Vec<[Vec<f64>; 2]>,
    gradients: Vec<Vec<f32>>,
    at: usize,
}

impl ModuleMapper for AdamW {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = &self.gradients[self.at];
        let [first, second] = &mut self.moments[self.at];
        self.at += 1;
        let [corrected, spread] = [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(self.step));
        let (rate, decay) = (self.rate, self.decay);
        param.map(|tensor| {
            let (shape, device) = (tensor.dims(), tensor.device());
            let mut numbers = values(tensor.detach());
            for (i, p) in numbers.iter_mut().enumerate() {
                let g = f64::from(gradient[i]);
                first[i] = 0.9 * first[i] + 0.1 * g;
                second[i] = 0.999 * second[i] + 0.001 * g * g;
                let direction = first[i] / corrected / ((second[i] / spread).sqrt() + 1e-8);
                *p = (f64::from(*p) * (1.0 - rate * decay) - rate * direction) as f32;
            }
            Tensor::from_data(TensorData::new(numbers, shape), &device).require_grad()
        })
    }
}

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

fn number(loss: &Tensor<1>) -> f64 {
    f64::from(values(loss.clone())[0])
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
    let mut optimiser = AdamW {
        step: 0,
        rate: 1e-3,
        decay: 1e-2,
        moments: parameters(&unet)
            .iter()
            .map(|(_, shape)| [0, 1].map(|_| vec![0.0; shape.iter().product()]))
            .collect(),
        gradients: Vec::new(),
        at: 0,
    };

    for (step, &want) in golden.values("losses").iter().enumerate() {
        let loss = loss(&unet, step, &alphas);
        let error = (number(&loss) / f64::from(want) - 1.0).abs();
        println!("loss {step}: {} {error:.2e}", number(&loss));
        assert!(error < tolerance(step), "loss {step}: {error:.2e}");

        let mut reader = Reader {
            gradients: loss.backward(),
            found: Vec::new(),
        };
        unet.visit(&mut reader);
        if step == 0 {
            check_gradients(&golden, &names, &reader.found);
        }
        optimiser.step += 1;
        optimiser.gradients = reader.found;
        optimiser.at = 0;
        unet = unet.map(&mut optimiser);
    }
}

/// Each gradient to 1e-3 of its norm. Where torch's is rounding alone (a bias before a normalisation
/// of single channels changes nothing), to as much of the largest norm as rounding may leave.
fn check_gradients(golden: &Golden, names: &[String], gradients: &[Vec<f32>]) {
    let norm = |values: &[f32]| {
        values
            .iter()
            .map(|&g| f64::from(g).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let wanted = |name: &String| f64::from(golden.values(&format!("norm/{name}"))[0]);
    let floor = 1e-6 * names.iter().map(wanted).fold(0.0, f64::max);
    let mut worst = 0f64;
    let mut rounding = 0;
    for (name, gradient) in names.iter().zip(gradients) {
        let (got, want) = (norm(gradient), wanted(name));
        if want < floor {
            assert!(got < floor, "{name}: {got:.2e} where torch has {want:.2e}");
            rounding += 1;
            continue;
        }
        let sample: Vec<f32> = gradient
            .iter()
            .step_by((gradient.len() / 64).max(1))
            .copied()
            .collect();
        let sampled = closeness(&sample, golden.values(&format!("grad/{name}")));
        for error in [(got / want - 1.0).abs(), sampled] {
            assert!(error < 1e-3, "{name}: {error:.2e}");
            worst = worst.max(error);
        }
    }
    println!("worst gradient: {worst:.2e}; {rounding} are rounding");
    let stored = golden
        .names()
        .iter()
        .filter(|name| name.starts_with("norm/"))
        .count();
    assert_eq!(names.len(), stored);
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
