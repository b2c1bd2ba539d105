//! Pictures that a drawing is held to by networks beside the denoiser: ControlNets and T2I-Adapters, those of style among them.
//!
//! A network of [`Model::controls`] reads each picture of [`Request::control`](crate::Request::control), at the same place
//! of the list. The picture is read when the job is made ready ([`Held`]), fitted to the size of each pass
//! ([`Held::hint`]), embedded once for all steps of it, and before each call of the denoiser a ControlNet says what is to
//! be added to its states ([`Control`]); a T2I-Adapter says it once ([`Features`]). Sums of several are added up. One of style reads its picture when the
//! prompts are read ([`Style`]), and acts through them ([`Styled`]).

mod extension;
mod features;
mod span;
mod style;
mod when;

use std::fmt::Display;

use burn::tensor::{Device, Tensor, TensorData};

use crate::canvas::Prepared;
use crate::error::{Error, Result};
use crate::model::{ControlModel, ControlNetwork, Model};
use crate::picture::resize::Filter;
use crate::picture::{Grey, Picture, mask};
use crate::profile::Profile;
use crate::request::{self, Choice, ControlKind, ControlMode, Name, Request, ResizeMode, Size};
use crate::resources::Resources;

pub use extension::Control;
pub use features::Features;
pub use span::Span;
pub use style::{Style, Styled};
pub use when::When;

/// A picture that a drawing is held to.
#[derive(Debug, Clone)]
pub struct Held {
    /// The picture, at its own size.
    pub picture: Picture,
    /// White is a hole in it, of whatever size.
    pub hole: Option<Grey>,
    /// The picture for the second pass, where that has another.
    pub second: Option<Picture>,
    /// How it is fitted to the size of a pass.
    pub fit: ResizeMode,
}

/// Whether a network that reads several kinds of pictures is told which, and no other.
fn check_kind(control: &request::Control, network: Option<&ControlModel>) -> Result<()> {
    let kinds = network.and_then(|network| match &network.network {
        ControlNetwork::ControlNet(part) => part.config().union.map(|union| union.kinds),
        ControlNetwork::T2iAdapter(_) | ControlNetwork::Style(_) => None,
    });
    let field = "control.kind";
    let named = |kinds: usize| {
        let mut names: Vec<&str> = Vec::new();
        for kind in 0..kinds {
            let mut all = ControlKind::NAMES.iter();
            let first = all.find(|(_, value)| *value as usize == kind);
            names.extend(first.map(|(name, _)| *name));
        }
        names.join(", ")
    };
    match (control.kind, kinds) {
        (None, Some(kinds)) => Err(Error::field(
            field,
            "not set",
            format!(
                "what the picture is, since {} reads several kinds: {}",
                control.model,
                named(kinds)
            ),
        )),
        (Some(kind), None) => Err(Error::field(
            field,
            kind,
            format!("nothing: {} reads one kind of pictures", control.model),
        )),
        (Some(kind), Some(kinds)) if kind as usize >= kinds => Err(Error::field(
            field,
            kind,
            format!("one of {}", named(kinds)),
        )),
        _ => Ok(()),
    }
}

/// Whether nothing is asked of a T2I-Adapter of style that means nothing for it.
fn check_style(control: &request::Control, network: Option<&ControlModel>) -> Result<()> {
    if !network.is_some_and(|network| matches!(network.network, ControlNetwork::Style(_))) {
        return Ok(());
    }
    let refused = |field, value: &dyn Display, expected: &str| {
        let expected = format!("{expected}: {} is a T2I-Adapter of style", control.model);
        Err(Error::field(field, value, expected))
    };
    if let Some(mask) = &control.mask {
        let expected = "nothing, since what looks at the picture knows no holes";
        return refused("control.mask", mask, expected);
    }
    if control.mode != ControlMode::Balanced {
        let expected = "balanced, since its tokens have no parts of the network to differ in";
        return refused("control.mode", &control.mode, expected);
    }
    match control.resize_mode {
        None | Some(ResizeMode::Crop) => Ok(()),
        Some(other) => {
            let expected = "crop, since what looks at the picture sees its middle square";
            refused("control.resize_mode", &other, expected)
        }
    }
}

impl Held {
    /// The pictures of a request. `start` is the one that is started from.
    ///
    /// # Errors
    /// A model that was opened without the networks; a picture that cannot be read.
    pub(crate) fn all(
        request: &Request,
        model: &Model,
        profile: &Profile,
        start: Option<&Prepared>,
        resources: &dyn Resources,
    ) -> Result<Vec<Self>> {
        if request.control.len() != model.controlled() {
            return Err(Error::field(
                "control",
                format!("{} networks", request.control.len()),
                "a model that was opened with them (`ModelFiles::controls`)",
            ));
        }
        for (entry, control) in request.control.iter().enumerate() {
            check_kind(control, model.control(entry))?;
            check_style(control, model.control(entry))?;
        }
        let read = |control: &request::Control| {
            let picture = |name| -> Result<Picture> {
                let picture = resources.picture(name)?;
                Ok(match profile.background {
                    Some(background) => picture.flatten(background),
                    None => picture.opaque(),
                })
            };
            let own = match (&control.image, start) {
                (Some(name), _) => picture(name)?,
                (None, Some(start)) => start.picture().clone(),
                (None, None) => {
                    let expected = "a picture to hold the drawing to";
                    return Err(Error::field("control.image", "not set", expected));
                }
            };
            let preprocess = control.preprocess.as_ref();
            let bytes = |name: &Name| Ok(resources.bytes(name)?);
            let made = |picture: Picture| match preprocess {
                Some(preprocess) => preprocess.run_with(&picture, &bytes),
                None => Ok(picture),
            };
            let second = control.hires_image.as_ref().map(picture).transpose()?;
            let hole = control.mask.as_ref();
            let hole = hole.map(|name| Ok::<_, Error>(mask::of(&resources.picture(name)?)));
            Ok(Self {
                picture: made(own)?,
                hole: hole.transpose()?,
                second: second.map(made).transpose()?,
                fit: control.resize_mode.unwrap_or(profile.control_fit),
            })
        };
        request.control.iter().map(read).collect()
    }

    /// The picture as a network reads it, fitted to a pass over pictures of `size`; holes are −1. `[1, 3, height, width]`,
    /// red, green, blue in 0..=1.
    pub fn hint(&self, size: Size, second: bool, device: &Device) -> Tensor<4> {
        let picture = self.second.as_ref().filter(|_| second);
        let picture = picture.unwrap_or(&self.picture);
        let fitted = picture.fit(size, self.fit, Filter::Lanczos);
        let rgb = fitted.rgb();
        let planes = (0..3).flat_map(|colour| rgb.iter().skip(colour).step_by(3));
        let mut values: Vec<f32> = planes.map(|byte| f32::from(*byte) / 255.0).collect();
        if let Some(hole) = &self.hole {
            let hole = hole.fit(size, self.fit, Filter::Nearest);
            let pixels = hole.values().iter().cycle();
            for (value, hole) in values.iter_mut().zip(pixels) {
                if *hole > 127 {
                    *value = -1.0;
                }
            }
        }
        let shape = [1, 3, size.height, size.width];
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}
