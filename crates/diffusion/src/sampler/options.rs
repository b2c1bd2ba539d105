//! Everything in which two programs can differ while running a sampler of the same name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Error, Sampler};

/// The settings of a sampler. `Default` is the paper's or k-diffusion's choice; a compatibility profile is another
/// value of this type. A field that a sampler does not mention has no effect on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SamplerOptions {
    /// How much of the removed noise comes back, ≥ 0: 0 walks the ODE, 1 is ancestral. `None`: [`Sampler::default_eta`].
    pub eta: Option<f64>,
    /// The standard deviation of every noise that is added, ≥ 0.
    pub s_noise: f64,
    /// Churn of Karras et al. 2022 (Euler, Heun, DPM2), ≥ 0: noise added before a step. Not on a rectified flow.
    pub s_churn: f64,
    /// Churn happens only at σ ≥ this.
    pub s_tmin: f64,
    /// Churn happens only at σ ≤ this; `None`: everywhere.
    pub s_tmax: Option<f64>,
    /// k-diffusion and A1111 draw churn noise on every step and drop it where σ is outside `[s_tmin, s_tmax]`; others
    /// draw it where it is used.
    pub churn_always_draws: bool,
    /// The order of a multistep solver. `None`: 4 for LMS, PLMS and iPNDM; 2 for DPM++ 2M (3 allowed), DEIS and UniPC;
    /// 3 for DPM++ 3M SDE and DPM adaptive (2 allowed).
    pub order: Option<usize>,
    /// When the last steps run at falling order. `None`: never for DPM++, [`LowerOrderFinal::Below`]`(15)` for DEIS,
    /// always for UniPC.
    pub lower_order_final: Option<LowerOrderFinal>,
    /// DPM++ multistep: the last step is of first order even where it ends above σ = 0.
    pub euler_at_final: bool,
    /// The second-order form of DPM++ 2M. `None`: midpoint, and Heun where the sampler's name says so.
    pub solver_type: Option<SolverType>,
    /// Where DPM++ SDE puts its inner evaluation, as a fraction of the step in λ, in (0, 1].
    pub sde_r: f64,
    /// The step sizes that iPNDM's coefficients assume.
    pub ipndm_coefficients: IpndmCoefficients,
    /// What PLMS averages over its steps.
    pub plms_average: PlmsAverage,
    /// The variable in which DEIS interpolates ε.
    pub deis_variable: DeisVariable,
    /// UniPC: the 0-based steps that are not corrected.
    pub disable_corrector: Vec<usize>,
    /// UniPC: a ladder's final σ = 0 is replaced by this, ≥ 0 (ComfyUI: 0.001).
    pub unipc_final_sigma: f64,
    /// The variance of DDPM's noise.
    pub ddpm_variance: DdpmVariance,
    /// How LCM blends its input into x̂₀. Needs a ladder that carries time steps; without them nothing is blended.
    pub lcm_boundary: LcmBoundary,
    /// LCM: the factor on the time step in the boundary scalings.
    pub lcm_timestep_scaling: f64,
    /// LCM: σ_data of the boundary scalings.
    pub lcm_sigma_data: f64,
    /// TCD's γ in [0, 1]: 0 is deterministic, 1 returns to x̂₀ and adds all noise anew.
    pub tcd_gamma: f64,
    /// σ of every training time step, which TCD needs to go to time (1 − γ)·t. Without it γ scales σ instead of time.
    #[serde(skip)]
    pub schedule: Option<Arc<[f64]>>,
    /// The step-size control of DPM adaptive.
    pub adaptive: Adaptive,
    /// Restart's jumps. `None`: A1111's choice, which depends on the number of steps.
    pub restart: Option<Vec<RestartSegment>>,
    /// The variable in which multistep solvers and DPM fast and adaptive walk a rectified flow, where no noise is added.
    pub flow_variable: FlowVariable,
    /// The level in (0, 1) that stands for σ = 1 on a rectified flow where a formula needs a finite λ.
    pub flow_top: f64,
    /// What is returned where a ladder ends above σ = 0: `true` the variance-preserving latent x / √(1 + σ²), `false`
    /// x. `None`: [`Sampler::variance_preserving`].
    pub variance_preserving_end: Option<bool>,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            eta: None,
            s_noise: 1.0,
            s_churn: 0.0,
            s_tmin: 0.0,
            s_tmax: None,
            churn_always_draws: false,
            order: None,
            lower_order_final: None,
            euler_at_final: false,
            solver_type: None,
            sde_r: 0.5,
            ipndm_coefficients: IpndmCoefficients::Uniform,
            plms_average: PlmsAverage::Noise,
            deis_variable: DeisVariable::LogSigma,
            disable_corrector: Vec::new(),
            unipc_final_sigma: 0.0,
            ddpm_variance: DdpmVariance::Small,
            lcm_boundary: LcmBoundary::VariancePreserving,
            lcm_timestep_scaling: 10.0,
            lcm_sigma_data: 0.5,
            tcd_gamma: 0.3,
            schedule: None,
            adaptive: Adaptive::default(),
            restart: None,
            flow_variable: FlowVariable::HalfLogSnr,
            flow_top: 1.0 - 1e-6,
            variance_preserving_end: None,
        }
    }
}

/// When a multistep solver lowers its order towards the end (step n − 1 at most second, step n first order).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LowerOrderFinal {
    /// Only where the last σ is 0 and nothing else is possible.
    Never,
    /// On ladders of fewer steps than this. diffusers: 15.
    Below(usize),
    /// On every ladder.
    Always,
}

impl LowerOrderFinal {
    /// Whether it applies to a ladder of `steps` steps.
    pub fn applies(self, steps: usize) -> bool {
        match self {
            Self::Never => false,
            Self::Below(limit) => steps < limit,
            Self::Always => true,
        }
    }
}

/// The two second-order forms of DPM-Solver++ (Lu et al. 2022b, Appendix B).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// ½ (1 − e⁻ʰ) on the difference of two predictions.
    Midpoint,
    /// (e⁻ʰ − 1)/h + 1 on it.
    Heun,
}

/// iPNDM's Adams-Bashforth coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpndmCoefficients {
    /// Those of equal steps, whatever the ladder (`ipndm`).
    Uniform,
    /// Those of the ladder's own steps in σ (`ipndm_v`).
    Variable,
}

/// What PLMS averages over its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlmsAverage {
    /// ε, as in the paper.
    Noise,
    /// The velocity of a variance-preserving network, which becomes ε at the step's own latent: diffusers, where the network
    /// predicts it.
    Velocity,
}

/// The variable in which DEIS lays a polynomial through the last ε.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeisVariable {
    /// log σ ("log-ρ", diffusers).
    LogSigma,
    /// The time of the continuous VP schedule between σ = 0.002 and 80 ("tAB", ComfyUI).
    VpTime,
}

/// The variance of DDPM's reverse step (Ho et al. 2020, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DdpmVariance {
    /// β̃: that of the posterior q(xₜ₋₁ | xₜ, x₀).
    Small,
    /// β.
    Large,
}

/// LCM's consistency function c_skip·x + c_out·x̂₀ (Luo et al. 2023).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LcmBoundary {
    /// x̂₀ alone (ComfyUI).
    Off,
    /// x is the variance-preserving latent (the paper, diffusers).
    VariancePreserving,
    /// x is the latent of σ-space (A1111).
    Sigma,
}

/// What λ is on a rectified flow. Both give solvers of the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowVariable {
    /// ln((1 − σ)/σ), half the logarithm of the signal to noise ratio: the papers and diffusers.
    HalfLogSnr,
    /// −ln σ, as if noise were added: k-diffusion's functions as they stand (A1111, ComfyUI).
    LogSigma,
}

/// DPM adaptive: tolerances and the PID controller of the step size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adaptive {
    /// Relative tolerance, > 0.
    pub rtol: f64,
    /// Absolute tolerance, > 0.
    pub atol: f64,
    /// The first step in λ, > 0.
    pub h_init: f64,
    /// Proportional coefficient.
    pub pcoeff: f64,
    /// Integral coefficient.
    pub icoeff: f64,
    /// Differential coefficient.
    pub dcoeff: f64,
    /// A step is accepted where the controller's factor is at least this, in (0, 1).
    pub accept_safety: f64,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            rtol: 0.05,
            atol: 0.0078,
            h_init: 0.05,
            pcoeff: 0.0,
            icoeff: 1.0,
            dcoeff: 0.0,
            accept_safety: 0.81,
        }
    }
}

/// One jump of the Restart sampler: at the ladder's σ nearest to `sigma_min`, noise is added up to its σ nearest to
/// `sigma_max` and the way down is walked again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RestartSegment {
    /// Where the jump starts.
    pub sigma_min: f64,
    /// Where it leads.
    pub sigma_max: f64,
    /// How many values the Karras ladder of the way down has, ≥ 2: one more than its steps.
    pub values: usize,
    /// How often.
    pub times: usize,
}

impl SamplerOptions {
    /// η for `sampler`.
    pub(super) fn eta(&self, sampler: Sampler) -> f64 {
        self.eta.unwrap_or_else(|| sampler.default_eta())
    }

    /// Checks every range that `sampler` depends on.
    pub(super) fn check(&self, sampler: Sampler) -> Result<(), Error> {
        let at_least_0 = [
            ("eta", self.eta.unwrap_or(0.0)),
            ("s_noise", self.s_noise),
            ("s_churn", self.s_churn),
            ("unipc_final_sigma", self.unipc_final_sigma),
        ];
        for (name, value) in at_least_0 {
            require(
                value >= 0.0 && value.is_finite(),
                name,
                value,
                "a finite number ≥ 0",
            )?;
        }
        let positive = [
            ("lcm_timestep_scaling", self.lcm_timestep_scaling),
            ("lcm_sigma_data", self.lcm_sigma_data),
            ("rtol", self.adaptive.rtol),
            ("atol", self.adaptive.atol),
            ("h_init", self.adaptive.h_init),
        ];
        for (name, value) in positive {
            require(
                value > 0.0 && value.is_finite(),
                name,
                value,
                "a finite number > 0",
            )?;
        }
        let (r, gamma) = (self.sde_r, self.tcd_gamma);
        require(r > 0.0 && r <= 1.0, "sde_r", r, "above 0 and not above 1")?;
        require(
            (0.0..=1.0).contains(&gamma),
            "tcd_gamma",
            gamma,
            "between 0 and 1",
        )?;
        let top = self.flow_top;
        require(
            top > 0.0 && top < 1.0,
            "flow_top",
            top,
            "between 0 and 1, without both",
        )?;
        let safety = self.adaptive.accept_safety;
        require(
            safety > 0.0 && safety < 1.0,
            "accept_safety",
            safety,
            "between 0 and 1, without both",
        )?;
        // The controller must grow the step where the error is small, or it would never end.
        let Adaptive {
            pcoeff,
            icoeff,
            dcoeff,
            ..
        } = self.adaptive;
        let gain = pcoeff + icoeff + dcoeff;
        require(
            gain > 0.0 && gain.is_finite(),
            "pcoeff + icoeff + dcoeff",
            gain,
            "a finite number > 0",
        )?;
        if let (Some(order), Some(allowed)) = (self.order, sampler.orders()) {
            let expected = format!("from {} to {}", allowed.start(), allowed.end());
            require(allowed.contains(&order), "order", order, &expected)?;
        }
        for segment in self.restart.iter().flatten() {
            require(
                segment.values >= 2,
                "restart.values",
                segment.values,
                "at least 2",
            )?;
        }
        Ok(())
    }
}

fn require(
    holds: bool,
    name: &'static str,
    value: impl ToString,
    expected: &str,
) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Setting {
        name,
        value: value.to_string(),
        expected: expected.to_owned(),
    })
}
