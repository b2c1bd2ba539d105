//! Pictures as prompts, shown by an IP-Adapter.

use serde::{Deserialize, Serialize};

use super::validate::{number, whole};
use super::{Name, RequestError};

/// Pictures that the drawing shall resemble, and the IP-Adapter that shows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownPictures {
    /// The adapter.
    pub model: Name,
    /// CLIP's encoder of pictures that the adapter was trained with. `None`: the folder `image_encoder` beside the adapter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Name>,
    /// The pictures, 1 to 64; all are seen at once.
    pub images: Vec<Name>,
    /// The factor on what is seen of them, −10 to 10. Default 1.
    #[serde(default = "one")]
    pub weight: f64,
    /// The fraction of the run at which they are shown first, 0 to 1, counted as the profile counts. Default 0.
    #[serde(default)]
    pub start: f64,
    /// The fraction until which they are shown, `start` to 1. Default 1.
    #[serde(default = "one")]
    pub end: f64,
}

const fn one() -> f64 {
    1.0
}

/// So many pictures at most: their tokens are all looked at by every pixel.
const MOST: usize = 64;

impl ShownPictures {
    /// With an adapter and pictures, and everything else as it is by default.
    pub fn new(model: Name, images: Vec<Name>) -> Self {
        Self {
            model,
            encoder: None,
            images,
            weight: one(),
            start: 0.0,
            end: one(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), RequestError> {
        whole("ip_adapter.images (how many)", self.images.len(), 1, MOST)?;
        number("ip_adapter.weight", self.weight, -10.0, 10.0)?;
        number("ip_adapter.start", self.start, 0.0, 1.0)?;
        number("ip_adapter.end", self.end, self.start, 1.0)
    }
}
