//! Pictures as prompts, shown by an IP-Adapter.

use serde::{Deserialize, Serialize};

use super::parts::choice;
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
    /// How the factor differs from part to part of the network. Default `linear`: not at all.
    #[serde(default)]
    pub weight_type: WeightType,
    /// Where they are seen: white. `None`: everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Name>,
    /// The fraction of the run at which they are shown first, 0 to 1, counted as the profile counts. Default 0.
    #[serde(default)]
    pub start: f64,
    /// The fraction until which they are shown, `start` to 1. Default 1.
    #[serde(default = "one")]
    pub end: f64,
}

/// How the weight of pictures differs from transformer to transformer of the network, as ComfyUI_IPAdapter_plus has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightType {
    /// Everywhere the same.
    #[default]
    Linear,
    /// From the whole at the first transformer to a twentieth.
    EaseIn,
    /// From a twentieth to the whole.
    EaseOut,
    /// The whole in the middle, a twentieth at both ends.
    EaseInOut,
    /// A twentieth in the middle, the whole at both ends.
    ReverseInOut,
    /// A fifth on the way down.
    WeakInput,
    /// A fifth on the way up.
    WeakOutput,
    /// A fifth in the middle.
    WeakMiddle,
    /// A fifth everywhere but in the middle.
    StrongMiddle,
    /// Only where style is made.
    Style,
    /// Only where the layout is made.
    Composition,
    /// Everywhere but where the layout is made.
    StrongStyle,
}
choice!(WeightType, "ip_adapter.weight_type", [
    "linear" => Linear,
    "ease_in" => EaseIn,
    "ease_out" => EaseOut,
    "ease_in_out" => EaseInOut,
    "reverse_in_out" => ReverseInOut,
    "weak_input" => WeakInput,
    "weak_output" => WeakOutput,
    "weak_middle" => WeakMiddle,
    "strong_middle" => StrongMiddle,
    "style" => Style, "style_transfer" => Style,
    "composition" => Composition, "layout" => Composition,
    "strong_style" => StrongStyle, "strong_style_transfer" => StrongStyle,
]);

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
            weight_type: WeightType::default(),
            mask: None,
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
