//! The numbers, and how a person reads them.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::Serialize;

use crate::scenes::{Scenes, Tally};
use crate::things::report::ThingsReport;

/// Everything that was measured. What was not is `None`, and [`left_out`](Self::left_out) says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was measured, and how.
    pub about: About,
    /// What the autoencoder loses of test pictures.
    pub reconstruction: Option<Reconstruction>,
    /// Drawn pictures among real ones.
    pub likeness: Option<Likeness>,
    /// Pictures and their captions.
    pub alignment: Option<Alignment>,
    /// Drawn pictures and training pictures.
    pub copies: Option<Copies>,
    /// What scenes show.
    pub scenes: Option<Shown>,
    /// Drawings of things.
    pub things: Option<ThingsReport>,
    /// The trade-off of guidance, in the order in which it was asked for.
    pub sweep: Vec<Guided>,
    /// What was not measured, and what it needs.
    pub left_out: Vec<String>,
    /// The captions of the first pictures, in the order of the sheets.
    pub captions: Vec<String>,
}

/// What was measured, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct About {
    /// The model's folder.
    pub model: PathBuf,
    /// The test set.
    pub data: String,
    /// The training set.
    pub train: Option<String>,
    /// The file of EfficientNet-Lite0.
    pub features: Option<PathBuf>,
    /// Side of the pictures, in pixels.
    pub size: u32,
    /// Captions that were drawn.
    pub count: usize,
    /// Sampling steps.
    pub steps: usize,
    /// Guidance.
    pub cfg_scale: f64,
    /// The seed.
    pub seed: u64,
}

/// Means over test pictures of what the autoencoder makes of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reconstruction {
    /// How many.
    pub pictures: usize,
    /// Peak signal-to-noise ratio in decibels.
    pub psnr: f64,
    /// Structural similarity, 1 for equal pictures.
    pub ssim: f64,
    /// How far apart the features of EfficientNet-Lite0's stages are, 0 for equal pictures, 2 at most.
    pub feature_distance: Option<f64>,
}

/// How far two sets of pictures are apart, by pooled features of EfficientNet-Lite0. These are no FID and no KID: those
/// are of another network, and numbers of different networks cannot be compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Apart {
    /// Pictures of the first set and of the second.
    pub pictures: [usize; 2],
    /// The Fréchet distance.
    pub fd_efflite0: f64,
    /// The kernel distance.
    pub kid_efflite0: f64,
    /// Its deviation; 0 where there was one subset.
    pub kid_error: f64,
    /// The share of the second set that lies where the first does.
    pub precision: f64,
    /// The share of the first set that lies where the second does.
    pub recall: f64,
}

/// Drawn pictures among real ones, and what real ones reach.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likeness {
    /// The test pictures, and those drawn for their captions.
    pub drawn: Apart,
    /// Test pictures, and others: the least that a perfect model would have. Distances of smaller sets are larger.
    pub floor: Apart,
}

/// R-precision: how often a picture is nearer to its own caption than to nine others of the test set, by an encoder that
/// has learnt from the training split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alignment {
    /// Captions to choose from.
    pub choices: usize,
    /// Steps that the encoder has learnt for.
    pub encoder_steps: u64,
    /// Of the real pictures: how far the encoder can be trusted.
    pub real: f64,
    /// Of the drawn ones.
    pub drawn: f64,
    /// Of the pictures of the nearest training captions.
    pub retrieval: f64,
    /// Of the drawn ones, each with another's caption for its own: chance.
    pub random: f64,
}

/// Quantiles of distances.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// One in a hundred is smaller.
    pub percent_1: f64,
    /// One in twenty.
    pub percent_5: f64,
    /// One in four.
    pub percent_25: f64,
    /// Half of them.
    pub median: f64,
    /// Three in four.
    pub percent_75: f64,
}

/// Whether drawn pictures are copies: Euclidean distances of pooled features of EfficientNet-Lite0 to the nearest
/// training picture.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Copies {
    /// Of the drawn pictures.
    pub drawn: Spread,
    /// Of the real test pictures, which are no copies of what was learnt from.
    pub test: Spread,
    /// Of training pictures, to the nearest other one: the set's own duplicates.
    pub training: Spread,
    /// The share of drawn pictures that are nearer than one in a hundred test pictures is. About 0.01 for a model that
    /// copies no more than the test set does.
    pub nearer: f64,
    /// The nearest pairs, nearest first, as on the sheet.
    pub closest: Vec<Closest>,
}

/// A drawn picture and the training picture nearest to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Closest {
    /// How far apart.
    pub distance: f64,
    /// What was drawn.
    pub caption: String,
    /// The training picture's name.
    pub training: String,
    /// Its caption.
    pub training_caption: Option<String>,
}

/// What scenes show: [`crate::scenes`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Shown {
    /// Real test pictures: how far the checks can be trusted.
    pub real: Scenes,
    /// Drawn ones.
    pub drawn: Scenes,
    /// The pictures of the nearest training captions.
    pub retrieval: Option<Scenes>,
    /// Drawn ones, each with another's caption: chance.
    pub random: Scenes,
}

/// A point of the trade-off curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guided {
    /// The guidance.
    pub cfg_scale: f64,
    /// As [`Alignment::drawn`].
    pub r_precision: f64,
    /// As [`Likeness::drawn`].
    #[serde(flatten)]
    pub likeness: Apart,
}

/// A line of a table: its name, then numbers in columns.
pub(crate) fn line(f: &mut Formatter<'_>, name: &str, cells: &[String]) -> fmt::Result {
    write!(f, "  {name:<36}")?;
    for cell in cells {
        write!(f, "{cell:>18}")?;
    }
    writeln!(f)
}

pub(crate) fn heading(f: &mut Formatter<'_>, name: &str, cells: &[&str]) -> fmt::Result {
    write!(f, "\n{name:<38}")?;
    for cell in cells {
        write!(f, "{cell:>18}")?;
    }
    writeln!(f)
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

impl Apart {
    fn cells(&self) -> [String; 4] {
        let kid = format!(
            "{:.3} ± {:.3}",
            1000.0 * self.kid_efflite0,
            1000.0 * self.kid_error
        );
        [
            format!("{:.2}", self.fd_efflite0),
            kid,
            percent(self.precision),
            percent(self.recall),
        ]
    }
}

const APART: [&str; 4] = ["FD-EffLite0", "KID-EffLite0 ×10³", "precision", "recall"];

impl Copies {
    /// What a person reads of it, under that heading.
    pub(crate) fn show(&self, f: &mut Formatter<'_>, what: &str) -> fmt::Result {
        heading(f, what, &["least", "1 %", "5 %", "median"])?;
        for (name, spread) in [
            ("drawn", &self.drawn),
            ("real test pictures", &self.test),
            ("training, to other training", &self.training),
        ] {
            let numbers = [
                spread.least,
                spread.percent_1,
                spread.percent_5,
                spread.median,
            ];
            line(f, name, &numbers.map(|number| format!("{number:.2}")))?;
        }
        let share = percent(self.nearer);
        line(f, "drawn, nearer than 1 % of test", &[share])
    }
}

impl Tally {
    pub(crate) fn cell(&self) -> String {
        match self.share() {
            None => "–".to_owned(),
            Some(share) if self.judged == self.asked => {
                format!("{:.0} % of {}", 100.0 * share, self.asked)
            }
            Some(share) => format!("{:.0} % of {}/{}", 100.0 * share, self.judged, self.asked),
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let About {
            size,
            count,
            steps,
            cfg_scale,
            ..
        } = &self.about;
        writeln!(
            f,
            "{}: {count} captions of {}, {size}×{size} pixels, {steps} steps, guidance {cfg_scale}, seed {}",
            self.about.model.display(),
            self.about.data,
            self.about.seed
        )?;
        if let Some(r) = &self.reconstruction {
            heading(f, "reconstruction", &["PSNR", "SSIM", "features apart"])?;
            let features = r.feature_distance;
            let cells = [
                format!("{:.2} dB", r.psnr),
                format!("{:.4}", r.ssim),
                features.map_or("–".to_owned(), |d| format!("{d:.4}")),
            ];
            line(f, &format!("{} test pictures", r.pictures), &cells)?;
        }
        if let Some(Likeness { drawn, floor }) = &self.likeness {
            heading(f, "among real pictures", &APART)?;
            let name = |what: &str, apart: &Apart| {
                format!("{what} ({}, {})", apart.pictures[0], apart.pictures[1])
            };
            line(f, &name("real and drawn", drawn), &drawn.cells())?;
            line(f, &name("real and other real", floor), &floor.cells())?;
        }
        if let Some(a) = &self.alignment {
            let what = format!("R-precision, 1 of {}", a.choices);
            heading(f, "own caption found", &[&what])?;
            for (name, share) in [
                ("real pictures", a.real),
                ("drawn", a.drawn),
                ("nearest training caption's picture", a.retrieval),
                ("drawn, another's caption", a.random),
            ] {
                line(f, name, &[percent(share)])?;
            }
        }
        if let Some(copies) = &self.copies {
            copies.show(f, "distance to a training picture")?;
        }
        if let Some(s) = &self.scenes {
            heading(
                f,
                "scenes, by their pixels",
                &["colour", "count 1–3", "left/right", "above/below"],
            )?;
            let mut show = |name: &str, scenes: &Scenes| {
                let tallies = [
                    scenes.colour,
                    scenes.count,
                    scenes.left_right,
                    scenes.above_below,
                ];
                line(f, name, &tallies.map(|tally| tally.cell()))
            };
            show("real pictures", &s.real)?;
            show("drawn", &s.drawn)?;
            if let Some(retrieval) = &s.retrieval {
                show("nearest training caption's picture", retrieval)?;
            }
            show("drawn, another's caption", &s.random)?;
        }
        if let Some(things) = &self.things {
            things.show(f)?;
        }
        if !self.sweep.is_empty() {
            let columns: Vec<&str> = ["R-precision"].into_iter().chain(APART).collect();
            heading(f, "guidance", &columns)?;
            for point in &self.sweep {
                let first = [percent(point.r_precision)];
                let cells: Vec<String> = first.into_iter().chain(point.likeness.cells()).collect();
                line(f, &point.cfg_scale.to_string(), &cells)?;
            }
        }
        if !self.left_out.is_empty() {
            writeln!(f)?;
        }
        for text in &self.left_out {
            writeln!(f, "left out: {text}")?;
        }
        Ok(())
    }
}
