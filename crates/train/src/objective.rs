//! What the denoiser is asked for, and how its answer is judged.
//!
//! Times, noise and the mathematics of a loss are here; where latents and conditions come from is not. The meaning of
//! the network's output is [`Prediction`], which sampling uses too, so that the two cannot differ.

mod config;

use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_diffusion::{NoisePath, NoiseSchedule, Prediction, Weighting};

pub use config::{Distance, NoiseConfig, ObjectiveConfig, Times};

use crate::{Error, Random};

/// Ranges of time by which losses are reported.
pub const BANDS: usize = 5;

/// One noise level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// The time that the network is told.
    pub time: f64,
    /// σ.
    pub sigma: f64,
    /// Which of [`BANDS`] equal ranges of time it lies in.
    pub band: usize,
}

/// An objective with its schedule.
#[derive(Debug, Clone)]
pub struct Objective {
    config: ObjectiveConfig,
    schedule: NoiseSchedule,
    path: NoisePath,
}

/// The loss of a batch.
#[derive(Debug)]
pub struct Loss {
    /// The weighted mean, to be learnt from: one number.
    pub mean: Tensor<1>,
    /// The weighted loss of each picture, without gradients: `[batch]`.
    pub each: Tensor<1>,
}

/// What the network is given of a batch, and what it is asked for.
#[derive(Debug, Clone)]
pub struct Noisy {
    /// As the network takes it: `[batch, channels, height, width]`.
    pub x: Tensor<4>,
    /// What it is told of the noise: `[batch]`.
    pub times: Tensor<1>,
    /// The right answer, as x.
    pub target: Tensor<4>,
    /// The noise of each picture.
    pub sigmas: Vec<f64>,
}

impl Noisy {
    /// The pictures of those numbers.
    #[must_use]
    pub fn rows(&self, rows: &[usize]) -> Self {
        Self {
            x: chosen(self.x.clone(), rows),
            times: chosen(self.times.clone(), rows),
            target: chosen(self.target.clone(), rows),
            sigmas: rows.iter().map(|&row| self.sigmas[row]).collect(),
        }
    }
}

/// The rows of those numbers.
pub(crate) fn chosen<const D: usize>(x: Tensor<D>, rows: &[usize]) -> Tensor<D> {
    let numbers: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    let data = TensorData::new(numbers, [rows.len()]);
    let rows = Tensor::<1, Int>::from_data(data, &x.device());
    x.select(0, rows)
}

impl Objective {
    /// An objective that can be computed.
    ///
    /// # Errors
    /// A setting that is out of its range.
    pub fn new(config: ObjectiveConfig) -> Result<Self, Error> {
        config.validate()?;
        let NoiseConfig {
            schedule,
            start,
            end,
            steps,
            zero_terminal_snr,
        } = config.noise;
        let schedule = NoiseSchedule::new(schedule, start, end, steps, zero_terminal_snr)?;
        Ok(Self {
            // Training draws its times without a shift.
            path: NoisePath::of(config.prediction, schedule.clone(), None)?,
            schedule,
            config,
        })
    }

    /// Its settings.
    pub fn config(&self) -> &ObjectiveConfig {
        &self.config
    }

    /// Its schedule.
    pub fn schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// How its latents are noised.
    pub fn path(&self) -> &NoisePath {
        &self.path
    }

    /// A noise level, as often as it is to come in training.
    pub fn draw(&self, random: &mut Random) -> Level {
        match self.config.times {
            Times::Uniform => self.within(0.0, 1.0, random),
            Times::LogitNormal { mean, deviation } => {
                let normal = mean + deviation * random.normal();
                self.at(1.0 / (1.0 + (-normal).exp()))
            }
        }
    }

    /// A noise level of a range of time.
    pub fn draw_in(&self, band: usize, random: &mut Random) -> Level {
        let width = 1.0 / BANDS as f64;
        self.within(band as f64 * width, width, random)
    }

    /// A noise level between two shares of all time; 0 is without noise.
    pub(crate) fn draw_between(&self, [from, to]: [f64; 2], random: &mut Random) -> Level {
        self.within(from, to - from, random)
    }

    fn within(&self, from: f64, width: f64, random: &mut Random) -> Level {
        self.at(from + width * random.uniform())
    }

    /// The level at a share of all time; 0 is without noise.
    fn at(&self, share: f64) -> Level {
        let steps = self.schedule.steps();
        let step = ((share * steps as f64) as usize).min(steps - 1);
        let band = ((share * BANDS as f64) as usize).min(BANDS - 1);
        match self.config.prediction {
            Prediction::Flow => Level {
                time: share * steps as f64,
                sigma: share,
                band,
            },
            _ => Level {
                time: step as f64,
                sigma: self.schedule.sigmas()[step],
                band,
            },
        }
    }

    /// The noise of a batch; `random` gives each picture's stream.
    ///
    /// # Shapes
    ///
    /// `[batch, channels, height, width]`
    pub fn noise(
        &self,
        shape: [usize; 4],
        mut random: impl FnMut(usize) -> Random,
        device: &Device,
    ) -> Tensor<4> {
        let [batch, channels, height, width] = shape;
        let mut numbers = Vec::with_capacity(batch * channels * height * width);
        for picture in 0..batch {
            let mut random = random(picture);
            for _ in 0..channels {
                let offset = match self.config.offset_noise {
                    0.0 => 0.0,
                    deviation => deviation * random.normal(),
                };
                numbers.extend((0..height * width).map(|_| (random.normal() + offset) as f32));
            }
        }
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }

    /// Latents with noise, and what is asked for.
    ///
    /// # Errors
    /// Shapes that differ, or not one level for each picture.
    ///
    /// # Shapes
    ///
    /// Both `[batch, channels, height, width]`
    pub fn noisy(
        &self,
        latents: Tensor<4>,
        noise: Tensor<4>,
        levels: &[Level],
    ) -> Result<Noisy, Error> {
        let kind = self.config.prediction;
        let device = latents.device();
        let sigmas: Vec<f64> = levels.iter().map(|level| level.sigma).collect();
        let target = kind.target(latents.clone(), noise.clone(), &sigmas)?;
        let picture = |of: &dyn Fn(f64) -> f64| {
            let batch = sigmas.len();
            column(&sigmas, of, &device).reshape([batch, 1, 1, 1])
        };
        let path = &self.path;
        let x = latents * picture(&|s| path.c_in(s) * path.alpha(s))
            + noise * picture(&|s| path.c_in(s) * s);
        let times: Vec<f32> = levels.iter().map(|level| level.time as f32).collect();
        let times = Tensor::from_data(TensorData::new(times, [levels.len()]), &device);
        Ok(Noisy {
            x,
            times,
            target,
            sigmas,
        })
    }

    /// x̂₀, the clean latent of an answer. Shapes as [`Noisy::x`].
    pub fn clean(&self, noisy: &Noisy, answer: Tensor<4>) -> Tensor<4> {
        let kind = self.config.prediction;
        let device = answer.device();
        let picture = |of: &dyn Fn(f64) -> f64| {
            column(&noisy.sigmas, of, &device).reshape([noisy.sigmas.len(), 1, 1, 1])
        };
        noisy.x.clone() * picture(&|s| kind.c_skip(s) / self.path.c_in(s))
            + answer * picture(&|s| kind.c_out(s))
    }

    /// x̂₀, what `network` takes the latents for in one step.
    ///
    /// # Errors
    /// As [`noisy`](Self::noisy).
    ///
    /// # Shapes
    ///
    /// As [`loss`](Self::loss)
    pub(crate) fn guess(
        &self,
        latents: Tensor<4>,
        noise: Tensor<4>,
        levels: &[Level],
        network: impl FnOnce(Tensor<4>, Tensor<1>) -> Tensor<4>,
    ) -> Result<Tensor<4>, Error> {
        let noisy = self.noisy(latents, noise, levels)?;
        let answer = network(noisy.x.clone(), noisy.times.clone());
        Ok(self.clean(&noisy, answer))
    }

    /// The weighted loss of an answer for each picture: `[batch]`.
    ///
    /// # Shapes
    ///
    /// answer and target `[batch, channels, height, width]`; as many `sigmas`
    pub fn judge(&self, answer: Tensor<4>, target: Tensor<4>, sigmas: &[f64]) -> Tensor<1> {
        let [batch, ..] = answer.dims();
        let device = answer.device();
        let error = answer - target;
        let distance = match self.config.loss {
            Distance::L1 => error.abs(),
            Distance::L2 => error.square(),
            Distance::Huber(delta) => {
                let error = error.abs();
                let square = error.clone().clamp_max(delta);
                square.clone() * (error - square * 0.5)
            }
        };
        let numbers: usize = distance.dims()[1..].iter().product();
        let each = distance
            .reshape([batch, numbers])
            .mean_dim(1)
            .reshape([batch]);
        match self.config.weighting {
            Weighting::Uniform => each,
            weighting => {
                let weight = |s| self.path.loss_weight(self.config.prediction, s, weighting);
                each * column(sigmas, &weight, &device)
            }
        }
    }

    /// The loss of `network`, which is given noisy latents and times and predicts.
    ///
    /// # Errors
    /// Shapes that differ, or not one level for each picture.
    ///
    /// # Shapes
    ///
    /// - latents, noise, what the network is given first and what it returns `[batch, channels, height, width]`
    /// - times `[batch]`
    pub fn loss(
        &self,
        latents: Tensor<4>,
        noise: Tensor<4>,
        levels: &[Level],
        network: impl FnOnce(Tensor<4>, Tensor<1>) -> Tensor<4>,
    ) -> Result<Loss, Error> {
        let noisy = self.noisy(latents, noise, levels)?;
        let answer = network(noisy.x, noisy.times);
        let each = self.judge(answer, noisy.target, &noisy.sigmas);
        Ok(Loss {
            mean: each.clone().mean(),
            each: each.detach(),
        })
    }
}

/// A function of noise levels: `[batch]`.
fn column(sigmas: &[f64], of: &dyn Fn(f64) -> f64, device: &Device) -> Tensor<1> {
    let numbers: Vec<f32> = sigmas.iter().map(|&s| of(s) as f32).collect();
    Tensor::from_data(TensorData::new(numbers, [sigmas.len()]), device)
}

#[cfg(test)]
mod tests;
