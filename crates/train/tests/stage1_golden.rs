//! The goldens of the first stage: the losses and every gradient of a first step of autoencoder and
//! discriminator, then ten Adam steps, as torch computes them.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::perceptual::{Vgg, VggBlock, VggConfig};
use latent_models::{
    Autoencoder, AutoencoderConfig, Discriminator, DiscriminatorConfig, ParameterError, Perceptual,
    load, named, parameters,
};
use latent_testkit::{Golden, closeness, recipe};
use latent_train::stage1::{Loss, LossConfig};
use latent_train::{Alone, Learner, LearnerSettings, Optimiser, Report, Step, Update};

const BATCH: usize = 2;

fn fill<M: Module>(component: &str, module: M) -> M {
    let fetch = &mut |path: &str, shape: &[usize]| {
        let values = match path {
            p if p.ends_with("running_mean") => vec![0.0; shape.iter().product()],
            p if p.ends_with("running_var") => vec![1.0; shape.iter().product()],
            p => recipe::tensor(&format!("{component}/{p}"), shape, 0),
        };
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(module, fetch, DType::F32).unwrap()
}

fn normal(name: &str, shape: [usize; 4]) -> Tensor<4> {
    let values = recipe::normal(name, &shape);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn tiny(double_z: bool) -> AutoencoderConfig {
    let level = |channels| AutoencoderLevel {
        channels,
        attention: false,
    };
    AutoencoderConfig {
        levels: [16, 32].map(level).to_vec(),
        resblocks: 1,
        double_z,
        codebook: (!double_z).then_some(16),
        norm_groups: 8,
        ..named::autoencoder_kl_f8()
    }
}

/// Copies of the gradients, by parameter.
struct Copies<'a> {
    gradients: &'a Gradients,
    found: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for Copies<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found
            .push(param.val().grad(self.gradients).map(values));
    }
}

/// Each gradient to 1e-3 of its norm. Where torch's is rounding alone (a key's bias changes no
/// attention), to as much of the largest norm as rounding may leave.
fn check_gradients<M: Module>(golden: &Golden, component: &str, module: &M, gradients: &Gradients) {
    let mut copies = Copies {
        gradients,
        found: Vec::new(),
    };
    module.visit(&mut copies);
    let names = parameters(module).into_iter().map(|(name, _)| name);
    let found: HashMap<String, Vec<f32>> = names
        .zip(copies.found)
        .filter_map(|(name, gradient)| Some((format!("{component}/{name}"), gradient?)))
        .collect();
    let prefix = format!("norm/{component}/");
    let wanted: Vec<&str> = golden
        .names()
        .into_iter()
        .filter(|n| n.starts_with(&prefix))
        .collect();
    assert_eq!(wanted.len(), found.len());
    let length = |x: &[f32]| x.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    let want = |name: &str| f64::from(golden.values(name)[0]);
    let floor = 1e-6 * wanted.iter().map(|name| want(name)).fold(0.0, f64::max);
    let (mut worst, mut rounding) = (0f64, 0);
    for norm in wanted {
        let name = norm.strip_prefix("norm/").unwrap();
        let gradient = &found[name];
        let (got, want) = (length(gradient), want(norm));
        if want < floor {
            assert!(got < floor, "{name}: {got:.2e} where torch has {want:.2e}");
            rounding += 1;
            continue;
        }
        let every = (gradient.len() / 64).max(1);
        let sample: Vec<f32> = gradient.iter().step_by(every).copied().collect();
        let sampled = closeness(&sample, golden.values(&format!("grad/{name}")));
        for error in [(got / want - 1.0).abs(), sampled] {
            assert!(error < 1e-3, "{name}: {error:.2e}");
            worst = worst.max(error);
        }
    }
    println!("{component}: worst gradient {worst:.2e}; {rounding} are rounding");
}

fn check(golden: &Golden, double_z: bool) {
    let device = Device::flex().autodiff();
    let settings = LearnerSettings {
        optimiser: Optimiser::AdamW {
            betas: [0.5, 0.9],
            eps: 1e-5,
            weight_decay: 0.0,
            state_bits: 32,
        },
        ..LearnerSettings::default()
    };
    let autoencoder: Autoencoder = fill("vae", tiny(double_z).init(&device));
    let discriminator = DiscriminatorConfig {
        channels: 8,
        layers: 2,
        ..DiscriminatorConfig::default()
    };
    let discriminator: Discriminator = fill("discriminator", discriminator.init(&device));
    let block = |channels| VggBlock {
        channels,
        convolutions: 2,
    };
    let vgg = VggConfig {
        blocks: [8, 16].map(block).to_vec(),
    };
    let vgg: Vgg = fill("vgg", vgg.init(&device));
    let perceptual = Perceptual::Vgg(vgg).no_grad();
    let config = LossConfig {
        kl_weight: 1e-2,
        discriminator_start: 0,
        ..LossConfig::default()
    };
    let mut autoencoder = Learner::new(autoencoder, settings);
    let mut discriminator = Learner::new(discriminator, settings);
    let names = [
        "loss",
        "nll",
        if double_z { "kl" } else { "codebook" },
        "generator",
        "adaptive_weight",
        "discriminator",
    ];
    // On AVX2 the discriminator's weight in the KL model is off by 3.2e-3 at step 4, and the steps after it follow; losses and
    // gradients before it agree. The gradient of |x − x̂| is a sign, which another rounding can turn over.
    let drifts = double_z;
    let mut last = None;
    for (step, want) in golden.values("losses").chunks(names.len()).enumerate() {
        let picture =
            normal(&format!("stage1/{step}/picture"), [BATCH, 3, 32, 32]).clamp(-1.0, 1.0);
        let (net, judge) = (autoencoder.network(), discriminator.network());
        let loss = Loss {
            autoencoder: &net,
            discriminator: Some(&judge),
            perceptual: Some(&perceptual),
            config: &config,
        };
        let noise = |shape| normal(&format!("stage1/{step}/noise"), shape);
        let pass = loss.decode(loss.encode(picture.clone(), noise), picture.clone());
        let judgement = Loss::discriminator(&judge, picture.clone(), pass.reconstruction);
        let mut report: Report = pass.report;
        report.extend(judgement.report);
        // The generator's share of the loss is a number near zero: as exact as the loss it is part of.
        let scale = |name: &str, want: f64| if name == "generator" { 1.0 } else { want.abs() };
        for (name, &want) in names.iter().zip(want) {
            let (got, want) = (report.get(name).unwrap(), f64::from(want));
            let error = (got - want).abs() / scale(name, want);
            println!("{step} {name}: {got} {error:.2e}");
            let most = match (step, *name) {
                (0, _) => 1e-5,
                (4.., "adaptive_weight") if drifts => 1e-1,
                (4.., _) if drifts => 5e-3,
                _ => 1e-4,
            };
            assert!(
                error < most,
                "{name} of step {step}: {got} for {want}, {error:.2e}"
            );
        }
        if step == 0 {
            check_gradients(golden, "vae", &net, &pass.gradients);
            check_gradients(golden, "discriminator", &judge, &judgement.gradients);
        }
        autoencoder.accumulate(pass.gradients, BATCH as f64);
        discriminator.accumulate(judgement.gradients, BATCH as f64);
        let update = Update {
            step: Step {
                number: step as u64,
                seed: 0,
                first: 0,
            },
            rate: 3e-4,
            peers: &Alone,
        };
        autoencoder.apply(&update).unwrap();
        discriminator.apply(&update).unwrap();
        let [real, made] = judgement.seen;
        for seen in [pass.seen, real, made] {
            discriminator.module_mut().track(seen);
        }
        last = Some(picture);
    }
    let averaged = discriminator.averaged();
    let judged = averaged.forward(last.unwrap());
    let error = closeness(&values(judged), golden.values("judged"));
    println!("in evaluation: {error:.2e}");
    let most = if drifts { 5e-3 } else { 1e-4 };
    assert!(error < most, "{error:.2e}");
}

#[test]
fn the_kl_autoencoder_is_torchs() {
    check(&Golden::training_kl(), true);
}

#[test]
fn the_vq_autoencoder_is_torchs() {
    check(&Golden::training_vq(), false);
}
