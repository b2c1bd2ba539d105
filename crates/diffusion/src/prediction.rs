//! What a network predicts, as coefficients in σ.
//!
//! Written once and used by both directions: sampling turns the output `F` into `x̂₀ = c_skip·x + c_out·F`, training asks
//! for the `F` that would have made it exact. They cannot differ.
//!
//! How x is made and what the network sees of it is the [`NoisePath`](crate::NoisePath)'s. For the velocity of a flow
//! x = (1 − σ)·x₀ + σ·n, for everything else x = x₀ + σ·n.

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
    /// F of Karras et al. 2206.00364, Table 1: x̂₀ = c_skip·x + c_out·F with c_out above 0.
    Edm,
    /// The velocity in EDM's scale, with c_out below 0; where σ_data is 1, [`Prediction::V`] of a network that is told
    /// ¼ ln σ.
    EdmV,
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
    pub const ALL: [Self; 6] = [
        Self::Epsilon,
        Self::V,
        Self::Sample,
        Self::Flow,
        Self::Edm,
        Self::EdmV,
    ];

    /// The name in settings: `epsilon`, `v_prediction`, `sample`, `flow`, `edm`, `edm_v`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::V => "v_prediction",
            Self::Sample => "sample",
            Self::Flow => "flow",
            Self::Edm => "edm",
            Self::EdmV => "edm_v",
        }
    }

    /// The share of x in x̂₀, for data of unit variance: EDM's σ is divided by its σ_data.
    pub fn c_skip(self, sigma: f64) -> f64 {
        match self {
            Self::Epsilon | Self::Flow => 1.0,
            Self::V | Self::Edm | Self::EdmV => 1.0 / (1.0 + sigma * sigma),
            Self::Sample => 0.0,
        }
    }

    /// The share of the network's output in x̂₀, for data of unit variance.
    pub fn c_out(self, sigma: f64) -> f64 {
        match self {
            Self::Epsilon | Self::Flow => -sigma,
            Self::V | Self::EdmV => -sigma / (1.0 + sigma * sigma).sqrt(),
            Self::Edm => sigma / (1.0 + sigma * sigma).sqrt(),
            Self::Sample => 1.0,
        }
    }

    /// (a, b) of the training target `a·x₀ + b·n` at level σ, for data of unit variance.
    pub fn target_coefficients(self, sigma: f64) -> (f64, f64) {
        match self {
            Self::Epsilon => (0.0, 1.0),
            Self::Sample => (1.0, 0.0),
            Self::Flow => (-1.0, 1.0),
            Self::V | Self::EdmV => {
                let alpha = 1.0 / (1.0 + sigma * sigma).sqrt();
                (-sigma * alpha, alpha)
            }
            Self::Edm => {
                let (a, b) = Self::V.target_coefficients(sigma);
                (-a, -b)
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
            ("edm", Self::Edm),
            ("edm_v", Self::EdmV),
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
                    "epsilon, v_prediction, sample, flow, edm or edm_v (nearest: {})",
                    nearest(&wanted, names.iter().map(|(n, _)| *n)).join(", ")
                ),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for kind in Prediction::ALL {
            assert_eq!(kind.name().parse::<Prediction>().unwrap(), kind);
        }
        let error = "epsilo".parse::<Prediction>().unwrap_err().to_string();
        assert!(error.contains("epsilon"), "{error}");
    }
}
