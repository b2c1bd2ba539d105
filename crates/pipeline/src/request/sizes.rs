//! Sizes.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::RequestError;

/// Width and height in pixels, written `512x768`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = RequestError;
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let read = || {
            let text = text.trim();
            let (width, height) = text.split_once(['x', 'X', '×']).unwrap_or((text, text));
            Some(Self {
                width: width.trim().parse().ok()?,
                height: height.trim().parse().ok()?,
            })
        };
        read().ok_or_else(|| {
            RequestError::range(
                "size",
                text,
                "WIDTHxHEIGHT, such as 512x768, or one number for a square",
            )
        })
    }
}

impl Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Sizes that the model is told, each `None` for the picture's own: the original's, where the crop began, the one aimed
/// at (Podell et al., "SDXL", 2307.01952, §2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// Pixels before any resizing.
    pub original: Option<Size>,
    /// Pixels cut off at the top and at the left. `None`: 0, 0.
    pub crop: Option<[usize; 2]>,
    /// Pixels.
    pub target: Option<Size>,
}

/// Everything beside the text that a model may be told of the picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizeConditions {
    /// Pixels before any resizing. `None`: the picture's own.
    pub original: Option<Size>,
    /// Pixels cut off at the top and at the left. `None`: 0, 0.
    pub crop: Option<[usize; 2]>,
    /// Pixels. `None`: the picture's own.
    pub target: Option<Size>,
    /// The same for the negative prompt's half, where it differs.
    pub negative: Option<Sizes>,
    /// How beautiful the picture shall be, for a model that takes it (SDXL's refiner), 0 to 10. `None`: 6.
    pub score: Option<f64>,
    /// The same for the negative prompt's half. `None`: 2.5.
    pub negative_score: Option<f64>,
}
