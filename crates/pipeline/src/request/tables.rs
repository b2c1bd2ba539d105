//! The tables of a request, and the range of each field in them.

use serde::{Deserialize, Serialize};

use super::validate::{MAX_SIDE, number, whole};
use super::{
    Class, Dtype, ImagePrompt, InpaintFill, Name, Outpaint, RequestError, ResizeMode, Size,
    SizeConditions, Switch,
};

/// The picture that is started from, and what of it is drawn anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GivenPicture {
    /// Start from this picture (img2img, inpainting, outpainting).
    pub image: Option<Name>,
    /// How it is fitted to `width` × `height`. Default `stretch`.
    pub resize_mode: ResizeMode,
    /// Share of the ladder that is walked from it, 0 to 1. Default 0.75.
    pub strength: f64,
    /// White is repainted. A picture with an alpha channel is read by its alpha.
    pub mask: Option<Name>,
    /// Standard deviation of the blur on the mask's edge, in pixels, 0 to 64. Default 4.
    pub mask_blur: u32,
    /// Repaint what the mask leaves out.
    pub mask_invert: bool,
    /// What lies under the mask before sampling. Default `original`.
    pub fill: InpaintFill,
    /// Work on the masked region only, enlarged to `width` × `height`, and paste it back.
    pub only_masked: bool,
    /// Pixels kept around the masked region. Default 32.
    pub padding: usize,
    /// Enlarge the canvas of the picture and paint the new border.
    pub outpaint: Option<Outpaint>,
}

impl Default for GivenPicture {
    fn default() -> Self {
        Self {
            image: None,
            resize_mode: ResizeMode::default(),
            strength: 0.75,
            mask: None,
            mask_blur: 4,
            mask_invert: false,
            fill: InpaintFill::default(),
            only_masked: false,
            padding: 32,
            outpaint: None,
        }
    }
}

/// What some models are told beside a prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// The class, by number or by name, for a model that was trained with classes.
    pub class: Option<Class>,
    /// A grey picture of class numbers, for a model that was trained with such maps.
    pub semantic_map: Option<Name>,
    /// A JSON file of classes and boxes, for a model that was trained with layouts.
    pub layout: Option<Name>,
    /// The small picture, for a model that makes pictures larger.
    pub upscale: Option<Name>,
    /// A depth map, for a model that takes one: nearer is lighter.
    pub depth: Option<Name>,
    /// Pictures that the drawing shall resemble, for a model that looks at them (unCLIP). Several are added up.
    pub images: Vec<ImagePrompt>,
    /// How much noise a given picture gets, for a model that is told it: the small one before it is made larger, 0 to 350
    /// (`None`: 20), the embedding of `images`, 0 to 999 (`None`: 0).
    pub noise_level: Option<u32>,
    /// The name of a known picture, for a model that was trained with pictures near to each other.
    pub near: Option<String>,
    /// Sizes that the model is told beside the picture's own (SDXL).
    pub sizes: SizeConditions,
}

/// How a picture is computed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ComputeOptions {
    /// The number type the networks run in. `None`: f32.
    pub dtype: Option<Dtype>,
    /// Decode in tiles. Default `auto`: when the memory plan asks for it.
    pub vae_tiling: Switch,
}

impl GivenPicture {
    pub(super) fn validate(&self) -> Result<(), RequestError> {
        number("start.strength", self.strength, 0.0, 1.0)?;
        whole("start.mask_blur", self.mask_blur as usize, 0, 64)?;
        whole("start.padding", self.padding, 0, MAX_SIDE)?;
        let needs = |field, needs, reason| {
            Err(RequestError::Needs {
                field,
                needs,
                reason,
            })
        };
        if self.image.is_none() {
            if self.mask.is_some() {
                return needs(
                    "start.mask",
                    "start.image",
                    "a mask says which part of a picture is repainted",
                );
            }
            if self.outpaint.is_some() {
                return needs(
                    "start.outpaint",
                    "start.image",
                    "there is no picture to enlarge",
                );
            }
        }
        if self.only_masked && self.mask.is_none() {
            return needs(
                "start.only_masked",
                "start.mask",
                "there is no masked region to work on",
            );
        }
        if self.mask_invert && self.mask.is_none() {
            return needs(
                "start.mask_invert",
                "start.mask",
                "there is no mask to invert",
            );
        }
        if let Some(outpaint) = self.outpaint {
            let Outpaint {
                left,
                right,
                top,
                bottom,
            } = outpaint;
            for (field, value) in [
                ("start.outpaint.left", left),
                ("start.outpaint.right", right),
                ("start.outpaint.top", top),
                ("start.outpaint.bottom", bottom),
            ] {
                whole(field, value, 0, MAX_SIDE)?;
            }
            whole(
                "start.outpaint (all edges together)",
                left + right + top + bottom,
                1,
                2 * MAX_SIDE,
            )?;
        }
        Ok(())
    }
}

impl Conditions {
    pub(super) fn validate(&self) -> Result<(), RequestError> {
        for image in &self.images {
            number("condition.images.strength", image.strength, -10.0, 10.0)?;
        }
        let told = &self.sizes;
        let negative = told.negative.unwrap_or_default();
        for (field, size) in [
            ("condition.sizes.original", told.original),
            ("condition.sizes.target", told.target),
            ("condition.sizes.negative.original", negative.original),
            ("condition.sizes.negative.target", negative.target),
        ] {
            let Some(Size { width, height }) = size else {
                continue;
            };
            if [width, height]
                .iter()
                .any(|side| !(1..=MAX_SIDE).contains(side))
            {
                let expected = format!("sides of 1 to {MAX_SIDE} pixels");
                return Err(RequestError::range(
                    field,
                    format!("{width}x{height}"),
                    expected,
                ));
            }
        }
        for (field, crop) in [
            ("condition.sizes.crop", told.crop),
            ("condition.sizes.negative.crop", negative.crop),
        ] {
            if let Some(crop) = crop.filter(|crop| crop.iter().any(|cut| *cut > MAX_SIDE)) {
                let expected = format!("at most {MAX_SIDE} pixels each");
                return Err(RequestError::range(field, format!("{crop:?}"), expected));
            }
        }
        for (field, score) in [
            ("condition.sizes.score", told.score),
            ("condition.sizes.negative_score", told.negative_score),
        ] {
            score.map_or(Ok(()), |score| number(field, score, 0.0, 10.0))?;
        }
        Ok(())
    }
}
