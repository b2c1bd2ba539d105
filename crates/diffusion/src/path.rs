//! Noise paths: how a picture becomes noise, level by level, and what the network is told of a level.
//!
//! This is the one place that knows a rectified flow from noise that is added. Samplers ask for a [`Mixing`] alone; who
//! wraps a network asks the whole [`NoisePath`].

mod edm;

use burn::tensor::Tensor;

pub use edm::EdmSchedule;

use crate::{Error, FlowSchedule, Levels, NoiseSchedule, Prediction, Weighting};

/// How a noisy latent is made of a clean one, x₀, and noise of unit variance, n: x = α(σ)·x₀ + σ·n.
///
/// Both kinds share the derivative dx/dσ = (x − x₀)/σ. Divided by α a flow is the other kind: x/α = x₀ + (σ/α)·n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mixing {
    /// x = x₀ + σ·n, σ ≥ 0: variance-exploding, and variance-preserving models in the same scale.
    #[default]
    Added,
    /// x = (1 − σ)·x₀ + σ·n, σ in [0, 1]: a rectified flow (Liu et al. 2209.03003).
    Flow,
}

impl Mixing {
    /// α, the factor on the clean latent.
    pub fn alpha(self, sigma: f64) -> f64 {
        match self {
            Self::Added => 1.0,
            Self::Flow => 1.0 - sigma,
        }
    }

    /// σ/α, the level of x/α. Infinite where a flow is noise alone.
    pub fn ratio(self, sigma: f64) -> f64 {
        match self {
            Self::Added => sigma,
            Self::Flow => sigma / (1.0 - sigma),
        }
    }

    /// The level whose [`ratio`](Self::ratio) this is.
    pub fn of_ratio(self, ratio: f64) -> f64 {
        match self {
            Self::Added => ratio,
            Self::Flow if ratio.is_infinite() => 1.0,
            Self::Flow => ratio / (1.0 + ratio),
        }
    }

    /// λ = ½ ln SNR = ln(α/σ): −∞ where a flow is noise alone, ∞ at σ = 0.
    pub fn half_log_snr(self, sigma: f64) -> f64 {
        -self.ratio(sigma).ln()
    }

    /// The level of λ.
    pub fn of_half_log_snr(self, lambda: f64) -> f64 {
        self.of_ratio((-lambda).exp())
    }

    /// Signal to noise ratio (α/σ)².
    pub fn snr(self, sigma: f64) -> f64 {
        let ratio = self.alpha(sigma) / sigma;
        ratio * ratio
    }

    /// x at level σ. Any equal shapes.
    pub fn add_noise<const D: usize>(
        self,
        x0: Tensor<D>,
        noise: Tensor<D>,
        sigma: f64,
    ) -> Tensor<D> {
        x0 * self.alpha(sigma) + noise * sigma
    }
}

/// The noise levels a network was trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum NoisePath {
    /// A discrete β schedule. The network sees x/√(1 + σ²) and a time step.
    Discrete(NoiseSchedule),
    /// Any σ between two ends. The network sees x/√(σ_data² + σ²) and ¼ ln σ.
    Edm(EdmSchedule),
    /// A rectified flow. The network sees x and N·σ.
    Flow(FlowSchedule),
}

impl NoisePath {
    /// The path of a network whose output means `prediction`, which decides the kind: a flow of `schedule.steps()` time
    /// steps shifted by `shift`, the published levels of the EDM forms, or `schedule` itself.
    ///
    /// # Errors
    /// A shift that is not above 0.
    pub fn of(
        prediction: Prediction,
        schedule: NoiseSchedule,
        shift: Option<f64>,
    ) -> Result<Self, Error> {
        Ok(match prediction {
            Prediction::Flow => {
                Self::Flow(FlowSchedule::new(shift.unwrap_or(1.0), schedule.steps())?)
            }
            Prediction::Edm => Self::Edm(EdmSchedule::karras()),
            Prediction::EdmV => Self::Edm(EdmSchedule::unit()),
            Prediction::Epsilon | Prediction::V | Prediction::Sample => Self::Discrete(schedule),
        })
    }

    /// How x is made.
    pub fn mixing(&self) -> Mixing {
        match self {
            Self::Discrete(_) | Self::Edm(_) => Mixing::Added,
            Self::Flow(_) => Mixing::Flow,
        }
    }

    /// The levels, for [`crate::ladder`].
    pub fn levels(&self) -> &dyn Levels {
        match self {
            Self::Discrete(schedule) => schedule,
            Self::Edm(schedule) => schedule,
            Self::Flow(schedule) => schedule,
        }
    }

    /// σ at a time step.
    pub fn sigma(&self, t: f64) -> f64 {
        self.levels().sigma(t)
    }

    /// What the network is told of level σ.
    pub fn timestep(&self, sigma: f64) -> f64 {
        self.levels().timestep(sigma)
    }

    /// The highest level.
    pub fn sigma_max(&self) -> f64 {
        self.levels().sigmas().last().copied().unwrap_or(0.0)
    }

    /// The lowest level above 0.
    pub fn sigma_min(&self) -> f64 {
        self.levels().sigmas().first().copied().unwrap_or(0.0)
    }

    /// α, the factor on the clean latent at level σ.
    pub fn alpha(&self, sigma: f64) -> f64 {
        self.mixing().alpha(sigma)
    }

    /// λ = ½ ln SNR at level σ.
    pub fn half_log_snr(&self, sigma: f64) -> f64 {
        self.mixing().half_log_snr(sigma)
    }

    /// x at level σ. Any equal shapes.
    pub fn add_noise<const D: usize>(
        &self,
        x0: Tensor<D>,
        noise: Tensor<D>,
        sigma: f64,
    ) -> Tensor<D> {
        self.mixing().add_noise(x0, noise, sigma)
    }

    /// The standard deviation that data are taken to have: 1, but for EDM's.
    pub fn sigma_data(&self) -> f64 {
        match self {
            Self::Edm(schedule) => schedule.sigma_data(),
            Self::Discrete(_) | Self::Flow(_) => 1.0,
        }
    }

    /// The factor on x before it enters the network.
    pub fn c_in(&self, sigma: f64) -> f64 {
        match self {
            Self::Discrete(_) => 1.0 / (1.0 + sigma * sigma).sqrt(),
            Self::Edm(schedule) => 1.0 / (schedule.sigma_data().powi(2) + sigma * sigma).sqrt(),
            Self::Flow(_) => 1.0,
        }
    }

    /// The factor on unit noise at level σ after which x/α has variance 1 + σ²/α², that of data of unit variance with
    /// noise: √(1 + σ²), for a flow σ itself.
    pub fn preserving_scale(&self, sigma: f64) -> f64 {
        match self.mixing() {
            Mixing::Added => (1.0 + sigma * sigma).sqrt(),
            Mixing::Flow => sigma,
        }
    }

    /// x̂₀ from a noisy latent and what the network made of it at level σ. Equal shapes.
    pub fn denoised<const D: usize>(
        &self,
        prediction: Prediction,
        x: Tensor<D>,
        output: Tensor<D>,
        sigma: f64,
    ) -> Tensor<D> {
        let (data, level) = (self.sigma_data(), sigma / self.sigma_data());
        x * prediction.c_skip(level) + output * (prediction.c_out(level) * data)
    }

    /// The weight of the squared error in `prediction` at level σ > 0.
    pub fn loss_weight(&self, prediction: Prediction, sigma: f64, weighting: Weighting) -> f64 {
        match weighting {
            Weighting::Uniform => 1.0,
            // an error e in F is an error c_out·e in x̂₀
            Weighting::MinSnr { gamma } => {
                prediction.c_out(sigma).powi(2) * self.mixing().snr(sigma).min(gamma)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BetaSchedule;

    fn discrete() -> NoiseSchedule {
        NoiseSchedule::new(BetaSchedule::ScaledLinear, 0.00085, 0.012, 1000, false).unwrap()
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12 * b.abs().max(1.0), "{a} {b}");
    }

    /// With the exact target as output, x̂₀ must be x₀.
    #[test]
    fn sampling_inverts_the_training_target() {
        for kind in Prediction::ALL {
            let path = NoisePath::of(kind, discrete(), Some(3.0)).unwrap();
            for sigma in [0.03, 0.5, 0.99, 3.0, 14.6] {
                if path.mixing() == Mixing::Flow && sigma > 1.0 {
                    continue;
                }
                let (data, level) = (path.sigma_data(), sigma / path.sigma_data());
                let (x0, n) = (0.7 * data, -1.3);
                let x = path.alpha(sigma) * x0 + sigma * n;
                let (a, b) = kind.target_coefficients(level);
                let output = a * (x0 / data) + b * n;
                let back = kind.c_skip(level) * x + kind.c_out(level) * data * output;
                near(back, x0);
            }
        }
    }

    #[test]
    fn the_networks_input_has_unit_variance() {
        for kind in Prediction::ALL {
            let path = NoisePath::of(kind, discrete(), None).unwrap();
            for sigma in [0.01, 1.0, 14.0] {
                let variance = path.sigma_data().powi(2) + sigma * sigma;
                if path.mixing() == Mixing::Added {
                    near(path.c_in(sigma).powi(2) * variance, 1.0);
                }
            }
        }
    }

    #[test]
    fn levels_and_half_log_snr_are_inverse() {
        for mixing in [Mixing::Added, Mixing::Flow] {
            for sigma in [1e-4, 0.3, 0.5, 0.999] {
                near(mixing.of_half_log_snr(mixing.half_log_snr(sigma)), sigma);
                near(mixing.snr(sigma).ln() / 2.0, mixing.half_log_snr(sigma));
            }
            assert_eq!(mixing.half_log_snr(0.0), f64::INFINITY);
            assert_eq!(mixing.of_half_log_snr(f64::INFINITY), 0.0);
        }
        assert_eq!(Mixing::Flow.half_log_snr(1.0), f64::NEG_INFINITY);
        assert_eq!(Mixing::Flow.of_half_log_snr(f64::NEG_INFINITY), 1.0);
    }

    #[test]
    fn min_snr_is_the_papers_formula() {
        let weighting = Weighting::MinSnr { gamma: 5.0 };
        let path = NoisePath::Discrete(discrete());
        for sigma in [0.1, 0.4, 1.0, 7.0] {
            let snr: f64 = 1.0 / (sigma * sigma);
            let weight = |kind| path.loss_weight(kind, sigma, weighting);
            near(weight(Prediction::Epsilon), snr.min(5.0) / snr);
            near(weight(Prediction::V), snr.min(5.0) / (snr + 1.0));
            near(weight(Prediction::Sample), snr.min(5.0));
        }
    }

    #[test]
    fn ends_of_levels() {
        let flow = NoisePath::of(Prediction::Flow, discrete(), Some(3.0)).unwrap();
        assert_eq!((flow.sigma_max(), flow.timestep(0.5)), (1.0, 500.0));
        let edm = NoisePath::of(Prediction::Edm, discrete(), None).unwrap();
        assert_eq!((edm.sigma_min(), edm.sigma_max()), (0.002, 80.0));
        near(edm.sigma(edm.timestep(3.0)), 3.0);
        assert!(EdmSchedule::new(1.0, 1.0, 0.5).is_err());
        assert!(EdmSchedule::new(1.0, 2.0, 0.0).is_err());
        assert!(NoisePath::of(Prediction::Flow, discrete(), Some(0.0)).is_err());
    }
}
