//! A1111's weights and `BREAK` within one text.

use crate::PromptError;
use crate::limits;
use crate::words::{is_space, whole_words};

/// A stretch of text and its weight.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Weighted {
    pub(crate) text: String,
    pub(crate) weight: f64,
}

impl Weighted {
    fn plain(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            weight: 1.0,
        }
    }

    fn new_break() -> Self {
        Self {
            text: BREAK.to_owned(),
            weight: BREAK_WEIGHT,
        }
    }

    /// Whether a new chunk begins here.
    ///
    /// As in A1111, a break is known by its weight of −1. Brackets around it multiply that weight like any other, and
    /// what then is not −1 is the word "BREAK".
    pub(crate) fn is_break(&self) -> bool {
        self.text == BREAK && self.weight == BREAK_WEIGHT
    }
}

const BREAK: &str = "BREAK";
const BREAK_WEIGHT: f64 = -1.0;
const ROUND: f64 = 1.1;
const SQUARE: f64 = 1.0 / 1.1;

/// Reads `(…)`, `(…:1.3)`, `[…]`, escapes and `BREAK`. Brackets without a partner act to the end of the text; a
/// closing one without is text. At least one stretch is returned.
pub(crate) fn parse(text: &str) -> Result<Vec<Weighted>, PromptError> {
    let mut out: Vec<Weighted> = Vec::new();
    // Where in `out` each open bracket stands.
    let (mut round, mut square): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let mut length = first.len_utf8();
        match first {
            '\\' => {
                // Before anything else a backslash goes away and the other character stays.
                let escaped = rest[1..].starts_with(['(', ')', '[', ']', '\\']);
                length += usize::from(escaped);
                out.push(Weighted::plain(&rest[1..length]));
            }
            '(' | '[' => {
                limits::check_depth(round.len() + square.len() + 1, at)?;
                let open = if first == '(' {
                    &mut round
                } else {
                    &mut square
                };
                open.push(out.len());
            }
            ')' | ']' => {
                let (open, factor) = match first {
                    ')' => (&mut round, ROUND),
                    _ => (&mut square, SQUARE),
                };
                match open.pop() {
                    Some(start) => multiply(&mut out[start..], factor),
                    None => push_text(&mut out, &rest[..1]),
                }
            }
            ':' => match number(rest) {
                Some((digits, end)) => {
                    length = end;
                    match round.pop() {
                        Some(start) => multiply(&mut out[start..], weight(digits, at)?),
                        None => push_text(&mut out, &rest[..end]),
                    }
                }
                None => push_text(&mut out, &rest[..1]),
            },
            _ => {
                let special = |c| matches!(c, '\\' | '(' | ')' | '[' | ']' | ':');
                length = rest.find(special).unwrap_or(rest.len());
                push_text(&mut out, &rest[..length]);
            }
        }
        at += length;
    }
    let left = [(round, ROUND), (square, SQUARE)];
    for (start, factor) in left
        .iter()
        .flat_map(|(o, f)| o.iter().map(move |s| (*s, *f)))
    {
        multiply(&mut out[start..], factor);
    }
    if out.is_empty() {
        out.push(Weighted::plain(""));
    }
    out.dedup_by(|next, kept| {
        let same = next.weight == kept.weight;
        if same {
            kept.text.push_str(&next.text);
        }
        same
    });
    Ok(out)
}

fn multiply(stretches: &mut [Weighted], factor: f64) {
    for stretch in stretches {
        stretch.weight *= factor;
    }
}

/// The `: number )` at the start of `rest`: the number, with its sign, and the length of the whole.
fn number(rest: &str) -> Option<(&str, usize)> {
    let inner = rest.strip_prefix(':')?.trim_start_matches(is_space);
    let sign = usize::from(inner.starts_with(['+', '-']));
    let digits = inner[sign..]
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .filter(|length| *length > 0)?;
    let after = inner[sign + digits..].trim_start_matches(is_space);
    let end = rest.len() - after.strip_prefix(')')?.len();
    Some((&inner[..sign + digits], end))
}

/// The value of digits and dots; A1111 raises an exception where they make no number.
fn weight(digits: &str, position: usize) -> Result<f64, PromptError> {
    digits
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| PromptError::Weight {
            position,
            text: digits.chars().take(40).collect(),
        })
}

/// Adds text, with a break for every whole word `BREAK` and without the space around it.
fn push_text(out: &mut Vec<Weighted>, text: &str) {
    let mut rest_at = 0;
    let mut first = true;
    let mut push = |out: &mut Vec<Weighted>, part: &str| {
        if !std::mem::take(&mut first) {
            out.push(Weighted::new_break());
        }
        out.push(Weighted::plain(part));
    };
    for at in whole_words(text, BREAK) {
        push(out, text[rest_at..at].trim_end_matches(is_space));
        let after = &text[at + BREAK.len()..];
        rest_at = text.len() - after.trim_start_matches(is_space).len();
    }
    push(out, &text[rest_at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, f64)> {
        let stretches = parse(text).unwrap();
        stretches.into_iter().map(|w| (w.text, w.weight)).collect()
    }

    #[test]
    fn weights() {
        type Case = (&'static str, &'static [(&'static str, f64)]);
        let cases: [Case; 35] = [
            ("", &[("", 1.0)]),
            ("normal text", &[("normal text", 1.0)]),
            (
                "an (important) word",
                &[("an ", 1.0), ("important", 1.1), (" word", 1.0)],
            ),
            ("(unbalanced", &[("unbalanced", 1.1)]),
            ("[unbalanced", &[("unbalanced", 1.0 / 1.1)]),
            ("unbalanced)", &[("unbalanced)", 1.0)]),
            ("unbalanced] a", &[("unbalanced] a", 1.0)]),
            ("\\(literal\\]", &[("(literal]", 1.0)]),
            ("(unnecessary)(parens)", &[("unnecessaryparens", 1.1)]),
            (
                "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
                &[
                    ("a ", 1.0),
                    ("house", 1.573_000_000_000_000_4),
                    (" ", 1.1),
                    ("on", 1.0),
                    (" a ", 1.1),
                    ("hill", 0.55),
                    (", sun, ", 1.1),
                    ("sky", 1.464_100_000_000_000_6),
                    (".", 1.1),
                ],
            ),
            ("(a: 1.3 )", &[("a", 1.3)]),
            ("(a:-1.5)", &[("a", -1.5)]),
            ("(a:+2)", &[("a", 2.0)]),
            ("(a:.5)", &[("a", 0.5)]),
            ("(a:2.)", &[("a", 2.0)]),
            ("(a:0)", &[("a", 0.0)]),
            ("(a:b)", &[("a:b", 1.1)]),
            ("(a:b:1.5)", &[("a:b", 1.5)]),
            ("(a:1.5 b)", &[("a:1.5 b", 1.1)]),
            ("(a:1e3)", &[("a:1e3", 1.1)]),
            ("a:1.5) b", &[("a:1.5) b", 1.0)]),
            ("[a:1.5]", &[("a:1.5", 1.0 / 1.1)]),
            ("[a:1.5)", &[("a:1.5)", 1.0 / 1.1)]),
            ("((a:2))", &[("a", 2.2)]),
            ("(a [b] c:2)", &[("a ", 2.0), ("b", 2.0 / 1.1), (" c", 2.0)]),
            ("(a [b) c]", &[("a ", 1.1), ("b", 1.0), (" c", 1.0 / 1.1)]),
            ("a\\b \\\\ c\\", &[("ab \\ c", 1.0)]),
            ("\\:1.2)", &[(":1.2)", 1.0)]),
            ("()", &[("", 1.0)]),
            ("a BREAK b", &[("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]),
            ("BREAK", &[("", 1.0), ("BREAK", -1.0), ("", 1.0)]),
            ("BREAKFAST break BREAK_", &[("BREAKFAST break BREAK_", 1.0)]),
            // Brackets multiply the break's own weight.
            ("(a BREAK b)", &[("a", 1.1), ("BREAK", -1.1), ("b", 1.1)]),
            ("(a BREAK b:1)", &[("a", 1.0), ("BREAK", -1.0), ("b", 1.0)]),
            ("(a:猫)", &[("a:猫", 1.1)]),
        ];
        for (text, want) in cases {
            let got = parsed(text);
            let close = got.len() == want.len()
                && got
                    .iter()
                    .zip(want)
                    .all(|(g, w)| g.0 == w.0 && (g.1 - w.1).abs() < 1e-15);
            assert!(close, "{text:?}: {got:?}, not {want:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        let position = |text| match parse(text) {
            Err(PromptError::Weight { position, .. }) => position,
            other => panic!("{text:?}: {other:?}"),
        };
        assert_eq!(position("a (b:1.2.3)"), 4);
        assert_eq!(position("(smile:.)"), 6);
        assert_eq!(position(&format!("(a:{})", "9".repeat(400))), 2);
        let deep = "(".repeat(limits::MAX_DEPTH);
        assert!(parse(&deep).is_ok());
        assert_eq!(
            parse(&format!("{deep}[")),
            Err(PromptError::TooDeep {
                position: limits::MAX_DEPTH
            })
        );
    }
}
