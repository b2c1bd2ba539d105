//! The training goldens of conditional models: the first loss and every gradient of U-Net and conditioner together, then
//! the losses of ten AdamW steps, as torch computes them.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Int, Tensor, TensorData};
use latent_models::condition::{LayoutTokens, TokenTransformerConfig};
use latent_models::unet::{Attention, Heads, Level as Resolution};
use latent_models::{
    Condition, Conditioner, ConditionerConfig, ParameterError, UNet, UNetConfig, load, named,
    parameters,
};
use latent_testkit::{Golden, closeness, recipe};
use latent_train::{
    Alone, Learner, LearnerSettings, Level, NoiseConfig, Objective, ObjectiveConfig, Step, Update,
};

const WIDTH: usize = 32;

#[derive(Module, Debug)]
struct Model {
    unet: UNet,
    conditioner: Conditioner,
}

fn model(conditioner: &ConditionerConfig) -> Model {
    let attention = Attention {
        heads: Heads::Count(4),
        depth: 1,
    };
    let level = |channels| Resolution {
        channels,
        resblocks: 1,
        attention: Some(attention),
    };
    let unet = UNetConfig {
        in_channels: 3,
        out_channels: 3,
        model_channels: 32,
        levels: vec![level(32), level(64)],
        middle: Some(attention),
        context: Some(WIDTH),
        norm_groups: 8,
        ..named::unet_sd1()
    };
    conditioner.validate(&unet.clone().into()).unwrap();
    let device = Device::flex().autodiff();
    let model = Model {
        unet: unet.init(&device),
        conditioner: conditioner.init(&device),
    };
    let fetch = &mut |path: &str, shape: &[usize]| {
        let (component, name) = path.split_once('.').unwrap();
        let values = recipe::tensor(&format!("{component}/{name}"), shape, 0);
        Ok::<_, ParameterError>(TensorData::new(values, shape.to_vec()))
    };
    load(model, fetch, DType::F32).unwrap()
}

/// Reads the gradient of every parameter, in the order of [`parameters`].
struct Reader<'a> {
    gradients: &'a Gradients,
    found: Vec<Vec<f32>>,
}

impl ModuleVisitor for Reader<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad(self.gradients);
        self.found.push(match gradient {
            Some(gradient) => values(gradient),
            None => vec![0.0; param.shape().num_elements()],
        });
    }
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

/// Ten steps against the golden; `ids` gives the tokens of each picture of a step.
fn follow(
    kind: &str,
    golden: &Golden,
    conditioner: ConditionerConfig,
    betas: [f64; 2],
    ids: impl Fn(usize, usize) -> Vec<i64>,
) {
    let objective = Objective::new(ObjectiveConfig {
        noise: NoiseConfig {
            start: betas[0],
            end: betas[1],
            ..NoiseConfig::default()
        },
        ..ObjectiveConfig::default()
    })
    .unwrap();
    let device = Device::flex().autodiff();
    let mut learner = Learner::new(model(&conditioner), LearnerSettings::default());
    let names: Vec<String> = parameters(learner.module())
        .into_iter()
        .map(|p| p.0)
        .collect();
    for (step, &want) in golden.values("losses").iter().enumerate() {
        let normal = |name: &str| {
            let values = recipe::normal(&format!("{kind}/{step}/{name}"), &[2, 3, 16, 16]);
            Tensor::<4>::from_data(TensorData::new(values, [2, 3, 16, 16]), &device)
        };
        let levels = [(137 * step + 11) % 1000, (911 * step + 502) % 1000].map(|t| Level {
            time: t as f64,
            sigma: objective.schedule().sigmas()[t],
            band: 0,
        });
        let rows: Vec<Vec<i64>> = (0..2).map(|picture| ids(step, picture)).collect();
        let size = [2, rows[0].len()];
        let rows = Tensor::<2, Int>::from_data(TensorData::new(rows.concat(), size), &device);
        let network = learner.network();
        let given = network.conditioner.forward(Condition::Ids(rows));
        let loss = objective
            .loss(normal("z"), normal("eps"), &levels, |x, t| {
                network.unet.forward(x, t, given.given()).unwrap()
            })
            .unwrap();
        let number = f64::from(values(loss.mean.clone())[0]);
        let error = (number / f64::from(want) - 1.0).abs();
        println!("{kind} loss {step}: {number} {error:.2e}");
        assert!(error < if step == 0 { 1e-5 } else { 1e-4 }, "{error:.2e}");
        let gradients = loss.mean.backward();
        if step == 0 {
            let mut reader = Reader {
                gradients: &gradients,
                found: Vec::new(),
            };
            learner.module().visit(&mut reader);
            check_gradients(golden, &names, &reader.found);
        }
        learner.accumulate(gradients, 2.0);
        let step = Step {
            number: step as u64,
            seed: 0,
            first: 0,
        };
        let update = Update {
            step,
            rate: 1e-4,
            peers: &Alone,
        };
        learner.apply(&update).unwrap();
    }
}

/// Every gradient to 1e-3: its norm, and a sample of its numbers. Where torch's is rounding alone (queries on a single token
/// change nothing), as little.
fn check_gradients(golden: &Golden, names: &[String], gradients: &[Vec<f32>]) {
    let stored = golden
        .names()
        .into_iter()
        .filter(|n| n.starts_with("norm/"));
    assert_eq!(stored.count(), names.len());
    let wanted = |name: &String| f64::from(golden.values(&format!("norm/{name}"))[0]);
    let floor = 1e-6 * names.iter().map(wanted).fold(0.0, f64::max);
    let mut worst = 0f64;
    for (name, gradient) in names.iter().zip(gradients) {
        let squares = gradient.iter().map(|&g| f64::from(g).powi(2));
        let (norm, want) = (squares.sum::<f64>().sqrt(), wanted(name));
        if want < floor {
            assert!(
                norm < floor,
                "{name}: {norm:.2e} where torch has {want:.2e}"
            );
            continue;
        }
        let stride = (gradient.len() / 64).max(1);
        let sample: Vec<f32> = gradient.iter().step_by(stride).copied().collect();
        let sampled = closeness(&sample, golden.values(&format!("grad/{name}")));
        for error in [(norm / want - 1.0).abs(), sampled] {
            assert!(error < 1e-3, "{name}: {error:.2e}");
            worst = worst.max(error);
        }
    }
    println!("worst gradient {worst:.2e}");
}

#[test]
fn a_class_conditional_model_trains_as_in_torch() {
    let conditioner = ConditionerConfig::Class {
        rows: 11,
        width: WIDTH,
        entry: Default::default(),
    };
    let ids = |step, picture| vec![([3, 7][picture] * step as i64 + [1, 4][picture]) % 11];
    follow(
        "class",
        &Golden::training_class(),
        conditioner,
        [0.0015, 0.0195],
        ids,
    );
}

#[test]
fn a_text_model_that_learns_its_words_trains_as_in_torch() {
    // The text transformer over the ids of the golden, which are no text.
    let conditioner = ConditionerConfig::Layout {
        tokens: LayoutTokens {
            classes: 5,
            objects: 4,
            crop: false,
        },
        transformer: TokenTransformerConfig {
            vocabulary: 97,
            positions: 16,
            width: WIDTH,
            layers: 2,
            heads: 2,
            head_width: 24,
        },
        entry: Default::default(),
    };
    let ids = |step: usize, picture: usize| {
        let id = |i: usize| ((31 * i + 17 * step + 5 * picture) % 97) as i64;
        (0..12).map(id).collect()
    };
    follow(
        "text",
        &Golden::training_text(),
        conditioner,
        [0.00085, 0.012],
        ids,
    );
}
