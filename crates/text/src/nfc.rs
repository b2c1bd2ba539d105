//! Unicode normalisation form C, which the reference tokenizer applies before anything else.
//!
//! `é` typed as one character and `é` typed as `e` and a combining accent must give the same tokens. No crate of the
//! workspace normalises, so the algorithm of [UAX #15](https://www.unicode.org/reports/tr15/) is here: decompose,
//! sort marks by combining class, compose. The character data is `nfc_table.txt`.

use std::borrow::Cow;
use std::collections::HashMap;

const TABLE: &str = include_str!("nfc_table.txt");

// Hangul syllables are composed by arithmetic: UAX #15, section "Hangul".
const SYLLABLE: u32 = 0xAC00;
const LEADING: u32 = 0x1100;
const VOWEL: u32 = 0x1161;
const TRAILING: u32 = 0x11A7;
const VOWELS: u32 = 21;
const TRAILINGS: u32 = 28;
const SYLLABLES: u32 = 19 * VOWELS * TRAILINGS;

/// The character data, built once.
pub(crate) struct Nfc {
    /// One step: a character to its first part and, unless it is a mere respelling, its second.
    decompositions: HashMap<char, (char, Option<char>)>,
    compositions: HashMap<(char, char), char>,
    classes: HashMap<char, u8>,
}

impl Nfc {
    pub(crate) fn new() -> Self {
        let mut tables = Self {
            decompositions: HashMap::new(),
            compositions: HashMap::new(),
            classes: HashMap::new(),
        };
        for line in TABLE.lines() {
            tables.line(line);
        }
        tables
    }

    /// Reads one line of the table; anything that is not an entry (a comment) is passed over.
    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let mut code = || u32::from_str_radix(words.next()?, 16).ok();
        let first = code()?;
        let second = code()?;
        if kind == "C" {
            let class = line.rsplit(' ').next()?.parse().ok()?;
            let range = (first..=second).filter_map(char::from_u32);
            self.classes.extend(range.map(|c| (c, class)));
            return Some(());
        }
        let (whole, first) = (char::from_u32(first)?, char::from_u32(second)?);
        let second = code().and_then(char::from_u32);
        self.decompositions.insert(whole, (first, second));
        if let (Some(second), "D") = (second, kind) {
            self.compositions.insert((first, second), whole);
        }
        Some(())
    }

    fn class(&self, c: char) -> u8 {
        self.classes.get(&c).copied().unwrap_or(0)
    }

    /// `text` in normalisation form C.
    pub(crate) fn normalise<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if is_trivial(text) {
            return Cow::Borrowed(text);
        }
        let mut chars = Vec::with_capacity(text.len());
        text.chars().for_each(|c| self.decompose(c, &mut chars));
        // Canonical ordering: a stable sort of every run of marks.
        for run in chars.chunk_by_mut(|_, b| self.class(*b) != 0) {
            let marks = usize::from(run.first().is_some_and(|c| self.class(*c) == 0));
            run[marks..].sort_by_key(|c| self.class(*c));
        }
        Cow::Owned(self.compose(&chars))
    }

    /// Appends the full canonical decomposition of `c`.
    fn decompose(&self, c: char, out: &mut Vec<char>) {
        let offset = u32::from(c).wrapping_sub(SYLLABLE);
        if offset < SYLLABLES {
            let trailing = offset % TRAILINGS;
            let codes = [
                LEADING + offset / (VOWELS * TRAILINGS),
                VOWEL + offset / TRAILINGS % VOWELS,
                TRAILING + trailing,
            ];
            let codes = &codes[..2 + usize::from(trailing != 0)];
            out.extend(codes.iter().copied().filter_map(char::from_u32));
            return;
        }
        let Some(&(mut first, second)) = self.decompositions.get(&c) else {
            return out.push(c);
        };
        // Only the first part decomposes further; the seconds are collected backwards.
        let at = out.len();
        out.extend(second);
        while let Some(&(inner, second)) = self.decompositions.get(&first) {
            out.extend(second);
            first = inner;
        }
        out.push(first);
        out[at..].reverse();
    }

    /// Joins each starter with the marks after it that are not blocked.
    fn compose(&self, chars: &[char]) -> String {
        let mut out: Vec<char> = Vec::with_capacity(chars.len());
        let mut starter: Option<usize> = None;
        // The class of the last character kept after the starter; `None` directly after it.
        let mut last: Option<u8> = None;
        for &c in chars {
            let class = self.class(c);
            let reachable = last.is_none_or(|l| l != 0 && l < class);
            let whole = starter
                .filter(|_| reachable)
                .and_then(|at| self.pair(out[at], c).map(|whole| (at, whole)));
            if let Some((at, whole)) = whole {
                out[at] = whole;
                continue;
            }
            if class == 0 {
                starter = Some(out.len());
                last = None;
            } else {
                last = Some(class);
            }
            out.push(c);
        }
        out.into_iter().collect()
    }

    /// The primary composite of two characters.
    fn pair(&self, first: char, second: char) -> Option<char> {
        let (a, b) = (u32::from(first), u32::from(second));
        let (leading, vowel) = (a.wrapping_sub(LEADING), b.wrapping_sub(VOWEL));
        if leading < 19 && vowel < VOWELS {
            return char::from_u32(SYLLABLE + (leading * VOWELS + vowel) * TRAILINGS);
        }
        let (offset, trailing) = (a.wrapping_sub(SYLLABLE), b.wrapping_sub(TRAILING));
        if offset < SYLLABLES
            && offset.is_multiple_of(TRAILINGS)
            && (1..TRAILINGS).contains(&trailing)
        {
            return char::from_u32(a + trailing);
        }
        self.compositions.get(&(first, second)).copied()
    }
}

/// Below U+0300 nothing decomposes for good and nothing combines.
pub(crate) fn is_trivial(text: &str) -> bool {
    text.chars().all(|c| c < '\u{300}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nfc(text: &str) -> String {
        Nfc::new().normalise(text).into_owned()
    }

    #[test]
    fn composes_and_respells() {
        // Drawn with Python's unicodedata.normalize("NFC", …).
        for (text, want) in [
            ("e\u{301}", "é"),
            ("\u{212b}", "Å"),
            ("\u{f900}", "豈"),
            ("\u{958}", "\u{915}\u{93c}"),
            ("a\u{323}\u{302}", "\u{1ead}"),
            ("a\u{302}\u{323}", "\u{1ead}"),
            ("a\u{315}\u{300}\u{5ae}\u{62}", "\u{e0}\u{5ae}\u{315}b"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("\u{ac00}\u{11a8}\u{11a8}", "\u{ac01}\u{11a8}"),
            ("か\u{3099}", "が"),
            ("\u{301}e", "\u{301}e"),
            ("\u{1d160}", "\u{1d158}\u{1d165}\u{1d16e}"),
            ("\u{9c7}\u{9be}", "\u{9cb}"),
            ("\u{344}", "\u{308}\u{301}"),
            ("猫と犬 😀", "猫と犬 😀"),
        ] {
            assert_eq!(nfc(text), want, "{text:?}");
        }
    }
}
