//! What a network predicts, as coefficients in σ.
//!
//! Written once and used by both directions: sampling turns the output `F` into `x̂₀ = c_skip·x + c_out·F`, training asks
//! for the `F` that would have made it exact. They cannot differ.
//!
//! For the variance-preserving kinds x = x₀ + σ·n and the network sees `x / √(1 + σ²)`. For a rectified flow
//! x = (1 − σ)·x₀ + σ·n and the network sees x.

use std::str::FromStr;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{Error, names::nearest};

/// The meaning of a network's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise n (Ho et al. 2020).
    #[serde(alias = "eps")]
    Epsilon,
    /// The velocity √ᾱ·n − √(1−ᾱ)·x₀ (Salimans & Ho 2202.00512).
    #[serde(rename = "v_prediction", alias = "v")]
    V,
    /// The clean sample x₀.
    Sample,
    /// The velocity n − x₀ of a rectified flow (Liu et al. 2209.03003).
    #[serde(alias = "flow_prediction")]
    Flow,
}

/// How much a training sample's squared error in `F` counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// 1 everywhere.
    Uniform,
    /// min(SNR, γ) as the weight of the error in x₀, whatever is predicted (Hang et al. 2303.09556): `min(SNR, γ)/SNR`
    /// for ε, `min(SNR, γ)/(SNR + 1)` for v.
    MinSnr {
        /// γ, 5 in the paper.
        gamma: f64,
    },
}

impl Prediction {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Epsilon, Self::V, Self::Sample, Self::Flow];

    /// The name in scheduler configs: `epsilon`, `v_prediction`, `sample`, `flow`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::V => "v_prediction",
            Self::Sample => "sample",
            Self::Flow => "flow",
        }
    }

    /// The share of x in x̂₀.
    pub fn c_skip(self, sigma: f64) -> f64 {
        match self {
            Self::Epsilon | Self::Flow => 1.0,
            Self::V => 1.0 / (1.0 + sigma * sigma),
            Self::Sample => 0.0,
        }
    }

    /// The share of the network's output in x̂₀.
    pub fn c_out(self, sigma: f64) -> f64 {
        match self {
            Self::Epsilon | Self::Flow => -sigma,
            Self::V => -sigma / (1.0 + sigma * sigma).sqrt(),
            Self::Sample => 1.0,
        }
    }

    /// The factor on x before it enters the network.
    pub fn c_in(self, sigma: f64) -> f64 {
        match self {
            Self::Flow => 1.0,
            _ => 1.0 / (1.0 + sigma * sigma).sqrt(),
        }
    }

    /// The factor on the clean latent when x is made from it: 1, for a flow 1 − σ.
    pub fn signal_scale(self, sigma: f64) -> f64 {
        match self {
            Self::Flow => 1.0 - sigma,
            _ => 1.0,
        }
    }

    /// The factor on unit noise when x is made: σ for every kind.
    pub fn noise_scale(self, sigma: f64) -> f64 {
        sigma
    }

    /// x at level σ: `signal_scale·x₀ + noise_scale·n`. Any equal shapes.
    pub fn add_noise<const D: usize>(
        self,
        x0: Tensor<D>,
        noise: Tensor<D>,
        sigma: f64,
    ) -> Tensor<D> {
        x0 * self.signal_scale(sigma) + noise * self.noise_scale(sigma)
    }

    /// x̂₀ from a noisy latent and the network's output at level σ. Equal shapes.
    pub fn denoised<const D: usize>(
        self,
        x: Tensor<D>,
        output: Tensor<D>,
        sigma: f64,
    ) -> Tensor<D> {
        x * self.c_skip(sigma) + output * self.c_out(sigma)
    }

    /// (a, b) of the training target `a·x₀ + b·n` at level σ.
    pub fn target_coefficients(self, sigma: f64) -> (f64, f64) {
        match self {
            Self::Epsilon => (0.0, 1.0),
            Self::Sample => (1.0, 0.0),
            Self::Flow => (-1.0, 1.0),
            Self::V => {
                let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
                (-sigma * alpha, alpha)
            }
        }
    }

    /// The training target of a batch, one σ per picture.
    ///
    /// # Shapes
    /// `x0`, `noise` and the result: `[batch, channels, height, width]`; `sigmas`: `batch` values.
    ///
    /// # Errors
    /// Shapes that differ, or not one σ per picture.
    pub fn target(
        self,
        x0: Tensor<4>,
        noise: Tensor<4>,
        sigmas: &[f64],
    ) -> Result<Tensor<4>, Error> {
        let [batch, ..] = x0.dims();
        if x0.dims() != noise.dims() || sigmas.len() != batch {
            return Err(Error::Setting {
                name: "training batch",
                value: format!(
                    "x₀ {:?}, noise {:?}, {} σ",
                    x0.dims(),
                    noise.dims(),
                    sigmas.len()
                ),
                expected: "equal shapes and one σ per picture".to_owned(),
            });
        }
        let (a, b): (Vec<f32>, Vec<f32>) = sigmas
            .iter()
            .map(|&s| self.target_coefficients(s))
            .map(|(a, b)| (a as f32, b as f32))
            .unzip();
        let device = x0.device();
        let column =
            |v: Vec<f32>| Tensor::<4>::from_data(TensorData::new(v, [batch, 1, 1, 1]), &device);
        Ok(x0 * column(a) + noise * column(b))
    }

    /// Signal to noise ratio at level σ: 1/σ², for a flow ((1 − σ)/σ)².
    pub fn snr(self, sigma: f64) -> f64 {
        let ratio = self.signal_scale(sigma) / self.noise_scale(sigma);
        ratio * ratio
    }

    /// The weight of the squared error in `F` at level σ > 0.
    pub fn loss_weight(self, sigma: f64, weighting: Weighting) -> f64 {
        match weighting {
            Weighting::Uniform => 1.0,
            // an error e in F is an error c_out·e in x̂₀
            Weighting::MinSnr { gamma } => self.c_out(sigma).powi(2) * self.snr(sigma).min(gamma),
        }
    }
}

impl FromStr for Prediction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let names: &[(&str, Self)] = &[
            ("epsilon", Self::Epsilon),
            ("eps", Self::Epsilon),
            ("v_prediction", Self::V),
            ("v", Self::V),
            ("sample", Self::Sample),
            ("x0", Self::Sample),
            ("flow", Self::Flow),
            ("flow_prediction", Self::Flow),
            ("sd3_flow", Self::Flow),
            ("flux_flow", Self::Flow),
        ];
        let wanted = text.trim().to_ascii_lowercase().replace('-', "_");
        names
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, kind)| *kind)
            .ok_or_else(|| Error::Setting {
                name: "prediction",
                value: text.to_owned(),
                expected: format!(
                    "epsilon, v_prediction, sample or flow (nearest: {})",
                    nearest(&wanted, names.iter().map(|(n, _)| *n)).join(", ")
                ),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the exact target as output, x̂₀ must be x₀.
    #[test]
    fn sampling_inverts_the_training_target() {
        for kind in Prediction::ALL {
            for sigma in [0.03, 0.5, 0.99, 3.0, 14.6] {
                if kind == Prediction::Flow && sigma > 1.0 {
                    continue;
                }
                let (x0, n) = (0.7, -1.3);
                let x = kind.signal_scale(sigma) * x0 + kind.noise_scale(sigma) * n;
                let (a, b) = kind.target_coefficients(sigma);
                let back = kind.c_skip(sigma) * x + kind.c_out(sigma) * (a * x0 + b * n);
                assert!((back - x0).abs() < 1e-12, "{kind:?} at {sigma}: {back}");
            }
        }
    }

    #[test]
    fn min_snr_is_the_papers_formula() {
        let weighting = Weighting::MinSnr { gamma: 5.0 };
        for sigma in [0.1, 0.4, 1.0, 7.0] {
            let snr: f64 = 1.0 / (sigma * sigma);
            let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12 * b.abs(), "{a} {b}");
            near(
                Prediction::Epsilon.loss_weight(sigma, weighting),
                snr.min(5.0) / snr,
            );
            near(
                Prediction::V.loss_weight(sigma, weighting),
                snr.min(5.0) / (snr + 1.0),
            );
            near(
                Prediction::Sample.loss_weight(sigma, weighting),
                snr.min(5.0),
            );
        }
    }

    #[test]
    fn names_go_both_ways() {
        for kind in Prediction::ALL {
            assert_eq!(kind.name().parse::<Prediction>().unwrap(), kind);
        }
        let error = "epsilo".parse::<Prediction>().unwrap_err().to_string();
        assert!(error.contains("epsilon"), "{error}");
    }
}
