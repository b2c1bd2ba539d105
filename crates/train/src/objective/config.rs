//! What is learnt, as settings.

use latent_diffusion::{BetaSchedule, Prediction, Weighting};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A training objective, as data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveConfig {
    /// What the network predicts.
    pub prediction: Prediction,
    /// How its error is measured.
    pub loss: Distance,
    /// How much an error counts at each noise level.
    pub weighting: Weighting,
    /// How often each noise level comes.
    pub times: Times,
    /// β schedule. A flow has none and takes only `steps` from it.
    pub noise: NoiseConfig,
    /// The deviation of a further noise that is one number for each channel of a picture, so that a model learns to change
    /// the brightness of a whole picture; 0 for none, 0.1 is usual.
    pub offset_noise: f64,
    /// The share of pictures whose condition is left out, for guidance.
    pub dropout: f64,
}

impl Default for ObjectiveConfig {
    /// Noise prediction with the mean square over uniform times of the latent diffusion schedule.
    fn default() -> Self {
        Self {
            prediction: Prediction::Epsilon,
            loss: Distance::L2,
            weighting: Weighting::Uniform,
            times: Times::Uniform,
            noise: NoiseConfig::default(),
            offset_noise: 0.0,
            dropout: 0.0,
        }
    }
}

/// A schedule of noise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseConfig {
    /// How β grows.
    pub schedule: BetaSchedule,
    /// The first β.
    pub start: f64,
    /// The last.
    pub end: f64,
    /// Time steps.
    pub steps: usize,
    /// Rescaled so that nothing of the picture is left at the last step (Lin et al., 2305.08891).
    pub zero_terminal_snr: bool,
}

impl Default for NoiseConfig {
    /// That of most models of the latent diffusion paper.
    fn default() -> Self {
        Self {
            schedule: BetaSchedule::ScaledLinear,
            start: 0.0015,
            end: 0.0195,
            steps: 1000,
            zero_terminal_snr: false,
        }
    }
}

/// How an error is measured, for each number and then averaged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// |e|.
    L1,
    /// e².
    L2,
    /// e²/2 up to the given error, from there on a straight line.
    Huber(f64),
}

/// How times are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Times {
    /// All equally often.
    Uniform,
    /// The logistic function of a normal number (Esser et al., 2403.03206): the middle more often. For flows.
    LogitNormal {
        /// The normal number's mean; 0 is usual.
        mean: f64,
        /// Its deviation; 1 is usual.
        deviation: f64,
    },
}

impl ObjectiveConfig {
    /// Whether it can be computed.
    ///
    /// # Errors
    /// A setting that is out of its range.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let flow = self.prediction == Prediction::Flow;
        if self.noise.zero_terminal_snr
            && matches!(self.prediction, Prediction::Epsilon | Prediction::Flow)
        {
            let expected = "v_prediction or sample where objective.noise.zero_terminal_snr is set, because pure noise says nothing of the picture";
            return Err(Error::setting(
                "objective.prediction",
                self.prediction.name(),
                expected,
            ));
        }
        if matches!(self.prediction, Prediction::Edm | Prediction::EdmV) {
            let expected = "epsilon, v_prediction, sample or flow: networks of EDM's forms can be drawn with, not trained";
            return Err(Error::setting(
                "objective.prediction",
                self.prediction.name(),
                expected,
            ));
        }
        match self.times {
            Times::LogitNormal { .. } if !flow => {
                let expected = "\"uniform\" unless objective.prediction is \"flow\"";
                return Err(Error::setting("objective.times", "logit_normal", expected));
            }
            Times::LogitNormal { mean, deviation } => {
                if !(mean.is_finite() && deviation > 0.0 && deviation.is_finite()) {
                    let value = format!("mean {mean}, deviation {deviation}");
                    let expected = "a finite mean and a deviation above 0";
                    return Err(Error::setting(
                        "objective.times.logit_normal",
                        value,
                        expected,
                    ));
                }
            }
            Times::Uniform => {}
        }
        let within = |name: &str, value: f64, ok: bool, expected: &str| match ok {
            true => Ok(()),
            false => Err(Error::setting(name, value, expected)),
        };
        let dropout = self.dropout;
        within(
            "objective.dropout",
            dropout,
            (0.0..1.0).contains(&dropout),
            "0 to below 1",
        )?;
        let offset = self.offset_noise;
        within(
            "objective.offset_noise",
            offset,
            (0.0..f64::INFINITY).contains(&offset),
            "0 or more",
        )?;
        if let Distance::Huber(delta) = self.loss {
            let positive = delta > 0.0 && delta.is_finite();
            within("objective.loss.huber", delta, positive, "a number above 0")?;
        }
        if let Weighting::MinSnr { gamma } = self.weighting {
            let positive = gamma > 0.0 && gamma.is_finite();
            within(
                "objective.weighting.min_snr.gamma",
                gamma,
                positive,
                "a number above 0",
            )?;
        }
        Ok(())
    }
}
