//! Rectified flows: σ = t, shifted.

use crate::{Error, Sigmas};

use super::{Levels, Shape, ramp, setting};

/// A rectified flow's σ = t moved towards noise by a factor: `s·t / (1 + (s − 1)·t)` (Esser et al. 2403.03206, eq. 23).
/// `shift` 1 changes nothing; `t` in [0, 1].
pub fn flow_shift(t: f64, shift: f64) -> f64 {
    shift * t / (1.0 + (shift - 1.0) * t)
}

/// The exponential form whose shift grows with the picture: `e^μ / (e^μ + (1/t − 1)^p)`. With `power` 1 it is
/// [`flow_shift`] by e^μ. `t` in (0, 1]; 0 gives 0.
pub fn flow_shift_exponential(t: f64, mu: f64, power: f64) -> f64 {
    if t <= 0.0 {
        return 0.0;
    }
    let e = mu.exp();
    e / (e + (1.0 / t - 1.0).powf(power))
}

/// μ of [`flow_shift_exponential`] for a picture of `tokens` latent patches: linear between (256, 0.5) and (4096, 1.15).
pub fn flow_mu(tokens: usize) -> f64 {
    let (low, high) = ((256.0, 0.5), (4096.0, 1.15));
    low.1 + (tokens as f64 - low.0) * (high.1 - low.1) / (high.0 - low.0)
}

/// The levels of a rectified flow: σ = t/N, shifted (see [`flow_shift`]).
///
/// [`Levels::timestep`] is `N·σ`, what the network is given, and so **not** the inverse of [`Levels::sigma`] unless the
/// shift is 1: curves over time steps shift twice at the low end, as the references do.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowSchedule {
    shift: f64,
    sigmas: Vec<f64>,
}

impl FlowSchedule {
    /// `steps` trained levels (1000 for the published models) moved by `shift` > 0.
    pub fn new(shift: f64, steps: usize) -> Result<Self, Error> {
        if !(shift > 0.0 && shift.is_finite()) {
            return Err(setting("flow shift", shift, "a number above 0"));
        }
        if steps < 2 {
            return Err(setting("training time steps", steps, "at least 2"));
        }
        let sigmas = (1..=steps)
            .map(|t| flow_shift(t as f64 / steps as f64, shift))
            .collect();
        Ok(Self { shift, sigmas })
    }

    /// The ladder of the published flow schedulers: evenly from the highest to the lowest *shifted* level, shifted once
    /// more, then 0; each with time step `N·σ`.
    pub fn ladder(&self, steps: usize) -> Result<Sigmas, Error> {
        self.shaped(Shape::Plain, steps)
    }

    /// The same, its levels laid out anew between the first and the last in this shape.
    pub fn shaped(&self, shape: Shape, steps: usize) -> Result<Sigmas, Error> {
        if steps == 0 {
            return Err(setting("steps", steps, "at least 1"));
        }
        let train = self.sigmas.len() as f64;
        let (low, high) = (self.sigmas[0], self.sigmas[self.sigmas.len() - 1]);
        let mut values: Vec<f64> = ramp(steps)
            .map(|r| flow_shift(high + r * (low - high), self.shift))
            .collect();
        if shape != Shape::Plain {
            let (high, low) = (values[0], values[steps - 1]);
            values = ramp(steps).map(|r| shape.level(high, low, r)).collect();
        }
        let timesteps = values.iter().map(|s| s * train).collect();
        values.push(0.0);
        Sigmas::new(values)?.with_timesteps(timesteps)
    }
}

impl Levels for FlowSchedule {
    fn sigmas(&self) -> &[f64] {
        &self.sigmas
    }
    fn sigma(&self, t: f64) -> f64 {
        flow_shift(t / self.sigmas.len() as f64, self.shift)
    }
    fn timestep(&self, sigma: f64) -> f64 {
        sigma * self.sigmas.len() as f64
    }
}
