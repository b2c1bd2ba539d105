//! Noise levels without time steps (Karras et al. 2206.00364).

use crate::{Error, Levels};

use crate::ladder::{ramp, setting};

/// How many levels stand for all of them where a curve picks from a list.
const LISTED: usize = 1000;

/// Any σ between two ends, told to the network as c_noise = ¼ ln σ; its input is divided by √(σ_data² + σ²).
#[derive(Debug, Clone, PartialEq)]
pub struct EdmSchedule {
    sigma_data: f64,
    sigmas: Vec<f64>,
}

impl EdmSchedule {
    /// The levels from `sigma_min` to `sigma_max` of data whose standard deviation is `sigma_data`.
    ///
    /// # Errors
    /// Ends that are not 0 < σ_min < σ_max, or a σ_data that is not above 0.
    pub fn new(sigma_min: f64, sigma_max: f64, sigma_data: f64) -> Result<Self, Error> {
        if !(sigma_min > 0.0 && sigma_min < sigma_max && sigma_max.is_finite()) {
            let given = format!("{sigma_min}..{sigma_max}");
            return Err(setting(
                "sigma_min..sigma_max",
                given,
                "0 < sigma_min < sigma_max",
            ));
        }
        if !(sigma_data > 0.0 && sigma_data.is_finite()) {
            return Err(setting("sigma_data", sigma_data, "a number above 0"));
        }
        Ok(Self::checked(sigma_min, sigma_max, sigma_data))
    }

    /// σ from 0.002 to 80, σ_data 0.5: the paper's Table 1, and what Playground v2.5 was trained with.
    pub fn karras() -> Self {
        Self::checked(0.002, 80.0, 0.5)
    }

    /// σ from 0.002 to 120, σ_data 1: the v form as CosXL was trained with.
    pub fn unit() -> Self {
        Self::checked(0.002, 120.0, 1.0)
    }

    fn checked(low: f64, high: f64, sigma_data: f64) -> Self {
        let mix = |r: f64| (low.ln() + r * (high.ln() - low.ln())).exp();
        let mut sigmas: Vec<f64> = ramp(LISTED).map(mix).collect();
        (sigmas[0], sigmas[LISTED - 1]) = (low, high);
        Self { sigma_data, sigmas }
    }

    /// The standard deviation that data are taken to have.
    pub fn sigma_data(&self) -> f64 {
        self.sigma_data
    }
}

impl Levels for EdmSchedule {
    fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }
    fn sigma(&self, t: f64) -> f64 {
        (4.0 * t).exp()
    }
    fn timestep(&self, sigma: f64) -> f64 {
        0.25 * sigma.ln()
    }
}
