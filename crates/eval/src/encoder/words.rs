//! Captions as numbers of words.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// No more words are told apart.
const MOST: usize = 8192;
/// Stands where a caption has ended.
pub(super) const NOTHING: u32 = 0;
/// Stands for every word that is not known.
const UNKNOWN: u32 = 1;

/// The words of a text in lower case, without what stands between them.
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let parts = text.split(|c: char| !c.is_alphanumeric());
    parts.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// The words that an encoder knows, the most frequent first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vocabulary {
    words: Vec<String>,
}

impl Vocabulary {
    /// The 8190 most frequent words of captions; of equally frequent ones those that come first in the alphabet.
    pub fn of<'a>(captions: impl Iterator<Item = &'a str>) -> Self {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for word in captions.flat_map(words) {
            *counts.entry(word).or_default() += 1;
        }
        let mut words: Vec<(String, usize)> = counts.into_iter().collect();
        words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        words.truncate(MOST - 2);
        Self {
            words: words.into_iter().map(|(word, _)| word).collect(),
        }
    }

    /// How many numbers there are: the words, one for the unknown, and one for none.
    pub fn len(&self) -> usize {
        self.words.len() + 2
    }

    /// Whether no word is known.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The numbers of each text's first `length` words, filled up with [`NOTHING`]. A text without words is one
    /// unknown word.
    pub(super) fn rows<'a>(
        &self,
        texts: impl Iterator<Item = &'a str>,
        length: usize,
    ) -> Vec<Vec<u32>> {
        let places: HashMap<&str, u32> = self
            .words
            .iter()
            .zip(2..)
            .map(|(word, id)| (word.as_str(), id))
            .collect();
        let row = |text: &str| {
            let id = |word: String| places.get(word.as_str()).copied().unwrap_or(UNKNOWN);
            let mut row: Vec<u32> = words(text).take(length).map(id).collect();
            if row.is_empty() {
                row.push(UNKNOWN);
            }
            row.resize(length, NOTHING);
            row
        };
        texts.map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_numbers() {
        let vocabulary = Vocabulary::of(["Two red cats, red!", "a red dog"].into_iter());
        assert_eq!(vocabulary.words, ["red", "a", "cats", "dog", "two"]);
        assert_eq!(vocabulary.len(), 7);
        let rows = vocabulary.rows(["a RED-cow", "", "dog two red a red"].into_iter(), 4);
        assert_eq!(rows, [[3, 2, 1, 0], [1, 0, 0, 0], [5, 6, 2, 3]]);
    }
}
