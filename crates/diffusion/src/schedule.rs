//! Noise schedules: how much noise each training time step carries.
//!
//! A variance-preserving schedule is the list ᾱ_t = Π (1 − β_i); in σ-space its level is σ_t = √((1 − ᾱ_t) / ᾱ_t).
//! Between the integer time steps σ is interpolated in log σ, so σ(t) and t(σ) are inverse to each other.
//!
//! **Rounding.** The published schedules were computed in f32 and models were sampled with those numbers ever since, so
//! [`NoiseSchedule::new`] rounds where the reference rounds: the ladder of β and 1 − β to f32, the running product in
//! f64 and each ᾱ_t to f32. Everything after that is f64. Without the rounding ᾱ is off by up to 1e-6 (scaled linear)
//! and 1e-5 (the last steps of cosine, where 1 − β is 0.001). [`NoiseSchedule::from_betas`] rounds nothing.

use serde::{Deserialize, Serialize};

use crate::Error;

/// How β grows over the training steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// β linear from start to end (Ho et al. 2020).
    Linear,
    /// √β linear from √start to √end: the schedule of the latent-diffusion models, whose own configs call it "linear".
    ScaledLinear,
    /// ᾱ a squared cosine, β at most 0.999 (Nichol & Dhariwal 2021). Start and end are not used.
    #[serde(rename = "squaredcos_cap_v2", alias = "cosine")]
    Cosine,
    /// β between start and end along a logistic curve from −6 to 6.
    Sigmoid,
    /// β = √(a linear ramp from start to end), the "sqrt" of the latent-diffusion code.
    Sqrt,
}

impl BetaSchedule {
    /// `steps` values of β, computed in f64 without rounding.
    pub fn betas(self, start: f64, end: f64, steps: usize) -> Vec<f64> {
        let ramp = |a: f64, b: f64| {
            let last = steps.saturating_sub(1).max(1) as f64;
            (0..steps).map(move |i| a + (b - a) * (i as f64 / last))
        };
        match self {
            Self::Linear => ramp(start, end).collect(),
            Self::ScaledLinear => ramp(start.sqrt(), end.sqrt()).map(|v| v * v).collect(),
            Self::Sqrt => ramp(start, end).map(f64::sqrt).collect(),
            Self::Sigmoid => ramp(-6.0, 6.0)
                .map(|v: f64| start + (end - start) / (1.0 + (-v).exp()))
                .collect(),
            Self::Cosine => cosine_betas(steps),
        }
    }

    /// The same in the reference's f32, widened.
    fn betas_f32(self, start: f64, end: f64, steps: usize) -> Vec<f32> {
        match self {
            Self::Linear => linspace_f32(start as f32, end as f32, steps),
            Self::ScaledLinear => linspace_f32(start.sqrt() as f32, end.sqrt() as f32, steps)
                .into_iter()
                .map(|v| v * v)
                .collect(),
            Self::Sqrt => linspace_f32(start as f32, end as f32, steps)
                .into_iter()
                .map(f32::sqrt)
                .collect(),
            Self::Sigmoid => linspace_f32(-6.0, 6.0, steps)
                .into_iter()
                .map(|v| 1.0 / (1.0 + (-v).exp()) * (end - start) as f32 + start as f32)
                .collect(),
            Self::Cosine => cosine_betas(steps).into_iter().map(|v| v as f32).collect(),
        }
    }
}

fn cosine_betas(steps: usize) -> Vec<f64> {
    let alpha_bar = |i: usize| {
        let t = i as f64 / steps as f64;
        ((t + 0.008) / 1.008 * std::f64::consts::PI / 2.0)
            .cos()
            .powi(2)
    };
    (0..steps)
        .map(|i| (1.0 - alpha_bar(i + 1) / alpha_bar(i)).min(0.999))
        .collect()
}

/// torch's f32 `linspace`: from both ends towards the middle, product and sum rounded once.
fn linspace_f32(start: f32, end: f32, steps: usize) -> Vec<f32> {
    let step = (end - start) / steps.saturating_sub(1).max(1) as f32;
    (0..steps)
        .map(|i| {
            if i < steps / 2 {
                step.mul_add(i as f32, start)
            } else {
                (-step).mul_add((steps - 1 - i) as f32, end)
            }
        })
        .collect()
}

/// The discrete noise schedule a network was trained with.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f64>,
    sigmas: Vec<f64>,
    log_sigmas: Vec<f64>,
}

/// The ᾱ that stands for an exact 0 when a finite σ is needed: σ_max = 1e6.
///
/// With zero terminal SNR the last σ is infinite. At 1e6 the picture's share of the scaled input `x / √(1 + σ²)` is
/// 1e-6, below what a network can see, while x itself still has f32's full precision. Programs that walk σ chose
/// smaller values and their pictures depend on it: [`TERMINAL_FLOOR_4096`] and [`TERMINAL_FLOOR_4518`] are the two in
/// use; see [`NoiseSchedule::with_terminal_floor`].
pub const TERMINAL_FLOOR: f64 = 1e-12;

/// The terminal ᾱ of diffusers' Euler and DPM-Solver classes: 2⁻²⁴, σ_max = 4096.
pub const TERMINAL_FLOOR_4096: f64 = 1.0 / 16_777_216.0;

/// The terminal ᾱ of A1111, Forge and ComfyUI: σ_max ≈ 4518.8.
pub const TERMINAL_FLOOR_4518: f64 = 4.897_345_189_085_343_5e-8;

impl NoiseSchedule {
    /// The schedule a config names, with the reference's rounding (see the module).
    ///
    /// `zero_terminal_snr` shifts and scales √ᾱ so that the last is exactly 0 (Lin et al. 2305.08891, Algorithm 1). That
    /// subtracts nearly equal f32 numbers: towards the end the reference's own ᾱ carries a relative error of a few 1e-6,
    /// which depends on the rounding of its square root.
    ///
    /// # Errors
    /// Fewer than two steps, or a β outside (0, 1).
    pub fn new(
        beta: BetaSchedule,
        start: f64,
        end: f64,
        steps: usize,
        zero_terminal_snr: bool,
    ) -> Result<Self, Error> {
        let betas = beta.betas_f32(start, end, steps);
        check_betas(betas.iter().map(|&b| f64::from(b)))?;
        let mut alphas: Vec<f32> = betas.into_iter().map(|b| 1.0 - b).collect();
        if zero_terminal_snr {
            alphas = rescale_zero_terminal_snr(&alphas);
        }
        let product = cumulative_product_f32(&alphas);
        Self::from_alphas_cumprod(product.into_iter().map(f64::from).collect())
    }

    /// The schedule of explicit β (`trained_betas`), in f64 throughout.
    pub fn from_betas(betas: &[f64]) -> Result<Self, Error> {
        check_betas(betas.iter().copied())?;
        let mut product = 1.0;
        Self::from_alphas_cumprod(
            betas
                .iter()
                .map(|b| {
                    product *= 1.0 - b;
                    product
                })
                .collect(),
        )
    }

    /// The schedule of explicit ᾱ, as some checkpoints carry it. Strictly falling, in (0, 1); the last may be 0.
    pub fn from_alphas_cumprod(alphas_cumprod: Vec<f64>) -> Result<Self, Error> {
        let bad = |reason: String| Err(Error::Ladder { reason });
        if alphas_cumprod.len() < 2 {
            return bad(format!(
                "a noise schedule needs at least two time steps, got {}",
                alphas_cumprod.len()
            ));
        }
        let last = alphas_cumprod.len() - 1;
        for (t, &a) in alphas_cumprod.iter().enumerate() {
            let floor_ok = a > 0.0 || (t == last && a == 0.0);
            if !(floor_ok && a < 1.0) {
                return bad(format!(
                    "ᾱ at time step {t} is {a}: expected a number in (0, 1)"
                ));
            }
        }
        if let Some(t) = (1..=last).find(|&t| alphas_cumprod[t] >= alphas_cumprod[t - 1]) {
            return bad(format!("ᾱ must fall, but does not at time step {t}"));
        }
        Ok(Self::build(alphas_cumprod, TERMINAL_FLOOR))
    }

    /// The same schedule with the last ᾱ, where it is smaller, taken as `floor` for σ; ᾱ itself stays exact.
    ///
    /// # Errors
    /// A floor that is not above 0 and below the last but one ᾱ.
    pub fn with_terminal_floor(self, floor: f64) -> Result<Self, Error> {
        let limit = self.alphas_cumprod[self.alphas_cumprod.len() - 2];
        if !(floor > 0.0 && floor < limit) {
            return Err(Error::Setting {
                name: "terminal ᾱ floor",
                value: floor.to_string(),
                expected: format!("above 0 and below {limit}, the ᾱ of the last but one time step"),
            });
        }
        Ok(Self::build(self.alphas_cumprod, floor))
    }

    fn build(alphas_cumprod: Vec<f64>, floor: f64) -> Self {
        let last = alphas_cumprod.len() - 1;
        let sigmas: Vec<f64> = alphas_cumprod
            .iter()
            .enumerate()
            .map(|(t, &a)| if t == last { a.max(floor) } else { a })
            .map(|a| ((1.0 - a) / a).sqrt())
            .collect();
        Self {
            log_sigmas: sigmas.iter().map(|s| s.ln()).collect(),
            sigmas,
            alphas_cumprod,
        }
    }

    /// ᾱ of every time step, exact: the last is 0 with zero terminal SNR.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// σ of every time step, rising and finite.
    pub fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }

    /// The number of training time steps.
    pub fn steps(&self) -> usize {
        self.sigmas.len()
    }

    /// σ of time step 0.
    pub fn sigma_min(&self) -> f64 {
        self.sigmas[0]
    }

    /// σ of the last time step.
    pub fn sigma_max(&self) -> f64 {
        self.sigmas[self.sigmas.len() - 1]
    }

    /// σ at a fractional time step, linear in log σ; `t` is clamped to the schedule.
    pub fn sigma(&self, t: f64) -> f64 {
        let (low, w) = self.split(t);
        if w == 0.0 {
            return self.sigmas[low];
        }
        ((1.0 - w) * self.log_sigmas[low] + w * self.log_sigmas[low + 1]).exp()
    }

    /// σ at a fractional time step, linear in σ itself, as the diffusers ladders interpolate.
    pub fn sigma_linear(&self, t: f64) -> f64 {
        let (low, w) = self.split(t);
        if w == 0.0 {
            return self.sigmas[low];
        }
        self.sigmas[low] + w * (self.sigmas[low + 1] - self.sigmas[low])
    }

    /// The fractional time step of σ, the inverse of [`Self::sigma`]; levels outside the schedule are clamped.
    pub fn timestep(&self, sigma: f64) -> f64 {
        let log_sigma = sigma.max(1e-10).ln();
        let above = self.log_sigmas.partition_point(|&l| l <= log_sigma);
        let low = above.saturating_sub(1).min(self.steps() - 2);
        let (a, b) = (self.log_sigmas[low], self.log_sigmas[low + 1]);
        low as f64 + ((log_sigma - a) / (b - a)).clamp(0.0, 1.0)
    }

    /// The integer time step whose log σ is nearest, the lower of two equals.
    pub fn timestep_rounded(&self, sigma: f64) -> usize {
        let log_sigma = sigma.max(1e-10).ln();
        let high = self
            .log_sigmas
            .partition_point(|&l| l < log_sigma)
            .min(self.steps() - 1);
        let low = high.saturating_sub(1);
        let distance = |t: usize| (self.log_sigmas[t] - log_sigma).abs();
        if distance(low) <= distance(high) {
            low
        } else {
            high
        }
    }

    /// The integer time step below `t` and the fraction above it.
    fn split(&self, t: f64) -> (usize, f64) {
        let last = (self.steps() - 1) as f64;
        let t = if t.is_nan() { 0.0 } else { t.clamp(0.0, last) };
        (t.floor() as usize, t - t.floor())
    }
}

fn check_betas(betas: impl Iterator<Item = f64>) -> Result<(), Error> {
    for (t, b) in betas.enumerate() {
        if !(b > 0.0 && b < 1.0) {
            return Err(Error::Setting {
                name: "β",
                value: format!("{b} at time step {t}"),
                expected: "a number in (0, 1)".to_owned(),
            });
        }
    }
    Ok(())
}

/// The running product in f64, each value rounded to f32, as torch's `cumprod` does on the CPU.
fn cumulative_product_f32(values: &[f32]) -> Vec<f32> {
    let mut product = 1.0f64;
    values
        .iter()
        .map(|&v| {
            product *= f64::from(v);
            product as f32
        })
        .collect()
}

/// Lin et al. 2305.08891, Algorithm 1, from 1 − β to 1 − β.
fn rescale_zero_terminal_snr(alphas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative_product_f32(alphas)
        .into_iter()
        .map(f32::sqrt)
        .collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let scale = first / (first - last);
    let bars: Vec<f32> = roots
        .into_iter()
        .map(|r| (r - last) * scale)
        .map(|r| r * r)
        .collect();
    (0..bars.len())
        .map(|t| {
            if t == 0 {
                bars[0]
            } else {
                bars[t] / bars[t - 1]
            }
        })
        .map(|a| 1.0 - (1.0 - a)) // the reference passes through β, which costs a rounding
        .collect()
}
