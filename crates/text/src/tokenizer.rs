//! CLIP's byte-pair tokenizer, with its vocabulary inside.

use instant_clip_tokenizer::{Token, Tokenizer};
use unicode_normalization::UnicodeNormalization;

use crate::clean::clean;

/// The id that starts every chunk, `<|startoftext|>`.
pub const BOS: u32 = 49406;
/// The id that ends every chunk and pads it, `<|endoftext|>`.
pub const EOS: u32 = 49407;
/// The number of ids in a chunk: CLIP's context length.
pub const LENGTH: usize = 77;
/// The number of ids in a chunk that carry text: [`LENGTH`] without [`BOS`] and the last [`EOS`].
pub const TEXT_LENGTH: usize = LENGTH - 2;
/// The id of a comma that ends a word; A1111 prefers to break chunks after it.
pub(crate) const COMMA: u32 = 267;

const BOS_TEXT: &str = "<|startoftext|>";
const EOS_TEXT: &str = "<|endoftext|>";
/// The tokens that are special wherever they are written out.
const SPECIAL: [(&str, u32); 2] = [(BOS_TEXT, BOS), (EOS_TEXT, EOS)];

/// Longer runs without white space are encoded in pieces, because merging a word takes time in the square of its
/// length. In bytes.
const LONGEST_RUN: usize = 2048;

/// CLIP's byte-pair tokenizer: text to ids and back.
///
/// The ids are those of `transformers` 5 (`CLIPTokenizer`). What happens to text, in this order: the literal strings
/// `<|startoftext|>` and `<|endoftext|>` become [`BOS`] and [`EOS`]; Unicode form C; lower case, character by character
/// (no final sigma); split at white space, between letters, single digits and runs of anything else, and before
/// English contractions; byte pairs merged within each piece.
///
/// Building one takes some tens of milliseconds: build it once.
pub struct ClipTokenizer {
    inner: Tokenizer,
}

impl std::fmt::Debug for ClipTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClipTokenizer").finish_non_exhaustive()
    }
}

impl Default for ClipTokenizer {
    fn default() -> Self {
        Self::new()
    }
}

impl ClipTokenizer {
    /// A tokenizer with OpenAI's vocabulary of 49,408 ids.
    pub fn new() -> Self {
        Self {
            inner: Tokenizer::new(),
        }
    }

    /// The ids of `text`, without [`BOS`] and [`EOS`] around them. Empty for empty text. Any text is legal.
    ///
    /// A run of more than 2,048 bytes without white space is encoded in pieces of at most that size, cut between words
    /// where it can be seen; ids beside such a cut may differ from the reference.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.encode_between(text, &SPECIAL, &str::to_owned)
    }

    /// The same where the padding token "!" is special as well: each "!" is id 0 and ends the word before it, as in
    /// `transformers` for encoders that are padded with it.
    pub(crate) fn encode_with_bangs_special(&self, text: &str) -> Vec<u32> {
        self.encode_between(text, &[SPECIAL[0], SPECIAL[1], ("!", 0)], &str::to_owned)
    }

    /// The same of text that is [cleaned](clean) between special tokens.
    pub(crate) fn encode_cleaned(&self, text: &str) -> Vec<u32> {
        self.encode_between(text, &SPECIAL, &clean)
    }

    /// The ids of `text`: of the `special` tokens written out in it, and of what `read` makes of the text between them.
    fn encode_between(
        &self,
        text: &str,
        special: &[(&str, u32)],
        read: &dyn Fn(&str) -> String,
    ) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some((at, id, length)) = next_special(rest, special) {
            self.encode_plain(&read(&rest[..at]), &mut ids);
            ids.push(id);
            rest = &rest[at + length..];
        }
        self.encode_plain(&read(rest), &mut ids);
        ids
    }

    /// Encodes text in which the special tokens have no meaning.
    fn encode_plain(&self, text: &str, ids: &mut Vec<u32>) {
        // `str::to_lowercase` would turn a final Σ into ς; the reference does not look at neighbours.
        let text: String = text.nfc().flat_map(char::to_lowercase).collect();
        let mut tokens: Vec<Token> = Vec::new();
        for run in text.split_whitespace() {
            let mut run = run;
            while !run.is_empty() {
                let (head, tail) = run.split_at(cut(run));
                self.inner.encode(head, &mut tokens);
                run = tail;
            }
        }
        ids.extend(tokens.iter().map(|t| u32::from(t.to_u16())));
    }

    /// The text of `ids`, as the reference decodes it: lower case, one space after each word, none at the ends. Bytes
    /// that are not UTF-8 become U+FFFD; ids above [`EOS`] are passed over.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        for run in ids.chunk_by(|a, b| !is_special(*a) && !is_special(*b)) {
            match run.first() {
                Some(&BOS) => text.push_str(BOS_TEXT),
                Some(&EOS) => text.push_str(EOS_TEXT),
                _ => {
                    let tokens = run
                        .iter()
                        .filter_map(|id| Token::from_u16(u16::try_from(*id).ok()?, &self.inner));
                    text.push_str(&self.inner.decode(tokens));
                }
            }
        }
        text.trim().to_owned()
    }
}

fn is_special(id: u32) -> bool {
    id == BOS || id == EOS
}

/// The first of the `special` tokens written out in `text`: where, its id and its length in bytes.
fn next_special(text: &str, special: &[(&str, u32)]) -> Option<(usize, u32, usize)> {
    let found = special
        .iter()
        .filter_map(|(name, id)| Some((text.find(name)?, *id, name.len())));
    found.min_by_key(|(at, ..)| *at)
}

/// The number of bytes of `run` (not empty, no white space) to hand over at once.
///
/// The vocabulary's crate knows `<start_of_text>` and `<end_of_text>` as special; in the reference they are ordinary
/// text, in which `<` ends a piece. And long runs are cut, after a digit or before punctuation when there is one in
/// the later half: both are borders between pieces anyway.
fn cut(run: &str) -> usize {
    let special = run.match_indices('<').find(|(at, _)| {
        let rest = &run[*at..];
        rest.starts_with("<start_of_text>") || rest.starts_with("<end_of_text>")
    });
    let end = special.map_or(run.len(), |(at, _)| at + 1);
    if end <= LONGEST_RUN {
        return end;
    }
    let bytes = run.as_bytes();
    let border = |at: &usize| {
        let (before, after) = (bytes[at - 1], bytes[*at]);
        before.is_ascii_digit() || (before.is_ascii_alphabetic() && after.is_ascii_punctuation())
    };
    (LONGEST_RUN / 2..LONGEST_RUN)
        .rev()
        .find(border)
        .unwrap_or_else(|| run.floor_char_boundary(LONGEST_RUN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_a_plain_reading_gets_wrong() {
        // Drawn with transformers 5.23.0, `add_special_tokens=False`.
        let cases: [(&str, &[u32]); 15] = [
            ("<|startoftext|>a<|endoftext|> b", &[49406, 320, 49407, 321]),
            ("<|STARTOFTEXT|>", &[27, 347, 993, 6659, 4160, 91, 285]),
            (
                "<start_of_text>x<end_of_text>",
                &[
                    283, 1572, 318, 539, 318, 4160, 285, 343, 283, 806, 318, 539, 318, 4160, 285,
                ],
            ),
            (
                "ΟΔΟΣ Σ",
                &[138, 123, 138, 112, 138, 123, 139, 481, 139, 481],
            ),
            ("e\u{301}", &[4166]),
            ("\u{1112}\u{1161}\u{11ab}", &[15197, 506]),
            ("\u{f900}", &[164, 109, 486]),
            ("İstanbul", &[328, 16384, 11231]),
            ("a\u{a0}b\u{2003}c\u{85}d", &[320, 321, 322, 323]),
            ("x\u{1c}y", &[343, 472, 344]),
            ("'S 'RE", &[568, 982]),
            ("<|endoftext|><|endoftext|>!", &[49407, 49407, 256]),
            ("!!!\u{200d}\u{fe0f}", &[11194, 4244, 1001]),
            ("\0", &[444]),
            ("½²Ⅷ", &[33613, 41175, 158, 227, 371]),
        ];
        let tokenizer = ClipTokenizer::new();
        for (text, want) in cases {
            assert_eq!(tokenizer.encode(text), want, "{text:?}");
        }
    }

    #[test]
    fn decodes_as_the_reference_does() {
        let tokenizer = ClipTokenizer::new();
        for (text, want) in [
            (
                "A Red  Apple,\n on a TABLE!!",
                "a red apple , on a table !!",
            ),
            ("it's 42", "it 's 4 2"),
            ("a  <|endoftext|>  b", "a <|endoftext|>b"),
            ("猫と犬 😀", "猫と犬 😀"),
            ("", ""),
        ] {
            assert_eq!(tokenizer.decode(&tokenizer.encode(text)), want);
        }
        assert_eq!(tokenizer.decode(&[320, 50_000, u32::MAX, 321]), "a b");
        assert_eq!(tokenizer.decode(&[158]), "\u{fffd}");
    }

    #[test]
    fn long_runs_are_cut_at_borders() {
        let tokenizer = ClipTokenizer::new();
        let once = tokenizer.encode("mountain-lake9");
        let many = tokenizer.encode(&"mountain-lake9".repeat(1000));
        assert!(many.chunks(once.len()).all(|ids| ids == once));
        let word = tokenizer.encode(&"é".repeat(20_000));
        assert!(!word.is_empty());
    }
}
