//! The numbers of drawings of things, and how a person reads them.

use std::fmt::{self, Formatter};

use serde::Serialize;

use crate::Copies;
use crate::report::{heading, line, percent};
use crate::scenes::Tally;

/// The least share of real held-out drawings that a judge must name for its word to be taken.
pub const LEAST: f64 = 0.5;

/// How drawings of things fare.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThingsReport {
    /// The judge, and how far it can be trusted.
    pub judge: Judged,
    /// What is drawn for "a {thing}"; `None` where the judge's word is not taken, as all that it alone says.
    pub accuracy: Option<ThingAccuracy>,
    /// Whether pictures are told from captions with another noun.
    pub nouns: Option<Nouns>,
    /// What becomes of real pictures under noise, in the order that was asked for.
    pub from_noise: Vec<FromNoise>,
    /// Things in colours that they do not have.
    pub foreign: Option<Foreign>,
    /// How much seeds differ.
    pub seeds: Option<Seeds>,
    /// What is drawn for "a {thing}", and training pictures.
    pub copies: Option<Copies>,
}

/// How often pictures are named rightly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// How many.
    pub pictures: usize,
    /// The share whose thing is the likeliest.
    pub top_1: f64,
    /// The share whose thing is among the five likeliest.
    pub top_5: f64,
    /// The share whose thing is likelier than nine others, drawn by the seed.
    pub among: f64,
}

/// A judge, and what it makes of real drawings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// Things that it tells apart.
    pub things: usize,
    /// Things to choose from in [`Accuracy::among`], the own one included.
    pub choices: usize,
    /// Training pictures that it has learnt from.
    pub pictures: usize,
    /// Steps that it has learnt for.
    pub steps: u64,
    /// The model through whose autoencoder a share of them went.
    pub autoencoder: Option<String>,
    /// Whether it names the least share of real held-out drawings.
    pub valid: bool,
    /// That share.
    pub least: f64,
    /// Real held-out drawings.
    pub real: Accuracy,
    /// Those of them that are drawn again by their captions, through this model's autoencoder.
    pub through: Option<Accuracy>,
}

/// What the judge makes of drawings for "a {thing}".
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ThingAccuracy {
    /// Drawings of each thing, with a seed of its own each.
    pub seeds: usize,
    /// The drawings.
    pub drawn: Accuracy,
    /// The pictures of the nearest training captions, which the judge has learnt from.
    pub retrieval: Accuracy,
    /// The drawings, each judged for another thing: chance.
    pub swapped: Accuracy,
    /// Each thing.
    pub each: Vec<ThingTally>,
}

/// The drawings of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThingTally {
    /// What it is called.
    pub thing: String,
    /// How many were named rightly.
    pub named: usize,
    /// What the others were named.
    pub taken_for: Vec<String>,
}

/// R-precision among captions that differ in the noun alone, by the dual encoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nouns {
    /// Captions to choose from.
    pub choices: usize,
    /// Test pictures whose captions say their thing.
    pub pictures: usize,
    /// Of these.
    pub real: f64,
    /// Of what was drawn for their captions.
    pub drawn: f64,
    /// Of the pictures of the nearest training captions.
    pub retrieval: f64,
    /// Of the drawn ones, each with another's captions: chance.
    pub random: f64,
    /// Of what was drawn for "a {thing}".
    pub things: f64,
}

/// Real pictures at a share of noise, finished by the model without guidance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FromNoise {
    /// The share of noise.
    pub t: f64,
    /// What the judge makes of them.
    pub accuracy: Accuracy,
}

/// Drawings of things in colours that at most a tenth of their training pictures have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Foreign {
    /// What was asked for, in the order of the sheet.
    pub prompts: Vec<String>,
    /// How often the colour is right.
    pub colour: Tally,
    /// The same, each drawing with the colour of another: chance.
    pub random: Tally,
    /// What the judge makes of them.
    pub accuracy: Option<Accuracy>,
    /// What it makes of drawings of the same things without a colour.
    pub plain: Option<Accuracy>,
}

/// Mean distances between pictures of one thing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seeds {
    /// Things.
    pub things: usize,
    /// Drawings of each, and at most as many real ones.
    pub seeds: usize,
    /// The root of the mean square of the differences of pixels, of 0 to 1.
    pub pixels: Spreads,
    /// Euclidean distances of what the judge sees.
    pub features: Option<Spreads>,
}

/// How far pictures of one thing are apart, on average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spreads {
    /// Drawn ones.
    pub drawn: f64,
    /// Real ones.
    pub real: f64,
}

impl Spreads {
    fn share(&self) -> String {
        match self.real > 0.0 {
            true => percent(self.drawn / self.real),
            false => "–".to_owned(),
        }
    }
}

impl Accuracy {
    fn cells(&self) -> [String; 3] {
        [self.top_1, self.top_5, self.among].map(percent)
    }
}

impl ThingsReport {
    /// What was not measured, and what it needs.
    pub(crate) fn left_out(&self) -> Vec<String> {
        let mut texts = Vec::new();
        let mut add = |text: &str| texts.push(text.to_owned());
        if !self.judge.valid {
            add(
                "what the judge says of drawings: it names too few real ones; more training pictures of each thing, fewer things (--things) or more --judge-steps may help",
            );
        }
        if self.nouns.is_none() {
            add("R-precision by the noun alone: no test caption says the thing of its picture");
        }
        if self.foreign.is_none() {
            add(
                "foreign colours: no training picture has a plain background before which a colour could be told, or things have all colours",
            );
        }
        if self.seeds.is_none() {
            add("the spread of seeds: no thing has two training pictures to compare with");
        }
        if self.copies.is_none() {
            add("copies among the drawings of things: give --features");
        }
        texts
    }

    /// What a person reads of them.
    pub(crate) fn show(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let judge = &self.judge;
        let among = format!("1 of {}", judge.choices);
        let columns = ["top-1", "top-5", &among];
        heading(f, &format!("things named, of {}", judge.things), &columns)?;
        let name = format!("real held-out drawings ({})", judge.real.pictures);
        line(f, &name, &judge.real.cells())?;
        if let Some(through) = &judge.through {
            line(f, "real, through the autoencoder", &through.cells())?;
        }
        if !judge.valid {
            let least = percent(LEAST);
            writeln!(
                f,
                "  no verdict: a judge must name {least} of real held-out drawings for its word to be taken"
            )?;
        }
        if let Some(accuracy) = &self.accuracy {
            let name = format!("drawn, \"a {{thing}}\" ({})", accuracy.drawn.pictures);
            line(f, &name, &accuracy.drawn.cells())?;
            line(
                f,
                "nearest training caption's picture",
                &accuracy.retrieval.cells(),
            )?;
            line(f, "drawn, another's thing", &accuracy.swapped.cells())?;
        }
        for FromNoise { t, accuracy } in &self.from_noise {
            let name = format!("real, finished from noise {t} ({})", accuracy.pictures);
            line(f, &name, &accuracy.cells())?;
        }
        if let Some(n) = &self.nouns {
            let what = format!("noun alone, 1 of {}", n.choices);
            heading(f, "own caption found", &[&what])?;
            for (name, share) in [
                ("real pictures", n.real),
                ("drawn", n.drawn),
                ("nearest training caption's picture", n.retrieval),
                ("drawn, another's caption", n.random),
                ("drawn, \"a {thing}\"", n.things),
            ] {
                line(f, name, &[percent(share)])?;
            }
        }
        if let Some(foreign) = &self.foreign {
            let count = foreign.prompts.len();
            let columns: Vec<&str> = std::iter::once("colour").chain(columns).collect();
            heading(f, &format!("foreign colours ({count})"), &columns)?;
            let row = |colour: String, accuracy: &Option<Accuracy>| -> Vec<String> {
                let cells = accuracy.iter().flat_map(Accuracy::cells);
                std::iter::once(colour).chain(cells).collect()
            };
            line(f, "drawn", &row(foreign.colour.cell(), &foreign.accuracy))?;
            if foreign.plain.is_some() {
                line(
                    f,
                    "the same things, no colour",
                    &row("–".to_owned(), &foreign.plain),
                )?;
            }
            line(f, "drawn, another's colour", &[foreign.random.cell()])?;
        }
        if let Some(seeds) = &self.seeds {
            heading(f, "between pictures of one thing", &["pixels", "features"])?;
            let Seeds {
                pixels, features, ..
            } = seeds;
            let row = |of: fn(&Spreads) -> String| -> Vec<String> {
                std::iter::once(pixels).chain(features).map(of).collect()
            };
            let name = format!("drawn, {} things, {} seeds", seeds.things, seeds.seeds);
            line(f, &name, &row(|s| format!("{:.3}", s.drawn)))?;
            line(f, "real drawings", &row(|s| format!("{:.3}", s.real)))?;
            line(f, "drawn, of real", &row(Spreads::share))?;
        }
        if let Some(copies) = &self.copies {
            copies.show(f, "\"a {thing}\", to a training picture")?;
        }
        Ok(())
    }
}
