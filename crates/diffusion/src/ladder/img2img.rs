//! Which part of a ladder img2img walks.

use serde::{Deserialize, Serialize};

use crate::{Error, Sigmas};

/// How `strength` (how much of the picture is redrawn, 0 to 1) becomes steps. Four conventions are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrengthRule {
    /// The last ⌊n·s⌋ steps of an n-step ladder.
    Share,
    /// The last ⌊n·min(s, 0.999)⌋ + 1 steps of an n-step ladder.
    Encode,
    /// n steps: the last n of a ladder of ⌊n / min(s, 0.999)⌋ steps.
    EncodeExactly,
    /// n steps: the last n of a ladder of ⌊n / s⌋ steps, the whole ladder above s = 0.9999.
    Extend,
}

/// What a [`StrengthRule`] decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailPlan {
    /// The number of steps to ask the ladder for.
    pub ladder_steps: usize,
    /// How many of them, at the end, are walked.
    pub keep: usize,
    /// Whether the walked steps are counted from the end of the ladder or the skipped ones from its start. This matters
    /// only for ladders whose length is not the asked one.
    from_end: bool,
}

impl StrengthRule {
    /// The plan for `steps` at `strength`.
    ///
    /// # Errors
    /// A strength outside [0, 1], no steps, or a strength so low that no step is left.
    pub fn plan(self, steps: usize, strength: f64) -> Result<TailPlan, Error> {
        if !(0.0..=1.0).contains(&strength) {
            return Err(super::setting("strength", strength, "a number from 0 to 1"));
        }
        if steps == 0 {
            return Err(super::setting("steps", steps, "at least 1"));
        }
        let n = steps as f64;
        let capped = strength.min(0.999);
        let none_left = || {
            let expected = format!("high enough to leave at least one of {steps} steps");
            super::setting("strength", strength, &expected)
        };
        let (ladder_steps, keep) = match self {
            Self::Share => (steps, ((n * strength) as usize).min(steps)),
            Self::Encode => (steps, ((n * capped) as usize + 1).min(steps)),
            Self::EncodeExactly | Self::Extend if strength <= 0.0 => return Err(none_left()),
            Self::EncodeExactly => ((n / capped) as usize, steps),
            Self::Extend if strength > 0.9999 => (steps, steps),
            Self::Extend => ((n / strength) as usize, steps),
        };
        if keep == 0 {
            return Err(none_left());
        }
        Ok(TailPlan {
            ladder_steps,
            keep,
            from_end: self == Self::Extend,
        })
    }
}

impl TailPlan {
    /// The step of `ladder` that img2img starts at.
    pub fn start(&self, ladder: &Sigmas) -> usize {
        if self.from_end {
            ladder.steps().saturating_sub(self.keep)
        } else {
            self.ladder_steps - self.keep
        }
    }

    /// The part of `ladder` that is walked.
    pub fn tail(&self, ladder: &Sigmas) -> Result<Sigmas, Error> {
        ladder.tail(self.start(ladder))
    }
}
