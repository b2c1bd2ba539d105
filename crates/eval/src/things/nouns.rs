//! R-precision among captions that differ in the noun alone.

use image::RgbImage;

use super::Things;
use super::choices::others;
use super::report::Nouns;
use crate::encoder::Encoder;
use crate::run::{aligned, anothers};
use crate::tested::{CHOICES, Tested};
use crate::{Error, Options};

/// Of the test pictures and of what was drawn for their captions; and of what was drawn for `prompts`, which ask for `own`. `None`
/// where no caption says what its picture shows.
pub(super) fn measure(
    things: &Things,
    encoder: &Encoder,
    tested: &Tested,
    [drawn, retrieved]: [&[RgbImage]; 2],
    (prompts, own, pictures): (&[String], &[usize], &[RgbImage]),
    options: &Options,
) -> Result<Option<Nouns>, Error> {
    let row = |number: usize, caption: &str, thing: usize| -> Option<Vec<String>> {
        let key = (options.seed, number as u64);
        let others = others(thing, things.names.count(), &things.groups, key);
        let swapped = things.names.swapped(caption, thing, &others)?;
        Some(std::iter::once(caption.to_owned()).chain(swapped).collect())
    };
    let places = tested.captions.iter().zip(&things.tested).enumerate();
    let rows = places.filter_map(|(at, (caption, thing))| Some((at, row(at, caption, (*thing)?)?)));
    let (places, rows): (Vec<usize>, Vec<Vec<String>>) = rows.unzip();
    if rows.is_empty() {
        return Ok(None);
    }
    let of = |pictures: &[RgbImage]| {
        let pictures: Vec<RgbImage> = places.iter().map(|at| pictures[*at].clone()).collect();
        pictures
    };
    let asked = prompts.iter().zip(own).enumerate();
    // A prompt says its thing.
    let asked = asked.filter_map(|(at, (prompt, thing))| row(at, prompt, *thing));
    let asked: Vec<Vec<String>> = asked.collect();
    let drawn = of(drawn);
    Ok(Some(Nouns {
        choices: CHOICES.min(things.names.count()),
        pictures: rows.len(),
        real: aligned(encoder, &of(&tested.pictures), &rows)?,
        retrieval: aligned(encoder, &of(retrieved), &rows)?,
        random: aligned(encoder, &anothers(&drawn), &rows)?,
        drawn: aligned(encoder, &drawn, &rows)?,
        things: aligned(encoder, pictures, &asked)?,
    }))
}
