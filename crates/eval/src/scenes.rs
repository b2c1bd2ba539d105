//! What composed scenes show, by their pixels alone.
//!
//! Of a scene everything is known, so no network has to judge: the colour of a single object is the name of its pixels'
//! red, green and blue ([`Colour::of_rgb`], by which the scenes were captioned), the count is that of the connected parts
//! before the background, and left and right are where the parts of each colour have their centres. Only scenes with a
//! plain background are asked for, and only pictures whose edge is of one colour are judged; the rest is counted as not
//! judged and not as wrong, and both numbers are given.
//!
//! A drawing with white parts on white falls to pieces, and touching objects are one: the same checks on the real
//! pictures say how often.

use std::collections::BTreeMap;

use image::RgbImage;
use latent_data::compose::{Background, Colour, Facts, Relation};
use latent_metrics::{Component, components, foreground};
use serde::Serialize;

use crate::Error;

/// An object has its colour where so many of its pixels are called by it.
const SHARE: f64 = 0.5;
/// Parts of a picture that are smaller than this share of it are specks.
const SPECK: f64 = 0.005;
/// The largest count of [`Scenes::count`].
const COUNTED: usize = 3;

/// How often something was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Pictures that show it.
    pub right: usize,
    /// Pictures that could be judged.
    pub judged: usize,
    /// Pictures that should show it.
    pub asked: usize,
}

impl Tally {
    /// The share of the judged pictures that are right; `None` where none could be judged.
    pub fn share(&self) -> Option<f64> {
        (self.judged > 0).then(|| self.right as f64 / self.judged as f64)
    }

    fn add(&mut self, right: Option<bool>) {
        self.asked += 1;
        self.judged += usize::from(right.is_some());
        self.right += usize::from(right == Some(true));
    }
}

/// What pictures of scenes show of what they should.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Scenes {
    /// Scenes of one object that has a colour, and drawings that have one: at least half of its pixels have it.
    pub colour: Tally,
    /// The mean share of the pixels that have it, 0..=1; `None` where nothing was judged.
    pub colour_share: Option<f64>,
    /// Scenes of one to three objects: so many parts stand before the background.
    pub count: Tally,
    /// The same by the number of objects.
    pub counts: BTreeMap<usize, Tally>,
    /// Scenes of things of different colours side by side: their centres lie in the caption's order.
    pub left_right: Tally,
    /// The same of things above each other.
    pub above_below: Tally,
}

/// Checks pictures against the facts of their scenes.
///
/// # Errors
/// Never in practice: pictures without pixels.
pub fn check<'a>(scenes: impl Iterator<Item = (&'a RgbImage, &'a Facts)>) -> Result<Scenes, Error> {
    let mut found = Scenes::default();
    let mut shares = Vec::new();
    for (picture, facts) in scenes {
        if !matches!(facts.background, Background::Plain(_)) {
            continue;
        }
        let seen = Seen::of(picture)?;
        let objects: usize = facts.groups.iter().map(|group| group.count).sum();
        // A drawing may be of several parts; scenes are composed of such as are one.
        if facts.relation.is_some() {
            let counted = seen.as_ref().map(|seen| seen.parts.len() == objects);
            found.counts.entry(objects).or_default().add(counted);
            if objects <= COUNTED {
                found.count.add(counted);
            }
        }
        if let ([group], 1) = (facts.groups.as_slice(), objects)
            && let Some(colour) = group.colour
        {
            let share = seen.as_ref().map(|seen| seen.share(colour));
            shares.extend(share);
            found.colour.add(share.map(|share| share >= SHARE));
        }
        let colours: Option<Vec<Colour>> = facts.groups.iter().map(|g| g.colour).collect();
        let Some(colours) = colours.filter(|colours| told_apart(colours)) else {
            continue;
        };
        let Some(relation) = facts.relation else {
            continue;
        };
        let (tally, axis, sign) = match relation {
            Relation::None => continue,
            Relation::LeftOf => (&mut found.left_right, 0, 1.0),
            Relation::RightOf => (&mut found.left_right, 0, -1.0),
            Relation::Above => (&mut found.above_below, 1, 1.0),
            Relation::Below => (&mut found.above_below, 1, -1.0),
        };
        tally.add(seen.as_ref().map(|seen| {
            let centres: Vec<Option<[f64; 2]>> = seen.centres(&colours);
            let places: Option<Vec<f64>> = centres
                .iter()
                .map(|centre| centre.map(|at| sign * at[axis]))
                .collect();
            places.is_some_and(|places| places.windows(2).all(|pair| pair[0] < pair[1]))
        }));
    }
    if !shares.is_empty() {
        found.colour_share = Some(shares.iter().sum::<f64>() / shares.len() as f64);
    }
    Ok(found)
}

/// The colour that most pixels before a plain background have, as [`check`] judges colours.
///
/// # Errors
/// As [`check`]'s.
pub(crate) fn main_colour(picture: &RgbImage) -> Result<Option<Colour>, Error> {
    let Some(seen) = Seen::of(picture)? else {
        return Ok(None);
    };
    let with = |colour: &Colour| -> usize {
        let each = seen.parts.iter().map(|part| seen.with(part, *colour));
        each.sum()
    };
    let most = Colour::ALL.into_iter().max_by_key(with);
    Ok(most.filter(|colour| with(colour) > 0))
}

/// How often pictures that should have a colour have it, by [`check`]'s rule.
///
/// # Errors
/// As [`check`]'s.
pub(crate) fn colours<'a>(
    pictures: impl Iterator<Item = (&'a RgbImage, Colour)>,
) -> Result<Tally, Error> {
    let mut tally = Tally::default();
    for (picture, colour) in pictures {
        let seen = Seen::of(picture)?;
        tally.add(seen.map(|seen| seen.share(colour) >= SHARE));
    }
    Ok(tally)
}

/// Whether there are several colours, and no two are the same.
fn told_apart(colours: &[Colour]) -> bool {
    let mut sorted = colours.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.len() == colours.len() && colours.len() > 1
}

/// What stands before a plain background.
struct Seen {
    /// The colour of each pixel of the picture.
    colours: Vec<Colour>,
    parts: Vec<Component>,
}

impl Seen {
    /// `None` where the background is not plain.
    fn of(picture: &RgbImage) -> Result<Option<Self>, Error> {
        let size = [picture.height() as usize, picture.width() as usize];
        let Some(front) = foreground(picture.as_raw(), size)? else {
            return Ok(None);
        };
        let least = (SPECK * (size[0] * size[1]) as f64).ceil() as usize;
        Ok(Some(Self {
            colours: picture.pixels().map(|p| Colour::of_rgb(p.0)).collect(),
            parts: components(&front.mask, size, least)?,
        }))
    }

    fn with(&self, part: &Component, colour: Colour) -> usize {
        let has = |pixel: &&usize| self.colours[**pixel] == colour;
        part.pixels.iter().filter(has).count()
    }

    /// The share of the pixels of all parts that have a colour; 0 where there is no part.
    fn share(&self, colour: Colour) -> f64 {
        let all: usize = self.parts.iter().map(|part| part.pixels.len()).sum();
        let with: usize = self.parts.iter().map(|part| self.with(part, colour)).sum();
        with as f64 / all.max(1) as f64
    }

    /// The centre of the parts of each colour, where there are any. A part has the colour of which it has most.
    fn centres(&self, colours: &[Colour]) -> Vec<Option<[f64; 2]>> {
        let mut sums = vec![[0.0; 3]; colours.len()];
        for part in &self.parts {
            let amounts = colours.iter().map(|colour| self.with(part, *colour));
            let most = amounts.enumerate().max_by_key(|(_, amount)| *amount);
            let Some((which, _)) = most.filter(|(_, amount)| *amount > 0) else {
                continue;
            };
            let weight = part.pixels.len() as f64;
            let [x, y] = part.centre;
            for (sum, value) in sums[which].iter_mut().zip([x * weight, y * weight, weight]) {
                *sum += value;
            }
        }
        let mean = |[x, y, weight]: [f64; 3]| (weight > 0.0).then(|| [x / weight, y / weight]);
        sums.into_iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, imageops};
    use latent_data::compose::{Art, Composer, Group, SceneOptions, Split};

    use super::*;

    fn composed(count: u64) -> Vec<(RgbImage, Facts)> {
        let options = SceneOptions {
            seed: 3,
            size: 96,
            objects: 1..=4,
            paint: true,
            split: Split::All,
        };
        let composer = Composer::new(Art::shapes(), options).unwrap();
        let scenes = (0..count).map(|number| composer.scene(number).unwrap());
        let facts = scenes.map(|scene| {
            let facts = Facts {
                groups: scene.groups,
                relation: Some(scene.relation),
                background: scene.background,
            };
            (scene.picture, facts)
        });
        facts.collect()
    }

    fn checked(scenes: &[(RgbImage, Facts)]) -> Scenes {
        check(scenes.iter().map(|(picture, facts)| (picture, facts))).unwrap()
    }

    #[test]
    fn composed_scenes_show_what_they_should() {
        let found = checked(&composed(150));
        for (name, tally) in [
            ("colour", found.colour),
            ("count", found.count),
            ("left", found.left_right),
            ("above", found.above_below),
        ] {
            assert!(tally.asked > 5, "{name}: {tally:?}");
            assert_eq!(tally.judged, tally.asked, "{name}");
            assert!(tally.share().unwrap() > 0.95, "{name}: {tally:?}");
        }
        assert!(found.colour_share.unwrap() > 0.9);
        assert_eq!(
            found.counts.keys().copied().collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
    }

    #[test]
    fn what_is_wrong_is_found() {
        let mut scenes = composed(150);
        // Mirrored, every pair that stands side by side is wrong and nothing else.
        for (picture, _) in &mut scenes {
            imageops::flip_horizontal_in_place(picture);
        }
        let found = checked(&scenes);
        assert_eq!(found.left_right.right, 0);
        assert!(found.above_below.share().unwrap() > 0.95);
        // Another's picture.
        let other: Vec<RgbImage> = scenes.iter().skip(1).map(|s| s.0.clone()).collect();
        for ((picture, _), other) in scenes.iter_mut().zip(other) {
            *picture = other;
        }
        let found = checked(&scenes);
        assert!(found.colour.share().unwrap() < 0.5, "{:?}", found.colour);
        assert!(found.count.share().unwrap() < 0.6, "{:?}", found.count);
        assert!(
            found.colour.judged < found.colour.asked,
            "stacked backgrounds"
        );
    }

    #[test]
    fn an_empty_picture_shows_nothing() {
        let facts = Facts {
            groups: vec![Group {
                count: 1,
                colour: Some(Colour::Red),
                noun: "heart".to_owned(),
                class: 1,
                style: "flat".to_owned(),
            }],
            relation: Some(Relation::None),
            background: Background::Plain(Colour::White),
        };
        let picture = RgbImage::from_pixel(32, 32, Rgb([250; 3]));
        let found = checked(&[(picture, facts)]);
        let wrong = Tally {
            right: 0,
            judged: 1,
            asked: 1,
        };
        assert_eq!((found.colour, found.count), (wrong, wrong));
        assert_eq!(found.colour_share, Some(0.0));
        assert_eq!(found.left_right.share(), None);
        assert!(check(std::iter::empty()).unwrap() == Scenes::default());
    }
}
