//! From what was typed to the texts that are in force at each step.

use serde::{Deserialize, Serialize};

use crate::limits::{self, MAX_STEPS};
use crate::words::{is_space, strip_comments, whole_words};
use crate::{Dialect, PromptError, schedule};

/// A prompt: texts whose predictions are added. One part unless the prompt says `AND`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// The parts, in the order written; at least one.
    pub parts: Vec<Part>,
}

/// One part of a [`Prompt`].
///
/// With parts of weight wₖ and predictions eₖ, guidance is e_∅ + s · Σₖ wₖ · (eₖ − e_∅).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its weight: finite, 1 unless written; may be 0 or negative.
    pub weight: f64,
    /// Its texts over the steps: at least one, `until` rising, the last one's the number of steps.
    pub schedule: Vec<Scheduled>,
}

/// A text and how long it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// The step, counted from 0, at which the text is no longer in force.
    pub until: usize,
    /// The text, for [`chunks`](crate::chunks): weights and escapes are still in it.
    pub text: String,
}

/// The steps that a prompt is scheduled over. A number stands for [`Pass::Only`].
///
/// A step is one call of the denoiser, which is what A1111 counts: samplers that call it twice a step (Heun, DPM2,
/// DPM++ SDE, …) take twice the number of sampling steps. For image-to-image it is the number asked for, before strength
/// shortens the ladder; the calls are counted from 0 all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// The only or the first pass, of so many steps.
    Only(usize),
    /// The second pass over an enlarged picture ("hires fix"): `[from:to:when]` counts on from the first, so that
    /// `1.5` is its middle and `first + 3` its step 3.
    Second {
        /// The steps of the first pass.
        first: usize,
        /// The steps of this pass.
        steps: usize,
    },
}

impl Pass {
    /// The number of steps in the pass.
    pub fn steps(self) -> usize {
        match self {
            Self::Only(steps) | Self::Second { steps, .. } => steps,
        }
    }

    fn check(self) -> Result<(), PromptError> {
        let first = match self {
            Self::Only(_) => 0,
            Self::Second { first, .. } => first,
        };
        let steps = self.steps().max(first);
        if steps > MAX_STEPS {
            return Err(PromptError::Steps { steps });
        }
        Ok(())
    }
}

impl From<usize> for Pass {
    fn from(steps: usize) -> Self {
        Self::Only(steps)
    }
}

impl Prompt {
    /// The text of every part at `step`, counted from 0, with the part's weight. Past the end, the last texts.
    pub fn at(&self, step: usize) -> impl Iterator<Item = (f64, &str)> {
        self.parts
            .iter()
            .map(move |part| (part.weight, text_at(&part.schedule, step)))
    }
}

/// The text of a schedule in force at `step`, counted from 0; past the end the last, and nothing where there is none.
pub fn text_at(schedule: &[Scheduled], step: usize) -> &str {
    let found = schedule.iter().find(|s| step < s.until);
    found.or(schedule.last()).map_or("", |s| s.text.as_str())
}

/// Reads a prompt for a pass over `pass` steps.
///
/// [`Dialect::A1111`]: comments go, `AND` splits, a part's `:weight` at its end is taken off, and each part is scheduled.
/// Any other dialect gives one part of weight 1 with the prompt as it is. The crate's documentation has the grammar.
/// With no steps there is one text per part, for step 0, with `until` 0.
///
/// # Errors
/// Only where a limit is passed: [`TooLong`](PromptError::TooLong), [`TooDeep`](PromptError::TooDeep),
/// [`Steps`](PromptError::Steps), [`ScheduleTooLarge`](PromptError::ScheduleTooLarge), and
/// [`WeightRange`](PromptError::WeightRange) for a part's weight with more digits than a number can have.
pub fn parse(prompt: &str, pass: impl Into<Pass>, dialect: Dialect) -> Result<Prompt, PromptError> {
    let pass = pass.into();
    if dialect != Dialect::A1111 {
        let schedule = parse_negative(prompt, pass, dialect)?;
        let weight = 1.0;
        return Ok(Prompt {
            parts: vec![Part { weight, schedule }],
        });
    }
    limits::check_length(prompt)?;
    pass.check()?;
    let prompt = strip_comments(prompt);
    let mut budget = 0;
    let parts = split_parts(&prompt).into_iter().map(|part| {
        let (text, weight) = split_weight(part);
        if !weight.is_finite() {
            let text = text.chars().take(40).collect();
            return Err(PromptError::WeightRange { text, weight });
        }
        let schedule = schedule::schedule(text, pass, &mut budget)?;
        Ok(Part { weight, schedule })
    });
    Ok(Prompt {
        parts: parts.collect::<Result<_, _>>()?,
    })
}

/// Reads a negative prompt: as [`parse`], but `AND` and a weight at the end are ordinary text, as they are in A1111.
///
/// # Errors
/// As [`parse`].
pub fn parse_negative(
    prompt: &str,
    pass: impl Into<Pass>,
    dialect: Dialect,
) -> Result<Vec<Scheduled>, PromptError> {
    let pass = pass.into();
    limits::check_length(prompt)?;
    pass.check()?;
    match dialect {
        Dialect::A1111 => schedule::schedule(&strip_comments(prompt), pass, &mut 0),
        Dialect::ComfyUi | Dialect::Diffusers => Ok(vec![Scheduled {
            until: pass.steps(),
            text: prompt.to_owned(),
        }]),
    }
}

/// The texts around every whole word `AND`.
fn split_parts(prompt: &str) -> Vec<&str> {
    const AND: &str = "AND";
    let mut start = 0;
    let mut parts = Vec::new();
    for at in whole_words(prompt, AND) {
        parts.push(&prompt[start..at]);
        start = at + AND.len();
    }
    parts.push(&prompt[start..]);
    parts
}

/// Takes `:weight` and the space around it off the end of a part; 1 where there is none.
fn split_weight(part: &str) -> (&str, f64) {
    let part = part.trim_end_matches(is_space);
    part.rsplit_once(':')
        .and_then(|(text, digits)| {
            let weight = number(digits.trim_start_matches(is_space))?;
            Some((text.trim_end_matches(is_space), weight))
        })
        .unwrap_or((part, 1.0))
}

/// `[sign] digits [.]` or `[sign] [digits] . digits`.
fn number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let shape = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    if shape { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_PROMPT, MAX_SCHEDULE};

    fn parts(prompt: &str) -> Vec<(f64, String)> {
        let prompt = parse(prompt, 10, Dialect::A1111).unwrap();
        prompt.at(0).map(|(w, text)| (w, text.to_owned())).collect()
    }

    #[test]
    fn parts_and_their_weights() {
        type Case = (&'static str, &'static [(f64, &'static str)]);
        let cases: [Case; 18] = [
            ("", &[(1.0, "")]),
            ("a cat", &[(1.0, "a cat")]),
            ("a cat :1.2 AND a dog", &[(1.2, "a cat"), (1.0, " a dog")]),
            (
                "a AND b:-.5 AND c : +2.",
                &[(1.0, "a"), (-0.5, " b"), (2.0, " c")],
            ),
            ("AND", &[(1.0, ""), (1.0, "")]),
            ("sAND AND_ and", &[(1.0, "sAND AND_ and")]),
            ("(a AND b)", &[(1.0, "(a"), (1.0, " b)")]),
            ("a:0", &[(0.0, "a")]),
            ("ratio 16:9", &[(9.0, "ratio 16")]),
            ("(a:1.2)", &[(1.0, "(a:1.2)")]),
            ("a :1.2.3", &[(1.0, "a :1.2.3")]),
            ("a:.", &[(1.0, "a:.")]),
            ("a:", &[(1.0, "a:")]),
            ("a:1e3", &[(1.0, "a:1e3")]),
            ("a:b:2", &[(2.0, "a:b")]),
            ("a\n:\n2\n", &[(2.0, "a")]),
            (" a  ", &[(1.0, " a")]),
            ("a # :2\nAND b", &[(1.0, "a"), (1.0, " b")]),
        ];
        for (prompt, want) in cases {
            let got = parts(prompt);
            let got: Vec<_> = got.iter().map(|(w, text)| (*w, text.as_str())).collect();
            assert_eq!(got, want, "{prompt:?}");
        }
    }

    #[test]
    fn a_negative_prompt_has_one_part() {
        let got = parse_negative("a AND [b:c:5] :2", 10, Dialect::A1111).unwrap();
        let texts: Vec<_> = got.iter().map(|s| (s.until, s.text.as_str())).collect();
        assert_eq!(texts, [(6, "a AND b :2"), (10, "a AND c :2")]);
        assert_eq!(
            (text_at(&got, 5), text_at(&got, 6)),
            ("a AND b :2", "a AND c :2")
        );
        assert_eq!((text_at(&got, 99), text_at(&[], 0)), ("a AND c :2", ""));
    }

    #[test]
    fn other_dialects_have_no_parts() {
        for dialect in [Dialect::ComfyUi, Dialect::Diffusers] {
            let text = "a # b\nAND [c:d:2] :2";
            let got = parse(text, 10, dialect).unwrap();
            assert_eq!(got.parts.len(), 1);
            assert_eq!(got.at(9).collect::<Vec<_>>(), [(1.0, text)]);
            assert_eq!(got.parts[0].schedule[0].until, 10);
        }
    }

    #[test]
    fn limits() {
        let parse = |text: &str, steps| parse(text, steps, Dialect::A1111);
        let bytes = MAX_PROMPT + 1;
        let long = "a".repeat(bytes);
        assert_eq!(parse(&long, 10), Err(PromptError::TooLong { bytes }));
        assert!(parse(&long[1..], 10).is_ok());
        let steps = usize::MAX;
        assert_eq!(parse("a", steps), Err(PromptError::Steps { steps }));
        assert!(parse("a", MAX_STEPS).is_ok());
        let second = Pass::Second {
            first: steps,
            steps: 5,
        };
        let got = super::parse("a", second, Dialect::A1111);
        assert_eq!(got, Err(PromptError::Steps { steps }));
        let heavy = format!("[a|b] {}", "c".repeat(MAX_SCHEDULE / MAX_STEPS));
        assert!(matches!(
            parse(&heavy, MAX_STEPS),
            Err(PromptError::ScheduleTooLarge { .. })
        ));
        let halves = format!("{h} AND {h}", h = &heavy[..heavy.len() * 2 / 3]);
        assert!(matches!(
            parse(&halves, MAX_STEPS),
            Err(PromptError::ScheduleTooLarge { .. })
        ));
        let digits = format!("a:{}", "9".repeat(400));
        assert!(matches!(
            parse(&digits, 10),
            Err(PromptError::WeightRange { .. })
        ));
    }
}
