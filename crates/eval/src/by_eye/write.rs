//! Drawing the test and writing it.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage, imageops};
use latent_data::build::Things;
use latent_data::{DataConfig, random};
use latent_pipeline::ModelFiles;

use super::key::{Key, Kind, Picture, of_prompt, of_thing};
use super::{KEY, SHEET, SHOWN};
use crate::digits;
use crate::pictures::Set;
use crate::subject::{DrawSettings, Subject};
use crate::{Error, Observer};

/// Pictures in a row of the sheet, and their side on it at most.
const COLUMNS: usize = 8;
const CELL: u32 = 160;
/// The purposes of random numbers here.
const ORDER: u64 = 70;
const REAL: u64 = 71;

/// What a test by eye is made of.
#[derive(Debug, Clone)]
pub struct ByEye {
    /// The model that draws.
    pub model: ModelFiles,
    /// What is drawn.
    pub prompts: Vec<String>,
    /// Pictures that the model has not learnt from, of which some are hidden among the drawn ones.
    pub data: DataConfig,
    /// The column of its table that says what a picture shows.
    pub things_from: String,
    /// Keys of object stores, as [`latent_data::open`] takes them.
    pub store: Vec<(String, String)>,
    /// The things, with the names that may be said of them; real pictures show things of the list alone.
    pub things: Things,
    /// How many real pictures.
    pub real: usize,
    /// Side of the pictures in pixels. `None`: as the model was trained.
    pub size: Option<u32>,
    /// Sampling steps. `None`: the model's own, or 20.
    pub steps: Option<usize>,
    /// Guidance. `None`: the model's own.
    pub cfg_scale: Option<f64>,
    /// What the order, the choice of real pictures and noise are drawn from.
    pub seed: u64,
    /// The folder to make.
    pub out: PathBuf,
}

/// Draws the prompts, hides real pictures among them and writes `pictures`, which shows nothing but numbers, and `key.json`. How
/// many pictures there are.
///
/// # Errors
/// A folder that exists, a model or data that cannot be used, too few real pictures; files that cannot be written;
/// [`Error::Stopped`].
pub fn write(test: &ByEye, device: &Device, observer: &mut dyn Observer) -> Result<usize, Error> {
    if test.out.exists() {
        let path = test.out.clone();
        return Err(latent_data::Error::Exists { path }.into());
    }
    let subject = Subject::open(&test.model, test.size, device, observer)?;
    let mut pictures = real(test, subject.size, observer)?;
    let settings = DrawSettings {
        steps: test.steps.unwrap_or(subject.steps()),
        guidance: test.cfg_scale.unwrap_or(subject.guidance()),
        seed: test.seed,
    };
    let prompts: Vec<&str> = test.prompts.iter().map(String::as_str).collect();
    let drawn = subject.draw("drawing", &prompts, settings, observer)?;
    pictures.extend(
        drawn
            .into_iter()
            .zip(&test.prompts)
            .map(|(picture, prompt)| {
                let about = Picture {
                    number: 0,
                    kind: Kind::Drawn,
                    from: prompt.clone(),
                    names: of_prompt(prompt, &test.things),
                };
                (picture, about)
            }),
    );
    random::shuffle(&mut pictures, test.seed, &[ORDER]);
    let folder = test.out.join(SHOWN);
    std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "make the folder"))?;
    let mut key = Key {
        model: test.model.model.display().to_string(),
        seed: test.seed,
        pictures: Vec::new(),
    };
    for (at, (picture, about)) in pictures.iter().enumerate() {
        let number = at + 1;
        save(&folder.join(format!("{number:03}.png")), picture)?;
        key.pictures.push(Picture {
            number,
            ..about.clone()
        });
    }
    let shown: Vec<&RgbImage> = pictures.iter().map(|(picture, _)| picture).collect();
    save(&folder.join(SHEET), &sheet(&shown))?;
    let path = test.out.join(KEY);
    let text = serde_json::to_string_pretty(&key).unwrap_or_default();
    std::fs::write(&path, text + "\n").map_err(Error::io(&path, "write"))?;
    Ok(pictures.len())
}

/// Real pictures of things of the list, of as many different ones as there are.
fn real(
    test: &ByEye,
    size: u32,
    observer: &mut dyn Observer,
) -> Result<Vec<(RgbImage, Picture)>, Error> {
    let set = Set::open(&test.data, size, &test.store)?;
    let values = set.column(&test.things_from, "things-from", &test.store)?;
    let known = values.iter().enumerate().filter_map(|(at, value)| {
        let value = value.as_deref()?;
        Some((at, test.things.find(&value.to_lowercase())?.name.as_str()))
    });
    let mut known: Vec<(usize, &str)> = known.collect();
    random::shuffle(&mut known, test.seed, &[REAL]);
    // Each thing once, before one twice.
    let mut turns: std::collections::HashMap<&str, usize> = Default::default();
    let mut turn = |thing| {
        let turns = turns.entry(thing).or_default();
        *turns += 1;
        *turns
    };
    let mut known: Vec<(usize, usize, &str)> = known
        .into_iter()
        .map(|(at, thing)| (turn(thing), at, thing))
        .collect();
    known.sort_by_key(|(turn, ..)| *turn);
    if known.len() < test.real {
        let problem = format!(
            "{} has {} pictures that show a thing of the list: give another list, column or set",
            set.path(),
            known.len()
        );
        return Err(Error::option("real", test.real, problem));
    }
    known.truncate(test.real);
    let places: Vec<usize> = known.iter().map(|(_, at, _)| *at).collect();
    let mut found = Vec::new();
    if places.is_empty() {
        return Ok(found);
    }
    observer.stage("reading real drawings", places.len() as u64);
    let chosen = set.only(places);
    chosen.read(known.len(), None, observer, |examples| {
        found.extend(examples.into_iter().map(|example| {
            let about = Picture {
                number: 0,
                kind: Kind::Real,
                from: example.id,
                names: of_thing(known[example.index].2, &test.things),
            };
            (example.picture, about)
        }));
        Ok(())
    })?;
    Ok(found)
}

fn save(path: &Path, picture: &RgbImage) -> Result<(), Error> {
    picture.save(path).map_err(|e| Error::Drawing {
        path: path.to_owned(),
        problem: e.to_string(),
    })
}

/// Pictures in rows, each with its number above it.
fn sheet(pictures: &[&RgbImage]) -> RgbImage {
    let (height, margin) = (digits::HEIGHT, 6);
    let [cell, above] = [CELL + margin, CELL + height + 2 * margin];
    let rows = pictures.len().div_ceil(COLUMNS) as u32;
    let mut sheet = RgbImage::from_pixel(
        COLUMNS as u32 * cell + margin,
        rows * above + margin,
        Rgb([255; 3]),
    );
    for (at, picture) in pictures.iter().enumerate() {
        let left = (at % COLUMNS) as u32 * cell + margin;
        let top = (at / COLUMNS) as u32 * above + margin;
        digits::write(&mut sheet, [left, top], at + 1);
        let scale = f64::from(CELL) / f64::from(picture.width().max(picture.height()));
        let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
        let (w, h) = (side(picture.width()), side(picture.height()));
        let fitted = resize(*picture, w, h, FilterType::CatmullRom);
        imageops::replace(
            &mut sheet,
            &fitted,
            left.into(),
            (top + height + margin / 2).into(),
        );
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_has_a_number_above_each_picture() {
        let pictures: Vec<RgbImage> = (0..9)
            .map(|i| RgbImage::from_pixel(32, 32, Rgb([20 * i, 0, 0])))
            .collect();
        let sheet = sheet(&pictures.iter().collect::<Vec<_>>());
        assert_eq!(sheet.width(), 8 * (CELL + 6) + 6);
        let ink = |x: u32, y: u32, w: u32, h: u32| {
            let pixels = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
            pixels
                .filter(|(x, y)| sheet.get_pixel(*x, *y).0 != [255; 3])
                .count()
        };
        assert!(ink(6, 6, 30, digits::HEIGHT) > 5, "the first number");
        let below = CELL + digits::HEIGHT + 12 + 6;
        assert!(ink(6, below, 30, digits::HEIGHT) > 5, "the ninth");
        assert_eq!(
            ink(6 + 3 * (CELL + 6), below, CELL, CELL),
            0,
            "an empty place"
        );
    }
}
