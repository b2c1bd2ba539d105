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
mod tests {
    use super::*;

    fn objective(config: ObjectiveConfig) -> Objective {
        Objective::new(config).unwrap()
    }

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn a_network_that_knows_has_no_loss_whatever_it_predicts() {
        let device = Device::flex();
        for prediction in [
            Prediction::Epsilon,
            Prediction::V,
            Prediction::Sample,
            Prediction::Flow,
        ] {
            let objective = objective(ObjectiveConfig {
                prediction,
                ..ObjectiveConfig::default()
            });
            let mut random = Random::new(1, "test", 0, 0);
            let z = random.normals([3, 2, 4, 4], &device);
            let noise = objective.noise([3, 2, 4, 4], |i| Random::new(1, "noise", 0, i), &device);
            let levels: Vec<Level> = (0..3).map(|_| objective.draw(&mut random)).collect();
            let sigmas: Vec<f64> = levels.iter().map(|level| level.sigma).collect();
            let answer = prediction
                .target(z.clone(), noise.clone(), &sigmas)
                .unwrap();
            let mut seen = None;
            let loss = objective
                .loss(z.clone(), noise.clone(), &levels, |x, t| {
                    seen = Some((x, t));
                    answer
                })
                .unwrap();
            assert_eq!(numbers(loss.mean), [0.0]);
            let noisy = objective.noisy(z.clone(), noise.clone(), &levels).unwrap();
            let cleaned = objective.clean(&noisy.rows(&[2, 0]), chosen(noisy.target, &[2, 0]));
            // From what the network saw and the answer, the latent comes back: that is what sampling does.
            let (x, t) = seen.unwrap();
            assert_eq!(numbers(t).len(), 3);
            for (i, &sigma) in sigmas.iter().enumerate() {
                let one = |x: &Tensor<4>| x.clone().narrow(0, i, 1);
                let x = one(&x) / objective.path().c_in(sigma);
                let back = objective.path().denoised(
                    prediction,
                    x,
                    one(&prediction
                        .target(z.clone(), noise.clone(), &sigmas)
                        .unwrap()),
                    sigma,
                );
                let error: f32 = numbers((back - one(&z)).abs())
                    .into_iter()
                    .fold(0.0, f32::max);
                assert!(
                    error < 2e-5 * (1.0 + sigma as f32),
                    "{prediction:?} {error}"
                );
            }
            let error = numbers((cleaned - chosen(z, &[2, 0])).abs());
            let error = error.into_iter().fold(0.0, f32::max);
            let most = sigmas.iter().copied().fold(0.0, f64::max) as f32;
            assert!(error < 2e-5 * (1.0 + most), "{prediction:?} {error}");
        }
    }

    #[test]
    fn distances_and_weights_are_the_formulas() {
        let device = Device::flex();
        let level = |sigma| Level {
            time: 0.0,
            sigma,
            band: 0,
        };
        let loss = |loss, weighting| {
            let objective = objective(ObjectiveConfig {
                loss,
                weighting,
                ..ObjectiveConfig::default()
            });
            let zeros = Tensor::<4>::zeros([2, 1, 1, 2], &device);
            let errors = Tensor::<4>::from_data([[[[0.5f32, -3.0]]], [[[0.0, 2.0]]]], &device);
            let levels = [level(1.0), level(0.1)];
            let loss = objective
                .loss(zeros.clone(), zeros, &levels, |_, _| errors)
                .unwrap();
            numbers(loss.each)
        };
        assert_eq!(loss(Distance::L1, Weighting::Uniform), [1.75, 1.0]);
        assert_eq!(loss(Distance::L2, Weighting::Uniform), [4.625, 2.0]);
        assert_eq!(
            loss(Distance::Huber(1.0), Weighting::Uniform),
            [(0.125 + 2.5) / 2.0, 0.75]
        );
        // SNR 1 and 100: weights 1 and 5/100
        let weighted = loss(Distance::L2, Weighting::MinSnr { gamma: 5.0 });
        assert!(
            (weighted[0] - 4.625).abs() < 1e-5 && (weighted[1] - 0.1).abs() < 1e-5,
            "{weighted:?}"
        );
    }

    #[test]
    fn times_come_as_often_as_asked() {
        let flow = |times| {
            objective(ObjectiveConfig {
                prediction: Prediction::Flow,
                times,
                ..ObjectiveConfig::default()
            })
        };
        let mut random = Random::new(0, "times", 0, 0);
        let count = 50_000;
        let mut share = |objective: &Objective| {
            let middle = (0..count)
                .filter(|_| objective.draw(&mut random).band == 2)
                .count();
            middle as f64 / f64::from(count)
        };
        assert!((share(&flow(Times::Uniform)) - 0.2).abs() < 0.01);
        // P(|normal| < ln 1.5) = 0.3149
        let middle = share(&flow(Times::LogitNormal {
            mean: 0.0,
            deviation: 1.0,
        }));
        assert!((middle - 0.3149).abs() < 0.01, "{middle}");
        assert!((share(&objective(ObjectiveConfig::default())) - 0.2).abs() < 0.01);
        // A mean above 0 and a wide deviation: P(normal < −0.787) below 0.4, P(normal > 0.771) above 0.8.
        let wide = flow(Times::LogitNormal {
            mean: 0.5,
            deviation: 1.15,
        });
        let bands: Vec<usize> = (0..count).map(|_| wide.draw(&mut random).band).collect();
        let part = |wanted: &[usize]| {
            let found = bands.iter().filter(|band| wanted.contains(band)).count();
            found as f64 / f64::from(count)
        };
        assert!((part(&[0, 1]) - 0.2157).abs() < 0.01 && (part(&[4]) - 0.2204).abs() < 0.01);
        let level =
            objective(ObjectiveConfig::default()).draw_in(4, &mut Random::new(3, "band", 0, 0));
        assert!(level.band == 4 && level.time >= 800.0, "{level:?}");
    }

    #[test]
    fn offset_noise_moves_whole_channels() {
        let objective = objective(ObjectiveConfig {
            offset_noise: 2.0,
            ..ObjectiveConfig::default()
        });
        let noise = objective.noise(
            [40, 3, 8, 8],
            |i| Random::new(0, "noise", 0, i),
            &Device::flex(),
        );
        let means = numbers(noise.reshape([120, 64]).mean_dim(1));
        let variance = means.iter().map(|m| m * m).sum::<f32>() / 120.0;
        // 2² + 1/64
        assert!((variance - 4.0).abs() < 1.2, "{variance}");
    }

    #[test]
    fn what_cannot_be_learnt_is_refused() {
        let refused = |config: ObjectiveConfig| Objective::new(config).unwrap_err().to_string();
        let terminal = NoiseConfig {
            zero_terminal_snr: true,
            ..NoiseConfig::default()
        };
        let error = refused(ObjectiveConfig {
            noise: terminal,
            ..ObjectiveConfig::default()
        });
        assert!(error.contains("objective.prediction"), "{error}");
        let times = Times::LogitNormal {
            mean: 0.0,
            deviation: 1.0,
        };
        let error = refused(ObjectiveConfig {
            times,
            ..ObjectiveConfig::default()
        });
        assert!(error.contains("objective.times"), "{error}");
        let error = refused(ObjectiveConfig {
            dropout: 1.0,
            ..ObjectiveConfig::default()
        });
        assert!(error.contains("objective.dropout"), "{error}");
        let v = ObjectiveConfig {
            prediction: Prediction::V,
            noise: terminal,
            ..ObjectiveConfig::default()
        };
        let level = objective(v).draw_in(4, &mut Random::new(0, "", 0, 0));
        assert!(level.sigma.is_finite());
    }
}
