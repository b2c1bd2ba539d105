//! The networks that judge. They learn from real pictures alone.

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
use latent_models::layers::{Conv2d, GroupNorm, Linear};
use latent_models::unet::Level;
use latent_models::{Given, Padding, UNet, UNetConfig, named};
use latent_ops as ops;
use latent_train::{
    Alone, Fill, Learner, LearnerSettings, Random, Step, Update, initialise, torch_default,
};
use miette::{IntoDiagnostic, Result};

use crate::screen;

/// Pictures within −1..=1, all of one size: `[batch, 3, height, width]`.
pub fn tensor(pictures: &[&RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = pictures[0].dimensions();
    let numbers = pictures.iter().flat_map(|p| p.as_raw());
    let numbers: Vec<f32> = numbers.map(|&v| f32::from(v) / 127.5 - 1.0).collect();
    let shape = [pictures.len(), height as usize, width as usize, 3];
    Tensor::<4>::from_data(TensorData::new(numbers, shape), device).permute([0, 3, 1, 2])
}

/// What a picture shows: convolutions and poolings, then the mean over the picture.
#[derive(Module, Debug)]
pub struct Classifier {
    convs: Vec<Conv2d>,
    norms: Vec<GroupNorm>,
    head: Linear,
}

impl Classifier {
    fn new(classes: usize, device: &Device) -> Self {
        let widths = [3, 32, 64, 128, 128];
        Self {
            convs: widths
                .windows(2)
                .map(|w| Conv2d::new(device, w[0], w[1], 3))
                .collect(),
            norms: widths[1..]
                .iter()
                .map(|&width| GroupNorm::new(device, 8, width, 1e-5))
                .collect(),
            head: Linear::new(device, 128, classes, true),
        }
    }
}

/// What each pixel belongs to: a U-Net without time and attention.
#[derive(Module, Debug)]
pub struct Segmenter {
    network: UNet,
}

impl Segmenter {
    fn new(classes: usize, device: &Device) -> Self {
        let level = |channels| Level {
            channels,
            resblocks: 1,
            attention: None,
        };
        let config = UNetConfig {
            in_channels: 3,
            out_channels: classes,
            model_channels: 32,
            levels: [32, 64, 64].map(level).to_vec(),
            middle: None,
            context: None,
            norm_groups: 8,
            ..named::unet_sd1()
        };
        Self {
            network: config.init(device),
        }
    }
}

/// A network with an answer for each picture, or for each pixel of it.
pub trait Judge: Module {
    /// `[batch, 3, height, width]` → `[answers, classes]`
    fn scores(&self, pictures: Tensor<4>) -> Tensor<2>;
}

impl Judge for Classifier {
    fn scores(&self, pictures: Tensor<4>) -> Tensor<2> {
        let mut x = pictures;
        for (i, (conv, norm)) in self.convs.iter().zip(&self.norms).enumerate() {
            x = norm.forward_silu(conv.forward(x, Padding::Zero));
            if i < 3 && x.dims()[2] > 4 {
                x = ops::max_2x2(x);
            }
        }
        let [batch, channels, ..] = x.dims();
        self.head.forward(
            x.reshape([batch as i64, channels as i64, -1])
                .mean_dim(2)
                .reshape([batch, channels]),
        )
    }
}

impl Judge for Segmenter {
    fn scores(&self, pictures: Tensor<4>) -> Tensor<2> {
        let [batch, _, height, width] = pictures.dims();
        let time = Tensor::zeros([batch], &pictures.device());
        let given = Given::default();
        let y = self.network.forward(pictures, time, given);
        let y = y.expect("the network takes pictures alone");
        let classes = y.dims()[1];
        y.permute([0, 2, 3, 1])
            .reshape([batch * height * width, classes])
    }
}

/// Pictures with the answers to them: one each, or one for each pixel.
pub struct Lesson {
    pub pictures: Vec<RgbImage>,
    pub answers: Vec<Vec<u8>>,
}

/// How many pictures are looked at together.
const BATCH: usize = 64;

/// A classifier that has learnt from real pictures.
pub fn classifier(lesson: &Lesson, classes: usize, steps: u64) -> Result<Classifier> {
    let device = Device::flex().autodiff();
    learn(
        Classifier::new(classes, &device),
        lesson,
        steps,
        "learning to classify",
    )
}

/// A segmenter that has.
pub fn segmenter(lesson: &Lesson, classes: usize, steps: u64) -> Result<Segmenter> {
    let device = Device::flex().autodiff();
    learn(
        Segmenter::new(classes, &device),
        lesson,
        steps,
        "learning to segment",
    )
}

fn learn<M: Judge>(network: M, lesson: &Lesson, steps: u64, what: &'static str) -> Result<M> {
    const SEED: u64 = 0;
    const PEAK: f64 = 2e-3;
    let rule = torch_default(&network, &[]);
    let rule = |name: &str, shape: &[usize]| -> Fill { rule(name, shape) };
    let network = initialise(network, SEED, &rule).into_diagnostic()?;
    let mut learner = Learner::new(network, LearnerSettings::default());
    // An answer for each pixel says as much of a few pictures as one answer each says of many.
    let batch = if lesson.answers.iter().any(|a| a.len() > 1) {
        BATCH / 8
    } else {
        BATCH
    };
    let bar = screen::bar(what, steps);
    for number in 0..steps {
        let mut random = Random::new(SEED, "lesson", number, 0);
        let chosen: Vec<usize> = (0..batch)
            .map(|_| random.below(lesson.pictures.len()))
            .collect();
        let pictures: Vec<&RgbImage> = chosen.iter().map(|&i| &lesson.pictures[i]).collect();
        let device = Device::flex();
        let scores = learner.network().scores(tensor(&pictures, &device));
        let answers: Vec<i64> = chosen
            .iter()
            .flat_map(|&i| lesson.answers[i].iter().map(|&a| i64::from(a)))
            .collect();
        let count = answers.len();
        let answers =
            Tensor::<2, Int>::from_data(TensorData::new(answers, [count, 1]), &scores.device());
        let loss = log_softmax(scores, 1).gather(1, answers).mean().neg();
        learner.accumulate(loss.backward(), 1.0);
        let begun = ((number + 1) as f64 / 50.0).min(1.0);
        let left = 0.5 + 0.5 * (std::f64::consts::PI * number as f64 / steps as f64).cos();
        let step = Step {
            number,
            seed: SEED,
            first: 0,
        };
        let update = Update {
            step,
            rate: PEAK * begun * left,
            peers: &Alone,
        };
        learner.apply(&update).into_diagnostic()?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(learner.averaged())
}

/// The answers of a network, in the order of the pictures.
pub fn answers(network: &impl Judge, pictures: &[RgbImage]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in pictures.chunks(BATCH) {
        let pictures: Vec<&RgbImage> = part.iter().collect();
        let best = network.scores(tensor(&pictures, &Device::flex())).argmax(1);
        all.extend(best.into_data().iter::<i64>().map(|class| class as u8));
    }
    all
}

/// The share of answers that are right.
pub fn share(found: &[u8], wanted: &[u8]) -> f64 {
    let right = found.iter().zip(wanted).filter(|(f, w)| f == w).count();
    right as f64 / wanted.len().max(1) as f64
}
