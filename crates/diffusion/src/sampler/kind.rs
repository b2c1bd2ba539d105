//! The list of samplers.

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
    Dpm2,
    /// [`Sampler::Dpm2`] with ancestral noise.
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
    /// Euler on a rectified flow.
    FlowEuler,
    /// Heun on a rectified flow.
    FlowHeun,
    /// Euler in the CFG++ form (Chung et al. 2024).
    EulerCfgPp,
    /// Euler with ancestral noise in the CFG++ form.
    EulerAncestralCfgPp,
    /// DDIM in the CFG++ form.
    DdimCfgPp,
}

impl Sampler {
    /// Every sampler, in the order of the declaration.
    pub const ALL: [Self; 29] = [
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
        Self::FlowEuler,
        Self::FlowHeun,
        Self::EulerCfgPp,
        Self::EulerAncestralCfgPp,
        Self::DdimCfgPp,
    ];
}
