//! CLIP's tokenizer as the two files that every published folder carries.
//!
//! The vocabulary is the tokenizer library's own; the library gives a token's text but neither its bytes nor the merge
//! that made it, so both are worked out. Bytes: a token that is a piece of a character is completed by other tokens
//! until the text is whole. Merges: a token's last merge is what the earlier merges leave of it, which is two pieces.
//! Rejected: a second copy of the vocabulary in this repository (1.3 MB).

use std::collections::HashMap;

use crate::networks::Role;
use instant_clip_tokenizer::{Token, Tokenizer};
use serde_json::{Map, Value, json};

/// Ids below this are single bytes, then single bytes that end a word.
const BYTES: u16 = 256;
/// The first special token; the last id but one.
const START: u16 = 49406;
const WORD_END: &str = "</w>";

/// The texts of `vocab.json` and `merges.txt`.
pub(super) struct Vocabulary {
    pub(super) vocab: String,
    pub(super) merges: String,
}

/// The two files, or `None` if the library's vocabulary is not the published one.
pub(super) fn vocabulary() -> Option<Vocabulary> {
    let tokenizer = Tokenizer::new();
    let symbols = symbols();
    let spelled: Vec<String> = (0..START)
        .map(|id| spell(&tokenizer, &symbols, id))
        .collect::<Option<_>>()?;
    let mut ranks: HashMap<(&str, &str), usize> = HashMap::new();
    let mut merges = String::from("#version: 0.2\n");
    let made = spelled.get(2 * usize::from(BYTES)..)?;
    for (rank, token) in made.iter().enumerate() {
        let [a, b] = pieces(token, &ranks)[..] else {
            return None;
        };
        ranks.insert((a, b), rank);
        merges.push_str(&format!("{a} {b}\n"));
    }
    let special = ["<|startoftext|>", "<|endoftext|>"];
    let tokens = spelled.iter().map(String::as_str).chain(special);
    let vocab: Map<String, Value> = tokens
        .enumerate()
        .map(|(id, token)| (token.to_owned(), json!(id)))
        .collect();
    (vocab.len() == spelled.len() + 2).then(|| Vocabulary {
        vocab: Value::Object(vocab).to_string(),
        merges,
    })
}

/// The folder of a text encoder's tokenizer.
pub(super) fn folder(role: Role) -> String {
    role.folder().replace("text_encoder", "tokenizer")
}

/// Settings of the tokenizer: `special_tokens_map.json` and `tokenizer_config.json`. OpenCLIP's encoders are padded with
/// "!", number 0; OpenAI's with the end of the text.
pub(super) fn settings(open_clip: bool) -> [(&'static str, Value); 2] {
    let pad = if open_clip { "!" } else { "<|endoftext|>" };
    let special = json!({
        "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
        "pad_token": pad, "unk_token": "<|endoftext|>"
    });
    let config = json!({
        "model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": true,
        "errors": "replace", "add_prefix_space": false,
        "pad_token": pad
    });
    [
        ("special_tokens_map.json", special),
        ("tokenizer_config.json", config),
    ]
}

/// The printable character that stands for each of the first 256 ids, and the byte it stands for: GPT-2's table.
fn symbols() -> Vec<(char, u8)> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let plain = (0..=255).filter(|&byte| printable(byte));
    let mut table: Vec<_> = plain.map(|byte| (char::from(byte), byte)).collect();
    let others = (0..=255u8).filter(|&byte| !printable(byte));
    let extra = (256u32..).filter_map(char::from_u32).zip(others);
    table.extend(extra);
    table
}

/// Token `id` as `vocab.json` spells it.
fn spell(tokenizer: &Tokenizer, symbols: &[(char, u8)], id: u16) -> Option<String> {
    if id < 2 * BYTES {
        let (symbol, _) = symbols[usize::from(id % BYTES)];
        let end = if id < BYTES { "" } else { WORD_END };
        return Some(format!("{symbol}{end}"));
    }
    let byte_id = |byte: u8| {
        let index = symbols.iter().position(|(_, b)| *b == byte)?;
        u16::try_from(index).ok()
    };
    // A lead byte for each number of continuation bytes that the token may begin with; one to three bytes that may
    // complete a character that it ends in.
    let heads: [&[u8]; 4] = [&[], &[0xC3], &[0xE1], &[0xF1]];
    let tails: [&[u8]; 10] = [
        &[],
        &[0x80],
        &[0x90],
        &[0xA0],
        &[0x80, 0x80],
        &[0x90, 0x80],
        &[0xA0, 0x80],
        &[0x80, 0x80, 0x80],
        &[0x90, 0x80, 0x80],
        &[0xA0, 0x80, 0x80],
    ];
    for head in heads {
        for tail in tails {
            let before = head.iter().map(|&byte| byte_id(byte));
            let after = tail.iter().map(|&byte| byte_id(byte));
            let ids = before.chain([Some(id)]).chain(after);
            let tokens = ids.map(|id| Token::from_u16(id?, tokenizer));
            let text = tokenizer.decode(tokens.collect::<Option<Vec<_>>>()?);
            if text.contains(char::REPLACEMENT_CHARACTER) {
                continue;
            }
            let bytes = text.as_bytes();
            return Some(printed(
                &bytes[head.len()..bytes.len() - tail.len()],
                symbols,
            ));
        }
    }
    // Two tokens are the replacement character itself, and nothing completes those.
    let text = tokenizer.decode(Token::from_u16(id, tokenizer));
    let itself = text.trim_end().chars().eq([char::REPLACEMENT_CHARACTER]);
    itself.then(|| printed(text.as_bytes(), symbols))
}

/// Bytes in printable characters; a space at the end is the end of a word.
fn printed(bytes: &[u8], symbols: &[(char, u8)]) -> String {
    let (bytes, end) = match bytes.strip_suffix(b" ") {
        Some(bytes) => (bytes, WORD_END),
        None => (bytes, ""),
    };
    let spelled = bytes
        .iter()
        .filter_map(|&byte| symbols.iter().find(|(_, b)| *b == byte))
        .map(|(symbol, _)| *symbol);
    let mut text: String = spelled.collect();
    text.push_str(end);
    text
}

/// What the merges so far make of `token`.
fn pieces<'a>(token: &'a str, ranks: &HashMap<(&str, &str), usize>) -> Vec<&'a str> {
    let word = token.strip_suffix(WORD_END).unwrap_or(token);
    let mut starts: Vec<usize> = word.char_indices().map(|(i, _)| i).collect();
    starts.push(token.len());
    loop {
        let pair = |w: &[usize]| {
            ranks
                .get(&(&token[w[0]..w[1]], &token[w[1]..w[2]]))
                .copied()
        };
        let best = starts
            .windows(3)
            .enumerate()
            .filter_map(|(i, w)| Some((pair(w)?, i)))
            .min();
        match best {
            Some((_, i)) => {
                starts.remove(i + 1);
            }
            None => return starts.windows(2).map(|w| &token[w[0]..w[1]]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_the_published_ones() {
        let files = vocabulary().unwrap();
        let vocab: HashMap<String, usize> = serde_json::from_str(&files.vocab).unwrap();
        assert_eq!(vocab.len(), 49408);
        for (token, id) in [
            ("!", 0),
            ("Ġ", 220),
            ("a</w>", 320),
            ("in", 512),
            ("cat</w>", 2368),
            ("<|startoftext|>", 49406),
            ("<|endoftext|>", 49407),
        ] {
            assert_eq!(vocab.get(token), Some(&id), "{token}");
        }
        let merges: Vec<&str> = files.merges.lines().collect();
        assert_eq!(merges.len(), 1 + 49408 - 512 - 2);
        assert_eq!(merges[..4], ["#version: 0.2", "i n", "t h", "a n"]);
        // A tokenizer built from the file gives the library's ids.
        let reader = std::io::Cursor::new(files.merges);
        let again = Tokenizer::with_vocabulary(reader, 49408).unwrap();
        let text = "A photo of an 🐈 in naïve Zürich, 日本語 ½ « quoted » 😀😀!!!";
        let (mut a, mut b) = (Vec::new(), Vec::new());
        again.encode(text, &mut a);
        Tokenizer::new().encode(text, &mut b);
        assert_eq!(a, b);
    }
}
