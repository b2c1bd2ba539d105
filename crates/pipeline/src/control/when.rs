//! When and how strongly a network acts.

use std::ops::Range;

use super::Span;
use crate::extension::Call;
use crate::guiders::{At, Prompt};
use crate::request::{Control, ControlMode};

/// When a network acts, for which passes, and how strongly.
#[derive(Debug, Clone, PartialEq)]
pub struct When {
    span: Span,
    /// The factor on all that it adds.
    pub weight: f64,
    /// How the factors of its parts differ.
    pub mode: ControlMode,
}

impl When {
    /// As a request has it.
    pub fn of(asked: &Control, span: Span) -> Self {
        Self {
            span,
            weight: asked.weight,
            mode: asked.mode,
        }
    }

    /// Whether it acts in a call.
    pub fn acts(&self, at: &At) -> bool {
        self.weight != 0.0 && self.span.contains(at)
    }

    /// The places of what is seen in a call that the network acts for: all of it, or the prompt's own; `None` where it does
    /// not act.
    pub fn places(&self, call: &Call<'_>) -> Option<Range<usize>> {
        if !self.acts(call.at) {
            return None;
        }
        let prompt_alone = matches!(self.mode, ControlMode::Control | ControlMode::Guess);
        let acts =
            |i: &usize| !prompt_alone || matches!(call.seen[*i].name.prompt, Prompt::Positive(_));
        let mut places = (0..call.seen.len()).filter(acts);
        let first = places.next()?;
        // The prompt's parts lie side by side.
        Some(first..places.next_back().unwrap_or(first) + 1)
    }
}
