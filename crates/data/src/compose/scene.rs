//! What a composed picture is.

use image::{GrayImage, Luma, Rgb, RgbImage, RgbaImage};
use serde::{Deserialize, Serialize};

use super::art::bounds;
use super::colour::Colour;
use crate::{LabelledBox, decode::over, random};

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

impl Scene {
    /// Draws an object and notes where it is.
    pub(super) fn add(
        &mut self,
        group: usize,
        picture: &RgbaImage,
        (left, top): (u32, u32),
    ) -> Option<()> {
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

/// A plain background: five in thirteen are white.
pub(super) fn plain(seed: u64) -> Background {
    use Colour::{Black, Blue, Green, Grey, Orange, Pink, Purple, White, Yellow};
    const PLAIN: &[Colour] = &[
        White, White, White, White, White, Grey, Black, Blue, Green, Yellow, Pink, Purple, Orange,
    ];
    Background::Plain(PLAIN[random::below(seed, &[31], PLAIN.len())])
}

/// Two in three are plain.
pub(super) fn background(seed: u64) -> Background {
    use Colour::{Blue, Green, Grey, Orange, Pink, Purple, White, Yellow};
    const STACKED: &[(Colour, Colour)] = &[
        (Blue, Green),
        (White, Grey),
        (Blue, Yellow),
        (Orange, Purple),
        (White, Green),
        (Pink, White),
    ];
    match random::unit(seed, &[30]) < 2.0 / 3.0 {
        true => plain(seed),
        false => {
            let (top, bottom) = STACKED[random::below(seed, &[32], STACKED.len())];
            Background::Stacked(top, bottom)
        }
    }
}
