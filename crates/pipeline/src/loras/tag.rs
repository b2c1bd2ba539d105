//! `<lora:NAME:TEXT:UNET>` in a prompt, as A1111 reads it.
//!
//! Source: `extra_networks.py` and the Lora extension of AUTOMATIC1111/stable-diffusion-webui 1.10; block weights as
//! hako-mikan/sd-webui-lora-block-weight reads them.

use super::blocks;
use super::typed::{self, When};
use crate::model::adapted::called;
use crate::request::{Lora, Name};

/// Something in a prompt that looks like an extra network: `<kind:name:…>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// All of it.
    pub text: String,
    /// `lora`, `lyco`, `hypernet`, …
    pub kind: String,
    /// What stands between the colons.
    pub arguments: Vec<String>,
}

/// The length of the mention that `text` begins with; A1111's pattern is `<(\w+):([^>]+)>`.
pub(crate) fn length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('<')?;
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let name = inside.find(|c| !word(c)).filter(|at| *at > 0)?;
    let arguments = inside[name..].strip_prefix(':')?;
    let end = arguments.find('>').filter(|at| *at > 0)?;
    Some(1 + name + 1 + end + 1)
}

/// Every mention in a prompt.
pub fn mentions(prompt: &str) -> Vec<Mention> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = prompt[at..].find('<') {
        at += next;
        let Some(length) = length(&prompt[at..]) else {
            at += 1;
            continue;
        };
        found.push(Mention::of(&prompt[at..at + length]));
        at += length;
    }
    found
}

impl Mention {
    /// Of a text of which [`length`] has been taken.
    pub(crate) fn of(text: &str) -> Self {
        let inside = text.trim_start_matches('<').trim_end_matches('>');
        let (kind, arguments) = inside.split_once(':').unwrap_or((inside, ""));
        Self {
            text: text.to_owned(),
            kind: kind.to_owned(),
            arguments: arguments.split(':').map(str::to_owned).collect(),
        }
    }

    /// Whether it names a LoRA: `lyco`, from an extension of before, says the same.
    pub fn is_lora(&self) -> bool {
        matches!(self.kind.as_str(), "lora" | "lyco")
    }

    /// Whether it names a hypernetwork.
    pub fn is_hypernetwork(&self) -> bool {
        self.kind == "hypernet"
    }

    /// The adapter that it asks for. A1111 draws without any LoRA where it cannot read a number; here that is an error.
    ///
    /// # Errors
    /// What would be right, as a noun phrase.
    pub fn lora(&self) -> Result<Lora, String> {
        let named = |argument: &&String| argument.matches('=').count() == 1;
        let pairs: Vec<(&str, &str)> = self
            .arguments
            .iter()
            .filter(named)
            .filter_map(|a| a.split_once('='))
            .collect();
        let mut places = self.arguments.iter().filter(|argument| !named(argument));
        let name = places
            .next()
            .map(String::as_str)
            .filter(|name| !name.is_empty());
        let name = name.ok_or("a name, such as <lora:NAME:0.8>")?;
        let places: Vec<&str> = places.map(String::as_str).collect();
        let get = |key: &str| {
            pairs
                .iter()
                .rev()
                .find(|(own, _)| *own == key)
                .map(|(_, v)| *v)
        };
        let text = get("te").or(places.first().copied());
        let text = text.map_or(Ok(1.0), number)?;
        // Extensions of before took block weights in the place of a strength.
        let (list, unet) = match places.get(1) {
            Some(place) if get("unet").is_none() && blocks::is_list(place) => (Some(*place), None),
            place => (None, get("unet").or(place.copied())),
        };
        let unet = unet.map_or(Ok(text), number)?;
        let ranks = get("dyn").or(places.get(2).copied());
        let ranks = ranks.map(|ranks| {
            let read = ranks.trim().parse::<usize>().ok();
            let read = read.filter(|ranks| *ranks > 0);
            read.ok_or_else(|| format!("a whole number of ranks in the place of `{ranks}`"))
        });
        if let Some(more) = places.get(3) {
            return Err(format!(
                "NAME:TEXT:UNET:RANKS and no more, without `{more}`"
            ));
        }
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !KNOWN.contains(key)) {
            return Err(match *key {
                "lbwe" => "no `lbwe`: weights are taken by blocks (lbw=…), not by elements of them"
                    .to_owned(),
                _ => format!(
                    "te=, unet=, dyn=, lbw=, x=, start=, stop= and step= alone, and no `{key}=`"
                ),
            });
        }
        let mut when = When::default();
        for (word, value) in pairs.iter().filter(|(key, _)| STEPS.contains(key)) {
            when.read(word, value)?;
        }
        let list = get("lbw").or(list);
        let blocks = list.map(|list| blocks::read(list, get("x"))).transpose()?;
        let lora = Lora {
            name: Name::from(name),
            strength: unet,
            text_strength: Some(text),
            blocks,
            ranks: ranks.transpose()?,
            start: when.start.unwrap_or(0),
            stop: when.stop,
        };
        lora.validate()
            .map_err(|e| format!("another value, as {e}"))?;
        Ok(lora)
    }
}

/// The tag that asks A1111 for an adapter. It has no way to say colons and brackets of a name.
pub(super) fn of(lora: &Lora) -> String {
    let name = called(&lora.name.to_string()).replace([':', '<', '>'], "");
    let text = lora.text_strength.unwrap_or(lora.strength);
    let mut tag = format!("<lora:{name}:{text}");
    if text != lora.strength || lora.ranks.is_some() {
        tag += &format!(":{}", lora.strength);
    }
    if let Some(ranks) = lora.ranks {
        tag += &format!(":{ranks}");
    }
    if let Some(blocks) = &lora.blocks {
        let blocks: Vec<String> = blocks.iter().map(f64::to_string).collect();
        tag += &format!(":lbw={}", blocks.join(","));
    }
    tag + &typed::steps(lora) + ">"
}

const KNOWN: [&str; 8] = ["te", "unet", "dyn", "lbw", "x", "start", "stop", "step"];
/// Those of them that say when a LoRA acts.
const STEPS: [&str; 3] = ["start", "stop", "step"];

/// A number as Python reads it, but for the infinite ones.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let read = text.trim().parse::<f64>().ok().filter(|v| v.is_finite());
    read.ok_or_else(|| format!("a number in the place of `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lora(text: &str) -> Result<Lora, String> {
        mentions(text)[0].lora()
    }

    #[test]
    fn block_weights_stand_where_extensions_read_them() {
        let list = ["1"; 17].join(",");
        for tag in [
            format!("<lora:a:0.5:{list}>"),
            format!("<lora:a:0.5:1:lbw={list}>"),
        ] {
            let read = lora(&tag).unwrap();
            assert_eq!(read.blocks, Some(vec![1.0; 17]), "{tag}");
            assert_eq!(read.text_strength, Some(0.5));
        }
        let middle = lora("<lora:a:1:lbw=MIDD>").unwrap().blocks.unwrap();
        assert_eq!((middle[0], middle[1], middle[7]), (1.0, 0.0, 1.0));
        let calls = lora("<lora:a:1:1:step=5-10>").unwrap();
        assert_eq!((calls.start, calls.stop), (5, Some(10)));
        assert_eq!(of(&calls), "<lora:a:1:start=5:stop=10>");
        let own = lora("<lora:a:1:1:lbw=0,X,X,0,0,0,0,0,0,0,0,0:x=0.3>").unwrap();
        assert_eq!(own.blocks.unwrap()[..3], [0.0, 0.3, 0.3]);
    }

    #[test]
    fn what_cannot_be_honoured_says_why() {
        for (tag, word) in [
            ("<lora:a:strong>", "strong"),
            ("<lora:a:1:nan>", "nan"),
            ("<lora::1>", "a name"),
            ("<lora:a:1:1:0>", "whole number"),
            ("<lora:a:1:step=5>", "START-STOP"),
            ("<lora:a:1:start=x>", "whole number of calls"),
            ("<lora:a:1:start=5:stop=5>", "loras.stop"),
            ("<lora:a:1:lbwe=X>", "lbwe"),
            ("<lora:a:1:lbw=0,1>", "2 block weights"),
            ("<lora:a:1:lbw=NOPE>", "NOPE"),
            ("<lora:a:1:lbw=R,0,0,0,0,0,0,0,0,0,0,0>", "random"),
            ("<lora:a:1:hr=0.5>", "hr="),
            ("<lora:a:1000>", "-100"),
        ] {
            let error = lora(tag).unwrap_err();
            assert!(error.contains(word), "{tag}: {error}");
        }
    }
}
