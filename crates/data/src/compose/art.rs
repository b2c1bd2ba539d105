//! Cut-outs with names.

use std::{
    io::Read,
    path::Path,
    sync::{Arc, OnceLock},
};

use fast_image_resize as fir;
use image::RgbaImage;
use resvg::{tiny_skia, usvg};
use serde::Deserialize;

use super::{colour::Colour, shapes::SHAPES};
use crate::{
    Error, decode,
    store::{Place, Store},
};

/// A picture of one thing with transparent surroundings.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// What it shows: `red apple`.
    pub concept: String,
    /// How it is drawn: `flat icon`.
    pub style: String,
    /// What the artist's set files it under; empty where it does not say.
    pub category: String,
    /// Words that go with what it shows.
    pub tags: Vec<String>,
    /// Other names of what it shows, each of which may stand for the noun.
    pub names: Vec<String>,
    /// Whether it is cut to the box of what can be seen of it, in place of the box that its file gives it.
    pub cut: bool,
    /// Whether left and right are exchanged where every drawing has [one orientation](super::orient).
    pub mirrored: bool,
    ink: Ink,
}

#[derive(Debug, Clone)]
enum Ink {
    Svg(Arc<str>, Arc<OnceLock<Option<usvg::Tree>>>),
    Pixels(Arc<RgbaImage>),
    /// A picture file, which is decoded at each use: sets have thousands.
    File(Arc<[u8]>),
}

impl Drawing {
    /// A drawing from SVG text.
    pub fn svg(
        concept: impl Into<String>,
        style: impl Into<String>,
        text: impl Into<Arc<str>>,
    ) -> Self {
        Self::new(
            concept.into(),
            style.into(),
            Ink::Svg(text.into(), Arc::default()),
        )
    }

    /// A drawing from pixels.
    pub fn pixels(concept: impl Into<String>, style: impl Into<String>, pixels: RgbaImage) -> Self {
        Self::new(concept.into(), style.into(), Ink::Pixels(Arc::new(pixels)))
    }

    /// A drawing from the bytes of a PNG or WebP file.
    pub fn file(
        concept: impl Into<String>,
        style: impl Into<String>,
        bytes: impl Into<Arc<[u8]>>,
    ) -> Self {
        Self::new(concept.into(), style.into(), Ink::File(bytes.into()))
    }

    fn new(concept: String, style: String, ink: Ink) -> Self {
        Self {
            concept,
            style,
            category: String::new(),
            tags: Vec::new(),
            names: Vec::new(),
            cut: false,
            mirrored: false,
            ink,
        }
    }

    /// The colour that its name begins with, and the rest: (red, `apple`). A name of one word is no colour.
    pub fn named_colour(&self) -> (Option<Colour>, &str) {
        let split = self.concept.split_once(' ');
        let named = split.and_then(|(word, rest)| Some((Colour::of_word(word)?, rest)));
        match named {
            Some((colour, rest)) => (Some(colour), rest),
            None => (None, &self.concept),
        }
    }

    /// What it shows without the colour: the class of its boxes and masks.
    pub fn noun(&self) -> &str {
        self.named_colour().1
    }

    /// Whether it has one of these names, with the colour or without.
    pub fn is_one_of(&self, names: &[&str]) -> bool {
        names
            .iter()
            .any(|name| *name == self.concept || *name == self.noun())
    }

    /// The drawing without empty margins, its longer side `side` pixels long. `None` where nothing can be seen.
    pub fn render(&self, side: u32) -> Option<RgbaImage> {
        let picture = match self.cut {
            false => self.draw(side)?,
            // Larger at first, so that the seen part is not enlarged.
            true => resize(&trim(&self.draw(2 * side)?, SEEN)?, side)?,
        };
        picture
            .pixels()
            .any(|pixel| pixel.0[3] >= SEEN)
            .then_some(picture)
    }

    /// In the box that its file gives it.
    fn draw(&self, side: u32) -> Option<RgbaImage> {
        match &self.ink {
            Ink::Pixels(pixels) => resize(pixels, side),
            Ink::File(bytes) => {
                let picture = decode::dynamic(&self.concept, bytes).ok()?;
                resize(&trim(&picture.into_rgba8(), 1)?, side)
            }
            Ink::Svg(text, tree) => {
                // Parsed at the first use: sets have thousands of drawings, and most runs use a few.
                let tree =
                    tree.get_or_init(|| usvg::Tree::from_str(text, &usvg::Options::default()).ok());
                rasterise(tree.as_ref()?, side)
            }
        }
    }
}

/// A pixel of at least that opacity is seen.
const SEEN: u8 = 128;

fn rasterise(tree: &usvg::Tree, side: u32) -> Option<RgbaImage> {
    let ink = tree.root().abs_layer_bounding_box();
    let size = tree.size();
    let (left, top) = (ink.left().max(0.0), ink.top().max(0.0));
    let (right, bottom) = (
        ink.right().min(size.width()),
        ink.bottom().min(size.height()),
    );
    let (w, h) = (right - left, bottom - top);
    if !(w > 0.0 && h > 0.0) {
        return None;
    }
    let scale = side as f32 / w.max(h);
    let pixels = |length: f32| ((length * scale).round() as u32).clamp(1, side);
    let mut map = tiny_skia::Pixmap::new(pixels(w), pixels(h))?;
    let place = tiny_skia::Transform::from_translate(-left, -top).post_scale(scale, scale);
    resvg::render(tree, place, &mut map.as_mut());
    let (w, h) = (map.width(), map.height());
    let straight = map.pixels().iter().flat_map(|pixel| {
        let c = pixel.demultiply();
        [c.red(), c.green(), c.blue(), c.alpha()]
    });
    RgbaImage::from_raw(w, h, straight.collect())
}

fn resize(picture: &RgbaImage, side: u32) -> Option<RgbaImage> {
    let scale = f64::from(side) / f64::from(picture.width().max(picture.height()));
    let pixels = |length: u32| ((f64::from(length) * scale).round() as u32).clamp(1, side);
    let mut out = RgbaImage::new(pixels(picture.width()), pixels(picture.height()));
    let (w, h) = out.dimensions();
    let kind = fir::PixelType::U8x4;
    let from =
        fir::images::ImageRef::new(picture.width(), picture.height(), picture.as_raw(), kind)
            .ok()?;
    let mut to = fir::images::Image::from_slice_u8(w, h, &mut out, kind).ok()?;
    fir::Resizer::new().resize(&from, &mut to, None).ok()?;
    Some(out)
}

/// Without the margins of less than that opacity.
pub(crate) fn trim(picture: &RgbaImage, alpha: u8) -> Option<RgbaImage> {
    let [left, top, right, bottom] = bounds(picture, alpha)?;
    let part = image::imageops::crop_imm(picture, left, top, right - left, bottom - top);
    Some(part.to_image())
}

/// Left, top, right and bottom of the pixels of at least that opacity.
pub(super) fn bounds(picture: &RgbaImage, alpha: u8) -> Option<[u32; 4]> {
    let mut found: Option<[u32; 4]> = None;
    for (x, y, pixel) in picture.enumerate_pixels() {
        if pixel.0[3] >= alpha {
            let [l, t, r, b] = found.unwrap_or([x, y, x + 1, y + 1]);
            found = Some([l.min(x), t.min(y), r.max(x + 1), b.max(y + 1)]);
        }
    }
    found
}

/// A collection of drawings.
#[derive(Debug, Clone, Default)]
pub struct Art {
    /// The drawings.
    pub drawings: Vec<Drawing>,
}

impl Art {
    /// Ten simple shapes in seven colours each, which need no download.
    pub fn shapes() -> Self {
        let drawing = |colour: Colour, (name, body): &(&str, &str)| {
            let [r, g, b] = colour.rgb();
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" fill="rgb({r},{g},{b})">{body}</svg>"#
            );
            Drawing::svg(format!("{} {name}", colour.word()), "flat shape", svg)
        };
        let of_colour = |colour| SHAPES.iter().map(move |shape| drawing(colour, shape));
        Self {
            drawings: Colour::PAINTS.into_iter().flat_map(of_colour).collect(),
        }
    }

    /// Keeps the drawings of these names, with the colour (`red apple`) or without (`apple`).
    pub fn keep(&mut self, names: &[&str]) {
        self.drawings.retain(|drawing| drawing.is_one_of(names));
    }

    /// The SVG, PNG and WebP files of a folder. A file's name says what it shows (`red-apple.png`), the folder it lies in
    /// how it is drawn, or `style` where it lies in the folder itself.
    ///
    /// # Errors
    /// A folder that cannot be read, a picture that does not decode, a folder without pictures.
    pub fn folder(folder: &Path, style: &str) -> Result<Self, Error> {
        let path = folder.display().to_string();
        let (mut store, _) = Store::open(&path, &[])?;
        let mut drawings = Vec::new();
        for file in store.list()?.files {
            let (place, name) = (file.rsplit_once('/'), store.name(&file));
            let (within, last) = place.unwrap_or((style, &file));
            let Some((stem, ending)) = last.rsplit_once('.') else {
                continue;
            };
            let (concept, style) = (words(stem), words(within));
            match ending.to_ascii_lowercase().as_str() {
                "svg" => {
                    let bytes = store.read(&Place::file(file.as_str()))?;
                    let text = String::from_utf8(bytes)
                        .map_err(|_| Error::damaged(&name, "it is not UTF-8"))?;
                    drawings.push(Drawing::svg(concept, style, text));
                }
                "png" | "webp" => {
                    let picture =
                        decode::dynamic(&name, &store.read(&Place::file(file.as_str()))?)?;
                    if let Some(pixels) = trim(&picture.into_rgba8(), 1) {
                        drawings.push(Drawing::pixels(concept, style, pixels));
                    }
                }
                _ => {}
            }
        }
        match drawings.is_empty() {
            false => Ok(Self { drawings }),
            true => Err(Error::Art {
                reason: format!("{path} holds no .svg, .png or .webp"),
            }),
        }
    }

    /// A set in Iconify's form: the text of `icons.json`, and of `metadata.json` for the categories.
    ///
    /// # Errors
    /// Text that is not of this form; `name` is what the error calls it.
    pub fn iconify(
        name: &str,
        style: &str,
        icons: impl Read,
        metadata: impl Read,
    ) -> Result<Self, Error> {
        let damaged = |e: serde_json::Error| Error::damaged(name, e);
        let set: IconSet = serde_json::from_reader(icons).map_err(damaged)?;
        let metadata: IconMetadata = serde_json::from_reader(metadata).map_err(damaged)?;
        let category = |key: &str| {
            let found = metadata
                .categories
                .iter()
                .find(|(_, keys)| keys.iter().any(|k| k == key));
            found
                .map(|(category, _)| category.clone())
                .unwrap_or_default()
        };
        let drawing = |(key, icon): (&String, &Icon)| {
            let (w, h) = (
                icon.width.or(set.width).unwrap_or(16.0),
                icon.height.or(set.height).unwrap_or(16.0),
            );
            let svg = format!(
                r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{w}" height="{h}" viewBox="{} {} {w} {h}">{}</svg>"#,
                icon.left, icon.top, icon.body
            );
            let mut drawing = Drawing::svg(words(key), style, svg);
            drawing.category = category(key);
            drawing
        };
        Ok(Self {
            drawings: set.icons.iter().map(drawing).collect(),
        })
    }

    /// Puts another collection behind this one.
    pub fn extend(&mut self, other: Self) {
        self.drawings.extend(other.drawings);
    }
}

/// `red-apple` and `red_apple` as `red apple`.
pub(crate) fn words(name: &str) -> String {
    let words = name.split(['-', '_', ' ']).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

#[derive(Deserialize)]
struct IconSet {
    icons: std::collections::BTreeMap<String, Icon>,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct Icon {
    body: String,
    #[serde(default)]
    left: f64,
    #[serde(default)]
    top: f64,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct IconMetadata {
    #[serde(default)]
    categories: std::collections::BTreeMap<String, Vec<String>>,
}
