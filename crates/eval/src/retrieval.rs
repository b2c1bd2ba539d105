//! The baseline that draws nothing: the picture of the training caption nearest to a caption.

use std::collections::{BTreeMap, BTreeSet};

use crate::encoder::words;

/// Training captions, to be searched.
///
/// Captions are compared by their sets of words, the rarer a word the more it weighs: the cosine of vectors of inverse
/// document frequencies, ln((1 + captions) / (1 + captions with the word)) + 1. No network has a part in it, so that the
/// baseline is not judged by what chose it.
#[derive(Debug)]
pub struct Captions {
    /// For each word its weight and the captions that have it.
    words: BTreeMap<String, (f64, Vec<u32>)>,
    /// Lengths of the captions' vectors.
    lengths: Vec<f64>,
}

impl Captions {
    /// Of captions in their order.
    pub fn new<'a>(captions: impl Iterator<Item = &'a str>) -> Self {
        // In one order, so that sums are the same in every run.
        let mut places: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        let mut sets = 0u32;
        for caption in captions {
            for word in words(caption).collect::<BTreeSet<_>>() {
                places.entry(word).or_default().push(sets);
            }
            sets += 1;
        }
        let all = f64::from(sets);
        let mut squares = vec![0.0; sets as usize];
        let mut weighted = BTreeMap::new();
        for (word, places) in places {
            let weight = ((1.0 + all) / (1.0 + places.len() as f64)).ln() + 1.0;
            for place in &places {
                squares[*place as usize] += weight * weight;
            }
            weighted.insert(word, (weight, places));
        }
        Self {
            words: weighted,
            lengths: squares.into_iter().map(f64::sqrt).collect(),
        }
    }

    /// The place of the nearest caption; the first of equally near ones, and of those that have nothing in common.
    pub fn nearest(&self, caption: &str) -> usize {
        let mut products = vec![0.0; self.lengths.len()];
        for word in words(caption).collect::<BTreeSet<_>>() {
            let Some((weight, places)) = self.words.get(&word) else {
                continue;
            };
            for place in places {
                products[*place as usize] += weight * weight;
            }
        }
        let cosines = products
            .iter()
            .zip(&self.lengths)
            .map(|(p, l)| p / l.max(1e-12));
        let best =
            cosines.enumerate().fold(
                (0, 0.0),
                |best, (at, cosine)| {
                    if cosine > best.1 { (at, cosine) } else { best }
                },
            );
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_words_weigh_more() {
        let captions = [
            "a red square on a white background",
            "a green square on a white background",
            "a red heart",
            "two blue hearts on a white background",
            "a red heart",
        ];
        let captions = Captions::new(captions.into_iter());
        assert_eq!(captions.nearest("a heart"), 2, "the first of equal ones");
        assert_eq!(captions.nearest("A GREEN heart on a white background"), 1);
        assert_eq!(captions.nearest("two blue hearts"), 3);
        assert_eq!(captions.nearest("zebra"), 0);
        assert_eq!(Captions::new(std::iter::empty()).nearest("a"), 0);
    }
}
