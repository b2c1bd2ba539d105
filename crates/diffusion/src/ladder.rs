//! σ ladders: which noise levels a sampler visits.
//!
//! A ladder is a **curve** from σ_max to σ_min and a rule for its **end**. Programs share the curves and differ in the
//! ends and in the axis some curves are drawn on, so both are data ([`LadderOptions`]); nothing here asks which program
//! is imitated. A reference that fixes time steps instead of σ has its own rule, [`SpacedLadder`].
//!
//! | curve | default end | others in use |
//! |---|---|---|
//! | Normal, Uniform, Karras, Exponential, Polyexponential | [`End::Append`] | |
//! | SGM uniform (Normal with another end) | [`End::Replace`] | |
//! | KL optimal | [`End::Append`] | [`End::Keep`]: n + 1 levels, the last σ_min |
//! | Align Your Steps | [`End::Append`] | [`End::Replace`] |
//! | Beta | on time steps, rounded | [`BetaAxis::Sigma`]: on σ, both ends met |
//! | Simple, DDIM uniform, linear-quadratic | their own | |
//!
//! Two ladders do not always have the asked number of steps, because the reference's do not: DDIM uniform can have more
//! (its stride is whole), Beta on time steps fewer (equal neighbours fall together).

mod beta;
mod flow;
mod img2img;
mod spaced;
mod timesteps;

use serde::{Deserialize, Serialize};

use crate::{Error, NoiseSchedule, Sigmas};

pub use beta::beta_quantile;
pub use flow::{FlowSchedule, flow_mu, flow_shift, flow_shift_exponential};
pub use img2img::{StrengthRule, TailPlan};
pub use spaced::{
    Grid, LastSigma, Range, Shape, SpacedLadder, Spacing, SpacingRule, TimestepRounding,
    ladder_of_timesteps,
};
use timesteps::check_steps;
pub use timesteps::{distilled_timesteps, strided_ladder, strided_timesteps};

/// A named ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// The sampler's own default; as a ladder, [`Scheduler::Uniform`].
    Automatic,
    /// Even in time steps, σ_max to σ_min, then 0. The same numbers as [`Scheduler::Normal`] under its older name.
    Uniform,
    /// Even in time steps, σ_max to σ_min, then 0.
    Normal,
    /// Even in σ^(1/ρ), ρ 7 (Karras et al. 2206.00364, eq. 5).
    Karras,
    /// Even in log σ.
    Exponential,
    /// A power ρ of an even ramp in log σ; ρ 1 is [`Scheduler::Exponential`].
    Polyexponential,
    /// Even in time steps without σ_min: the last interval goes to 0.
    SgmUniform,
    /// Every N/n-th trained level from the top.
    Simple,
    /// Every ⌊N/n⌋-th trained level from time step 1.
    DdimUniform,
    /// Quantiles of a beta distribution (Lee et al. 2407.12173).
    Beta,
    /// Even in arctan σ (the KL-optimal schedule of Sabour et al. 2404.14507).
    KlOptimal,
    /// The published table of Align Your Steps (2404.14507), log-linearly interpolated.
    AlignYourSteps,
    /// Linear at first, quadratic after (the Mochi video model's).
    LinearQuadratic,
}

impl Scheduler {
    /// Every ladder, in the order of the declaration.
    pub const ALL: [Self; 13] = [
        Self::Automatic,
        Self::Uniform,
        Self::Normal,
        Self::Karras,
        Self::Exponential,
        Self::Polyexponential,
        Self::SgmUniform,
        Self::Simple,
        Self::DdimUniform,
        Self::Beta,
        Self::KlOptimal,
        Self::AlignYourSteps,
        Self::LinearQuadratic,
    ];
}

/// How a curve of n steps reaches its last level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// n levels, the last σ_min, then 0.
    Append,
    /// n + 1 levels, the last of them replaced by 0: σ_min is not visited.
    Replace,
    /// n + 1 levels as they are: the ladder ends at σ_min, not at 0.
    Keep,
}

/// The axis on which [`Scheduler::Beta`] places its quantiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaAxis {
    /// On the time steps, at 1 − i/n for i < n, rounded to trained steps; equal neighbours are merged. 0 is appended.
    Timestep,
    /// Linearly between σ_min and σ_max, at n even points from 1 to 0. 0 is appended.
    Sigma,
}

/// Which published table [`Scheduler::AlignYourSteps`] interpolates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlignTable {
    /// Optimised for Stable Diffusion 1.5.
    Trained512,
    /// Optimised for Stable Diffusion XL.
    Trained1024,
}

impl AlignTable {
    /// The eleven levels.
    pub fn sigmas(self) -> &'static [f64; 11] {
        match self {
            Self::Trained512 => &[
                14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029,
            ],
            Self::Trained1024 => &[
                14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029,
            ],
        }
    }
}

/// What [`ladder`] can be told beyond the name. `Default` is the common form of each curve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LadderOptions {
    /// Karras's and the polyexponential ladder's ρ, > 0; `None` for their own 7 and 1.
    pub rho: Option<f64>,
    /// Lowest level above 0; `None` for the schedule's.
    pub sigma_min: Option<f64>,
    /// Highest level; `None` for the schedule's.
    pub sigma_max: Option<f64>,
    /// The end of a curve; `None` for the curve's own (see the table above). Ignored by curves with an end of their own.
    pub end: Option<End>,
    /// α of [`Scheduler::Beta`], > 0.
    pub beta_alpha: f64,
    /// β of [`Scheduler::Beta`], > 0.
    pub beta_beta: f64,
    /// The axis of [`Scheduler::Beta`].
    pub beta_axis: BetaAxis,
    /// The table of [`Scheduler::AlignYourSteps`].
    pub align: AlignTable,
    /// Compute one step more and drop the last level above 0, as samplers want that evaluate twice a step.
    pub discard_penultimate: bool,
}

impl Default for LadderOptions {
    fn default() -> Self {
        Self {
            rho: None,
            sigma_min: None,
            sigma_max: None,
            end: None,
            beta_alpha: 0.6,
            beta_beta: 0.6,
            beta_axis: BetaAxis::Timestep,
            align: AlignTable::Trained512,
            discard_penultimate: false,
        }
    }
}

/// The noise levels a network knows: what curves over time steps are drawn on.
pub trait Levels {
    /// σ of every trained time step, rising.
    fn sigmas(&self) -> &[f64];
    /// σ at a fractional time step.
    fn sigma(&self, t: f64) -> f64;
    /// The time step the network is given at σ.
    fn timestep(&self, sigma: f64) -> f64;
}

impl Levels for NoiseSchedule {
    fn sigmas(&self) -> &[f64] {
        self.sigmas()
    }
    fn sigma(&self, t: f64) -> f64 {
        self.sigma(t)
    }
    fn timestep(&self, sigma: f64) -> f64 {
        self.timestep(sigma)
    }
}

/// The ladder called `scheduler` in `steps` steps over `levels`.
///
/// # Errors
/// No steps, more steps than a ladder of trained levels has, options out of range, or a ladder that does not descend
/// (two equal levels: too many steps).
pub fn ladder(
    scheduler: Scheduler,
    levels: &dyn Levels,
    steps: usize,
    options: &LadderOptions,
) -> Result<Sigmas, Error> {
    if steps == 0 {
        return Err(setting("steps", steps, "at least 1"));
    }
    let count = steps + usize::from(options.discard_penultimate);
    let mut values = Curve::new(levels, options)?.values(scheduler, count)?;
    if options.discard_penultimate && values.len() > 2 {
        values.remove(values.len() - 2);
    }
    Sigmas::new(values)
}

/// An explicit list of levels; 0 is appended where it is missing.
pub fn custom_ladder(values: &[f64]) -> Result<Sigmas, Error> {
    let mut values = values.to_vec();
    if values.last().is_some_and(|&v| v > 0.0) {
        values.push(0.0);
    }
    Sigmas::new(values)
}

/// The levels and options of one ladder, checked.
struct Curve<'a> {
    levels: &'a dyn Levels,
    options: &'a LadderOptions,
    low: f64,
    high: f64,
}

impl<'a> Curve<'a> {
    fn new(levels: &'a dyn Levels, options: &'a LadderOptions) -> Result<Self, Error> {
        let trained = levels.sigmas();
        let (first, last) = match trained {
            [first, .., last] => (*first, *last),
            _ => return Err(setting("trained levels", trained.len(), "at least 2")),
        };
        let low = options.sigma_min.unwrap_or(first);
        let high = options.sigma_max.unwrap_or(last);
        if !(low > 0.0 && low < high && high.is_finite()) {
            let given = format!("{low}..{high}");
            return Err(setting(
                "sigma_min..sigma_max",
                given,
                "0 < sigma_min < sigma_max",
            ));
        }
        let positive = [
            ("rho", options.rho.unwrap_or(1.0)),
            ("beta_alpha", options.beta_alpha),
            ("beta_beta", options.beta_beta),
        ];
        for (name, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(setting(name, value, "a number above 0"));
            }
        }
        Ok(Self {
            levels,
            options,
            low,
            high,
        })
    }

    fn values(&self, scheduler: Scheduler, steps: usize) -> Result<Vec<f64>, Error> {
        use Scheduler as S;
        let (low, high) = (self.low, self.high);
        let mix = |a: f64, b: f64, r: f64| a + r * (b - a);
        Ok(match scheduler {
            S::Automatic | S::Uniform | S::Normal => self.timesteps(steps, End::Append),
            S::SgmUniform => self.timesteps(steps, End::Replace),
            S::Karras => {
                let rho = self.options.rho.unwrap_or(7.0);
                let root = |v: f64| v.powf(1.0 / rho);
                self.curve(steps, End::Append, |r| {
                    mix(root(high), root(low), r).powf(rho)
                })
            }
            S::Exponential => self.curve(steps, End::Append, |r| mix(high.ln(), low.ln(), r).exp()),
            S::Polyexponential => {
                let rho = self.options.rho.unwrap_or(1.0);
                self.curve(steps, End::Append, |r| {
                    mix(low.ln(), high.ln(), (1.0 - r).powf(rho)).exp()
                })
            }
            S::KlOptimal => self.curve(steps, End::Append, |r| {
                mix(high.atan(), low.atan(), r).tan()
            }),
            S::AlignYourSteps => {
                let table = self.options.align.sigmas();
                self.curve(steps, End::Append, |r| log_linear(table, r))
            }
            S::Simple => self.simple(steps)?,
            S::DdimUniform => self.ddim_uniform(steps)?,
            S::Beta => self.beta(steps),
            S::LinearQuadratic => linear_quadratic(steps, high),
        })
    }

    /// A curve over the ramp 0 ..= 1, with its end.
    fn curve(&self, steps: usize, own: End, level: impl Fn(f64) -> f64) -> Vec<f64> {
        let end = self.options.end.unwrap_or(own);
        let count = if end == End::Append { steps } else { steps + 1 };
        let mut values: Vec<f64> = ramp(count).map(level).collect();
        match end {
            End::Append => values.push(0.0),
            End::Replace => values[count - 1] = 0.0,
            End::Keep => {}
        }
        values
    }

    fn timesteps(&self, steps: usize, own: End) -> Vec<f64> {
        let (first, last) = (
            self.levels.timestep(self.high),
            self.levels.timestep(self.low),
        );
        self.curve(steps, own, |r| {
            self.levels.sigma(first + r * (last - first))
        })
    }

    fn simple(&self, steps: usize) -> Result<Vec<f64>, Error> {
        let trained = self.levels.sigmas();
        check_steps(trained.len(), steps)?;
        let stride = trained.len() as f64 / steps as f64;
        let levels = (0..steps).map(|i| trained[trained.len() - 1 - (i as f64 * stride) as usize]);
        Ok(levels.chain([0.0]).collect())
    }

    fn ddim_uniform(&self, steps: usize) -> Result<Vec<f64>, Error> {
        let trained = self.levels.sigmas();
        check_steps(trained.len(), steps)?;
        let stride = trained.len() / steps;
        let mut values: Vec<f64> = trained.iter().skip(1).step_by(stride).copied().collect();
        values.reverse();
        values.push(0.0);
        Ok(values)
    }

    fn beta(&self, steps: usize) -> Vec<f64> {
        let (a, b) = (self.options.beta_alpha, self.options.beta_beta);
        let mut values: Vec<f64> = match self.options.beta_axis {
            BetaAxis::Sigma => ramp(steps)
                .map(|r| self.low + beta_quantile(1.0 - r, a, b) * (self.high - self.low))
                .collect(),
            BetaAxis::Timestep => {
                let trained = self.levels.sigmas();
                let last = (trained.len() - 1) as f64;
                let mut indices: Vec<usize> = (0..steps)
                    .map(|i| 1.0 - i as f64 * (1.0 / steps as f64))
                    .map(|p| (beta_quantile(p, a, b) * last).round_ties_even() as usize)
                    .collect();
                indices.dedup();
                indices.into_iter().map(|t| trained[t]).collect()
            }
        };
        values.push(0.0);
        values
    }
}

/// 0 to 1 in `count` even points; a single point is 0, as in numpy and torch.
pub(crate) fn ramp(count: usize) -> impl Iterator<Item = f64> {
    let last = count.saturating_sub(1).max(1) as f64;
    (0..count).map(move |i| i as f64 / last)
}

/// A table read at `r` of its length, linear in the logarithm.
fn log_linear(table: &[f64], r: f64) -> f64 {
    let at = r * (table.len() - 1) as f64;
    let low = (at.floor() as usize).min(table.len() - 2);
    let w = at - low as f64;
    (table[low].ln() * (1.0 - w) + table[low + 1].ln() * w).exp()
}

/// Half of the steps linear over the first 2.5 % of the range, the rest quadratic and tangent to it.
fn linear_quadratic(steps: usize, high: f64) -> Vec<f64> {
    const THRESHOLD: f64 = 0.025;
    let linear = steps / 2;
    if linear == 0 {
        return vec![high, 0.0];
    }
    let (n, l) = (steps as f64, linear as f64);
    let q = n - l;
    let gap = l - THRESHOLD * n;
    let square = gap / (l * q * q);
    let slope = THRESHOLD / l - 2.0 * gap / (q * q);
    let done = |i: usize| {
        let x = i as f64;
        if i < linear {
            x * THRESHOLD / l
        } else {
            square * x * x + slope * x + square * l * l
        }
    };
    let levels = (0..steps).map(|i| (1.0 - done(i)) * high);
    levels.chain([0.0]).collect()
}

pub(crate) fn setting(name: &'static str, value: impl ToString, expected: &str) -> Error {
    Error::Setting {
        name,
        value: value.to_string(),
        expected: expected.to_owned(),
    }
}
