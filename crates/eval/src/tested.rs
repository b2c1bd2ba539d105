//! The test pictures and their captions.

use std::collections::BTreeSet;
use std::path::Path;

use image::RgbImage;
use latent_data::compose::Facts;
use latent_data::random;

use crate::features::FeatureNet;
use crate::pictures::Set;
use crate::{Error, Observer, Options};

/// Captions to choose from.
pub(crate) const CHOICES: usize = 10;

/// Test pictures that are drawn again by their captions, and others that stand beside them.
pub(crate) struct Tested {
    /// Where they come from.
    pub path: String,
    pub pictures: Vec<RgbImage>,
    pub captions: Vec<String>,
    /// Their places in the set.
    pub places: Vec<usize>,
    /// What is known of each as a scene.
    pub facts: Vec<Option<Facts>>,
    /// Features of the pictures; empty without a feature network.
    pub features: Vec<f32>,
    /// Features of other test pictures, as many as there are pictures, where the set has them; empty without a feature network.
    pub others: Vec<f32>,
}

impl Tested {
    /// Reads `count` captioned pictures, chosen by the seed, and with a feature network as many others.
    pub fn read(
        options: &Options,
        size: u32,
        feature_net: Option<&FeatureNet>,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let set = Set::open(&options.data, size, &options.store)?;
        let mut facts = Facts::read(Path::new(set.path()))?;
        let mut tested = Self {
            path: set.path().to_owned(),
            pictures: Vec::new(),
            captions: Vec::new(),
            places: Vec::new(),
            facts: Vec::new(),
            features: Vec::new(),
            others: Vec::new(),
        };
        let wanted = options.count * if feature_net.is_some() { 2 } else { 1 };
        observer.stage("reading test pictures", wanted.min(set.len()) as u64);
        set.read(wanted, Some(options.seed), observer, |examples| {
            let mut others = Vec::new();
            for example in examples {
                match example.caption {
                    Some(caption) if tested.pictures.len() < options.count => {
                        tested.pictures.push(example.picture);
                        tested.captions.push(caption);
                        tested.places.push(example.index);
                        tested.facts.push(facts.remove(&example.id));
                    }
                    _ => others.push(example.picture),
                }
            }
            if let Some(feature_net) = feature_net {
                let others: Vec<&RgbImage> = others.iter().collect();
                tested.others.extend(feature_net.pooled(&others));
            }
            Ok(())
        })?;
        let found = tested.pictures.len();
        let distinct = tested.captions.iter().collect::<BTreeSet<_>>().len();
        if distinct < CHOICES {
            return Err(Error::option(
                "data",
                set.path(),
                format!(
                    "{found} pictures with {distinct} different captions were found, {CHOICES} are needed: name a set of captioned pictures"
                ),
            ));
        }
        if found < options.count {
            observer.note(format!(
                "{} has {found} captioned pictures, fewer than --count {}",
                set.path(),
                options.count
            ));
        }
        if let Some(feature_net) = feature_net {
            tested.features =
                feature_net.look("looking at test pictures", &tested.pictures, observer)?;
        }
        Ok(tested)
    }

    /// The captions.
    pub fn captions(&self) -> Vec<&str> {
        self.captions.iter().map(String::as_str).collect()
    }

    /// Two sets of real features to compare: the pictures and the others where these are as many, else two halves.
    pub fn halves(&self) -> (&[f32], &[f32]) {
        if self.others.len() >= self.features.len() {
            return (&self.features, &self.others[..self.features.len()]);
        }
        let width = self.features.len() / self.pictures.len();
        self.features.split_at(self.pictures.len() / 2 * width)
    }

    /// For each picture its own caption's place and those of nine others that say something else, drawn by the seed.
    pub fn choices(&self, seed: u64) -> Vec<[usize; CHOICES]> {
        choices(&self.captions, seed)
    }
}

fn choices(captions: &[String], seed: u64) -> Vec<[usize; CHOICES]> {
    let count = captions.len();
    let row = |own: usize| {
        let mut row = vec![own];
        for draw in 0.. {
            if row.len() == CHOICES {
                break;
            }
            let other = random::below(seed, &[CHOOSING, own as u64, draw], count);
            if row.iter().all(|known| captions[*known] != captions[other]) {
                row.push(other);
            }
        }
        std::array::from_fn(|at| row[at])
    };
    (0..count).map(row).collect()
}

/// The purpose of the random numbers here.
const CHOOSING: u64 = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_captions_say_something_else() {
        let captions: Vec<String> = (0..30).map(|i| format!("number {}", i % 12)).collect();
        let all = choices(&captions, 7);
        assert_eq!(all, choices(&captions, 7));
        assert_ne!(all, choices(&captions, 8));
        for (own, row) in all.iter().enumerate() {
            assert_eq!(row[0], own);
            let texts: BTreeSet<&String> = row.iter().map(|at| &captions[*at]).collect();
            assert_eq!(texts.len(), CHOICES);
        }
    }
}
