//! From a text to what the encoder reads: chunks of 77 ids with their weights.

use serde::{Deserialize, Serialize};

use crate::attention::{self, Weighted};
use crate::tokenizer::{BOS, COMMA, EOS, LENGTH, TEXT_LENGTH};
use crate::{ClipTokenizer, Dialect, PromptError, comfy, limits};

/// A1111's "prompt word wrap length limit": how many ids after its last comma a full chunk gives to the next.
const COMMA_BACKTRACK: usize = 20;
/// ComfyUI moves a stretch of fewer ids than this to the next chunk rather than split it.
const COMFY_WHOLE: usize = 8;

/// What fills a chunk after its first [`EOS`]. It belongs to the text encoder, which was trained with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pad {
    /// More [`EOS`]: OpenAI's CLIP.
    #[default]
    End,
    /// Id 0, which is "!": OpenCLIP's encoders.
    Zero,
}

impl Pad {
    /// The id.
    pub fn id(self) -> u32 {
        match self {
            Self::End => EOS,
            Self::Zero => 0,
        }
    }
}

/// What the text encoder reads at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// [`LENGTH`] ids: [`BOS`], the text's, one [`EOS`], and the encoder's [`Pad`] up to the end.
    pub ids: Vec<u32>,
    /// The weight of each id: finite, as typed (0 and negative ones too), and 1 on what is not the text's.
    pub weights: Vec<f32>,
}

/// A text as the encoder reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The chunks, at least one. The encoder reads each alone; their outputs are joined along the tokens.
    pub chunks: Vec<Chunk>,
    /// What [`Dialect::Diffusers`] leaves out because it has one chunk only, as text; `None` where nothing was lost.
    pub truncated: Option<String>,
}

impl Chunk {
    fn of(mut ids: Vec<u32>, mut weights: Vec<f32>, pad: Pad) -> Self {
        ids.insert(0, BOS);
        ids.push(EOS);
        ids.resize(LENGTH, pad.id());
        weights.insert(0, 1.0);
        weights.resize(LENGTH, 1.0);
        Self { ids, weights }
    }

    /// Whether any weight is not 1.
    pub fn is_weighted(&self) -> bool {
        self.weights.iter().any(|w| *w != 1.0)
    }
}

/// Tokenizes `text`, the text of one [`Scheduled`](crate::Scheduled), into chunks for an encoder that is padded with
/// `pad`.
///
/// For [`Pad::Zero`], [`Dialect::Diffusers`] takes every "!" for the padding it is named by: it is id 0 and ends the word
/// before it. The other dialects give it its own id, 256 at the end of a word.
///
/// # Errors
/// [`TooLong`](PromptError::TooLong) and [`TooDeep`](PromptError::TooDeep) beyond the limits;
/// [`Weight`](PromptError::Weight) where `(text:weight)` has digits that are no number (A1111 fails there too) and
/// [`WeightRange`](PromptError::WeightRange) where weights multiply beyond 32-bit numbers.
pub fn chunks(
    tokenizer: &ClipTokenizer,
    text: &str,
    dialect: Dialect,
    pad: Pad,
) -> Result<Encoded, PromptError> {
    limits::check_length(text)?;
    let filler = Filler::new(pad);
    let chunks = match dialect {
        Dialect::A1111 => a1111(tokenizer, &attention::parse(text)?, filler)?,
        Dialect::ComfyUi => comfyui(tokenizer, &comfy::parse(text)?, filler)?,
        Dialect::Diffusers => {
            let mut ids = match pad {
                Pad::End => tokenizer.encode(text),
                Pad::Zero => tokenizer.encode_with_bangs_special(text),
            };
            let cut = ids.split_off(ids.len().min(TEXT_LENGTH));
            let weights = vec![1.0; ids.len()];
            return Ok(Encoded {
                chunks: vec![Chunk::of(ids, weights, pad)],
                truncated: (!cut.is_empty()).then(|| tokenizer.decode(&cut)),
            });
        }
    };
    Ok(Encoded {
        chunks,
        truncated: None,
    })
}

/// The weight as the encoder's arithmetic has it.
fn narrow(stretch: &Weighted) -> Result<f32, PromptError> {
    let weight = stretch.weight as f32;
    if weight.is_finite() {
        return Ok(weight);
    }
    Err(PromptError::WeightRange {
        text: stretch.text.chars().take(40).collect(),
        weight: stretch.weight,
    })
}

/// The chunk being filled, and those that are full.
struct Filler {
    pad: Pad,
    done: Vec<Chunk>,
    ids: Vec<u32>,
    weights: Vec<f32>,
}

impl Filler {
    fn new(pad: Pad) -> Self {
        Self {
            pad,
            done: Vec::new(),
            ids: Vec::new(),
            weights: Vec::new(),
        }
    }

    fn push(&mut self, id: u32, weight: f32) {
        self.ids.push(id);
        self.weights.push(weight);
    }

    /// Ends the chunk before id `at`; what is left begins the next.
    fn split(&mut self, at: usize) {
        let ids = self.ids.split_off(at);
        let weights = self.weights.split_off(at);
        let full = Chunk::of(
            std::mem::replace(&mut self.ids, ids),
            std::mem::replace(&mut self.weights, weights),
            self.pad,
        );
        self.done.push(full);
    }

    fn end(&mut self) {
        self.split(self.ids.len());
    }
}

/// A1111: fill chunks id by id; a full one is cut back to its last comma when that is at most 20 ids away.
fn a1111(
    tokenizer: &ClipTokenizer,
    stretches: &[Weighted],
    mut filler: Filler,
) -> Result<Vec<Chunk>, PromptError> {
    // Where the chunk's latest comma stands; one that begins a chunk is not remembered, as there.
    let mut comma: Option<usize> = None;
    for stretch in stretches {
        if stretch.is_break() {
            filler.end();
            comma = None;
            continue;
        }
        let weight = narrow(stretch)?;
        for id in tokenizer.encode_cleaned(&stretch.text) {
            let filled = filler.ids.len();
            if id == COMMA {
                comma = Some(filled);
            } else if filled == TEXT_LENGTH
                && let Some(at) = comma
                && filled - at <= COMMA_BACKTRACK
            {
                filler.split(at + 1);
                comma = None;
            }
            if filler.ids.len() == TEXT_LENGTH {
                filler.end();
                comma = None;
            }
            filler.push(id, weight);
        }
    }
    if !filler.ids.is_empty() || filler.done.is_empty() {
        filler.end();
    }
    Ok(filler.done)
}

/// ComfyUI: a short stretch that does not fit goes to the next chunk whole, a long one is split where the chunk ends.
fn comfyui(
    tokenizer: &ClipTokenizer,
    stretches: &[Weighted],
    mut filler: Filler,
) -> Result<Vec<Chunk>, PromptError> {
    for stretch in stretches {
        let weight = narrow(stretch)?;
        let ids = tokenizer.encode(&stretch.text);
        let fits = filler.ids.len() + ids.len() <= TEXT_LENGTH;
        if !fits && ids.len() < COMFY_WHOLE {
            filler.end();
        }
        for id in ids {
            if filler.ids.len() == TEXT_LENGTH {
                filler.end();
            }
            filler.push(id, weight);
        }
    }
    filler.end();
    Ok(filler.done)
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
