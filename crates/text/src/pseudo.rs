//! Pseudo-words: words that stand for learnt vectors (textual inversion).

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;

use crate::ClipTokenizer;

/// Words that stand for vectors in the place of token embeddings, as a text may name them. The vectors themselves are
/// tensors and so the caller's, who numbers them; the crate's documentation says how each program finds the words.
///
/// Source: Gal et al., "An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion",
/// 2022, section 4.
#[derive(Debug, Clone, Default)]
pub struct PseudoWords {
    /// Those of more ids first, as A1111 tries them.
    words: Vec<Word>,
}

/// One spelling of a pseudo-word.
#[derive(Debug, Clone)]
pub(crate) struct Word {
    pub(crate) spelling: String,
    /// What is compared where case does not matter.
    folded: String,
    /// The spelling's own ids.
    pub(crate) ids: Vec<u32>,
    /// What it stands for.
    pub(crate) vectors: Range<usize>,
}

/// What of a text stands between two pseudo-words, or one of them.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece<'t> {
    Text(&'t str),
    Vectors(Range<usize>),
}

impl PseudoWords {
    /// From spellings, each with the numbers of the vectors that it stands for. One of no letters, or of no vectors, is left
    /// out: no text can name it.
    pub fn new(
        tokenizer: &ClipTokenizer,
        words: impl IntoIterator<Item = (String, Range<usize>)>,
    ) -> Self {
        let words = words.into_iter().map(|(spelling, vectors)| Word {
            folded: fold(&spelling),
            ids: tokenizer.encode_cleaned(&spelling),
            spelling,
            vectors,
        });
        let mut words: Vec<Word> = words
            .filter(|word| !word.ids.is_empty() && !word.vectors.is_empty())
            .collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.ids.len()));
        Self { words }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// A1111's: the one of the most ids whose ids come first in `ids`.
    pub(crate) fn begins(&self, ids: &[u32]) -> Option<&Word> {
        self.words.iter().find(|word| ids.starts_with(&word.ids))
    }

    /// The spelling of the word that vector `number` belongs to.
    pub(crate) fn spelling_of(&self, number: usize) -> &str {
        let mut words = self.words.iter();
        words
            .find(|word| word.vectors.contains(&number))
            .map_or("", |word| &word.spelling)
    }

    fn spelt(&self, spelling: &str) -> Option<&Word> {
        self.words.iter().find(|word| word.spelling == spelling)
    }

    /// ComfyUI's: `embedding:NAME` at the start of a stretch, or behind a space or a line break, which it takes with it. What
    /// follows the name goes on as text of its own. A name without a word is left out.
    pub(crate) fn comfyui<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        const MARK: &str = "embedding:";
        let mut pieces = Vec::new();
        let mut push = |text: &'t str| {
            if !text.is_empty() {
                pieces.push(Piece::Text(text));
            }
        };
        if self.is_empty() {
            push(text);
            return pieces;
        }
        let mut starts: Vec<usize> = text
            .match_indices(MARK)
            .map(|(at, _)| at)
            .filter(|at| *at == 0 || text[..*at].ends_with([' ', '\n']))
            .collect();
        let first = starts.first().copied().unwrap_or(text.len());
        // The space before a mark goes with it.
        push(&text[..first.saturating_sub(usize::from(first > 0 && !starts.is_empty()))]);
        starts.push(text.len() + 1);
        for pair in starts.windows(2) {
            let marked = &text[pair[0] + MARK.len()..pair[1] - 1];
            let trimmed = marked.trim_start();
            let (name, rest) = trimmed
                .split_once(char::is_whitespace)
                .unwrap_or((trimmed, ""));
            let bare = name.trim_matches(',');
            let (word, commas) = match self.spelt(name) {
                Some(word) => (Some(word), ""),
                // Counted from the front, as there.
                None => (self.spelt(bare), name.get(bare.len()..).unwrap_or("")),
            };
            if let Some(word) = word {
                pieces.push(Piece::Vectors(word.vectors.clone()));
            }
            for text in [commas, rest] {
                if !text.is_empty() {
                    pieces.push(Piece::Text(text));
                }
            }
        }
        pieces
    }

    /// diffusers': a word wherever its letters stand, inside of others too, the longest of those that begin earliest. Where
    /// letters differ in case, or a word has capital letters, it stands for its first vector alone, since only the added token
    /// itself is found there. `NAME_1` and so on are the single vectors after the first.
    pub(crate) fn diffusers<'t>(&self, text: &'t str) -> Vec<Piece<'t>> {
        let mut pieces = Vec::new();
        let (mut at, mut from) = (0, 0);
        while let Some(first) = text[at..].chars().next() {
            let found = self
                .words
                .iter()
                .filter_map(|w| w.in_diffusers(&text[at..]));
            match found.max_by_key(|(length, _)| *length) {
                Some((length, vectors)) => {
                    if from < at {
                        pieces.push(Piece::Text(&text[from..at]));
                    }
                    pieces.push(Piece::Vectors(vectors));
                    at += length;
                    from = at;
                }
                None => at += first.len_utf8(),
            }
        }
        if from < at || pieces.is_empty() {
            pieces.push(Piece::Text(&text[from..at]));
        }
        pieces
    }
}

impl Word {
    /// What begins `rest` of the tokens that diffusers adds for this word: its length, and its vectors.
    fn in_diffusers(&self, rest: &str) -> Option<(usize, Range<usize>)> {
        let length = folded_start(rest, &self.folded)?;
        let first = self.vectors.start;
        if let Some(number) = rest[length..].strip_prefix('_') {
            let digits = number.len()
                - number
                    .trim_start_matches(|c: char| c.is_ascii_digit())
                    .len();
            let piece = (1..=digits).rev().find_map(|digits| {
                let number: usize = number[..digits].parse().ok()?;
                let known = number > 0
                    && number < self.vectors.len()
                    && !number_is_padded(&rest[length + 1..]);
                known.then_some((length + 1 + digits, first + number))
            });
            if let Some((length, vector)) = piece {
                return Some((length, vector..vector + 1));
            }
        }
        let whole = self.spelling == self.folded && rest.starts_with(&self.spelling);
        let vectors = match whole {
            true => self.vectors.clone(),
            false => first..first + 1,
        };
        Some((length, vectors))
    }
}

fn number_is_padded(digits: &str) -> bool {
    digits.starts_with('0')
}

/// The form in which case does not matter: composed, lower case.
fn fold(text: &str) -> String {
    text.nfc().flat_map(char::to_lowercase).collect()
}

/// The length of the beginning of `text` that is `folded` but for its case.
fn folded_start(text: &str, folded: &str) -> Option<usize> {
    let mut wanted = folded.chars();
    let mut length = 0;
    for c in text.chars() {
        if wanted.as_str().is_empty() {
            break;
        }
        for lower in c.to_lowercase() {
            if wanted.next() != Some(lower) {
                return None;
            }
        }
        length += c.len_utf8();
    }
    wanted.as_str().is_empty().then_some(length)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::tokenizer::{EOS, LENGTH, TEXT_LENGTH};
    use crate::{Chunk, Dialect, Pad, PromptError};

    static TOKENIZER: LazyLock<ClipTokenizer> = LazyLock::new(ClipTokenizer::new);

    /// `zeta` of three vectors, `bad hands` of two, `bad` of one, `long` of ten, `Big` of two.
    fn words() -> PseudoWords {
        let words = [
            ("zeta", 0..3),
            ("bad hands", 3..5),
            ("bad", 5..6),
            ("long", 6..16),
            ("Big", 16..18),
            ("", 18..19),
        ];
        PseudoWords::new(&TOKENIZER, words.map(|(name, v)| (name.to_owned(), v)))
    }

    fn chunks(text: &str, dialect: Dialect) -> Vec<Chunk> {
        let encoded = words().chunks(&TOKENIZER, text, dialect, Pad::End);
        encoded.unwrap().chunks
    }

    /// Positions and vectors of every chunk.
    fn found(text: &str, dialect: Dialect) -> Vec<Vec<(usize, usize)>> {
        let chunks = chunks(text, dialect).into_iter();
        chunks.map(|chunk| chunk.vectors).collect()
    }

    fn cats(n: usize) -> String {
        vec!["cat"; n].join(" ")
    }

    #[test]
    fn a1111_finds_words_by_their_ids() {
        let found = |text: &str| found(text, Dialect::A1111);
        assert_eq!(found("a Zeta, cat"), [[(2, 0), (3, 1), (4, 2)]]);
        assert_eq!(found("bad hands bad"), [[(1, 3), (2, 4), (3, 5)]]);
        assert_eq!(found("zetas badly"), [[]]);
        assert_eq!(found("embedding:bad"), [[(4, 5)]]);
        let weighted = &chunks("cat (bad hands:1.2) cat", Dialect::A1111)[0];
        assert_eq!(weighted.weights[..5], [1.0, 1.0, 1.2, 1.2, 1.0]);
        assert_eq!(weighted.ids[2..4], [0, 0]);
        // A stretch of another weight parts the ids of a word.
        assert_eq!(found("bad (hands:1.2)"), [[(1, 5)]]);
    }

    #[test]
    fn a1111_begins_a_chunk_for_vectors_that_do_not_fit() {
        let text = format!("{} zeta", cats(72));
        assert_eq!(found(&text, Dialect::A1111), [[(73, 0), (74, 1), (75, 2)]]);
        let text = format!("{} zeta", cats(73));
        let got = chunks(&text, Dialect::A1111);
        assert_eq!(got[0].ids[73..75], [2368, EOS]);
        assert_eq!(
            (&got[0].vectors[..], &got[1].vectors[..]),
            (&[][..], &[(1, 0), (2, 1), (3, 2)][..])
        );
        let many = PseudoWords::new(&TOKENIZER, [("zeta".to_owned(), 0..TEXT_LENGTH + 1)]);
        let refused = many.chunks(&TOKENIZER, "a zeta", Dialect::A1111, Pad::End);
        assert_eq!(
            refused,
            Err(PromptError::TooManyVectors {
                name: "zeta".to_owned(),
                vectors: 76
            })
        );
        assert!(
            many.chunks(&TOKENIZER, "a zeta", Dialect::ComfyUi, Pad::End)
                .is_ok()
        );
    }

    /// What follows a comma moves to the next chunk, and its vectors stay where they stood, now behind the end of the text.
    #[test]
    fn a1111_leaves_vectors_behind_that_it_moves() {
        let text = format!("{}, zeta {}", cats(60), cats(12));
        let got = chunks(&text, Dialect::A1111);
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].vectors, [(62, 0), (63, 1), (64, 2)]);
        assert_eq!(got[0].ids[61..64], [267, EOS, EOS]);
        assert!(got[1].vectors.is_empty());
        assert_eq!(got[1].ids[1..5], [0, 0, 0, 2368]);
    }

    #[test]
    fn comfyui_finds_names_behind_a_mark() {
        let found = |text: &str| found(text, Dialect::ComfyUi);
        assert_eq!(found("a zeta"), [[]]);
        assert_eq!(found("a embedding:zeta, cat"), [[(2, 0), (3, 1), (4, 2)]]);
        assert_eq!(found("embedding:bad embedding:bad"), [[(1, 5), (2, 5)]]);
        assert_eq!(found("embedding:Zeta embedding:bad"), [[(1, 5)]]);
        assert_eq!(found("xembedding:bad"), [[]]);
        assert_eq!(found("(embedding:bad:1.3)"), [[(1, 5)]]);
        assert_eq!(found("cat\nembedding:bad,dog"), [[]]);
        let comma = &chunks("embedding:bad, cat", Dialect::ComfyUi)[0];
        assert_eq!(comma.ids[1..5], [0, 267, 2368, EOS]);
        let weighted = &chunks("(embedding:bad:1.3) cat", Dialect::ComfyUi)[0];
        assert_eq!(weighted.weights[..4], [1.0, 1.3, 1.0, 1.0]);
        let lone = &chunks("embedding: cat embedding:", Dialect::ComfyUi)[0];
        assert_eq!(lone.ids[1..3], [EOS, EOS]);
    }

    #[test]
    fn comfyui_keeps_few_vectors_together_and_splits_many() {
        let text = |name: &str| format!("{} embedding:{name}", cats(73));
        let got = found(&text("zeta"), Dialect::ComfyUi);
        assert_eq!(got, [vec![], vec![(1, 0), (2, 1), (3, 2)]]);
        let got = found(&text("long"), Dialect::ComfyUi);
        assert_eq!(got[0], [(74, 6), (75, 7)]);
        assert_eq!(got[1][0], (1, 8));
        assert_eq!(got[1].len(), 8);
    }

    #[test]
    fn diffusers_finds_letters_anywhere() {
        let found = |text: &str| found(text, Dialect::Diffusers)[0].clone();
        assert_eq!(found("a zeta cat"), [(2, 0), (3, 1), (4, 2)]);
        assert_eq!(found("xzetas"), [(2, 0), (3, 1), (4, 2)]);
        assert_eq!(found("Zeta"), [(1, 0)]);
        assert_eq!(found("Big big"), [(1, 16), (2, 16)]);
        assert_eq!(
            found("zeta_1 zeta_12 zeta_3"),
            [(1, 1), (2, 1), (4, 0), (5, 1), (6, 2)]
        );
        assert_eq!(found("bad hands"), [(1, 3), (2, 4)]);
        let ids = &chunks("xzetas", Dialect::Diffusers)[0].ids;
        assert_eq!(ids[..7], [49406, 343, 0, 0, 0, 338, EOS]);
        // Drawn with transformers 5.24.0: `a zeta b` as one added token.
        let cut = words().chunks(
            &TOKENIZER,
            &format!("{} zeta, cat", cats(73)),
            Dialect::Diffusers,
            Pad::End,
        );
        let cut = cut.unwrap();
        assert_eq!(cut.chunks[0].vectors, [(74, 0), (75, 1)]);
        assert_eq!(cut.truncated.as_deref(), Some("zeta , cat"));
        assert_eq!(cut.chunks[0].ids.len(), LENGTH);
    }

    #[test]
    fn no_words_change_nothing() {
        let none = PseudoWords::default();
        for dialect in [Dialect::A1111, Dialect::ComfyUi, Dialect::Diffusers] {
            for text in ["a cat, embedding:bad dog", "zeta!", ""] {
                let plain = crate::chunks(&TOKENIZER, text, dialect, Pad::Zero).unwrap();
                let with = none.chunks(&TOKENIZER, text, dialect, Pad::Zero).unwrap();
                assert_eq!(plain, with);
                assert!(plain.chunks.iter().all(|chunk| chunk.vectors.is_empty()));
            }
        }
    }
}
