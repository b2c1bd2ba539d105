//! From a picture of any size to an example: resize, crop, flip.

use fast_image_resize as fir;
use image::{GrayImage, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use crate::{
    DataConfig, Error, Example, LabelledBox, Raw,
    config::{Buckets, Size},
    decode::MAX_SIDE,
    random,
};

/// Which part of a picture stays where its shape differs from the example's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// The middle.
    #[default]
    #[serde(alias = "center")]
    Centre,
    /// A place drawn anew in each epoch.
    Random,
}

/// A box of which less than this share is left after the crop is dropped: what it names can no longer be seen.
const VISIBLE: f32 = 0.1;

/// No resized picture is longer; shorter by far than where sides times a factor would overflow.
const LONGEST: u32 = 1 << 20;
/// A low-resolution partner is at most this many times smaller.
const MOST_FACTOR: u32 = 64;

/// How pictures become examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The sizes of examples, as height and width; empty where each picture keeps its own.
    pub shapes: Vec<[u32; 2]>,
    /// Which part stays.
    pub crop: Crop,
    /// How often an example is mirrored.
    pub flip: f64,
}

/// What an example's crop and flip are drawn from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub seed: u64,
    pub epoch: u64,
    pub index: usize,
}

impl Draw {
    fn unit(self, purpose: u64) -> f64 {
        random::unit(self.seed, &[purpose, self.epoch, self.index as u64])
    }
}

impl Fit {
    /// Reads the settings.
    ///
    /// # Errors
    /// A value out of range; buckets without a square size.
    pub fn new(config: &DataConfig) -> Result<Self, Error> {
        if !(0.0..=1.0).contains(&config.flip) {
            return Err(Error::setting("flip", config.flip, "expected 0 to 1"));
        }
        let shapes = match (config.size, config.buckets) {
            (None, None) => Vec::new(),
            (Some(Size::Square(side)), None) => vec![[side; 2]],
            (Some(Size::Sides(sides)), None) => vec![sides],
            (Some(Size::Square(side)), Some(of)) => buckets(side, of)?,
            (_, Some(_)) => {
                return Err(Error::setting(
                    "buckets",
                    "…",
                    "expected with a size of one number: shapes have about size × size pixels",
                ));
            }
        };
        if let Some([h, w]) = shapes
            .iter()
            .find(|shape| shape.iter().any(|side| !(1..=MAX_SIDE).contains(side)))
        {
            return Err(Error::setting(
                "size",
                format!("{h}x{w}"),
                format!("expected 1 to {MAX_SIDE}"),
            ));
        }
        Ok(Self {
            shapes,
            crop: config.crop,
            flip: config.flip,
        })
    }

    /// The number of the shape nearest to a picture of that height and width, by the ratio of its sides.
    pub fn nearest(&self, size: [u32; 2]) -> usize {
        let log = |[h, w]: [u32; 2]| (f64::from(w) / f64::from(h)).ln();
        let far = |shape: &[u32; 2]| (log(*shape) - log(size)).abs();
        let nearest = self.shapes.iter().enumerate();
        nearest
            .min_by(|(_, a), (_, b)| far(a).total_cmp(&far(b)))
            .map_or(0, |(at, _)| at)
    }

    /// Makes the example.
    pub(crate) fn apply(&self, raw: Raw, draw: Draw, number: u64) -> Result<Example, Error> {
        let original = [raw.picture.height(), raw.picture.width()];
        let shape = match self.shapes.is_empty() {
            true => original,
            false => self.shapes[self.nearest(original)],
        };
        let window = self.window(&raw, shape, draw)?;
        let flipped = draw.unit(2) < self.flip;
        let failed = |e| Error::mismatch(&raw.id, e);
        let mut picture = window.rgb(&raw.picture, 1).map_err(failed)?;
        let mask = raw.mask.as_ref().map(|mask| window.nearest(mask));
        let mut mask = mask.transpose().map_err(failed)?;
        let low = raw.low.as_ref().map(|low| window.rgb(low, window.factor));
        let mut low = low.transpose().map_err(failed)?;
        let mut boxes = window.boxes(&raw.boxes);
        if flipped {
            imageops::flip_horizontal_in_place(&mut picture);
            mask.as_mut().map(imageops::flip_horizontal_in_place);
            low.as_mut().map(imageops::flip_horizontal_in_place);
            for LabelledBox { area, .. } in &mut boxes {
                let [x0, y0, x1, y1] = *area;
                *area = [1.0 - x1, y0, 1.0 - x0, y1];
            }
        }
        Ok(Example {
            id: raw.id,
            index: draw.index,
            number,
            picture,
            original,
            crop: [window.top, window.left],
            flipped,
            caption: raw.caption,
            class: raw.class,
            mask,
            boxes,
            low,
            columns: raw.columns,
        })
    }

    /// The smallest size that covers the shape without changing the sides' ratio, and the place of the crop in it.
    fn window(&self, raw: &Raw, shape: [u32; 2], draw: Draw) -> Result<Window, Error> {
        let own = [raw.picture.height(), raw.picture.width()];
        let factor = match &raw.low {
            None => 1,
            Some(low) => low_factor(&raw.id, own, [low.height(), low.width()])?,
        };
        if let Some(mask) = &raw.mask {
            same_shape(&raw.id, "mask", own, [mask.height(), mask.width()])?;
        }
        if shape.iter().any(|side| side % factor != 0) {
            return Err(Error::mismatch(
                &raw.id,
                format!(
                    "examples of {}x{} are no multiple of {factor}, by which its low-resolution partner is smaller",
                    shape[0], shape[1]
                ),
            ));
        }
        // In units of the partner's pixels, so that the crop of both falls on whole ones.
        let [out_h, out_w] = shape.map(|side| side / factor);
        let [full_h, full_w] = cover(own, [out_h, out_w]);
        if full_h.max(full_w) > LONGEST {
            return Err(Error::mismatch(
                &raw.id,
                format!("a picture of {}x{} pixels is too narrow", own[0], own[1]),
            ));
        }
        let place = |slack: u32, purpose: u64| match self.crop {
            Crop::Centre => slack / 2,
            Crop::Random => (draw.unit(purpose) * f64::from(slack + 1)) as u32,
        };
        Ok(Window {
            size: [full_h * factor, full_w * factor],
            top: place(full_h - out_h, 0) * factor,
            left: place(full_w - out_w, 1) * factor,
            shape,
            factor,
        })
    }
}

/// The smallest height and width of the sides' ratio of `own` that cover `shape`.
fn cover(own: [u32; 2], shape: [u32; 2]) -> [u32; 2] {
    let ratio = |at: usize| f64::from(shape[at]) / f64::from(own[at]);
    let scale = ratio(0).max(ratio(1));
    [0, 1].map(|at| ((f64::from(own[at]) * scale).round() as u32).max(shape[at]))
}

impl Example {
    /// Whether its crop is the middle of the picture: the one crop that comes again in every epoch, for some pictures
    /// the only one that there is.
    pub fn is_centred(&self) -> bool {
        let factor = match &self.low {
            None => 1,
            Some(low) => (self.picture.width() / low.width().max(1)).max(1),
        };
        let shape = [self.picture.height(), self.picture.width()].map(|side| side / factor);
        let whole = cover(self.original, shape);
        (0..2).all(|at| self.crop[at] == (whole[at] - shape[at]) / 2 * factor)
    }
}

/// How many times smaller the partner is.
fn low_factor(id: &str, [h, w]: [u32; 2], [low_h, low_w]: [u32; 2]) -> Result<u32, Error> {
    let factor = (f64::from(w) / f64::from(low_w)).round().max(1.0) as u32;
    match factor <= MOST_FACTOR
        && low_h.checked_mul(factor) == Some(h)
        && low_w.checked_mul(factor) == Some(w)
    {
        true => Ok(factor),
        false => Err(Error::mismatch(
            id,
            format!(
                "its low-resolution partner has {low_h}x{low_w} pixels, which is no whole part, down to 1/{MOST_FACTOR}, of {h}x{w}"
            ),
        )),
    }
}

/// Whether the sides have the same ratio, up to the rounding of a side.
fn same_shape(id: &str, what: &str, [h, w]: [u32; 2], [h2, w2]: [u32; 2]) -> Result<(), Error> {
    let cross = |a: u32, b: u32| f64::from(a) * f64::from(b);
    let off = (cross(h, w2) - cross(w, h2)).abs();
    match off <= f64::from(h.max(w).max(h2).max(w2)) {
        true => Ok(()),
        false => Err(Error::mismatch(
            id,
            format!("its {what} has {h2}x{w2} pixels, another shape than {h}x{w}"),
        )),
    }
}

/// The part of a resized picture that becomes the example.
struct Window {
    /// Height and width of the whole after resizing.
    size: [u32; 2],
    top: u32,
    left: u32,
    /// Height and width of the part.
    shape: [u32; 2],
    /// How many times smaller the low-resolution partner is.
    factor: u32,
}

impl Window {
    /// The part in cubic convolution, which averages when it shrinks; all sizes divided by `factor`.
    fn rgb(&self, picture: &RgbImage, factor: u32) -> Result<RgbImage, String> {
        let cubic = fir::ResizeAlg::Convolution(fir::FilterType::CatmullRom);
        let (w, h) = (self.shape[1] / factor, self.shape[0] / factor);
        let mut out = RgbImage::new(w, h);
        self.resize::<fir::pixels::U8x3>(
            picture.as_raw(),
            picture.dimensions(),
            (w, h),
            &mut out,
            cubic,
        )?;
        Ok(out)
    }

    /// The same by nearest pixels: numbers of classes have no mean.
    fn nearest(&self, mask: &GrayImage) -> Result<GrayImage, String> {
        let (w, h) = (self.shape[1], self.shape[0]);
        let mut out = GrayImage::new(w, h);
        self.resize::<fir::pixels::U8>(
            mask.as_raw(),
            mask.dimensions(),
            (w, h),
            &mut out,
            fir::ResizeAlg::Nearest,
        )?;
        Ok(out)
    }

    /// Only the part is computed, so that a picture of a thousand to one costs no more than another.
    fn resize<P: fir::PixelTrait>(
        &self,
        bytes: &[u8],
        (own_w, own_h): (u32, u32),
        (w, h): (u32, u32),
        out: &mut [u8],
        algorithm: fir::ResizeAlg,
    ) -> Result<(), String> {
        let text = |e: fir::ImageBufferError| e.to_string();
        let from =
            fir::images::ImageRef::new(own_w, own_h, bytes, P::pixel_type()).map_err(text)?;
        let mut to = fir::images::Image::from_slice_u8(w, h, out, P::pixel_type()).map_err(text)?;
        let per = |own: u32, whole: u32| f64::from(own) / f64::from(whole);
        let (x, y) = (per(own_w, self.size[1]), per(own_h, self.size[0]));
        let options = fir::ResizeOptions::new().resize_alg(algorithm).crop(
            f64::from(self.left) * x,
            f64::from(self.top) * y,
            (f64::from(self.shape[1]) * x).min(f64::from(own_w)),
            (f64::from(self.shape[0]) * y).min(f64::from(own_h)),
        );
        fir::Resizer::new()
            .resize(&from, &mut to, &options)
            .map_err(|e| e.to_string())
    }

    fn boxes(&self, boxes: &[LabelledBox]) -> Vec<LabelledBox> {
        let along = |v: f32, whole: u32, start: u32, part: u32| {
            ((v * whole as f32 - start as f32) / part as f32).clamp(0.0, 1.0)
        };
        let x = |v: f32| along(v, self.size[1], self.left, self.shape[1]);
        let y = |v: f32| along(v, self.size[0], self.top, self.shape[0]);
        let surface = |[x0, y0, x1, y1]: [f32; 4]| (x1 - x0) * (y1 - y0);
        let part = (self.shape[0] as f32 * self.shape[1] as f32)
            / (self.size[0] as f32 * self.size[1] as f32);
        let cut = |LabelledBox { class, area: whole }: &LabelledBox| {
            let [x0, y0, x1, y1] = *whole;
            let area = [x(x0), y(y0), x(x1), y(y1)];
            (surface(area) * part >= VISIBLE * surface(*whole)).then_some(LabelledBox {
                class: *class,
                area,
            })
        };
        boxes.iter().filter_map(cut).collect()
    }
}

/// Shapes of at most `side` × `side` pixels whose sides are multiples of a step: for each height, the widest that fits.
///
/// # Errors
/// A step that is 0 or does not divide `side`, a ratio below 1 or without end.
pub fn buckets(side: u32, Buckets { step, ratio }: Buckets) -> Result<Vec<[u32; 2]>, Error> {
    if step == 0 || side == 0 || !side.is_multiple_of(step) || side > MAX_SIDE {
        return Err(Error::setting(
            "buckets.step",
            step,
            format!("expected a divisor of the size, {side}"),
        ));
    }
    if !(1.0..=16.0).contains(&ratio) {
        return Err(Error::setting("buckets.ratio", ratio, "expected 1 to 16"));
    }
    let area = u64::from(side) * u64::from(side);
    let mut shapes = Vec::new();
    for height in (step..=MAX_SIDE).step_by(step as usize) {
        let width = (area / u64::from(height) / u64::from(step)) as u32 * step;
        let long = f64::from(height.max(width)) / f64::from(height.min(width).max(1));
        if width > 0 && long <= ratio {
            shapes.push([height, width]);
        }
    }
    Ok(shapes)
}
