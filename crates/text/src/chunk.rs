//! From a text to what the encoder reads: chunks of 77 ids with their weights.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::attention::{self, Weighted};
use crate::pseudo::{Piece, PseudoWords, Word};
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
    /// Where a vector of a [pseudo-word](PseudoWords) takes the place of an id's embedding, and its number. The ids there are
    /// 0, or what the program has there. In the order of the places, each of them once.
    pub vectors: Vec<(usize, usize)>,
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
    fn of(
        mut ids: Vec<u32>,
        mut weights: Vec<f32>,
        vectors: Vec<(usize, usize)>,
        pad: Pad,
    ) -> Self {
        ids.insert(0, BOS);
        ids.push(EOS);
        ids.resize(LENGTH, pad.id());
        weights.insert(0, 1.0);
        weights.resize(LENGTH, 1.0);
        Self {
            ids,
            weights,
            vectors,
        }
    }

    /// Whether any weight is not 1.
    pub fn is_weighted(&self) -> bool {
        self.weights.iter().any(|w| *w != 1.0)
    }
}

/// [`PseudoWords::chunks`] of a text that names none.
///
/// # Errors
/// As there.
pub fn chunks(
    tokenizer: &ClipTokenizer,
    text: &str,
    dialect: Dialect,
    pad: Pad,
) -> Result<Encoded, PromptError> {
    PseudoWords::default().chunks(tokenizer, text, dialect, pad)
}

impl PseudoWords {
    /// Tokenizes `text`, the text of one [`Scheduled`](crate::Scheduled), into chunks for an encoder that is padded with
    /// `pad`.
    ///
    /// For [`Pad::Zero`], [`Dialect::Diffusers`] takes every "!" for the padding it is named by: it is id 0 and ends the
    /// word before it. The other dialects give it its own id, 256 at the end of a word.
    ///
    /// # Errors
    /// [`TooLong`](PromptError::TooLong) and [`TooDeep`](PromptError::TooDeep) beyond the limits;
    /// [`Weight`](PromptError::Weight) where `(text:weight)` has digits that are no number (A1111 fails there too) and
    /// [`WeightRange`](PromptError::WeightRange) where weights multiply beyond 32-bit numbers;
    /// [`TooManyVectors`](PromptError::TooManyVectors) where a word's vectors fill more than a chunk, in A1111, which fails
    /// there too.
    pub fn chunks(
        &self,
        tokenizer: &ClipTokenizer,
        text: &str,
        dialect: Dialect,
        pad: Pad,
    ) -> Result<Encoded, PromptError> {
        limits::check_length(text)?;
        let filler = Filler::new(pad);
        let chunks = match dialect {
            Dialect::A1111 => a1111(tokenizer, &attention::parse(text)?, self, filler)?,
            Dialect::ComfyUi => comfyui(tokenizer, &comfy::parse(text)?, self, filler)?,
            Dialect::Diffusers => return Ok(diffusers(tokenizer, text, self, pad)),
        };
        Ok(Encoded {
            chunks,
            truncated: None,
        })
    }
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
    vectors: Vec<(usize, usize)>,
}

impl Filler {
    fn new(pad: Pad) -> Self {
        Self {
            pad,
            done: Vec::new(),
            ids: Vec::new(),
            weights: Vec::new(),
            vectors: Vec::new(),
        }
    }

    fn push(&mut self, id: u32, weight: f32) {
        self.ids.push(id);
        self.weights.push(weight);
    }

    /// A vector in the place of the next id.
    fn insert(&mut self, vector: usize, weight: f32) {
        // The chunk's first id stands before.
        self.vectors.push((self.ids.len() + 1, vector));
        self.push(0, weight);
    }

    /// Ends the chunk before id `at`; what is left begins the next. Vectors behind it stay where they stood, as in A1111.
    fn split(&mut self, at: usize) {
        let ids = self.ids.split_off(at);
        let weights = self.weights.split_off(at);
        let full = Chunk::of(
            std::mem::replace(&mut self.ids, ids),
            std::mem::replace(&mut self.weights, weights),
            std::mem::take(&mut self.vectors),
            self.pad,
        );
        self.done.push(full);
    }

    fn end(&mut self) {
        self.split(self.ids.len());
    }
}

/// A1111: fill chunks id by id; a full one is cut back to its last comma when that is at most 20 ids away. Vectors of one
/// word stay together.
fn a1111(
    tokenizer: &ClipTokenizer,
    stretches: &[Weighted],
    words: &PseudoWords,
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
        let ids = tokenizer.encode_cleaned(&stretch.text);
        let mut at = 0;
        while let Some(&id) = ids.get(at) {
            let filled = filler.ids.len();
            if id == COMMA {
                comma = Some(filled);
            } else if filled == TEXT_LENGTH
                && let Some(last) = comma
                && filled - last <= COMMA_BACKTRACK
            {
                filler.split(last + 1);
                comma = None;
            }
            if filler.ids.len() == TEXT_LENGTH {
                filler.end();
                comma = None;
            }
            let Some(word) = words.begins(&ids[at..]) else {
                filler.push(id, weight);
                at += 1;
                continue;
            };
            check_vectors(word)?;
            if filler.ids.len() + word.vectors.len() > TEXT_LENGTH {
                filler.end();
                comma = None;
            }
            for vector in word.vectors.clone() {
                filler.insert(vector, weight);
            }
            at += word.ids.len();
        }
    }
    if !filler.ids.is_empty() || filler.done.is_empty() {
        filler.end();
    }
    Ok(filler.done)
}

/// A1111 cannot encode a word that fills more than a chunk.
fn check_vectors(word: &Word) -> Result<(), PromptError> {
    match word.vectors.len() {
        0..=TEXT_LENGTH => Ok(()),
        vectors => Err(PromptError::TooManyVectors {
            name: word.spelling.clone(),
            vectors,
        }),
    }
}

/// ComfyUI: a short stretch that does not fit goes to the next chunk whole, a long one is split where the chunk ends; so
/// do the vectors of one word.
fn comfyui(
    tokenizer: &ClipTokenizer,
    stretches: &[Weighted],
    words: &PseudoWords,
    mut filler: Filler,
) -> Result<Vec<Chunk>, PromptError> {
    for stretch in stretches {
        let weight = narrow(stretch)?;
        for piece in words.comfyui(&stretch.text) {
            let group = match piece {
                Piece::Text(text) => tokenizer.encode(text).into_iter().map(Token::Id).collect(),
                Piece::Vectors(vectors) => tokens(vectors),
            };
            let fits = filler.ids.len() + group.len() <= TEXT_LENGTH;
            if !fits && group.len() < COMFY_WHOLE {
                filler.end();
            }
            for token in group {
                if filler.ids.len() == TEXT_LENGTH {
                    filler.end();
                }
                match token {
                    Token::Id(id) => filler.push(id, weight),
                    Token::Vector(vector) => filler.insert(vector, weight),
                }
            }
        }
    }
    filler.end();
    Ok(filler.done)
}

/// What takes a place of a chunk.
#[derive(Clone, Copy)]
enum Token {
    Id(u32),
    Vector(usize),
}

fn tokens(vectors: Range<usize>) -> Vec<Token> {
    vectors.map(Token::Vector).collect()
}

/// diffusers: one chunk, and what does not go in is cut.
fn diffusers(tokenizer: &ClipTokenizer, text: &str, words: &PseudoWords, pad: Pad) -> Encoded {
    let ids = |text| match pad {
        Pad::End => tokenizer.encode(text),
        Pad::Zero => tokenizer.encode_with_bangs_special(text),
    };
    let pieces = words.diffusers(text).into_iter();
    let mut all: Vec<Token> = pieces
        .flat_map(|piece| match piece {
            Piece::Text(text) => ids(text).into_iter().map(Token::Id).collect(),
            Piece::Vectors(vectors) => tokens(vectors),
        })
        .collect();
    let cut = all.split_off(all.len().min(TEXT_LENGTH));
    let mut filler = Filler::new(pad);
    for token in all {
        match token {
            Token::Id(id) => filler.push(id, 1.0),
            Token::Vector(vector) => filler.insert(vector, 1.0),
        }
    }
    filler.end();
    Encoded {
        chunks: filler.done,
        truncated: (!cut.is_empty()).then(|| told(tokenizer, &cut, words)),
    }
}

/// What was cut, as text.
fn told(tokenizer: &ClipTokenizer, cut: &[Token], words: &PseudoWords) -> String {
    let word = |token: &Token| match token {
        Token::Id(_) => None,
        Token::Vector(vector) => Some(words.spelling_of(*vector)),
    };
    let runs = cut.chunk_by(|a, b| word(a) == word(b)).map(|run| {
        let ids = run.iter().filter_map(|token| match token {
            Token::Id(id) => Some(*id),
            Token::Vector(_) => None,
        });
        match run.first().and_then(word) {
            Some(word) => word.to_owned(),
            None => tokenizer.decode(&ids.collect::<Vec<_>>()),
        }
    });
    runs.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
