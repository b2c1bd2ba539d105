//! Pictures that the denoiser looks at by its own attention.

use serde::{Deserialize, Serialize};

use super::validate::number;
use super::{ControlMode, Name, RequestError, ResizeMode};

/// A picture that the drawing shall resemble in style and content, with no network that was taught to read it: the denoiser sees
/// it noised beside the drawing, and self-attention looks at both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// The picture.
    pub image: Name,
    /// The share of the network's blocks that look at it, coarse ones first; 0 to 2, from 1 on all. Default 1.
    #[serde(default = "whole")]
    pub weight: f64,
    /// How much the negative prompt is left as it is, 0 to 1: guidance then strengthens what is alike. Default 0.5.
    #[serde(default = "half")]
    pub fidelity: f64,
    /// `prompt` is a fidelity of 0, `control` one of 1. Default `balanced`.
    #[serde(default)]
    pub mode: ControlMode,
    /// The fraction of the run at which it begins, 0 to 1, counted as the profile counts. Default 0.
    #[serde(default)]
    pub start: f64,
    /// The fraction at which it ends, `start` to 1. Default 1.
    #[serde(default = "whole")]
    pub end: f64,
    /// How the picture is fitted to the drawing's size. `None`: as the profile's program does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize_mode: Option<ResizeMode>,
}

const fn whole() -> f64 {
    1.0
}

const fn half() -> f64 {
    0.5
}

impl Reference {
    /// With a picture, and everything else as it is by default.
    pub fn new(image: Name) -> Self {
        Self {
            image,
            weight: whole(),
            fidelity: half(),
            mode: ControlMode::default(),
            start: 0.0,
            end: whole(),
            resize_mode: None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), RequestError> {
        number("reference.weight", self.weight, 0.0, 2.0)?;
        number("reference.fidelity", self.fidelity, 0.0, 1.0)?;
        number("reference.start", self.start, 0.0, 1.0)?;
        number("reference.end", self.end, self.start, 1.0)?;
        match self.mode {
            ControlMode::Guess => Err(RequestError::range(
                "reference.mode",
                "guess",
                "balanced, prompt or control: diffusers' guess mode is of ControlNets",
            )),
            _ => Ok(()),
        }
    }
}
