//! The learning rate over the steps.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A learning rate that warms up, then falls.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The highest rate.
    pub peak: f64,
    /// Steps on the way up, in a straight line.
    #[serde(default)]
    pub warm_up: u64,
    /// How it falls after that.
    #[serde(default)]
    pub decay: Decay,
    /// The rate at the end, as a share of the peak.
    #[serde(default)]
    pub end: f64,
    /// The step at which the end is reached; the last step of the run where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u64>,
    /// The steps of the fall of [`Decay::Stable`], which are the last of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cool_down: Option<u64>,
}

/// How a rate falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// In a straight line.
    Linear,
    /// Along half a wave of the cosine (Loshchilov and Hutter, 1608.03983).
    Cosine,
    /// Not before the last steps, then in a straight line (warm-up, stable, decay: Hu et al., 2404.06395). What comes
    /// before does not depend on the run's length, so that a run can still be made longer, or ended.
    Stable,
}

impl Rate {
    /// The rate of a step, counted from 0. `steps` is the run's length.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let begins = self.falls_from(steps);
        let over = self.over.unwrap_or(steps).saturating_sub(begins).max(1);
        let done = (step.saturating_sub(begins) as f64 / over as f64).min(1.0);
        let share = match self.decay {
            Decay::Constant => return self.peak,
            Decay::Linear | Decay::Stable => 1.0 - done,
            Decay::Cosine => 0.5 + 0.5 * (PI * done).cos(),
        };
        self.peak * (self.end + (1.0 - self.end) * share)
    }

    /// The step from which the rate falls, in a run of so many.
    pub(crate) fn falls_from(&self, steps: u64) -> u64 {
        let end = self.over.unwrap_or(steps);
        match self.cool_down {
            Some(cool_down) => end.saturating_sub(cool_down).max(self.warm_up),
            None => self.warm_up,
        }
    }

    /// The step at which the run can still be made longer, for the last time.
    pub(crate) fn turns(&self, steps: u64) -> Option<u64> {
        (self.decay == Decay::Stable).then(|| self.falls_from(steps))
    }

    /// # Errors
    /// A warm-up and a cool-down that the run is too short for.
    pub(crate) fn fits(&self, steps: u64) -> Result<(), Error> {
        match self.cool_down {
            Some(cool_down) if self.warm_up.saturating_add(cool_down) > steps => {
                let expected = format!(
                    "{} or less: the run has {steps} steps, and {} of them are rate.warm_up",
                    steps.saturating_sub(self.warm_up),
                    self.warm_up
                );
                Err(Error::setting("rate.cool_down", cool_down, &expected))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// A setting that is out of its range, or that the kind of decay does not read.
    pub fn validate(&self) -> Result<(), Error> {
        if !(self.peak > 0.0 && self.peak.is_finite()) {
            return Err(Error::setting("rate.peak", self.peak, "a number above 0"));
        }
        if !(0.0..=1.0).contains(&self.end) {
            return Err(Error::setting(
                "rate.end",
                self.end,
                "0 to 1, a share of the peak",
            ));
        }
        if self.decay == Decay::Constant && (self.end != 0.0 || self.over.is_some()) {
            let expected = "`rate.end` and `rate.over` left out, or `rate.decay` linear or cosine";
            return Err(Error::setting("rate.decay", "constant", expected));
        }
        match (self.decay, self.cool_down) {
            (Decay::Stable, Some(1..)) if self.over.is_none() => Ok(()),
            (Decay::Stable, Some(1..)) => {
                let expected =
                    "nothing where `rate.decay` is stable: the run's length says when it ends";
                Err(Error::setting(
                    "rate.over",
                    self.over.unwrap_or_default(),
                    expected,
                ))
            }
            (Decay::Stable, cool_down) => {
                let value = cool_down.map_or("nothing".to_owned(), |steps| steps.to_string());
                let expected =
                    "1 or more, the steps of the fall at the end, where `rate.decay` is stable";
                Err(Error::setting("rate.cool_down", value, expected))
            }
            (_, Some(cool_down)) => {
                let expected = "nothing, or `rate.decay` stable";
                Err(Error::setting("rate.cool_down", cool_down, expected))
            }
            (_, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let rate = |decay| Rate {
            peak: 2.0,
            warm_up: 4,
            decay,
            end: 0.1,
            over: None,
            cool_down: (decay == Decay::Stable).then_some(5),
        };
        let at = |decay, step| rate(decay).at(step, 14);
        assert_eq!([0, 1, 3].map(|s| at(Decay::Cosine, s)), [0.5, 1.0, 2.0]);
        assert_eq!(at(Decay::Constant, 100), 2.0);
        assert_eq!(
            [4, 9, 14, 20].map(|s| at(Decay::Linear, s)),
            [2.0, 1.1, 0.2, 0.2]
        );
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(at(Decay::Cosine, 9), 1.1);
        near(at(Decay::Cosine, 14), 0.2);
        assert!(at(Decay::Cosine, 5) > at(Decay::Linear, 5));
        assert_eq!([3, 8, 9].map(|s| at(Decay::Stable, s)), [2.0; 3]);
        near(at(Decay::Stable, 10), 2.0 * (0.1 + 0.9 * 0.8));
        near(at(Decay::Stable, 13), 2.0 * (0.1 + 0.9 * 0.2));
    }
}
