//! The list of samplers and what is known about each before it runs.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// A rule that walks a σ ladder. What a published name ("DPM++ 2M Karras", `dpmpp_2m`) means is in `names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sampler {
    /// Euler's method on the probability-flow ODE (Karras et al. 2022, Algorithm 2 without churn by default).
    Euler,
    /// Euler with ancestral noise.
    EulerAncestral,
    /// Heun's second-order method (Karras et al. 2022, Algorithm 1).
    Heun,
    /// A midpoint method whose midpoint is the geometric mean of two σ (inspired by DPM-Solver-2).
    #[serde(rename = "dpm2")]
    Dpm2,
    /// [`Sampler::Dpm2`] with ancestral noise.
    #[serde(rename = "dpm2_ancestral")]
    Dpm2Ancestral,
    /// A linear multistep (Adams-Bashforth) method in σ.
    Lms,
    /// DPM-Solver of orders 3, 2, 1 on its own λ-uniform ladder (Lu et al. 2022).
    DpmFast,
    /// DPM-Solver-12 or -23 with adaptive step size.
    DpmAdaptive,
    /// DPM-Solver++(2S) with ancestral noise.
    #[serde(rename = "dpmpp_2s_ancestral")]
    Dpmpp2sAncestral,
    /// DPM-Solver++ (stochastic), two evaluations a step.
    DpmppSde,
    /// DPM-Solver++(2M) (Lu et al. 2022b).
    #[serde(rename = "dpmpp_2m")]
    Dpmpp2m,
    /// DPM-Solver++(2M) SDE, midpoint form.
    #[serde(rename = "dpmpp_2m_sde")]
    Dpmpp2mSde,
    /// DPM-Solver++(2M) SDE, Heun form.
    #[serde(rename = "dpmpp_2m_sde_heun")]
    Dpmpp2mSdeHeun,
    /// DPM-Solver++(3M) SDE.
    #[serde(rename = "dpmpp_3m_sde")]
    Dpmpp3mSde,
    /// Denoising diffusion implicit models (Song et al. 2020).
    Ddim,
    /// Denoising diffusion probabilistic models: ancestral sampling (Ho et al. 2020).
    Ddpm,
    /// Pseudo linear multistep (Liu et al. 2022), as the first Stable Diffusion used it.
    Plms,
    /// UniPC with B₁(h) = h (Zhao et al. 2023).
    UniPcBh1,
    /// UniPC with B₂(h) = eʰ − 1.
    UniPcBh2,
    /// Diffusion exponential integrator sampler, log-ρ multistep (Zhang & Chen 2022).
    Deis,
    /// Improved pseudo numerical multistep: Adams-Bashforth with fixed coefficients (Zhang & Chen 2022).
    Ipndm,
    /// Heun steps with jumps back to a higher noise level (Xu et al. 2023).
    Restart,
    /// Latent consistency sampling (Luo et al. 2023).
    Lcm,
    /// Trajectory consistency sampling (Zheng et al. 2024).
    Tcd,
    /// Euler in the CFG++ form (Chung et al. 2024).
    EulerCfgPp,
    /// Euler with ancestral noise in the CFG++ form.
    EulerAncestralCfgPp,
    /// DDIM in the CFG++ form.
    DdimCfgPp,
}

impl Sampler {
    /// Every sampler, in the order of the declaration.
    pub const ALL: [Self; 27] = [
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::Dpm2,
        Self::Dpm2Ancestral,
        Self::Lms,
        Self::DpmFast,
        Self::DpmAdaptive,
        Self::Dpmpp2sAncestral,
        Self::DpmppSde,
        Self::Dpmpp2m,
        Self::Dpmpp2mSde,
        Self::Dpmpp2mSdeHeun,
        Self::Dpmpp3mSde,
        Self::Ddim,
        Self::Ddpm,
        Self::Plms,
        Self::UniPcBh1,
        Self::UniPcBh2,
        Self::Deis,
        Self::Ipndm,
        Self::Restart,
        Self::Lcm,
        Self::Tcd,
        Self::EulerCfgPp,
        Self::EulerAncestralCfgPp,
        Self::DdimCfgPp,
    ];

    /// The identifier under which it is serialised: `dpmpp_2m_sde`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::Heun => "heun",
            Self::Dpm2 => "dpm2",
            Self::Dpm2Ancestral => "dpm2_ancestral",
            Self::Lms => "lms",
            Self::DpmFast => "dpm_fast",
            Self::DpmAdaptive => "dpm_adaptive",
            Self::Dpmpp2sAncestral => "dpmpp_2s_ancestral",
            Self::DpmppSde => "dpmpp_sde",
            Self::Dpmpp2m => "dpmpp_2m",
            Self::Dpmpp2mSde => "dpmpp_2m_sde",
            Self::Dpmpp2mSdeHeun => "dpmpp_2m_sde_heun",
            Self::Dpmpp3mSde => "dpmpp_3m_sde",
            Self::Ddim => "ddim",
            Self::Ddpm => "ddpm",
            Self::Plms => "plms",
            Self::UniPcBh1 => "uni_pc_bh1",
            Self::UniPcBh2 => "uni_pc_bh2",
            Self::Deis => "deis",
            Self::Ipndm => "ipndm",
            Self::Restart => "restart",
            Self::Lcm => "lcm",
            Self::Tcd => "tcd",
            Self::EulerCfgPp => "euler_cfg_pp",
            Self::EulerAncestralCfgPp => "euler_ancestral_cfg_pp",
            Self::DdimCfgPp => "ddim_cfg_pp",
        }
    }

    /// How often the denoiser is called on a ladder of `steps` steps that ends in 0, with default options: the length
    /// of a progress bar. `None` for [`Sampler::DpmAdaptive`], which decides as it goes.
    pub fn evaluations(self, steps: usize) -> Option<usize> {
        match self {
            Self::DpmAdaptive => None,
            // The last step, to σ = 0, is an Euler step.
            Self::Heun
            | Self::Dpm2
            | Self::Dpm2Ancestral
            | Self::Dpmpp2sAncestral
            | Self::DpmppSde
            | Self::Restart => Some((2 * steps).saturating_sub(1)),
            Self::Plms if steps > 1 => Some(steps + 1),
            _ => Some(steps),
        }
    }

    /// η where the options say nothing (their `eta` is `None`).
    pub fn default_eta(self) -> f64 {
        match self {
            Self::EulerAncestral
            | Self::Dpm2Ancestral
            | Self::Dpmpp2sAncestral
            | Self::DpmppSde
            | Self::Dpmpp2mSde
            | Self::Dpmpp2mSdeHeun
            | Self::Dpmpp3mSde
            | Self::Ddpm
            | Self::EulerAncestralCfgPp => 1.0,
            _ => 0.0,
        }
    }

    /// Whether its papers and programs hold the latent as x / √(1 + σ²). It matters at the ends of a ladder only: such
    /// a sampler starts from unit noise (times √(1 + σ²) in σ-space, where others start from σ times noise) and
    /// returns the scaled latent where the ladder ends above 0.
    pub fn variance_preserving(self) -> bool {
        matches!(
            self,
            Self::Ddim
                | Self::Ddpm
                | Self::Plms
                | Self::UniPcBh1
                | Self::UniPcBh2
                | Self::Deis
                | Self::Lcm
                | Self::Tcd
                | Self::DdimCfgPp
        )
    }

    /// Whether its noise is meant to come from a Brownian path, so that a picture keeps its shape when steps change.
    pub fn brownian_noise(self) -> bool {
        matches!(
            self,
            Self::DpmppSde | Self::Dpmpp2mSde | Self::Dpmpp2mSdeHeun | Self::Dpmpp3mSde
        )
    }

    /// Whether it needs [`crate::Denoise::unconditional`].
    pub fn needs_unconditional(self) -> bool {
        matches!(
            self,
            Self::EulerCfgPp | Self::EulerAncestralCfgPp | Self::DdimCfgPp
        )
    }

    /// Why it cannot walk a rectified flow; `None` where it can.
    pub fn refused_on_flows(self) -> Option<&'static str> {
        match self {
            Self::Restart => Some("its jumps lead to σ = 2 and a rectified flow's σ is at most 1"),
            Self::Tcd => Some("it was published for models of discrete time steps only"),
            _ => None,
        }
    }

    /// Whether its noise is that of the posterior of x/α, whatever the path: DDIM, DDPM and CFG++.
    pub(super) fn posterior_noise(self) -> bool {
        matches!(self, Self::Ddim | Self::Ddpm) || self.needs_unconditional()
    }

    /// Whether it adds churn.
    pub(super) fn churns(self) -> bool {
        matches!(self, Self::Euler | Self::Heun | Self::Dpm2)
    }

    /// Whether its formulas are in λ, and so in x/α over σ/α on a flow: always where noise goes with them, else where
    /// `half_log_snr` says so.
    pub(super) fn walks_ratios(self, half_log_snr: bool, eta: f64) -> bool {
        match self {
            Self::Dpmpp2m
            | Self::UniPcBh1
            | Self::UniPcBh2
            | Self::Deis
            | Self::DpmFast
            | Self::DpmAdaptive => half_log_snr || eta > 0.0,
            sampler => sampler.brownian_noise(),
        }
    }

    /// The values [`super::SamplerOptions::order`] may take; `None` where there is no choice.
    pub fn orders(self) -> Option<RangeInclusive<usize>> {
        match self {
            Self::Lms | Self::Plms | Self::Ipndm => Some(1..=4),
            Self::Dpmpp2m
            | Self::Dpmpp2mSde
            | Self::Dpmpp2mSdeHeun
            | Self::Dpmpp3mSde
            | Self::Deis => Some(1..=3),
            Self::UniPcBh1 | Self::UniPcBh2 => Some(1..=4),
            Self::DpmAdaptive => Some(2..=3),
            _ => None,
        }
    }

    /// The order where [`super::SamplerOptions::order`] says nothing.
    pub(super) fn default_order(self) -> usize {
        match self {
            Self::Lms | Self::Plms | Self::Ipndm => 4,
            Self::Dpmpp3mSde | Self::DpmAdaptive => 3,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_is_serialised() {
        for sampler in Sampler::ALL {
            let json = serde_json::to_string(&sampler).expect("a unit variant");
            assert_eq!(json, format!("\"{}\"", sampler.name()));
        }
    }
}
