use std::ops::RangeInclusive;

use image::{GrayImage, Luma, Rgb, RgbImage, RgbaImage, imageops};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    Art, Drawing,
    art::bounds,
    caption,
    colour::{Colour, mean},
    english::is_plural,
    layout::regions,
};
use crate::{Error, LabelledBox, decode::over, random};

/// Which part of everything that could be composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Split {
    /// Everything.
    #[default]
    All,
    /// Neither a held-out drawing nor a held-out pair of things.
    Train,
    /// Scenes of one kind of thing show held-out drawings, scenes of several a held-out pair of things.
    Test,
}

/// One in so many drawings, and pairs of things, is held out.
const HELD_OUT: u64 = 10;

impl Split {
    /// Whether a drawing is held out: a hash of what it shows, colour included where it has one, and how.
    pub fn holds_out(concept: &str, style: &str) -> bool {
        random::key(&format!("{concept}\u{0}{style}")).is_multiple_of(HELD_OUT)
    }

    /// Whether two things are held out together, in either order.
    pub fn holds_out_pair(one: &str, other: &str) -> bool {
        let (first, second) = if one <= other {
            (one, other)
        } else {
            (other, one)
        };
        random::key(&format!("{first}\u{0}and\u{0}{second}")).is_multiple_of(HELD_OUT)
    }
}

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

/// Where the first group is, seen from the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say all")]
pub enum Relation {
    None,
    LeftOf,
    RightOf,
    Above,
    Below,
}

impl Relation {
    /// As it stands in captions.
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "and",
            Self::LeftOf => "to the left of",
            Self::RightOf => "to the right of",
            Self::Above => "above",
            Self::Below => "below",
        }
    }
}

/// What is behind the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Background {
    /// One colour.
    Plain(Colour),
    /// One above another.
    Stacked(Colour, Colour),
}

impl Background {
    /// Paler than objects are, so that what is asked for stands out.
    pub(super) fn rgb(colour: Colour) -> [u8; 3] {
        match colour {
            Colour::White | Colour::Black | Colour::Grey => colour.rgb(),
            colour => over(colour.rgb(), 110, [255; 3]),
        }
    }

    pub(super) fn picture(self, size: u32) -> RgbImage {
        let (top, bottom) = match self {
            Self::Plain(colour) => (colour, colour),
            Self::Stacked(top, bottom) => (top, bottom),
        };
        let (top, bottom) = (Self::rgb(top), Self::rgb(bottom));
        RgbImage::from_fn(size, size, |_, y| {
            Rgb(if y < size / 2 { top } else { bottom })
        })
    }

    pub(super) fn colours(self) -> impl Iterator<Item = Colour> {
        let (one, other) = match self {
            Self::Plain(colour) => (colour, None),
            Self::Stacked(top, bottom) => (top, Some(bottom)),
        };
        std::iter::once(one).chain(other)
    }
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// How many.
    pub count: usize,
    /// Their colour, where they have one.
    pub colour: Option<Colour>,
    /// What they are, without the colour.
    pub noun: String,
    /// Their class.
    pub class: u32,
    /// How they are drawn.
    pub style: String,
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The number of its group.
    pub group: usize,
    /// Its class and exact place.
    pub area: LabelledBox,
}

/// A composed picture and all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The picture.
    pub picture: RgbImage,
    /// The class of every pixel; 0 is background.
    pub mask: GrayImage,
    /// What it shows, in words.
    pub caption: String,
    /// Objects by kind.
    pub groups: Vec<Group>,
    /// Every object.
    pub objects: Vec<Object>,
    /// Where groups are to each other; with three groups, `LeftOf` is from left to right and `Above` from top to bottom.
    pub relation: Relation,
    /// What is behind.
    pub background: Background,
}

/// A drawing and what is known of its colours.
#[derive(Debug)]
struct Prepared {
    drawing: Drawing,
    class: u32,
    /// As it is drawn, then in every colour that it can be painted in.
    looks: Vec<Look>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub colour: Option<Colour>,
    pub painted: bool,
    pub mean: [f64; 3],
    pub held_out: bool,
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

/// Colours are measured at this size.
const MEASURE: u32 = 64;
/// Plans tried before a scene is given up.
const TRIES: u64 = 256;
/// The least distance of an object's mean colour to the background's, in 0..=441.
pub(super) const CONTRAST: f64 = 90.0;
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
            random::draw(seed, &[6]),
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
                if let (true, Some(colour)) = (look.painted, look.colour) {
                    colour.paint(&mut picture);
                }
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

impl Scene {
    /// Draws an object and notes where it is.
    fn add(&mut self, group: usize, picture: &RgbaImage, (left, top): (u32, u32)) -> Option<()> {
        let class = self.groups[group].class;
        let size = self.picture.width();
        for (x, y, pixel) in picture.enumerate_pixels() {
            let (x, y) = (left + x, top + y);
            if x >= size || y >= size {
                continue;
            }
            let [r, g, b, alpha] = pixel.0;
            let behind = self.picture.get_pixel_mut(x, y);
            behind.0 = over([r, g, b], alpha, behind.0);
            if alpha >= 128 {
                self.mask.put_pixel(x, y, Luma([class as u8]));
            }
        }
        let [x0, y0, x1, y1] = bounds(picture, 128)?;
        let part = |start: u32, v: u32| (start + v).min(size) as f32 / size as f32;
        self.objects.push(Object {
            group,
            area: LabelledBox {
                class,
                area: [part(left, x0), part(top, y0), part(left, x1), part(top, y1)],
            },
        });
        Some(())
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

/// Two in three are plain; half of these are white.
pub(super) fn background(seed: u64) -> Background {
    use Colour::{Black, Blue, Green, Grey, Orange, Pink, Purple, White, Yellow};
    const PLAIN: &[Colour] = &[
        White, White, White, White, White, Grey, Black, Blue, Green, Yellow, Pink, Purple, Orange,
    ];
    const STACKED: &[(Colour, Colour)] = &[
        (Blue, Green),
        (White, Grey),
        (Blue, Yellow),
        (Orange, Purple),
        (White, Green),
        (Pink, White),
    ];
    let pick = |purpose, count| random::below(seed, &[purpose], count);
    match random::unit(seed, &[30]) < 2.0 / 3.0 {
        true => Background::Plain(PLAIN[pick(31, PLAIN.len())]),
        false => {
            let (top, bottom) = STACKED[pick(32, STACKED.len())];
            Background::Stacked(top, bottom)
        }
    }
}

pub(super) fn distance(a: [f64; 3], b: [u8; 3]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| (a - f64::from(b)).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Letters and arrows mean something else the other way round.
pub(super) fn may_mirror(drawing: &Drawing) -> bool {
    !["arrow", "left", "right", "sign", "button", "book"]
        .iter()
        .any(|word| drawing.concept.contains(word))
}

/// The looks of a drawing, first as it is drawn; none where nothing can be seen.
pub(super) fn looks(drawing: &Drawing, paint: bool) -> Vec<Look> {
    let Some(picture) = drawing.render(MEASURE) else {
        return Vec::new();
    };
    let (named, noun) = drawing.named_colour();
    // A `black cat` whose pixels are purple is called neither.
    let measured = Colour::of_picture(&picture);
    let own = match (named, measured) {
        (Some(named), Some(measured)) => (named == measured).then_some(named),
        (named, measured) => named.or(measured),
    };
    let held_out = Split::holds_out(&drawing.concept, &drawing.style);
    let mut looks = vec![Look {
        colour: own,
        painted: false,
        mean: mean(&picture),
        held_out,
    }];
    let paints = Colour::PAINTS
        .into_iter()
        .filter(|colour| paint && Some(*colour) != own);
    looks.extend(paints.filter_map(|colour| {
        let mut painted = picture.clone();
        colour.paint(&mut painted);
        // Not every drawing has enough hue to take a colour.
        (Colour::of_picture(&painted) == Some(colour)).then(|| Look {
            colour: Some(colour),
            painted: true,
            mean: mean(&painted),
            // A painted red apple is a `blue apple` and no red one; a painted cat is a `blue cat` and still a cat.
            held_out: named.is_none() && held_out
                || Split::holds_out(&format!("{} {noun}", colour.word()), &drawing.style),
        })
    }));
    looks
}
