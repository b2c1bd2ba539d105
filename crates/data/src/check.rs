//! What a data set holds: every picture is read once, and nothing is changed.

use std::collections::{BTreeMap, HashMap};

use image::{Rgb, RgbImage, imageops};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{About, Error, Example, Fit, Labels, Source, fit::Draw, loader::guarded};

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How the place was read, and what of it was left out.
    pub read: About,
    /// Pictures, broken ones included.
    pub pictures: usize,
    /// Those that cannot be used, in the order of the source.
    pub broken: Vec<Broken>,
    /// The others by the shorter side, smallest first; groups without pictures are left out.
    pub sides: Vec<Sides>,
    /// The most common sizes.
    pub sizes: Vec<SizeCount>,
    /// How many pictures each shape of the configuration gets.
    pub shapes: Vec<SizeCount>,
    /// Their captions.
    pub captions: Captions,
    /// Their classes, in the order of numbers.
    pub classes: Vec<Class>,
    /// How many have a mask.
    pub masks: usize,
    /// How many have boxes.
    pub boxed: usize,
    /// How many boxes there are.
    pub boxes: usize,
    /// How many have a low-resolution partner.
    pub low: usize,
    /// Groups of pictures of the same pixels.
    pub duplicates: Vec<Vec<String>>,
}

/// A picture that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Path, shard member or row.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// Pictures whose shorter side lies in a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sides {
    /// The shortest side of the group.
    pub from: u32,
    /// One more than its longest; none for the last group.
    pub below: Option<u32>,
    /// How many.
    pub count: usize,
}

/// Pictures of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeCount {
    /// Pixels from top to bottom.
    pub height: u32,
    /// Pixels from left to right.
    pub width: u32,
    /// How many.
    pub count: usize,
}

/// The captions of a data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Captions {
    /// How many pictures have one of a word or more.
    pub count: usize,
    /// How many have one without a word.
    pub empty: usize,
    /// How many different ones there are.
    pub distinct: usize,
    /// The mean number of words.
    pub mean_words: f64,
    /// The most words.
    pub most_words: usize,
    /// The most common words and in how many captions they stand, articles and the like left out.
    pub common: Vec<(String, usize)>,
}

/// A class and its pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its number.
    pub id: u32,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Pictures of this class.
    pub pictures: usize,
    /// Boxes of this class.
    pub boxes: usize,
}

/// Pictures read at once: enough for every core, few enough for memory.
const CHUNK: usize = 1024;
/// The shorter sides at which a new group begins.
const SIDES: &[u32] = &[1, 32, 64, 128, 256, 512, 1024, 2048, 4096];
/// Rows of lists of what is most common.
const COMMON: usize = 20;
const SMALL_WORDS: &[&str] = &[
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "its", "of", "on",
    "or", "that", "the", "their", "this", "to", "with",
];

/// What is kept of one picture.
struct Seen {
    size: [u32; 2],
    shape: [u32; 2],
    caption: Option<String>,
    class: Option<u32>,
    boxes: Vec<u32>,
    mask: bool,
    low: bool,
    hash: [u8; 32],
}

/// Reads every picture as training would. `progress` gets how many are done, from this thread.
pub fn check(source: &dyn Source, fit: &Fit, progress: &mut dyn FnMut(usize)) -> Report {
    let mut tally = Tally::default();
    for first in (0..source.len()).step_by(CHUNK) {
        let chunk = first..(first + CHUNK).min(source.len());
        let seen: Vec<_> = chunk
            .clone()
            .into_par_iter()
            .map(|index| guarded(|| see(source, fit, index)))
            .collect();
        for (index, seen) in chunk.zip(seen) {
            match seen {
                Ok(seen) => tally.add(index, seen),
                Err(reason) => tally.broken.push(Broken {
                    id: source.id(index),
                    reason,
                }),
            }
            progress(index + 1);
        }
    }
    tally.report(source)
}

/// Reads what belongs to every picture, and no picture; masks only where `masks` is set. `map` is called from many
/// threads, `each` in the order of the source with what it gave, or why a picture's labels cannot be read.
pub fn labels<T: Send>(
    source: &dyn Source,
    masks: bool,
    map: impl Fn(usize, Labels) -> T + Sync,
    each: &mut dyn FnMut(usize, Result<T, String>),
) {
    for first in (0..source.len()).step_by(CHUNK) {
        let chunk = first..(first + CHUNK).min(source.len());
        let one = |index| guarded(|| Ok(map(index, source.labels(index, masks)?)));
        let found: Vec<_> = chunk.clone().into_par_iter().map(one).collect();
        chunk
            .zip(found)
            .for_each(|(index, found)| each(index, found));
    }
}

fn see(source: &dyn Source, fit: &Fit, index: usize) -> Result<Seen, Error> {
    let raw = source.read(index)?;
    let mut hash = Sha256::new();
    hash.update(raw.picture.width().to_le_bytes());
    hash.update(raw.picture.as_raw());
    let boxes = raw.boxes.iter().map(|b| b.class).collect();
    let example = fit.apply(raw, CENTRE, 0)?;
    Ok(Seen {
        size: example.original,
        shape: [example.picture.height(), example.picture.width()],
        caption: example.caption,
        class: example.class,
        boxes,
        mask: example.mask.is_some(),
        low: example.low.is_some(),
        hash: hash.finalize().into(),
    })
}

const CENTRE: Draw = Draw {
    seed: 0,
    epoch: 0,
    index: 0,
};

#[derive(Default)]
struct Tally {
    broken: Vec<Broken>,
    sides: BTreeMap<u32, usize>,
    sizes: BTreeMap<[u32; 2], usize>,
    shapes: BTreeMap<[u32; 2], usize>,
    captions: Captions,
    all_words: usize,
    words: HashMap<String, usize>,
    texts: HashMap<[u8; 32], ()>,
    classes: BTreeMap<u32, [usize; 2]>,
    masks: usize,
    boxed: usize,
    boxes: usize,
    low: usize,
    hashes: HashMap<[u8; 32], Vec<usize>>,
}

impl Tally {
    fn add(&mut self, index: usize, seen: Seen) {
        let short = seen.size[0].min(seen.size[1]);
        let from = SIDES.iter().rev().find(|from| **from <= short);
        *self.sides.entry(from.copied().unwrap_or(1)).or_default() += 1;
        *self.sizes.entry(seen.size).or_default() += 1;
        *self.shapes.entry(seen.shape).or_default() += 1;
        match &seen.caption {
            None => {}
            Some(caption) if caption.is_empty() => self.captions.empty += 1,
            Some(caption) => self.caption(caption),
        }
        if let Some(class) = seen.class {
            self.classes.entry(class).or_default()[0] += 1;
        }
        for class in &seen.boxes {
            self.classes.entry(*class).or_default()[1] += 1;
        }
        self.boxes += seen.boxes.len();
        self.boxed += usize::from(!seen.boxes.is_empty());
        self.masks += usize::from(seen.mask);
        self.low += usize::from(seen.low);
        self.hashes.entry(seen.hash).or_default().push(index);
    }

    fn caption(&mut self, caption: &str) {
        self.captions.count += 1;
        self.texts.insert(Sha256::digest(caption).into(), ());
        let mut words: Vec<String> = caption
            .split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '-')
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        self.all_words += words.len();
        self.captions.most_words = self.captions.most_words.max(words.len());
        words.sort_unstable();
        words.dedup();
        for word in words {
            if !SMALL_WORDS.contains(&word.as_str()) {
                *self.words.entry(word).or_default() += 1;
            }
        }
    }

    fn report(self, source: &dyn Source) -> Report {
        let mut captions = self.captions;
        captions.distinct = self.texts.len();
        captions.mean_words = self.all_words as f64 / captions.count.max(1) as f64;
        captions.common = self.words.into_iter().collect();
        captions
            .common
            .sort_unstable_by(|a, b| (b.1, &a.0).cmp(&(a.1, &b.0)));
        captions.common.truncate(COMMON);
        let names = source.classes();
        let mut classes = self.classes;
        for id in 0..names.len() as u32 {
            classes.entry(id).or_default();
        }
        let class = |(id, [pictures, boxes]): (u32, [usize; 2])| Class {
            id,
            name: names.get(id as usize).cloned(),
            pictures,
            boxes,
        };
        let mut same: Vec<_> = self
            .hashes
            .into_values()
            .filter(|group| group.len() > 1)
            .collect();
        same.sort_unstable();
        let ids = |group: Vec<usize>| group.into_iter().map(|index| source.id(index)).collect();
        Report {
            read: source.about(),
            pictures: source.len(),
            broken: self.broken,
            sides: self.sides.into_iter().map(sides).collect(),
            sizes: common_sizes(self.sizes),
            shapes: common_sizes(self.shapes),
            captions,
            classes: classes.into_iter().map(class).collect(),
            masks: self.masks,
            boxed: self.boxed,
            boxes: self.boxes,
            low: self.low,
            duplicates: same.into_iter().map(ids).collect(),
        }
    }
}

fn sides((from, count): (u32, usize)) -> Sides {
    Sides {
        from,
        below: SIDES.iter().copied().find(|next| *next > from),
        count,
    }
}

fn common_sizes(sizes: BTreeMap<[u32; 2], usize>) -> Vec<SizeCount> {
    let mut sizes: Vec<SizeCount> = sizes
        .into_iter()
        .map(|([height, width], count)| SizeCount {
            height,
            width,
            count,
        })
        .collect();
    // Stable: sizes of equal counts stay smallest first.
    sizes.sort_by_key(|size| std::cmp::Reverse(size.count));
    sizes.truncate(COMMON);
    sizes
}

/// A contact sheet: up to `count` pictures from all over the set as training gets them, in rows of `columns`, each in a
/// cell of `cell` × `cell` pixels. Pictures that cannot be read leave their cell grey.
pub fn sheet(source: &dyn Source, fit: &Fit, count: usize, columns: u32, cell: u32) -> RgbImage {
    let count = count.min(source.len());
    let chosen: Vec<usize> = (0..count).map(|i| i * source.len() / count).collect();
    let examples: Vec<Option<Example>> = chosen
        .into_par_iter()
        .map(|index| guarded(|| fit.apply(source.read(index)?, CENTRE, 0)).ok())
        .collect();
    let pictures: Vec<_> = examples
        .iter()
        .map(|e| e.as_ref().map(|e| &e.picture))
        .collect();
    tile(&pictures, columns, cell)
}

/// Pictures in rows of `columns`, each made to fit a cell of `cell` × `cell` pixels.
pub fn tile(pictures: &[Option<&RgbImage>], columns: u32, cell: u32) -> RgbImage {
    const GAP: u32 = 4;
    let columns = columns.clamp(1, pictures.len().max(1) as u32);
    let rows = (pictures.len() as u32).div_ceil(columns).max(1);
    let side = |cells: u32| cells * (cell + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(side(columns), side(rows), Rgb([48; 3]));
    for (number, picture) in (0u32..).zip(pictures) {
        let (left, top) = (side(number % columns), side(number / columns));
        let empty = RgbImage::from_pixel(cell, cell, Rgb([96; 3]));
        imageops::replace(&mut sheet, &empty, i64::from(left), i64::from(top));
        let Some(picture) = picture else { continue };
        let scale = f64::from(cell) / f64::from(picture.width().max(picture.height()));
        let part = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, cell);
        let (w, h) = (part(picture.width()), part(picture.height()));
        // Small pictures stay sharp, large ones are averaged.
        let filter = match scale >= 1.0 {
            true => imageops::FilterType::Nearest,
            false => imageops::FilterType::Triangle,
        };
        let small = imageops::resize(*picture, w, h, filter);
        let (x, y) = (left + (cell - w) / 2, top + (cell - h) / 2);
        imageops::replace(&mut sheet, &small, i64::from(x), i64::from(y));
    }
    sheet
}
