//! LoRAs and their kin in a request: those of its table, and those that A1111 reads out of the prompt.

mod blocks;
pub(crate) mod tag;
mod typed;

use latent_text::Dialect;

use crate::error::{Error, Result};
use crate::hypernetworks;
use crate::profile::Profile;
use crate::request::{Lora, Request};

pub use tag::{Mention, mentions};
pub use typed::typed;

/// Every adapter of a request, those in its prompts first. Of the profiles, that of A1111 alone reads tags in the prompt
/// (`<lora:NAME:TEXT:UNET>`).
///
/// # Errors
/// A tag that cannot be honoured; a second pass whose prompt names others than the first's, since one network draws both.
pub fn asked(request: &Request) -> Result<Vec<Lora>> {
    if Profile::of(request.compat).dialect != Dialect::A1111 {
        return Ok(request.loras.clone());
    }
    let of = |field, text: &str| -> Result<Vec<Lora>> {
        let mentions = mentions(text).into_iter().filter(Mention::is_lora);
        let each = mentions.map(|mention| {
            let lora = mention.lora();
            lora.map_err(|expected| Error::field(field, &mention.text, expected))
        });
        each.collect()
    };
    let first = of("prompt", &request.prompt)?;
    if let Some(text) = request
        .hires
        .as_ref()
        .and_then(|hires| hires.prompt.as_deref())
    {
        let second = of("hires.prompt", text)?;
        if second != first {
            return Err(Error::field(
                "hires.prompt",
                format!("{text:?}"),
                "the same <lora:…> as in `prompt`: both passes are drawn by one network. A LoRA of the table (--lora) holds for both",
            ));
        }
    }
    let mut loras = first;
    if let Some(text) = &request.prompt_2 {
        loras.extend(of("prompt_2", text)?);
    }
    loras.extend_from_slice(&request.loras);
    Ok(loras)
}

/// What stands between adapters in a line of text.
const BETWEEN: &str = " | ";

/// Adapters in a line of text, as they are typed.
pub(crate) fn in_line(loras: &[Lora]) -> String {
    let each: Vec<String> = loras.iter().map(typed::of).collect();
    each.join(BETWEEN)
}

/// Those of such a line.
///
/// # Errors
/// What is wrong, as a sentence.
pub(crate) fn of_line(line: &str) -> Result<Vec<Lora>, String> {
    line.split(BETWEEN)
        .map(|text| typed(text.as_ref(), |_| false))
        .collect()
}

/// The prompt with the adapters and hypernetworks of the request's tables written behind it where the profile reads them there,
/// as A1111 would be asked for them.
pub(crate) fn in_prompt(request: &Request) -> String {
    let mut prompt = request.prompt.clone();
    let reads = Profile::of(request.compat).dialect == Dialect::A1111;
    let tags = request.loras.iter().map(tag::of);
    let tags = tags.chain(request.hypernetworks.iter().map(hypernetworks::tag));
    for tag in tags.filter(|_| reads) {
        if !prompt.is_empty() {
            prompt.push(' ');
        }
        prompt += &tag;
    }
    prompt
}
