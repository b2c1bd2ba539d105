//! The conditions of models that were trained here: what a request says, as what the denoiser is given.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
use latent_checkpoint::Checkpoint;
use latent_conditions::{Field, FileProblem, Given, Pixels, Problem, class_names};
use latent_models::condition::LayoutBox;
use latent_models::{Conditioned, Conditioner, ConditionerConfig};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::family::{Beside, Family};
use crate::model::Part;
use crate::picture::resize::Filter;
use crate::picture::{Grey, Picture};
use crate::request::{Name, Request, Size, likeness, text_of};
use crate::resources::Resources;

/// A class of the data that a model learnt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Class {
    /// By its number, from 0.
    Number(u32),
    /// By the name that the data has for it.
    Name(String),
}

impl FromStr for Class {
    type Err = Infallible;

    /// What reads as a number is one.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.trim().parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::Name(text.to_owned()),
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// What reads conditions, and its network.
#[derive(Debug)]
pub struct Reader {
    network: Part<Conditioner>,
    values: latent_conditions::Reader,
    /// By number, where the model has them.
    classes: Vec<String>,
}

impl Reader {
    /// Of a conditioner that `checkpoint` holds, with the files beside it.
    ///
    /// # Errors
    /// A file that is missing or does not fit.
    pub fn open(
        network: Part<Conditioner>,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self> {
        let failed = |problem| match problem {
            FileProblem::Unread(error) => Error::Checkpoint(error),
            FileProblem::Wrong { path, problem } => Error::Model {
                path,
                reason: problem,
            },
        };
        let values = latent_conditions::Reader::open(network.config(), checkpoint, device);
        let classes = match network.config() {
            ConditionerConfig::Class { .. } => class_names(checkpoint).map_err(failed)?,
            _ => Vec::new(),
        };
        Ok(Self {
            values: values.map_err(failed)?,
            network,
            classes,
        })
    }

    /// What it is made of.
    pub fn config(&self) -> &ConditionerConfig {
        self.network.config()
    }

    /// Its network.
    pub fn network(&self) -> &Part<Conditioner> {
        &self.network
    }

    /// What the denoiser is given for the request's condition, and for none, for pictures of `canvas`.
    ///
    /// # Errors
    /// A condition that the request lacks, or that does not fit the model; weights that cannot be read.
    pub fn read(
        &self,
        request: &Request,
        canvas: Size,
        resources: &dyn Resources,
    ) -> Result<[Conditioned; 2]> {
        let with = match self.config() {
            // Their states come from the model's text encoder, their channels from the picture and its mask.
            ConditionerConfig::FrozenText { .. } | ConditionerConfig::Inpainting { .. } => {
                return Ok([Conditioned::default(), Conditioned::default()]);
            }
            config => Given {
                class: request
                    .condition
                    .class
                    .as_ref()
                    .map(|class| number(class, &self.classes))
                    .transpose()?,
                ..given(request, config, canvas, resources)?
            },
        };
        let without = match self.config() {
            // Guidance goes away from the negative prompt, which may be empty.
            ConditionerConfig::Text { .. } => Given {
                text: Some(Cow::Borrowed(request.negative_prompt.as_str())),
                ..with.clone()
            },
            _ => Given {
                left_out: true,
                ..with.clone()
            },
        };
        let network = self.network.get()?;
        let read = |given| -> Result<Conditioned> {
            let condition = self.values.read(&[given]).map_err(unread)?;
            Ok(network.forward(condition))
        };
        Ok([read(with)?, read(without)?])
    }
}

/// The number of a class among those that a model knows by name.
fn number(class: &Class, names: &[String]) -> Result<u32> {
    let name = match class {
        Class::Number(number) => return Ok(*number),
        Class::Name(name) => name,
    };
    let same = |known: &&String| known.to_lowercase() == name.trim().to_lowercase();
    let exact = names.iter().position(|known| known == name);
    let mut alike = names.iter().filter(same);
    // Of names that differ in case alone, only the very one is meant.
    let only = || match (alike.next(), alike.next()) {
        (Some(one), None) => names.iter().position(|known| known == one),
        _ => None,
    };
    let known = exact.or_else(only).and_then(|at| u32::try_from(at).ok());
    known.ok_or_else(|| Error::field("condition.class", name, expected_class(name, names)))
}

/// How many names are offered in the place of one that is not known.
const OFFERED: usize = 3;

fn expected_class(name: &str, names: &[String]) -> String {
    if names.is_empty() {
        return "a number: this model has no names of its classes".to_owned();
    }
    let mut nearest: Vec<&str> = names.iter().map(String::as_str).collect();
    nearest.sort_by(|a, b| likeness(name, b).total_cmp(&likeness(name, a)));
    format!(
        "a class of this model, by name or by number, 0 to {}; nearest are {}",
        names.len() - 1,
        nearest[..nearest.len().min(OFFERED)].join(", ")
    )
}

/// What a request says of the condition of `config`, and of no other, but for the class.
fn given<'a>(
    request: &'a Request,
    config: &ConditionerConfig,
    canvas: Size,
    resources: &dyn Resources,
) -> Result<Given<'a>> {
    let mut given = Given {
        text: Some(Cow::Borrowed(request.prompt.as_str())),
        near: request.condition.near.as_deref(),
        size: [canvas.width, canvas.height],
        ..Given::default()
    };
    match config {
        ConditionerConfig::Layout { .. } => {
            let boxes = request.condition.layout.as_ref();
            let boxes = boxes.map(|name| read_layout(name, resources));
            given.boxes = boxes.transpose()?.map(Cow::Owned);
        }
        ConditionerConfig::SemanticMap { .. } => {
            let map = request.condition.semantic_map.as_ref();
            let map = map.map(|name| read_map(name, canvas, resources));
            given.map = map.transpose()?;
        }
        ConditionerConfig::LowResolution { .. } => {
            let small = request.condition.upscale.as_ref();
            let small = small.map(|name| resources.picture(name));
            given.small = small.transpose()?.map(|small| {
                let small = small.flatten([255; 3]);
                Pixels {
                    width: small.width(),
                    height: small.height(),
                    bytes: Cow::Owned(small.rgb().to_vec()),
                }
            });
        }
        _ => {}
    }
    Ok(given)
}

/// A problem in words of the request.
fn unread(problem: Problem) -> Error {
    let (field, expected) = match problem.field {
        Field::Class => ("condition.class", problem.expected),
        Field::Text | Field::States => ("prompt", problem.expected),
        Field::Boxes if problem.value.is_none() => ("condition.layout", LAYOUT.to_owned()),
        Field::Boxes => ("condition.layout", problem.expected),
        Field::Map => ("condition.semantic_map", problem.expected),
        Field::Small => ("condition.upscale", problem.expected),
        Field::Near => ("condition.near", problem.expected),
        Field::Size => (
            "width and height",
            format!(
                "{}; leave it out, and a multiple of 8 for each side",
                problem.expected
            ),
        ),
    };
    let value = problem.value.unwrap_or_else(|| "not set".to_owned());
    Error::field(field, value, expected)
}

/// The fields of a request that are conditions, with whether they are set.
fn fields(request: &Request, family: &Family) -> [(&'static str, bool); 5] {
    [
        ("condition.class", request.condition.class.is_some()),
        ("condition.layout", request.condition.layout.is_some()),
        (
            "condition.semantic_map",
            request.condition.semantic_map.is_some(),
        ),
        (
            "condition.upscale",
            request.condition.upscale.is_some() && family.beside != Beside::Small,
        ),
        ("condition.near", request.condition.near.is_some()),
    ]
}

/// Whether the request sets a condition that a model with this conditioner does not read.
///
/// # Errors
/// The first such field.
pub fn check_fields(
    request: &Request,
    conditioner: Option<&ConditionerConfig>,
    family: &Family,
) -> Result<()> {
    let read = match conditioner {
        Some(ConditionerConfig::Class { .. }) => "condition.class",
        Some(ConditionerConfig::Layout { .. }) => "condition.layout",
        Some(ConditionerConfig::SemanticMap { .. }) => "condition.semantic_map",
        Some(ConditionerConfig::LowResolution { .. }) => "condition.upscale",
        Some(ConditionerConfig::Neighbours { .. }) => "condition.near",
        _ => "",
    };
    match fields(request, family)
        .into_iter()
        .find(|(name, set)| *set && *name != read)
    {
        Some((name, _)) => Err(Error::field(
            name,
            "set",
            "no such condition, since this model was not trained with it: leave it out",
        )),
        None => Ok(()),
    }
}

/// What a layout is read from.
const LAYOUT: &str =
    "a JSON list of {\"class\": 3, \"box\": [left, top, right, bottom]} with edges in 0..=1";

/// The boxes of a JSON file: `[{"class": 3, "box": [left, top, right, bottom]}, …]`, edges in 0..=1.
fn read_layout(name: &Name, resources: &dyn Resources) -> Result<Vec<LayoutBox>> {
    let failed =
        |reason: String| Error::field("condition.layout", name, format!("{LAYOUT}; {reason}"));
    let bytes = resources.bytes(name)?;
    let text = text_of(&bytes).map_err(|e| failed(e.to_string()))?;
    let boxes: Vec<LayoutBox> = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
    let sound = |b: &LayoutBox| {
        let [left, top, right, bottom] = b.edges;
        b.edges.iter().all(|v| (0.0..=1.0).contains(v)) && left <= right && top <= bottom
    };
    match boxes.iter().find(|b| !sound(b)) {
        Some(wrong) => Err(failed(format!("{:?} is no box", wrong.edges))),
        None => Ok(boxes),
    }
}

/// The classes of a grey picture, at the size of the canvas.
fn read_map(name: &Name, canvas: Size, resources: &dyn Resources) -> Result<Pixels<'static>> {
    let labels = labels(&resources.picture(name)?.flatten([255; 3])).ok_or_else(|| {
        let expected = "a grey picture whose values are numbers of classes";
        Error::field("condition.semantic_map", name, expected)
    })?;
    let labels = labels.resize(canvas, Filter::Nearest);
    Ok(Pixels {
        width: labels.width(),
        height: labels.height(),
        bytes: Cow::Owned(labels.values().to_vec()),
    })
}

/// The values of a grey picture; `None` for one with colours.
fn labels(map: &Picture) -> Option<Grey> {
    let (pixels, _) = map.rgb().as_chunks::<3>();
    let grey = pixels.iter().all(|[r, g, b]| r == g && g == b);
    let values = pixels.iter().map(|[r, ..]| *r).collect();
    grey.then(|| Grey::new(map.width(), map.height(), values))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_name() {
        let names = ["ankle boot", "Bag", "bag", "T-shirt"].map(str::to_owned);
        let of = |text: &str| number(&text.parse().unwrap(), &names);
        assert_eq!(of("ankle boot").unwrap(), 0);
        assert_eq!(of("bag").unwrap(), 2);
        assert_eq!(of("t-SHIRT ").unwrap(), 3);
        assert_eq!(of("7").unwrap(), 7, "its range is the model's to check");
        let error = of("boots").unwrap_err().to_string();
        assert!(error.contains("`condition.class` is boots"), "{error}");
        assert!(error.contains("0 to 3; nearest are ankle boot"), "{error}");
        assert!(of("BAG").is_err(), "one of two");
        let error = number(&Class::Name("bag".into()), &[]).unwrap_err();
        assert!(error.to_string().contains("no names"), "{error}");
    }

    #[test]
    fn a_class_is_a_number_or_a_name_in_files() {
        for (json, class) in [
            ("3", Class::Number(3)),
            ("\"bag\"", Class::Name("bag".into())),
        ] {
            assert_eq!(serde_json::from_str::<Class>(json).unwrap(), class);
            assert_eq!(serde_json::to_string(&class).unwrap(), json);
        }
    }
}
