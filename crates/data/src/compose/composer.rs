//! Chooses what a scene shows, and puts it together.

use std::ops::RangeInclusive;

use image::{GrayImage, imageops};
use rayon::prelude::*;

use super::english::is_plural;
use super::layout::regions;
use super::looks::{CONTRAST, Look, distance, looks, may_mirror};
use super::scene::{Background, Group, Relation, Scene, background};
use super::{
    Art, Drawing, Split,
    caption::{self, Says},
};
use crate::{Error, random};

/// How scenes are made.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneOptions {
    /// What every scene is drawn from, with its index.
    pub seed: u64,
    /// The side of the square pictures.
    pub size: u32,
    /// How many objects, within 1 to 4.
    pub objects: RangeInclusive<usize>,
    /// Whether drawings are painted in other colours.
    pub paint: bool,
    /// Which part of what could be composed.
    pub split: Split,
}

/// A drawing and what is known of its colours.
#[derive(Debug)]
struct Prepared {
    drawing: Drawing,
    class: u32,
    /// As it is drawn, then in every colour that it can be painted in.
    looks: Vec<Look>,
}

/// Makes scenes.
#[derive(Debug)]
pub struct Composer {
    options: SceneOptions,
    drawings: Vec<Prepared>,
    /// Indices into `drawings` by style.
    styles: Vec<Vec<usize>>,
    classes: Vec<String>,
}

/// Plans tried before a scene is given up.
const TRIES: u64 = 256;
/// Most classes of a mask: 0 is background, 255 a hole.
const MOST_CLASSES: usize = 254;

impl Composer {
    /// Measures the colours of every drawing.
    ///
    /// # Errors
    /// Options out of range, no drawings that can be seen, more than 254 different things, nothing held out for
    /// [`Split::Test`].
    pub fn new(art: Art, options: SceneOptions) -> Result<Self, Error> {
        let (least, most) = (*options.objects.start(), *options.objects.end());
        if least < 1 || most > 4 || least > most {
            return Err(Error::setting(
                "objects",
                format!("{least}..{most}"),
                "expected 1 to 4, the smaller first",
            ));
        }
        if !(32..=2048).contains(&options.size) {
            return Err(Error::setting("size", options.size, "expected 32 to 2048"));
        }
        let looks: Vec<Vec<Look>> = art
            .drawings
            .par_iter()
            .map(|drawing| looks(drawing, options.paint))
            .collect();
        let seen = art
            .drawings
            .into_iter()
            .zip(looks)
            .filter(|(_, looks)| !looks.is_empty());
        let seen: Vec<_> = seen.collect();
        let mut classes: Vec<String> = seen.iter().map(|(d, _)| d.noun().to_owned()).collect();
        classes.sort_unstable();
        classes.dedup();
        if classes.is_empty() {
            return Err(Error::Art {
                reason: "no drawing can be seen".to_owned(),
            });
        }
        if classes.len() > MOST_CLASSES {
            return Err(Error::Art {
                reason: format!(
                    "the drawings show {} different things, and a mask holds {MOST_CLASSES}: choose some by name",
                    classes.len()
                ),
            });
        }
        classes.insert(0, "background".to_owned());
        let prepare = |(drawing, looks): (Drawing, Vec<Look>)| {
            let class = classes.binary_search_by(|name| match name.as_str() {
                "background" => std::cmp::Ordering::Less,
                name => name.cmp(drawing.noun()),
            });
            Prepared {
                class: class.unwrap_or(0) as u32,
                drawing,
                looks,
            }
        };
        let drawings: Vec<Prepared> = seen.into_iter().map(prepare).collect();
        let mut names: Vec<&str> = drawings.iter().map(|p| p.drawing.style.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let of = |style: &&str| {
            let all = drawings.iter().enumerate();
            all.filter(|(_, p)| p.drawing.style == *style)
                .map(|(at, _)| at)
                .collect()
        };
        let styles = names.iter().map(of).collect();
        let composer = Self {
            options,
            drawings,
            styles,
            classes,
        };
        composer.scene(0)?;
        Ok(composer)
    }

    /// `background`, then the things in the order of their classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// How scenes are made.
    pub fn options(&self) -> &SceneOptions {
        &self.options
    }

    /// Makes a scene. The same options, art and index make the same scene.
    ///
    /// # Errors
    /// No combination of drawings fits the options.
    pub fn scene(&self, index: u64) -> Result<Scene, Error> {
        let seeds = (0..TRIES).map(|attempt| random::draw(self.options.seed, &[index, attempt]));
        seeds.into_iter().find_map(|seed| self.attempt(seed)).ok_or_else(|| Error::Art {
            reason: format!(
                "no scene of {}..={} objects fits {} drawings and this split: take more drawings or another split",
                self.options.objects.start(),
                self.options.objects.end(),
                self.drawings.len()
            ),
        })
    }

    /// A scene, or none where what was drawn contradicts itself.
    fn attempt(&self, seed: u64) -> Option<Scene> {
        let chance = |purpose: u64| random::unit(seed, &[purpose]);
        let pick = |purpose: u64, count: usize| random::below(seed, &[purpose], count);
        let (least, most) = (*self.options.objects.start(), *self.options.objects.end());
        let count = least + pick(0, most - least + 1);
        let counts = counts(count, chance(1), pick(2, 6));
        // Mostly one style, so that it can be named.
        let style = (chance(3) < 0.8).then(|| pick(4, self.styles.len()));
        let mut chosen: Vec<(&Prepared, Look)> = Vec::new();
        for group in 0..counts.len() as u64 {
            let at = match style {
                Some(style) => self.styles[style][pick(10 + group, self.styles[style].len())],
                None => pick(10 + group, self.drawings.len()),
            };
            let prepared = &self.drawings[at];
            let paints = prepared.looks.len() - 1;
            let look = match paints > 0 && chance(40 + group) < 0.5 {
                true => 1 + pick(20 + group, paints),
                false => 0,
            };
            chosen.push((prepared, prepared.looks[look]));
        }
        let uncountable = |((prepared, _), count): (&(&Prepared, Look), &usize)| {
            *count > 1 && is_plural(prepared.drawing.noun())
        };
        if !self.allowed(&chosen) || chosen.iter().zip(&counts).any(uncountable) {
            return None;
        }
        let background = background(seed);
        let stands_out = |(_, look): &(&Prepared, Look)| {
            background
                .colours()
                .all(|behind| distance(look.mean, Background::rgb(behind)) >= CONTRAST)
        };
        if !chosen.iter().all(stands_out) {
            return None;
        }
        let relation = match counts.len() {
            1 => Relation::None,
            2 => [
                Relation::LeftOf,
                Relation::RightOf,
                Relation::Above,
                Relation::Below,
            ][pick(5, 4)],
            _ => [Relation::LeftOf, Relation::Above][pick(5, 2)],
        };
        let groups: Vec<Group> = chosen
            .iter()
            .zip(&counts)
            .map(|((prepared, look), count)| Group {
                count: *count,
                colour: look.colour,
                noun: prepared.drawing.noun().to_owned(),
                class: prepared.class,
                style: prepared.drawing.style.clone(),
            })
            .collect();
        let style = style.map(|_| groups[0].style.as_str());
        let caption = caption::caption(
            &groups,
            relation,
            background,
            style,
            Says::drawn(random::draw(seed, &[6])),
        );
        let mut scene = Scene {
            picture: background.picture(self.options.size),
            mask: GrayImage::new(self.options.size, self.options.size),
            caption,
            relation,
            background,
            objects: Vec::new(),
            groups,
        };
        let regions = regions(self.options.size, &counts, relation);
        for (group, (region, (prepared, look))) in regions.into_iter().zip(chosen).enumerate() {
            let seed = random::draw(seed, &[7, group as u64]);
            let fill = 0.66 + 0.28 * random::unit(seed, &[0]);
            let mirrored = random::unit(seed, &[1]) < 0.5;
            for (number, cell) in region.split(counts[group], seed).into_iter().enumerate() {
                let side = (cell.width.min(cell.height) * fill).floor() as u32;
                let mut picture = prepared.drawing.render(side.max(8))?;
                look.apply(&mut picture);
                if mirrored && may_mirror(&prepared.drawing) {
                    imageops::flip_horizontal_in_place(&mut picture);
                }
                let place = cell.place(
                    picture.dimensions(),
                    random::draw(seed, &[2, number as u64]),
                );
                scene.add(group, &picture, place)?;
            }
        }
        Some(scene)
    }

    /// Whether the split allows these together, and a caption can tell them apart.
    fn allowed(&self, chosen: &[(&Prepared, Look)]) -> bool {
        let pairs = || {
            let all = chosen.iter().enumerate();
            all.flat_map(|(at, a)| chosen[at + 1..].iter().map(move |b| (a, b)))
        };
        let told_apart = pairs().all(|((a, look_a), (b, look_b))| {
            let colours = look_a.colour.zip(look_b.colour);
            a.class != b.class || colours.is_some_and(|(one, other)| one != other)
        });
        let held_out = pairs()
            .any(|((a, _), (b, _))| Split::holds_out_pair(a.drawing.noun(), b.drawing.noun()));
        told_apart
            && match self.options.split {
                Split::All => true,
                Split::Train => !held_out && chosen.iter().all(|(_, look)| !look.held_out),
                Split::Test if chosen.len() == 1 => chosen[0].1.held_out,
                Split::Test => held_out,
            }
    }
}

/// How many objects each group has.
fn counts(all: usize, chance: f64, which: usize) -> Vec<usize> {
    let groups = match (all, chance) {
        (1, _) | (_, 0.0..0.35) => 1,
        (2, _) | (_, 0.35..0.8) => 2,
        _ => 3,
    };
    match (all, groups) {
        (all, 1) => vec![all],
        (all, 2) => {
            let first = 1 + which % (all - 1);
            vec![first, all - first]
        }
        (all, _) => {
            let mut counts = vec![1; 3];
            counts[which % 3] += all - 3;
            counts
        }
    }
}
