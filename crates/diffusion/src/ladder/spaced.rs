//! Ladders that start from time steps: the reference fixes t, and σ follows.

use serde::{Deserialize, Serialize};

use crate::{Error, NoiseSchedule, Sigmas};

use super::{beta_quantile, check_steps, ramp};

/// Which training time steps an n-step ladder visits (Lin et al. 2305.08891, Table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// From the low end in whole strides: 1, 1 + ⌊N/n⌋, …; the last training step is not visited.
    Leading,
    /// Evenly from the last to the first, both included.
    Linspace,
    /// From the high end: N − 1, N − 1 − N/n, …; the first training step is not visited.
    Trailing,
}

impl Spacing {
    /// `steps` falling time steps of `train`, whole numbers; `offset` is added with [`Spacing::Leading`] alone. The
    /// common case of [`SpacingRule`].
    pub fn timesteps(self, train: usize, steps: usize, offset: usize) -> Result<Vec<f64>, Error> {
        SpacingRule {
            spacing: self,
            offset,
            ..SpacingRule::default()
        }
        .timesteps(train, steps)
    }
}

/// How [`Spacing`] is laid over the training steps. References agree on the three spacings and differ in this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grid {
    /// n whole time steps: DDIM, DDPM, PLMS, LCM.
    Whole,
    /// n time steps, fractional with [`Spacing::Linspace`]: Euler, Heun, DPM2, LMS.
    Fractional,
    /// n + 1 whole points whose lowest is left out: DPM-Solver, UniPC, DEIS.
    Intervals,
}

/// Which time steps a ladder visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SpacingRule {
    /// The spacing.
    pub spacing: Spacing,
    /// Added to each time step, with [`Spacing::Leading`] alone. 1 for Stable Diffusion.
    pub offset: usize,
    /// The grid.
    pub grid: Grid,
}

impl Default for SpacingRule {
    fn default() -> Self {
        Self {
            spacing: Spacing::Leading,
            offset: 0,
            grid: Grid::Whole,
        }
    }
}

impl SpacingRule {
    /// `steps` falling time steps of a network trained on `train`.
    ///
    /// # Errors
    /// No steps, more than `train`, or an offset that leaves the schedule.
    pub fn timesteps(&self, train: usize, steps: usize) -> Result<Vec<f64>, Error> {
        check_steps(train, steps)?;
        let intervals = usize::from(self.grid == Grid::Intervals);
        let points = steps + intervals;
        let timesteps: Vec<f64> = match self.spacing {
            Spacing::Leading => {
                let stride = train / points;
                let ends = intervals..points;
                ends.rev()
                    .map(|i| (i * stride + self.offset) as f64)
                    .collect()
            }
            Spacing::Linspace => {
                // a single point is the low end, as in numpy
                let step = (train - 1) as f64 / points.saturating_sub(1).max(1) as f64;
                let fractional = self.grid == Grid::Fractional;
                let place = |i: usize| {
                    let t = (i as f64 * step).min((train - 1) as f64);
                    if fractional { t } else { t.round_ties_even() }
                };
                (intervals..points).rev().map(place).collect()
            }
            Spacing::Trailing => {
                let stride = train as f64 / steps as f64;
                let place = |i: usize| (train as f64 - i as f64 * stride).round_ties_even() - 1.0;
                (0..steps).map(place).collect()
            }
        };
        let last = (train - 1) as f64;
        match timesteps.first() {
            Some(&t) if t > last => Err(super::setting(
                "steps_offset",
                self.offset,
                &format!("small enough that the first of {steps} steps, {t}, is at most {last}"),
            )),
            _ => Ok(timesteps),
        }
    }
}

/// How σ is laid between the ends that the time steps give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// σ of the time steps themselves.
    Plain,
    /// Even in σ^(1/7); the time steps are those of the new σ.
    Karras,
    /// Even in log σ (also what "Lu's λ" is, at its ρ of 1).
    Exponential,
    /// Quantiles of Beta(0.6, 0.6) between the ends.
    Beta,
}

impl Shape {
    /// The level at `r` of the way from `high` to `low`. A plain shape has none of its own and is taken as exponential.
    pub(super) fn level(self, high: f64, low: f64, r: f64) -> f64 {
        let mix = |a: f64, b: f64| a + r * (b - a);
        match self {
            Self::Karras => mix(high.powf(1.0 / 7.0), low.powf(1.0 / 7.0)).powi(7),
            Self::Beta => low + beta_quantile(1.0 - r, 0.6, 0.6) * (high - low),
            Self::Plain | Self::Exponential => mix(high.ln(), low.ln()).exp(),
        }
    }
}

/// Between which levels a [`Shape`] other than plain is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Range {
    /// From the first visited time step to the last: Euler, Heun, DPM2, LMS.
    Visited,
    /// All trained levels: DPM-Solver, UniPC, DEIS.
    Trained,
}

/// What becomes of the fractional time steps of a reshaped ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepRounding {
    /// They stay fractional: Euler, Heun, LMS.
    Keep,
    /// To the nearest: DPM-Solver, UniPC and DEIS with Karras's shape; DPM2.
    Nearest,
    /// Towards 0: the same with the other shapes (a cast to integers in the reference).
    Down,
}

/// The level after the last visited one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastSigma {
    /// 0.
    Zero,
    /// σ of time step 0: `final_sigmas_type = "sigma_min"`, `set_alpha_to_one = false`.
    FirstStep,
}

/// A ladder defined by the time steps it visits, as scheduler configs describe it.
///
/// A DDIM reference steps from t to t − ⌊N/n⌋, not to the next listed t. The two are the same for
/// [`Spacing::Leading`], and for [`Spacing::Trailing`] when n divides N; otherwise this ladder steps to the next t, which
/// is what the spacing means.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SpacedLadder {
    /// The time steps.
    pub rule: SpacingRule,
    /// The σ between the ends.
    pub shape: Shape,
    /// The ends of a shape other than plain.
    pub range: Range,
    /// The rounding of time steps of a shape other than plain.
    pub rounding: TimestepRounding,
    /// The level after the last.
    pub last: LastSigma,
}

impl SpacedLadder {
    /// DDIM, DDPM, PLMS, LCM: whole time steps, no reshaping.
    pub fn whole(spacing: Spacing, offset: usize, last: LastSigma) -> Self {
        Self {
            rule: SpacingRule {
                spacing,
                offset,
                grid: Grid::Whole,
            },
            shape: Shape::Plain,
            range: Range::Visited,
            rounding: TimestepRounding::Keep,
            last,
        }
    }

    /// Euler, Heun, LMS: fractional time steps, reshaped between the visited ends.
    pub fn fractional(spacing: Spacing, offset: usize, shape: Shape) -> Self {
        Self {
            rule: SpacingRule {
                spacing,
                offset,
                grid: Grid::Fractional,
            },
            shape,
            range: Range::Visited,
            rounding: TimestepRounding::Keep,
            last: LastSigma::Zero,
        }
    }

    /// DPM-Solver, UniPC, DEIS: n + 1 points, reshaped over all trained levels.
    pub fn intervals(spacing: Spacing, offset: usize, shape: Shape, last: LastSigma) -> Self {
        let rounding = match shape {
            Shape::Plain | Shape::Karras => TimestepRounding::Nearest,
            Shape::Exponential | Shape::Beta => TimestepRounding::Down,
        };
        Self {
            rule: SpacingRule {
                spacing,
                offset,
                grid: Grid::Intervals,
            },
            shape,
            range: Range::Trained,
            rounding,
            last,
        }
    }

    /// The ladder in `steps` steps, with its time steps.
    ///
    /// # Errors
    /// As [`SpacingRule::timesteps`]; also a ladder that does not descend, such as a last level above the visited ones.
    pub fn ladder(&self, schedule: &NoiseSchedule, steps: usize) -> Result<Sigmas, Error> {
        let timesteps = self.rule.timesteps(schedule.steps(), steps)?;
        if self.shape == Shape::Plain {
            let stride = (schedule.steps() / steps.max(1)) as f64;
            let landed: Vec<f64> = timesteps.iter().map(|t| t - stride).collect();
            let ladder = ladder_of_timesteps(schedule, timesteps, self.last)?;
            if self.rule.grid != Grid::Whole {
                return Ok(ladder);
            }
            let end = ladder.values().last().copied().unwrap_or(0.0);
            let sigma = |t: &f64| if *t < 0.0 { end } else { schedule.sigma(*t) };
            return ladder.with_landings(landed.iter().map(sigma).collect());
        }
        let (high, low) = match (self.range, timesteps.as_slice()) {
            (Range::Visited, [first, .., last]) => {
                (schedule.sigma_linear(*first), schedule.sigma_linear(*last))
            }
            (Range::Visited, [only]) => {
                (schedule.sigma_linear(*only), schedule.sigma_linear(*only))
            }
            _ => (schedule.sigma_max(), schedule.sigma_min()),
        };
        let level = |r: f64| self.shape.level(high, low, r);
        let values: Vec<f64> = ramp(steps).map(level).collect();
        let round = |t: f64| match self.rounding {
            TimestepRounding::Keep => t,
            TimestepRounding::Nearest => t.round_ties_even(),
            TimestepRounding::Down => t.floor(),
        };
        let timesteps = values
            .iter()
            .map(|&s| round(schedule.timestep(s)))
            .collect();
        finish(schedule, values, timesteps, self.last)
    }
}

/// The ladder that visits exactly these falling time steps, each at its σ (linear between whole steps).
pub fn ladder_of_timesteps(
    schedule: &NoiseSchedule,
    timesteps: Vec<f64>,
    last: LastSigma,
) -> Result<Sigmas, Error> {
    let values = timesteps
        .iter()
        .map(|&t| schedule.sigma_linear(t))
        .collect();
    finish(schedule, values, timesteps, last)
}

fn finish(
    schedule: &NoiseSchedule,
    mut values: Vec<f64>,
    timesteps: Vec<f64>,
    last: LastSigma,
) -> Result<Sigmas, Error> {
    values.push(match last {
        LastSigma::Zero => 0.0,
        LastSigma::FirstStep => schedule.sigma_min(),
    });
    Sigmas::new(values)?.with_timesteps(timesteps)
}
