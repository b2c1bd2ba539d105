//! ComfyUI's weights within one text.

use crate::PromptError;
use crate::attention::Weighted;
use crate::limits;
use crate::words::is_space;

/// Reads `(…)` and `(…:1.2)`. A weight written out replaces what the brackets around it amount to; one that is not
/// multiplies it by 1.1. `\(` and `\)` are text, every other backslash stays. Empty text has no stretch at all.
pub(crate) fn parse(text: &str) -> Result<Vec<Weighted>, PromptError> {
    // The same marks as there, of the same length, so that positions hold.
    let text = text.replace("\\)", "\0\u{1}").replace("\\(", "\0\u{2}");
    let mut out = Vec::new();
    walk(&text, 0, 1.0, 1, &mut out)?;
    for stretch in &mut out {
        let text = stretch.text.replace("\0\u{1}", ")");
        stretch.text = text.replace("\0\u{2}", "(");
    }
    Ok(out)
}

/// Adds the stretches of `text`, which begins at `position` of the prompt, within `depth` − 1 brackets.
fn walk(
    text: &str,
    position: usize,
    outer: f64,
    depth: usize,
    out: &mut Vec<Weighted>,
) -> Result<(), PromptError> {
    for (at, item) in items(text) {
        let position = position + at;
        let inner = item.strip_prefix('(').and_then(|i| i.strip_suffix(')'));
        let Some(inner) = inner else {
            out.push(Weighted {
                text: item.to_owned(),
                weight: outer,
            });
            continue;
        };
        limits::check_depth(depth, position)?;
        let (mut inner, mut weight) = (inner, outer * 1.1);
        if let Some((before, after)) = inner.rsplit_once(':').filter(|(b, _)| !b.is_empty())
            && let Some(value) = number(after)
        {
            if !value.is_finite() {
                return Err(PromptError::Weight {
                    position: position + 1 + before.len(),
                    text: after.chars().take(40).collect(),
                });
            }
            (inner, weight) = (before, value);
        }
        walk(inner, position + 1, weight, depth + 1, out)?;
    }
    Ok(())
}

/// Cuts `text` into its outermost brackets and what is between them, each with its start.
///
/// A closing bracket too many makes the level negative, and what then opens and closes below 0 is text, as there.
fn items(text: &str) -> Vec<(usize, &str)> {
    let mut out = Vec::new();
    let (mut start, mut level) = (0, 0_i64);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => {
                if level == 0 && start < at {
                    out.push((start, &text[start..at]));
                    start = at;
                }
                level += 1;
            }
            b')' => {
                level -= 1;
                if level == 0 {
                    out.push((start, &text[start..=at]));
                    start = at + 1;
                }
            }
            _ => {}
        }
    }
    if start < text.len() {
        out.push((start, &text[start..]));
    }
    out
}

/// A number as Python's `float` reads it.
fn number(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    if !text.contains('_') {
        return text.parse().ok();
    }
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(u8::is_ascii_digit)
    };
    let between = text
        .match_indices('_')
        .all(|(at, _)| digit(at.checked_sub(1)) && digit(Some(at + 1)));
    between.then(|| text.replace('_', "").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        type Case = (&'static str, &'static [(&'static str, f64)]);
        let cases: [Case; 24] = [
            ("", &[]),
            ("()", &[]),
            ("a cat", &[("a cat", 1.0)]),
            ("a (cat)", &[("a ", 1.0), ("cat", 1.1)]),
            ("(a:1.3) b", &[("a", 1.3), (" b", 1.0)]),
            ("((a))", &[("a", 1.1 * 1.1)]),
            ("((a:1.3))", &[("a", 1.3)]),
            ("((a) b:1.3)", &[("a", 1.3 * 1.1), (" b", 1.3)]),
            ("(a:b:1.3)", &[("a:b", 1.3)]),
            ("(:1.3)", &[(":1.3", 1.1)]),
            ("(a:b)", &[("a:b", 1.1)]),
            ("(a: 1_0.5 )", &[("a", 10.5)]),
            ("(a:1__0)", &[("a:1__0", 1.1)]),
            ("(a:-1e1)", &[("a", -10.0)]),
            ("(a:(b:1.2))", &[("a:", 1.1), ("b", 1.2)]),
            ("\\(a\\)", &[("(a)", 1.0)]),
            ("(a\\):1.2)", &[("a)", 1.2)]),
            ("a\\b\\\\", &[("a\\b\\\\", 1.0)]),
            ("(a", &[("(a", 1.0)]),
            ("(a (b)", &[("a ", 1.1), ("(b", 1.1)]),
            ("a) (b) c", &[("a) (b) c", 1.0)]),
            ("a) ((b)) c", &[("a) (", 1.0), ("b", 1.1), (") c", 1.0)]),
            ("[a] b AND c BREAK d", &[("[a] b AND c BREAK d", 1.0)]),
            ("[a:b:0.5]", &[("[a:b:0.5]", 1.0)]),
        ];
        for (text, want) in cases {
            let got = parse(text).unwrap();
            let got: Vec<_> = got.iter().map(|w| (w.text.as_str(), w.weight)).collect();
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(
            parse("a (b:inf)"),
            Err(PromptError::Weight {
                position: 4,
                text: "inf".to_owned()
            })
        );
        let deep = |n| format!("{}a{}", "(".repeat(n), ")".repeat(n));
        assert!(parse(&deep(limits::MAX_DEPTH)).is_ok());
        let error = parse(&deep(limits::MAX_DEPTH + 1));
        assert_eq!(
            error,
            Err(PromptError::TooDeep {
                position: limits::MAX_DEPTH
            })
        );
    }
}
