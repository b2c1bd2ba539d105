//! A1111's `parameters` text, written and read.
//!
//! The text is what people paste into each other's programs: prompt, an optional `Negative prompt:` line, and one last
//! line of `Key: value` pairs. Writer and reader follow A1111 1.10 to the letter ([layout], key order, quoting), its
//! losses included: lines lose their surrounding space, and a prompt line that begins with `Negative prompt:` ends the
//! prompt. A picture therefore also carries the whole request as JSON, and the text is only read where that is missing.
//!
//! The pattern `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)` is matched by hand: its alternatives never need
//! backtracking, and a regular-expression engine would be the crate's largest dependency.
//!
//! [layout]: https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/infotext_utils.py

mod map;
mod read;

use std::fmt;

use crate::embeddings::Used;

pub use map::{Drawn, HeldBy};
pub use read::Reading;

/// The three parts of the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Infotext {
    /// The prompt, lines joined by `\n`.
    pub prompt: String,
    /// The negative prompt, likewise.
    pub negative_prompt: String,
    /// Key and value as meant (not quoted), in order.
    pub entries: Vec<(String, String)>,
    /// The pairs stood on several lines, which no program that can read the text writes on purpose.
    pub broken: bool,
}

impl Infotext {
    /// Reads a text as A1111 does. Never fails: a text without a settings line is all prompt. A settings line that was broken
    /// into several is read as one, where A1111 would take its beginning for prompt.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<&str> = strip(text).split('\n').map(strip).collect();
        let settings = lines.split_off(settings(&lines));
        let broken = settings.len() > 1;
        let entries = pairs(&joined(&settings));
        let mut prompts = [String::new(), String::new()];
        let mut part = 0;
        for line in lines {
            let mut line = line;
            if let Some(rest) = line.strip_prefix(NEGATIVE) {
                part = 1;
                line = strip(rest);
            }
            if !prompts[part].is_empty() {
                prompts[part].push('\n');
            }
            prompts[part].push_str(line);
        }
        let [prompt, negative_prompt] = prompts;
        Self {
            prompt,
            negative_prompt,
            entries,
            broken,
        }
    }

    /// The value of a key; the last one where it is there twice, as in A1111.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.entries.iter().rev().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The embeddings that the picture was drawn with, each once: A1111 may write them several times.
    pub fn embeddings(&self) -> Vec<Used> {
        let mut used: Vec<Used> = Vec::new();
        for pair in self.get(EMBEDDINGS).unwrap_or_default().split(',') {
            let found = pair.rsplit_once(':').map(|(name, hash)| Used {
                name: strip(name).to_owned(),
                hash: strip(hash).to_owned(),
            });
            used.extend(found.filter(|found| !used.contains(found)));
        }
        used
    }

    /// Appends a pair. An empty value is left out: A1111 cannot read one.
    pub fn push(&mut self, key: &str, value: impl fmt::Display) {
        let value = value.to_string();
        if !value.is_empty() {
            self.entries.push((key.to_owned(), value));
        }
    }
}

const NEGATIVE: &str = "Negative prompt:";

/// The key of the embeddings that were drawn with: `name: hash`, joined by commas.
const EMBEDDINGS: &str = "TI hashes";

/// The key under which A1111 writes the hashes of LoRAs: `name: hash, name: hash`.
pub const LORA_HASHES: &str = "Lora hashes";

/// This program's key of the LoRAs that were asked for, where the profile's program does not read them in the prompt.
const LORAS: &str = "Loras";
/// The same of hypernetworks.
const HYPERNETWORKS: &str = "Hypernetworks";

/// The key of a picture that was stopped before its last step, and so is no repeat of its settings.
pub const STOPPED: &str = "Stopped";

impl fmt::Display for Infotext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.prompt.clone();
        if !self.negative_prompt.is_empty() {
            text += &format!("\n{NEGATIVE} {}", self.negative_prompt);
        }
        let pairs: Vec<String> = self
            .entries
            .iter()
            .map(|(key, value)| match key == value {
                true => key.clone(),
                false => format!("{key}: {}", quote(value)),
            })
            .collect();
        text += "\n";
        text += &pairs.join(", ");
        f.write_str(strip(&text))
    }
}

/// A1111 quotes a value that holds a comma, a colon or a line break. What else the reader would change (outer space, a
/// leading quotation mark) is quoted too; A1111 reads that back alike.
fn quote(value: &str) -> String {
    let plain = !value.contains([',', '\n', ':'])
        && !value.starts_with('"')
        && strip(value).len() == value.len();
    match plain {
        true => value.to_owned(),
        false => serde_json::Value::from(value).to_string(),
    }
}

fn unquote(value: &str) -> String {
    if value.len() >= 2 && value.starts_with('"') && value.ends_with('"') {
        serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
    } else {
        value.to_owned()
    }
}

/// Python's `str.strip`: Unicode white space and the four information separators.
fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Fewer pairs than this make no settings.
const FEWEST: usize = 3;

/// The first of the lines that hold pairs: the last line, or the one with the steps where that comes before; the number of
/// lines where there is none.
fn settings(lines: &[&str]) -> usize {
    let has_pairs = |line: &&str| pairs(line).len() >= FEWEST;
    let begins = |line: &&str| {
        let steps = line.strip_prefix("Steps:").map(strip);
        steps.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) && has_pairs(line)
    };
    let last = lines.last().filter(|line| has_pairs(line));
    let broken = lines.iter().rposition(begins);
    match (last, broken) {
        (_, Some(at)) => at,
        (Some(_), None) => lines.len() - 1,
        (None, None) => lines.len(),
    }
}

/// Broken lines as one. Where a new line begins with a key, the comma before it went with the break.
fn joined(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        if !text.is_empty() {
            let between = text.ends_with([',', ':']) || pair(line).is_none();
            text += if between { " " } else { ", " };
        }
        text += line;
    }
    text
}

/// Every match of the pattern in one line.
fn pairs(line: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < line.len() {
        match pair(&line[at..]) {
            Some((key, value, length)) => {
                // A1111 skips an empty value but counts it as a match.
                found.push((key.to_owned(), unquote(value)));
                at += length;
            }
            None => at += line[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

/// The match that starts at the beginning of `text`: key, raw value, length in bytes.
fn pair(text: &str) -> Option<(&str, &str, usize)> {
    let start = text.len() - text.trim_start_matches(is_space).len();
    let rest = &text[start..];
    let colon = rest.find(|c: char| !(is_word(c) || matches!(c, ' ' | '-' | '/')))?;
    let key = &rest[..colon];
    if !rest[colon..].starts_with(':') || !key.starts_with(is_word) || key.chars().count() < 2 {
        return None;
    }
    let after = &rest[colon + 1..];
    let value = after.trim_start_matches(is_space);
    let value_at = text.len() - value.len();
    let length = quoted(value)
        .filter(|&end| end == value.len() || value[end..].starts_with(','))
        .unwrap_or_else(|| value.find(',').unwrap_or(value.len()));
    let end = value_at + length;
    let comma = usize::from(text[end..].starts_with(','));
    Some((key, &value[..length], end + comma))
}

/// The length of the quoted string at the beginning, quotation marks included.
fn quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.strip_prefix('"')?.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return (at > 0).then_some(at + 2),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_example() {
        let text = "girl with an artist's beret, ((eyeshadow)), (coquettish:1.2)\n\
                    Negative prompt: ugly, fat, [blurry]\n\
                    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 45dee52b";
        let read = Infotext::parse(text);
        assert_eq!(
            read.prompt,
            "girl with an artist's beret, ((eyeshadow)), (coquettish:1.2)"
        );
        assert_eq!(read.negative_prompt, "ugly, fat, [blurry]");
        assert_eq!(read.get("Sampler"), Some("Euler a"));
        assert_eq!(read.get("Size"), Some("512x512"));
        assert_eq!(read.entries.len(), 6);
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn quoted_values() {
        let text = "x\nSteps: 1, Lora hashes: \"a: 1, b: 2\", Odd: \"say \\\"hi\\\"\", Model: m, TI: \"open, Last-key/x: 3";
        let read = Infotext::parse(text);
        assert_eq!(read.get("Lora hashes"), Some("a: 1, b: 2"));
        assert_eq!(read.get("Odd"), Some("say \"hi\""));
        assert_eq!(read.get("TI"), Some("\"open"));
        assert_eq!(read.get("Last-key/x"), Some("3"));
    }

    #[test]
    fn embeddings_are_read() {
        let text = "x\nSteps: 1, Seed: 2, TI hashes: \"a-b: 0123456789ab, c: f00, a-b: 0123456789ab\", Model: m";
        let used = Infotext::parse(text).embeddings();
        let used: Vec<_> = used
            .iter()
            .map(|u| (u.name.as_str(), u.hash.as_str()))
            .collect();
        assert_eq!(used, [("a-b", "0123456789ab"), ("c", "f00")]);
        assert!(
            Infotext::parse("x\nSteps: 1, Seed: 2, Model: m")
                .embeddings()
                .is_empty()
        );
    }

    #[test]
    fn two_pairs_are_prompt() {
        let read = Infotext::parse("Steps: 1, Sampler: Euler");
        assert_eq!(read.prompt, "Steps: 1, Sampler: Euler");
        assert!(read.entries.is_empty());
        assert_eq!(Infotext::parse(""), Infotext::default());
    }

    /// A line break inside of a value, before a key, and lines that an extension adds.
    #[test]
    fn broken_settings_are_read_as_one_line() {
        let prompt = "a cat\nNegative prompt: bad";
        let read = |settings: &str| Infotext::parse(&format!("{prompt}\n{settings}"));
        for (settings, key, value) in [
            (
                "Steps: 10, Seed: 7, Sampler: DDIM, Parser:\r\nFull parser, Model: m",
                "Parser",
                "Full parser",
            ),
            (
                "Steps: 10, Seed: 7, Sampler: DDIM,\nModel: m",
                "Sampler",
                "DDIM",
            ),
            (
                "Steps: 10, Seed: 7, Sampler: DDIM\nModel: m",
                "Sampler",
                "DDIM",
            ),
            (
                "Steps: 10, Seed: 7, Sampler: DDIM, Model: m\nTemplate: a cat, Other: 1",
                "Model",
                "m",
            ),
        ] {
            let info = read(settings);
            assert!(info.broken, "{settings}");
            assert_eq!(
                (info.prompt.as_str(), info.negative_prompt.as_str()),
                ("a cat", "bad")
            );
            assert_eq!(
                (info.get("Seed"), info.get(key)),
                (Some("7"), Some(value)),
                "{info:?}"
            );
            assert_eq!(info.get("Model"), Some("m"));
        }
        assert!(!read("Steps: 10, Seed: 7, Sampler: DDIM").broken);
    }

    #[test]
    fn a_settings_line_inside_the_prompt_stays_there() {
        let written = Infotext {
            prompt: "a\nSteps: 1, Sampler: Euler, CFG scale: 3, Seed: 1\nb".to_owned(),
            negative_prompt: "Steps: 9, Seed: 8, Size: 1x1".to_owned(),
            entries: [("Steps", "20"), ("Sampler", "DDIM"), ("Seed", "5")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            broken: false,
        };
        assert_eq!(Infotext::parse(&written.to_string()), written);
    }

    #[test]
    fn a_key_equal_to_its_value_is_written_once() {
        let mut info = Infotext::default();
        info.push("Refiner", "Refiner");
        info.push("Empty", "");
        assert_eq!(info.to_string(), "Refiner");
    }
}
