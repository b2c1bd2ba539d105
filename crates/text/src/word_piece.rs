//! BERT's tokenizer: words, then the longest known pieces of words.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::{BOS, ClipTokenizer, EOS};

/// Longer words are unknown as a whole.
const LONGEST_WORD: usize = 100;

/// BERT's uncased tokenizer over a vocabulary file.
///
/// What happens to text: control characters go; each CJK character is a word; lower case; accents go; split at white space
/// and punctuation; each word is cut into the longest pieces the vocabulary has, those after the first written `##piece`.
/// Of punctuation beyond ASCII, the blocks of Latin-1, General Punctuation and CJK Symbols are known.
#[derive(Debug, Clone)]
pub struct WordPiece {
    ids: HashMap<String, u32>,
    special: Special,
}

/// The ids with a meaning of their own.
#[derive(Debug, Clone, Copy)]
struct Special {
    pad: u32,
    unknown: u32,
    start: u32,
    end: u32,
}

/// A vocabulary that is not BERT's kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the vocabulary has no line `{0}`; a vocabulary of BERT's kind has one token a line, among them [PAD], [UNK], [CLS] and [SEP]"
)]
pub struct VocabularyError(&'static str);

impl WordPiece {
    /// From the text of a vocabulary file, one token a line, whose number is its id.
    ///
    /// # Errors
    /// One of the special tokens is missing.
    pub fn new(vocabulary: &str) -> Result<Self, VocabularyError> {
        let lines = vocabulary.lines().map(|line| line.trim_end().to_owned());
        let ids: HashMap<String, u32> = lines.zip(0..).collect();
        let id = |token: &'static str| ids.get(token).copied().ok_or(VocabularyError(token));
        let special = Special {
            pad: id("[PAD]")?,
            unknown: id("[UNK]")?,
            start: id("[CLS]")?,
            end: id("[SEP]")?,
        };
        Ok(Self { ids, special })
    }

    /// How many ids there are.
    pub fn vocabulary(&self) -> usize {
        self.ids.values().max().map_or(0, |&last| last as usize + 1)
    }

    /// The ids of `text`, without the special ones around them.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::new();
        for word in words(text) {
            self.pieces(&word, &mut ids);
        }
        ids
    }

    fn pieces(&self, word: &str, ids: &mut Vec<u32>) {
        let before = ids.len();
        let mut rest = word;
        while !rest.is_empty() && word.chars().count() <= LONGEST_WORD {
            let known = |end: &usize| {
                let piece = &rest[..*end];
                match ids.len() == before {
                    true => self.ids.get(piece),
                    false => self.ids.get(&format!("##{piece}")),
                }
                .copied()
            };
            let ends = rest.char_indices().map(|(at, c)| at + c.len_utf8()).rev();
            let Some((end, id)) = ends.into_iter().find_map(|end| Some((end, known(&end)?))) else {
                break;
            };
            ids.push(id);
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            ids.truncate(before);
            ids.push(self.special.unknown);
        }
    }
}

/// The words of `text`, lower case and without accents; each punctuation mark is one.
fn words(text: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => spaced.push(' '),
            '\0' | '\u{fffd}' => {}
            c if c.is_control() => {}
            c if is_cjk(c) => spaced.extend([' ', c, ' ']),
            c => spaced.push(c),
        }
    }
    let plain = spaced.to_lowercase();
    let plain = plain.nfd().filter(|c| !is_combining_mark(*c));
    let mut words = vec![String::new()];
    for c in plain {
        if is_punctuation(c) {
            words.extend([c.to_string(), String::new()]);
        } else if c.is_whitespace() {
            words.push(String::new());
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_cjk(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c, '¡' | '§' | '«' | '¶' | '·' | '»' | '¿')
        || matches!(u32::from(c), 0x2010..=0x2027 | 0x2030..=0x205E | 0x3001..=0x3003 | 0x3008..=0x3011)
}

/// Text to a row of ids of fixed length.
#[derive(Debug)]
pub enum TextTokenizer {
    /// CLIP's.
    Clip(ClipTokenizer),
    /// BERT's kind.
    WordPiece(WordPiece),
}

impl TextTokenizer {
    /// How many ids there are.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Clip(_) => EOS as usize + 1,
            Self::WordPiece(pieces) => pieces.vocabulary(),
        }
    }

    /// How many ids `text` has with those of start and end, before anything is cut off.
    pub fn length(&self, text: &str) -> usize {
        let ids = match self {
            Self::Clip(clip) => clip.encode(text),
            Self::WordPiece(pieces) => pieces.encode(text),
        };
        ids.len() + 2
    }

    /// The ids of `text` between those of start and end, cut off or filled up to `length`, which is 2 or more.
    pub fn row(&self, text: &str, length: usize) -> Vec<u32> {
        let (start, end, pad, ids) = match self {
            Self::Clip(clip) => (BOS, EOS, EOS, clip.encode(text)),
            Self::WordPiece(pieces) => {
                let Special {
                    start, end, pad, ..
                } = pieces.special;
                (start, end, pad, pieces.encode(text))
            }
        };
        let kept = ids.into_iter().take(length.saturating_sub(2));
        let mut row: Vec<u32> = [start].into_iter().chain(kept).chain([end]).collect();
        row.resize(length, pad);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCABULARY: &str =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncaf\ncafe\n##s\n##teria\n,\nthe\n空\nun\n##aff\n##able";

    #[test]
    fn the_longest_pieces_are_taken() {
        let pieces = WordPiece::new(VOCABULARY).unwrap();
        assert_eq!(pieces.vocabulary(), 14);
        assert_eq!(pieces.encode("The CAFÉS, cafeteria"), [9, 5, 6, 8, 5, 7]);
        assert_eq!(pieces.encode("unaffable"), [11, 12, 13]);
        assert_eq!(pieces.encode("空the"), [10, 9]);
        // No piece goes on after `cafe`: the word is unknown as a whole.
        assert_eq!(pieces.encode("cafex the"), [1, 9]);
        assert_eq!(pieces.encode(&"s".repeat(200)), [1]);
        assert_eq!(
            WordPiece::new("[PAD]").unwrap_err(),
            VocabularyError("[UNK]")
        );
    }

    #[test]
    fn rows_have_the_length_asked_for() {
        let rows = TextTokenizer::WordPiece(WordPiece::new(VOCABULARY).unwrap());
        assert_eq!(rows.row("the cafe", 6), [2, 9, 5, 3, 0, 0]);
        assert_eq!(rows.row("the cafe, the cafe", 4), [2, 9, 5, 3]);
        let clip = TextTokenizer::Clip(ClipTokenizer::new());
        assert_eq!(clip.row("", 5), [BOS, EOS, EOS, EOS, EOS]);
        let long = clip.row("a photo of a cat on a mat", 6);
        assert_eq!((long.len(), long[0], long[5]), (6, BOS, EOS));
    }
}
