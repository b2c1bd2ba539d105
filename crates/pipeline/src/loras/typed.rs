//! `FILE_OR_NAME:0.8:0.5`, as it is typed on a command line.

use std::ffi::OsStr;

use super::blocks;
use super::tag::number;
use crate::request::{Lora, Name};

/// Words that may stand behind the strengths.
const WORDS: [&str; 6] = ["blocks", "lbw", "ranks", "start", "stop", "step"];

/// Reads `NAME[:UNET[:TEXT]]`, and behind that `blocks=LIST`, `ranks=N`, `start=N`, `stop=N` and `step=N-N`. A name may hold colons: from the end on, what is a
/// number or such a word is taken off, two numbers at most. `exists` says whether a text is a file's name as it stands.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn typed(text: &OsStr, exists: impl Fn(&str) -> bool) -> Result<Lora, String> {
    let Some(text) = text.to_str() else {
        return Ok(Name::from(text.to_owned()).into());
    };
    let mut name = text;
    let (mut numbers, mut blocks, mut ranks) = (Vec::new(), None, None);
    let mut when = When::default();
    while let Some((rest, last)) = name.rsplit_once(':').filter(|_| !exists(name)) {
        let word = last
            .split_once('=')
            .filter(|(word, _)| WORDS.contains(word));
        match (word, last.trim().parse::<f64>()) {
            (Some(("ranks", value)), _) => {
                let read = value.parse().ok().filter(|ranks: &usize| *ranks > 0);
                ranks = Some(
                    read.ok_or_else(|| format!("ranks={value}: expected a whole number from 1"))?,
                );
            }
            (Some((word @ ("start" | "stop" | "step"), value)), _) => {
                when.read(word, value)
                    .map_err(|expected| format!("{word}={value}: expected {expected}"))?;
            }
            (Some((_, value)), _) => {
                blocks = Some(
                    blocks::read(value, None).map_err(|expected| format!("expected {expected}"))?,
                );
            }
            (None, Ok(_)) if numbers.len() < 2 => numbers.push(number(last)?),
            _ => break,
        }
        name = rest;
    }
    numbers.reverse();
    Ok(Lora {
        name: Name::from(name),
        strength: numbers.first().copied().unwrap_or(1.0),
        text_strength: numbers.get(1).copied(),
        blocks,
        ranks,
        start: when.start.unwrap_or(0),
        stop: when.stop,
    })
}

/// The calls of the denoiser between which a LoRA acts.
#[derive(Debug, Default)]
pub(super) struct When {
    pub start: Option<usize>,
    pub stop: Option<usize>,
}

impl When {
    /// Reads `start=N`, `stop=N` or `step=START-STOP`.
    ///
    /// # Errors
    /// What would be right, as a noun phrase.
    pub fn read(&mut self, word: &str, value: &str) -> Result<(), String> {
        let call = |text: &str| {
            let read = text.trim().parse::<usize>();
            read.map_err(|_| format!("a whole number of calls in the place of `{text}`"))
        };
        match word {
            "start" => self.start = Some(call(value)?),
            "stop" => self.stop = Some(call(value)?),
            _ => {
                let (start, stop) = value
                    .split_once('-')
                    .ok_or_else(|| format!("START-STOP in the place of `{value}`"))?;
                (self.start, self.stop) = (Some(call(start)?), Some(call(stop)?));
            }
        }
        Ok(())
    }
}

/// The same from what it reads.
pub(super) fn of(lora: &Lora) -> String {
    let mut text = format!("{}:{}", lora.name, lora.strength);
    if let Some(of_text) = lora.text_strength {
        text += &format!(":{of_text}");
    }
    if let Some(blocks) = &lora.blocks {
        let blocks: Vec<String> = blocks.iter().map(f64::to_string).collect();
        text += &format!(":blocks={}", blocks.join(","));
    }
    if let Some(ranks) = lora.ranks {
        text += &format!(":ranks={ranks}");
    }
    text + &steps(lora)
}

/// Its calls as words behind colons, where it does not act in all.
pub(super) fn steps(lora: &Lora) -> String {
    let start = (lora.start > 0).then(|| format!(":start={}", lora.start));
    let stop = lora.stop.map(|stop| format!(":stop={stop}"));
    start.into_iter().chain(stop).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_stand_at_the_end() {
        let read = |text: &str| typed(text.as_ref(), |name| name == "odd:1").unwrap();
        for (text, name, strength, of_text) in [
            ("a", "a", 1.0, None),
            ("a.safetensors:0.8", "a.safetensors", 0.8, None),
            ("a:0.8:0.5", "a", 0.8, Some(0.5)),
            ("a:-0.8:0", "a", -0.8, Some(0.0)),
            ("C:\\loras\\a:0.5", "C:\\loras\\a", 0.5, None),
            ("C:\\a", "C:\\a", 1.0, None),
            ("odd:1", "odd:1", 1.0, None),
            ("odd:1:0.5", "odd:1", 0.5, None),
            ("a:1:2:3", "a:1", 2.0, Some(3.0)),
        ] {
            let lora = read(text);
            let got = (
                lora.name.as_str().unwrap(),
                lora.strength,
                lora.text_strength,
            );
            assert_eq!(got, (name, strength, of_text), "{text}");
        }
        let more = read("a:0.5:blocks=MIDD:ranks=4");
        assert_eq!(read(&of(&more)), more);
        assert_eq!(
            (more.ranks, more.blocks.map(|b| b.len())),
            (Some(4), Some(17))
        );
        let calls = read("a:1:step=5-10");
        assert_eq!((calls.start, calls.stop), (5, Some(10)));
        assert_eq!(read(&of(&calls)), calls);
        assert_eq!(read("a:start=3").start, 3);
        assert!(typed("a:1:step=5".as_ref(), |_| false).is_err());
        assert!(typed("a:nan".as_ref(), |_| false).is_err());
        assert!(typed("a:1:ranks=0".as_ref(), |_| false).is_err());
    }
}
