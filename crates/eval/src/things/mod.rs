//! What drawings of things are measured by: whether they can be named.
//!
//! A column of the data set's table says what each picture shows. A judge learns to name it from the training
//! split, and is asked what the model draws for "a {thing}" and nothing else. Where it does not name half of the real held-out
//! drawings, its word is not taken. The same prompts are measured in other ways that the judge has no part in or that a model
//! could not pass by drawing one picture of each thing: captions that differ in the noun alone, colours that a thing does not have,
//! several seeds, copies.

mod choices;
mod measure;
mod names;
mod nouns;
pub mod report;

use std::collections::BTreeMap;

use burn::tensor::Device;
use image::RgbImage;
use latent_data::{counted, random};
use rayon::prelude::*;

use crate::judge::{Judge, SIDE, Sample, Teaching};
use crate::pictures::{Set, square};
use crate::subject::Subject;
use crate::tested::Tested;
use crate::{Error, Observer, Options};
use names::Names;

pub(crate) use measure::Given;

/// Training pictures that the judge learns from, and held-out ones that it is tried on, at most.
const TAUGHT: usize = 32_000;
const TRIED: usize = 2_000;
/// One training picture in so many goes through the autoencoder, and in all no more pixels than these: 1024 pictures of 128×128.
const THROUGH: usize = 8;
const THROUGH_PIXELS: usize = 1024 * 128 * 128;
/// The purpose of random numbers here.
const CHOOSING: u64 = 55;

/// What the measures need of the things.
pub(crate) struct Things {
    pub names: Names,
    /// What each thing is filed under; empty where nothing says it.
    pub groups: Vec<Option<usize>>,
    pub judge: Judge,
    /// Training pictures.
    pub samples: Vec<Sample>,
    /// Held-out pictures.
    pub held_out: Vec<RgbImage>,
    /// What they show.
    pub held_out_things: Vec<usize>,
    /// What the test pictures show that are drawn again by their captions.
    pub tested: Vec<Option<usize>>,
}

/// Pictures of a set that show a thing, and which.
struct Shown {
    set: Set,
    things: Vec<usize>,
}

impl Shown {
    /// `most` of them, drawn by the seed where there are more.
    fn of(set: &Set, values: &[Option<String>], names: &Names, most: usize, seed: u64) -> Self {
        let thing =
            |(at, value): (usize, &Option<String>)| Some((at, names.number(value.as_deref())?));
        let mut all: Vec<(usize, usize)> = values.iter().enumerate().filter_map(thing).collect();
        random::shuffle(&mut all, seed, &[CHOOSING]);
        all.truncate(most);
        all.sort_unstable();
        let (places, things) = all.into_iter().unzip();
        Self {
            set: set.only(places),
            things,
        }
    }

    /// The pictures as the judge sees them, and the thing of each; `each` is given them as they are, some at a time, and how many
    /// came before.
    fn read(
        &self,
        what: &str,
        observer: &mut dyn Observer,
        mut each: impl FnMut(&[&RgbImage], usize) -> Result<(), Error>,
    ) -> Result<(Vec<RgbImage>, Vec<usize>), Error> {
        observer.stage(what, self.set.len() as u64);
        let (mut pictures, mut things) = (Vec::new(), Vec::new());
        self.set.read(self.set.len(), None, observer, |examples| {
            let whole: Vec<&RgbImage> = examples.iter().map(|e| &e.picture).collect();
            each(&whole, pictures.len())?;
            pictures.par_extend(examples.par_iter().map(|e| square(&e.picture, SIDE)));
            things.extend(examples.iter().map(|e| self.things[e.index]));
            Ok(())
        })?;
        Ok((pictures, things))
    }
}

/// What the columns say, before any picture is read.
pub(crate) struct Known {
    train: Shown,
    test: Shown,
    /// Training pictures of things, of which the judge may learn from fewer.
    all: usize,
    /// A hash of their names and things.
    content: u64,
    names: Names,
    groups: Vec<Option<usize>>,
    /// The things of the test set's pictures, by their places.
    held: Vec<Option<usize>>,
}

impl Known {
    /// Reads the columns of both sets.
    ///
    /// # Errors
    /// No such column, fewer than two things, no held-out picture of one of them.
    pub fn read(options: &Options, column: &str, size: u32) -> Result<Self, Error> {
        const FLAG: &str = "things-from";
        let Some(train) = &options.train else {
            return Err(Error::option(FLAG, column, "give --train too"));
        };
        let train = Set::open(train, size, &options.store)?;
        let test = Set::open(&options.data, size, &options.store)?;
        let values = train.column(column, FLAG, &options.store)?;
        let held = test.column(column, FLAG, &options.store)?;
        let list = options.things.as_ref();
        let names = Names::of(values.iter().flatten().map(String::as_str), list);
        if names.count() < 2 {
            let known = list.map_or("", |_| " that the list of --things knows");
            let problem = format!(
                "the pictures of {} show {}{known} by it: two at least are needed to tell apart",
                train.path(),
                counted(names.count(), "thing"),
            );
            return Err(Error::option(FLAG, column, problem));
        }
        let groups = match &options.subgroups_from {
            None => Vec::new(),
            Some(column) => {
                let filed = train.column(column, "subgroups-from", &options.store)?;
                groups(&names, &values, &filed)
            }
        };
        let shown = Shown::of(&test, &held, &names, TRIED, options.seed);
        if shown.things.is_empty() {
            let problem = format!(
                "no picture of {} shows a thing that one of {} shows: the judge could not be tried",
                test.path(),
                train.path()
            );
            return Err(Error::option(FLAG, column, problem));
        }
        let (mut all, mut content) = (0, 0);
        for (at, value) in values.iter().enumerate() {
            if let Some(thing) = names.number(value.as_deref()) {
                all += 1;
                content = random::draw(content, &[random::key(&train.id(at)), thing as u64]);
            }
        }
        let held = held.iter().map(|value| names.number(value.as_deref()));
        Ok(Self {
            held: held.collect(),
            train: Shown::of(&train, &values, &names, TAUGHT, options.seed),
            test: shown,
            all,
            content,
            names,
            groups,
        })
    }
}

impl Things {
    /// Reads the pictures and teaches the judge, unless the report's folder keeps it.
    pub fn open(
        options: &Options,
        known: Known,
        (subject, tested): (&Subject, &Tested),
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        let Known { train, names, .. } = known;
        let (held_out, held_out_things) =
            known
                .test
                .read("reading held-out drawings", observer, |_, _| Ok(()))?;
        if train.things.len() < known.all {
            observer.note(format!(
                "the judge learns from {} of the {} pictures of things",
                train.things.len(),
                known.all
            ));
        }
        let teaching = Teaching {
            content: known.content,
            size: subject.size,
            steps: options.judge_steps,
            seed: options.seed,
        };
        let kept = Judge::kept(&options.out, &teaching, &names.all, device)?;
        // A judge that is there needs no pictures that went through the autoencoder.
        let through = kept.is_none() && subject.has_autoencoder();
        let samples = samples(&train, through.then_some(subject), observer)?;
        let judge = match kept {
            Some(judge) => judge,
            None => {
                let model = options.model.model.display().to_string();
                let autoencoder = subject.has_autoencoder().then_some(model);
                let things = names.count();
                let judge =
                    Judge::learn(&samples, things, autoencoder, &teaching, device, observer)?;
                judge.keep(&options.out, &teaching, &names.all)?;
                judge
            }
        };
        Ok(Self {
            tested: tested.places.iter().map(|at| known.held[*at]).collect(),
            names,
            groups: known.groups,
            judge,
            samples,
            held_out,
            held_out_things,
        })
    }
}

/// Pictures to learn from, some of them also as the autoencoder of `subject` makes them.
fn samples(
    train: &Shown,
    subject: Option<&Subject>,
    observer: &mut dyn Observer,
) -> Result<Vec<Sample>, Error> {
    let mut again = BTreeMap::new();
    let what = "reading training drawings";
    let (pictures, things) = train.read(what, observer, |whole, before| {
        let Some(subject) = subject else {
            return Ok(());
        };
        let most = (THROUGH_PIXELS / (subject.size * subject.size) as usize).max(1);
        let every = train.things.len().div_ceil(most).max(THROUGH);
        let places = (before..).zip(whole);
        let chosen = places.filter(|(place, _)| place.is_multiple_of(every));
        let (places, given): (Vec<usize>, Vec<&RgbImage>) = chosen.unzip();
        for (place, made) in places.into_iter().zip(subject.through(&given)?) {
            again.insert(place, square(&made, SIDE));
        }
        Ok(())
    })?;
    let samples = pictures.into_iter().zip(things).enumerate();
    let sample = |(place, (picture, thing))| Sample {
        picture,
        again: again.remove(&place),
        thing,
    };
    Ok(samples.map(sample).collect())
}

/// What each thing is filed under: by most of its pictures, of equally many the first by name.
fn groups(
    names: &Names,
    values: &[Option<String>],
    filed: &[Option<String>],
) -> Vec<Option<usize>> {
    let mut counts: Vec<BTreeMap<&str, usize>> = vec![BTreeMap::new(); names.count()];
    for (value, group) in values.iter().zip(filed) {
        if let (Some(thing), Some(group)) = (names.number(value.as_deref()), group) {
            *counts[thing].entry(group).or_default() += 1;
        }
    }
    let most = counts.iter().map(|counts| {
        let most = counts.iter().max_by(|a, b| a.1.cmp(b.1).then(b.0.cmp(a.0)));
        most.map(|(group, _)| *group)
    });
    let most: Vec<Option<&str>> = most.collect();
    let mut all: Vec<&str> = most.iter().copied().flatten().collect();
    all.sort_unstable();
    all.dedup();
    let number = |group: &str| all.iter().position(|known| *known == group);
    most.into_iter()
        .map(|group| group.and_then(number))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_filed_by_most_of_their_pictures() {
        let text = |texts: &[&str]| -> Vec<Option<String>> {
            let some = |text: &&str| (!text.is_empty()).then(|| (*text).to_owned());
            texts.iter().map(some).collect()
        };
        let values = text(&["cat", "cat", "cat", "owl", "owl", "fox", "", "dog"]);
        let filed = text(&["pet", "wild", "pet", "wild", "bird", "", "pet", "pet"]);
        let names = Names::of(values.iter().flatten().map(String::as_str), None);
        assert_eq!(names.all, ["cat", "dog", "fox", "owl"]);
        let found = groups(&names, &values, &filed);
        assert_eq!(found[0], found[1], "cats are pets as dogs are");
        assert_eq!(found[2], None);
        assert!(
            found[3].is_some() && found[3] != found[0],
            "a tie goes to `bird`"
        );
    }
}
