//! A1111's texts that change over the steps: `[from:to:when]` and `[a|b]`.
//!
//! Reading is one pass with a stack of open brackets. A bracket pair that has the shape of a construct becomes one; a
//! bracket that cannot is text, and so are then all brackets around it, because a construct may not contain stray ones.

use std::collections::BTreeSet;

use crate::limits::{self, MAX_SCHEDULE};
use crate::words::is_space;
use crate::{Pass, PromptError, Scheduled};

/// A piece of a prompt.
#[derive(Debug)]
enum Node<'t> {
    Text(&'t str),
    /// `[before:after:when]`: `before` up to A1111's step `when` (counted from 1), then `after`.
    Switch {
        before: Vec<Node<'t>>,
        after: Vec<Node<'t>>,
        when: i64,
    },
    /// `[a|b|…]`: one after the other, a step each.
    Cycle(Vec<Vec<Node<'t>>>),
}

/// A bracket that is open.
struct Frame<'t> {
    open: &'t str,
    /// The finished sections with the `:` or `|` that ended each.
    sections: Vec<(Vec<Node<'t>>, &'t str)>,
    /// The section being read, and where it begins.
    last: Vec<Node<'t>>,
    last_start: usize,
}

impl Frame<'_> {
    fn separators_are(&self, separator: &str) -> bool {
        self.sections.iter().all(|(_, s)| *s == separator)
    }
}

/// The reader's state.
struct Reader<'t> {
    top: Vec<Node<'t>>,
    frames: Vec<Frame<'t>>,
}

/// The prompt holds something outside the grammar and is text from end to end.
struct Literal;

impl<'t> Reader<'t> {
    fn push(&mut self, node: Node<'t>) {
        self.frames
            .last_mut()
            .map_or(&mut self.top, |frame| &mut frame.last)
            .push(node);
    }

    /// Turns every open bracket into text.
    fn dissolve(&mut self) -> Result<(), Literal> {
        for frame in self.frames.drain(..) {
            self.top.push(Node::Text(frame.open));
            for (nodes, separator) in frame.sections {
                if separator == "|" {
                    return Err(Literal);
                }
                self.top.extend(nodes);
                self.top.push(Node::Text(separator));
            }
            self.top.extend(frame.last);
        }
        Ok(())
    }

    /// Ends a section of the innermost bracket at `separator`; `next` is where the next begins.
    fn separate(&mut self, separator: &'t str, next: usize) -> Result<(), Literal> {
        match self.frames.last_mut() {
            Some(frame) if separator == ":" || frame.open == "[" => {
                let nodes = std::mem::take(&mut frame.last);
                frame.sections.push((nodes, separator));
                frame.last_start = next;
            }
            None if separator == ":" => self.top.push(Node::Text(separator)),
            _ => return Err(Literal),
        }
        Ok(())
    }

    /// Closes the innermost bracket with `close`, whose last section reads `tail`.
    fn close(
        &mut self,
        close: &'t str,
        pass: Pass,
        at: usize,
        text: &'t str,
    ) -> Result<(), Literal> {
        let stray = |reader: &mut Self| {
            reader.dissolve()?;
            reader.top.push(Node::Text(close));
            Ok(())
        };
        let Some(frame) = self.frames.pop_if(|f| (f.open == "(") == (close == ")")) else {
            return stray(self);
        };
        let colons = frame.separators_are(":");
        let when = when(&text[frame.last_start..at], pass);
        match (frame.open, frame.sections.len(), when) {
            ("(", 0 | 1, _) if colons => self.emphasis(frame, close),
            ("[", 0, _) => self.emphasis(frame, close),
            ("[", 1 | 2, Some(when)) if colons => {
                let mut sections = frame.sections.into_iter().map(|(nodes, _)| nodes);
                let (first, second) = (sections.next(), sections.next());
                let (before, after) = match second {
                    Some(after) => (first.unwrap_or_default(), after),
                    None => (Vec::new(), first.unwrap_or_default()),
                };
                self.push(Node::Switch {
                    before,
                    after,
                    when,
                });
            }
            ("[", _, _) if frame.separators_are("|") => {
                let mut sections: Vec<_> = frame.sections.into_iter().map(|(n, _)| n).collect();
                sections.push(frame.last);
                self.push(Node::Cycle(sections));
            }
            _ => {
                self.frames.push(frame);
                return stray(self);
            }
        }
        Ok(())
    }

    /// Weights are left in the text; the chunker reads them.
    fn emphasis(&mut self, frame: Frame<'t>, close: &'t str) {
        self.push(Node::Text(frame.open));
        for (nodes, separator) in frame.sections {
            nodes.into_iter().for_each(|node| self.push(node));
            self.push(Node::Text(separator));
        }
        frame.last.into_iter().for_each(|node| self.push(node));
        self.push(Node::Text(close));
    }
}

/// The step of `[from:to:when]`, or `None` where `text` is not `space* number space*`.
fn when(text: &str, pass: Pass) -> Option<i64> {
    let text = text.trim_matches(is_space);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let shape = digits
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    if !shape {
        return None;
    }
    // What is left of the shape Rust and the grammar read alike: `1`, `1.`, `.5`, `1e-3`.
    let value: f64 = text.parse().ok()?;
    let steps = pass.steps() as f64;
    let step = match (pass, text.contains('.')) {
        (Pass::Only(_), true) => value * steps,
        (Pass::Only(_), false) => value,
        (Pass::Second { .. }, true) => (value - 1.0) * steps,
        (Pass::Second { first, .. }, false) => value - first as f64,
    };
    Some(step.min(steps) as i64)
}

/// Reads a prompt; `None` where it is outside the grammar.
fn read(text: &str, pass: Pass) -> Result<Option<Vec<Node<'_>>>, PromptError> {
    let mut reader = Reader {
        top: Vec::new(),
        frames: Vec::new(),
    };
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < text.len() {
        let one = &text[at..text.ceil_char_boundary(at + 1)];
        let done = match one {
            "(" | "[" => {
                limits::check_depth(reader.frames.len() + 1, at)?;
                reader.frames.push(Frame {
                    open: one,
                    sections: Vec::new(),
                    last: Vec::new(),
                    last_start: at + 1,
                });
                Ok(())
            }
            ")" | "]" => reader.close(one, pass, at, text),
            ":" | "|" => reader.separate(one, at + 1),
            _ => {
                let Some(end) = plain_end(bytes, at) else {
                    return Ok(None);
                };
                reader.push(Node::Text(&text[at..end]));
                at = end;
                continue;
            }
        };
        if done.is_err() {
            return Ok(None);
        }
        at += 1;
    }
    Ok(reader.dissolve().is_ok().then_some(reader.top))
}

/// The end of the plain text that begins at `at`; `None` at a backslash with nothing, or a line break, after it.
fn plain_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'(' | b')' | b'[' | b']' | b':' | b'|' => break,
            b'\\' => {
                bytes.get(at + 1).filter(|b| **b != b'\n')?;
                // Any other character may follow: what is left of a longer one is taken by the turns after this.
                at += 2;
            }
            _ => at += 1,
        }
    }
    Some(at)
}

/// The steps (A1111's, from 1) at whose end the text may change.
fn ends(nodes: &[Node<'_>], steps: usize, out: &mut BTreeSet<usize>) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Switch {
                before,
                after,
                when,
            } => {
                out.extend(usize::try_from(*when).ok().filter(|when| *when >= 1));
                ends(before, steps, out);
                ends(after, steps, out);
            }
            Node::Cycle(sections) => {
                out.extend(1..=steps);
                sections.iter().for_each(|nodes| ends(nodes, steps, out));
            }
        }
    }
}

/// The text in force at `step` (A1111's, from 1).
fn write(nodes: &[Node<'_>], step: usize, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Switch {
                before,
                after,
                when,
            } => {
                let early = i64::try_from(step).is_ok_and(|step| step <= *when);
                write(if early { before } else { after }, step, out);
            }
            Node::Cycle(sections) => {
                let turn = step.saturating_sub(1) % sections.len();
                write(&sections[turn], step, out);
            }
        }
    }
}

/// A1111's own list: the last step (from 1) of each text, ascending, ending in the number of steps.
fn timeline(
    text: &str,
    pass: Pass,
    budget: &mut usize,
) -> Result<Vec<(usize, String)>, PromptError> {
    let steps = pass.steps();
    let Some(nodes) = read(text, pass)? else {
        return Ok(vec![(steps, text.to_owned())]);
    };
    let mut at = BTreeSet::from([steps]);
    ends(&nodes, steps, &mut at);
    *budget = budget.saturating_add(text.len().saturating_mul(at.len()));
    if *budget > MAX_SCHEDULE {
        return Err(PromptError::ScheduleTooLarge { bytes: *budget });
    }
    let texts = at.into_iter().map(|end| {
        let mut out = String::with_capacity(text.len());
        write(&nodes, end, &mut out);
        (end, out)
    });
    Ok(texts.collect())
}

/// The texts of `text` over a pass. `budget` sums what has been written out so far for one prompt.
///
/// A1111 numbers the steps from 1 where it makes its list and from 0 where it looks a step up, with `step <= end`: a
/// text whose last step is `end` is in force for `end + 1` steps, and `[a|b]` begins with `a` twice. Pictures depend on
/// it, so it is kept.
pub(crate) fn schedule(
    text: &str,
    pass: Pass,
    budget: &mut usize,
) -> Result<Vec<Scheduled>, PromptError> {
    let steps = pass.steps();
    let mut out: Vec<Scheduled> = Vec::new();
    for (end, text) in timeline(text, pass, budget)? {
        let until = if end == steps { steps } else { end + 1 };
        match out.last_mut() {
            // The text before already holds to the last step.
            Some(last) if last.until >= until => {}
            Some(last) if last.text == text => last.until = until,
            _ => out.push(Scheduled { until, text }),
        }
    }
    Ok(out)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
