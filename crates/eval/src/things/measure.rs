//! Drawing things and judging what was drawn.

use std::collections::BTreeMap;

use image::RgbImage;
use latent_data::compose::{Colour, phrase};
use latent_metrics::{r_precision, top_k};
use rayon::prelude::*;

use super::choices::{foreign, others, some};
use super::report::{
    Accuracy, Foreign, FromNoise, Judged, LEAST, Seeds, Spreads, ThingAccuracy, ThingTally,
    ThingsReport,
};
use super::{Things, nouns};
use crate::judge::{Looked, SIDE};
use crate::pictures::square;
use crate::run::{COLUMNS, Evaluation, SHOWN, anothers};
use crate::tested::CHOICES;
use crate::{Error, Observer, scenes, sheet};

/// Prompts with a foreign colour.
const FOREIGN: usize = 100;
/// Things that are drawn by several seeds, and the seeds.
const SPREAD: usize = 12;
const SEEDS: usize = 8;

/// What was drawn for test captions, and the test pictures through the autoencoder, none without one.
pub(crate) struct Given<'a> {
    pub drawn: &'a [RgbImage],
    pub retrieved: &'a [RgbImage],
    pub through: &'a [RgbImage],
}

impl Evaluation<'_> {
    /// Everything that is measured of things.
    pub(crate) fn things(
        &self,
        things: &Things,
        given: &Given<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ThingsReport, Error> {
        let names = &things.names;
        let options = self.options;
        let real = things
            .judge
            .look("judging real drawings", &things.held_out, observer)?;
        let real = self.accuracy(things, &real, &things.held_out_things)?;
        let valid = real.top_1 >= LEAST;
        // Test pictures that show a thing.
        let known = things.tested.iter().enumerate();
        let known: Vec<(usize, usize)> = known.filter_map(|(at, t)| Some((at, (*t)?))).collect();
        let known_things: Vec<usize> = known.iter().map(|(_, thing)| *thing).collect();
        let through: Vec<RgbImage> = known
            .iter()
            .filter_map(|(at, _)| given.through.get(*at).cloned())
            .collect();
        let judge = Judged {
            things: names.count(),
            choices: CHOICES.min(names.count()),
            pictures: things.samples.len(),
            steps: options.judge_steps,
            autoencoder: things.judge.autoencoder.clone(),
            valid,
            least: LEAST,
            through: match through.is_empty() {
                true => None,
                false => {
                    let what = "judging what the autoencoder made";
                    let looked = things.judge.look(what, &through, observer)?;
                    Some(self.accuracy(things, &looked, &known_things)?)
                }
            },
            real,
        };

        // Every thing by its first seed, then every thing by its second.
        let own: Vec<usize> = (0..options.seeds).flat_map(|_| 0..names.count()).collect();
        let prompts: Vec<String> = own.iter().map(|t| phrase(None, &names.all[*t])).collect();
        let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let drawn = self
            .subject
            .draw("drawing things", &texts, self.settings, observer)?;
        let shown = some(drawn.len(), SHOWN, options.seed);
        let shown: Vec<&RgbImage> = shown.iter().map(|at| &drawn[*at]).collect();
        sheet::write(&options.out.join("things.png"), &shown, COLUMNS)?;
        let judged = things
            .judge
            .look("judging what was drawn", &drawn, observer)?;
        let training = self.training.as_ref();
        let accuracy = match training.filter(|_| valid) {
            Some(training) => {
                let first = &texts[..names.count()];
                let retrieved = training.retrieved(first, observer)?;
                let what = "judging training pictures";
                let retrieved = things.judge.look(what, &retrieved, observer)?;
                let mut swapped = own.clone();
                swapped.rotate_left(1);
                Some(ThingAccuracy {
                    seeds: options.seeds,
                    drawn: self.accuracy(things, &judged, &own)?,
                    retrieval: self.accuracy(things, &retrieved, &own[..names.count()])?,
                    swapped: self.accuracy(things, &judged, &swapped)?,
                    each: each(things, &judged),
                })
            }
            None => None,
        };
        let nouns = match training {
            Some(training) => nouns::measure(
                things,
                &training.encoder,
                &self.tested,
                [given.drawn, given.retrieved],
                (&prompts, &own, &drawn),
                options,
            )?,
            None => None,
        };
        let copies = match (&self.feature_net, training) {
            (Some(feature_net), Some(training)) => {
                let seen = feature_net.look("looking at what was drawn", &drawn, observer)?;
                let of = (drawn.as_slice(), texts.as_slice(), seen.as_slice());
                Some(self.copies(training, feature_net, of, "things-closest.png")?)
            }
            _ => None,
        };
        let mut from_noise = Vec::new();
        if valid && !known.is_empty() {
            from_noise = self.finished_from_noise(things, &known, observer)?;
        }
        Ok(ThingsReport {
            judge,
            accuracy,
            nouns,
            from_noise,
            foreign: self.foreign(things, valid.then_some(&judged), observer)?,
            seeds: self.seeds(things, valid, observer)?,
            copies,
        })
    }

    /// How often pictures are named rightly that show `own`.
    fn accuracy(&self, things: &Things, looked: &Looked, own: &[usize]) -> Result<Accuracy, Error> {
        let count = things.names.count();
        let top = |k| top_k(&looked.scores, count, own, k);
        let rows = looked.scores.chunks(count).zip(own).enumerate();
        let likeness = rows.flat_map(|(at, (scores, own))| {
            let others = others(*own, count, &[], (self.options.seed, at as u64));
            let row = std::iter::once(*own).chain(others);
            row.map(|thing| scores[thing]).collect::<Vec<f32>>()
        });
        let likeness: Vec<f32> = likeness.collect();
        Ok(Accuracy {
            pictures: own.len(),
            top_1: top(1)?,
            top_5: top(5)?,
            among: r_precision(&likeness, CHOICES.min(count))?,
        })
    }

    /// Real pictures under noise, finished by the model.
    fn finished_from_noise(
        &self,
        things: &Things,
        known: &[(usize, usize)],
        observer: &mut dyn Observer,
    ) -> Result<Vec<FromNoise>, Error> {
        let tested = &self.tested;
        let pictures: Vec<(&RgbImage, &str)> = known
            .iter()
            .map(|(at, _)| (&tested.pictures[*at], tested.captions[*at].as_str()))
            .collect();
        let own: Vec<usize> = known.iter().map(|(_, thing)| *thing).collect();
        let first = pictures
            .iter()
            .take(COLUMNS)
            .map(|(picture, _)| (*picture).clone());
        let mut rows: Vec<RgbImage> = first.collect();
        let mut found = Vec::new();
        for &t in &self.options.from_noise {
            let finished = self.subject.finish(&pictures, t, self.settings, observer)?;
            let looked = things
                .judge
                .look("judging what was finished", &finished, observer)?;
            found.push(FromNoise {
                t,
                accuracy: self.accuracy(things, &looked, &own)?,
            });
            rows.extend(finished.into_iter().take(COLUMNS));
        }
        if !found.is_empty() {
            let rows: Vec<&RgbImage> = rows.iter().collect();
            let columns = pictures.len().min(COLUMNS);
            sheet::write(&self.options.out.join("from-noise.png"), &rows, columns)?;
        }
        Ok(found)
    }

    /// Things in colours that they do not have; `plain` is what the judge made of every thing by its first seed.
    fn foreign(
        &self,
        things: &Things,
        plain: Option<&Looked>,
        observer: &mut dyn Observer,
    ) -> Result<Option<Foreign>, Error> {
        let asked = foreign(&colours(things)?, FOREIGN, self.options.seed);
        if asked.is_empty() {
            return Ok(None);
        }
        let name =
            |(thing, colour): &(usize, Colour)| phrase(Some(*colour), &things.names.all[*thing]);
        let prompts: Vec<String> = asked.iter().map(name).collect();
        let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let what = "drawing things in foreign colours";
        let drawn = self.subject.draw(what, &texts, self.settings, observer)?;
        let sheet: Vec<&RgbImage> = drawn.iter().collect();
        sheet::write(&self.options.out.join("foreign.png"), &sheet, 2 * COLUMNS)?;
        let own: Vec<usize> = asked.iter().map(|(thing, _)| *thing).collect();
        let right = |pictures: &[RgbImage]| {
            let pairs = pictures.iter().zip(&asked);
            scenes::colours(pairs.map(|(picture, (_, colour))| (picture, *colour)))
        };
        let accuracies = match plain {
            None => None,
            Some(plain) => {
                let looked = things
                    .judge
                    .look("judging what was drawn", &drawn, observer)?;
                let width = things.names.count();
                let row = |thing: &usize| &plain.scores[thing * width..][..width];
                let plain = Looked {
                    scores: own.iter().flat_map(row).copied().collect(),
                    features: Vec::new(),
                };
                let of = |looked: &Looked| self.accuracy(things, looked, &own);
                Some((of(&looked)?, of(&plain)?))
            }
        };
        Ok(Some(Foreign {
            colour: right(&drawn)?,
            random: right(&anothers(&drawn))?,
            accuracy: accuracies.map(|(drawn, _)| drawn),
            plain: accuracies.map(|(_, plain)| plain),
            prompts,
        }))
    }

    /// How much drawings of one thing differ, beside real ones.
    fn seeds(
        &self,
        things: &Things,
        valid: bool,
        observer: &mut dyn Observer,
    ) -> Result<Option<Seeds>, Error> {
        let mut real: BTreeMap<usize, Vec<RgbImage>> = BTreeMap::new();
        for at in some(
            things.samples.len(),
            things.samples.len(),
            self.options.seed,
        ) {
            let sample = &things.samples[at];
            let pictures = real.entry(sample.thing).or_default();
            if pictures.len() < SEEDS {
                pictures.push(sample.picture.clone());
            }
        }
        // One picture is not apart from any.
        real.retain(|_, pictures| pictures.len() > 1);
        let able: Vec<usize> = real.keys().copied().collect();
        let chosen: Vec<usize> = some(able.len(), SPREAD, self.options.seed)
            .into_iter()
            .map(|at| able[at])
            .collect();
        if chosen.is_empty() {
            return Ok(None);
        }
        let prompts = chosen.iter().flat_map(|thing| {
            let prompt = phrase(None, &things.names.all[*thing]);
            std::iter::repeat_n(prompt, SEEDS)
        });
        let prompts: Vec<String> = prompts.collect();
        let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        let drawn = self.subject.draw(
            "drawing things by many seeds",
            &texts,
            self.settings,
            observer,
        )?;
        let sheet: Vec<&RgbImage> = drawn.iter().collect();
        sheet::write(&self.options.out.join("seeds.png"), &sheet, SEEDS)?;
        let real: Vec<RgbImage> = chosen
            .iter()
            .flat_map(|thing| real[thing].clone())
            .collect();
        let counts: Vec<usize> = {
            let counts = chosen.iter().map(|thing| {
                let of = things.samples.iter().filter(|s| s.thing == *thing);
                of.count().min(SEEDS)
            });
            counts.collect()
        };
        let pixels = |pictures: &[RgbImage]| -> Vec<f32> {
            let small: Vec<RgbImage> = pictures.par_iter().map(|p| square(p, SIDE)).collect();
            let numbers = small.iter().flat_map(|p| p.as_raw());
            numbers.map(|v| f32::from(*v) / 255.0).collect()
        };
        let area = 3 * (SIDE * SIDE) as usize;
        let root = (area as f64).sqrt();
        let equal = vec![SEEDS; chosen.len()];
        let features = match valid {
            false => None,
            true => {
                let mut spread = |pictures: &[RgbImage], counts: &[usize]| {
                    let looked = things.judge.look("judging seeds", pictures, observer)?;
                    let width = looked.features.len() / pictures.len();
                    Ok::<f64, Error>(apart(&looked.features, width, counts))
                };
                Some(Spreads {
                    drawn: spread(&drawn, &equal)?,
                    real: spread(&real, &counts)?,
                })
            }
        };
        Ok(Some(Seeds {
            things: chosen.len(),
            seeds: SEEDS,
            pixels: Spreads {
                drawn: apart(&pixels(&drawn), area, &equal) / root,
                real: apart(&pixels(&real), area, &counts) / root,
            },
            features,
        }))
    }
}

/// What each thing's drawings were named, by the judge.
fn each(things: &Things, judged: &Looked) -> Vec<ThingTally> {
    let names = &things.names.all;
    let best = judged.scores.chunks(names.len()).map(|scores| {
        let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(thing, _)| thing)
    });
    let best: Vec<usize> = best.collect();
    let tally = |(thing, name): (usize, &String)| {
        let taken = best.iter().copied().skip(thing).step_by(names.len());
        let (right, others): (Vec<usize>, Vec<usize>) = taken.partition(|best| *best == thing);
        ThingTally {
            thing: name.clone(),
            named: right.len(),
            taken_for: others
                .into_iter()
                .map(|other| names[other].clone())
                .collect(),
        }
    };
    names.iter().enumerate().map(tally).collect()
}

/// The shares of each thing's training pictures that mainly have each colour.
fn colours(things: &Things) -> Result<Vec<Option<[f64; Colour::ALL.len()]>>, Error> {
    let found: Result<Vec<Option<Colour>>, Error> = things
        .samples
        .par_iter()
        .map(|sample| scenes::main_colour(&sample.picture))
        .collect();
    let mut counts = vec![[0usize; Colour::ALL.len()]; things.names.count()];
    for (sample, colour) in things.samples.iter().zip(found?) {
        let place = Colour::ALL.iter().position(|known| Some(*known) == colour);
        if let Some(place) = place {
            counts[sample.thing][place] += 1;
        }
    }
    let share = |counts: [usize; Colour::ALL.len()]| {
        let all: usize = counts.iter().sum();
        (all > 0).then(|| counts.map(|count| count as f64 / all as f64))
    };
    Ok(counts.into_iter().map(share).collect())
}

/// The mean over groups of so many vectors of the mean distance between two of a group.
fn apart(numbers: &[f32], width: usize, counts: &[usize]) -> f64 {
    let vectors: Vec<&[f32]> = numbers.chunks(width).collect();
    let distance = |a: &[f32], b: &[f32]| {
        let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let (mut first, mut sum) = (0, 0.0);
    for &count in counts {
        let group = &vectors[first..first + count];
        let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        let all: f64 = pairs.map(|(a, b)| distance(group[a], group[b])).sum();
        sum += all / (count * (count - 1) / 2).max(1) as f64;
        first += count;
    }
    sum / counts.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_within_groups() {
        // Two groups: 0, 3, 6 on a line (mean 4) and one picture twice (0).
        let numbers = [0.0, 0.0, 3.0, 0.0, 6.0, 0.0, 9.0, 9.0, 9.0, 9.0];
        assert!((apart(&numbers, 2, &[3, 2]) - 2.0).abs() < 1e-12);
        assert!((apart(&numbers, 2, &[3]) - 4.0).abs() < 1e-12);
    }
}
