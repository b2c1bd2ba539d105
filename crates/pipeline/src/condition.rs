//! The conditions of models that were trained here: what a request says, as what the denoiser is given.

use std::borrow::Cow;
use std::path::Path;

use burn::tensor::Device;
use latent_checkpoint::Checkpoint;
use latent_conditions::{Field, FileProblem, Given, Pixels, Problem};
use latent_models::condition::LayoutBox;
use latent_models::{Conditioned, Conditioner, ConditionerConfig};

use crate::error::{Error, Result};
use crate::family::{Beside, Family};
use crate::model::Part;
use crate::picture::resize::Filter;
use crate::picture::{Grey, Picture};
use crate::request::{Request, Size, text_of};

/// What reads conditions, and its network.
#[derive(Debug)]
pub struct Reader {
    network: Part<Conditioner>,
    values: latent_conditions::Reader,
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
        let values = latent_conditions::Reader::open(network.config(), checkpoint, device);
        let values = values.map_err(|problem| match problem {
            FileProblem::Unread(error) => Error::Checkpoint(error),
            FileProblem::Wrong { path, problem } => Error::Model {
                path,
                reason: problem,
            },
        })?;
        Ok(Self { network, values })
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
    pub fn read(&self, request: &Request, canvas: Size) -> Result<[Conditioned; 2]> {
        let with = match self.config() {
            // Their states come from the model's text encoder, their channels from the picture and its mask.
            ConditionerConfig::FrozenText { .. } | ConditionerConfig::Inpainting { .. } => {
                return Ok([Conditioned::default(), Conditioned::default()]);
            }
            config => given(request, config, canvas)?,
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

/// What a request says of the condition of `config`, and of no other.
fn given<'a>(request: &'a Request, config: &ConditionerConfig, canvas: Size) -> Result<Given<'a>> {
    let mut given = Given {
        class: request.class,
        text: Some(Cow::Borrowed(request.prompt.as_str())),
        near: request.near.as_deref(),
        size: [canvas.width, canvas.height],
        ..Given::default()
    };
    match config {
        ConditionerConfig::Layout { .. } => {
            let path = request.layout.as_deref();
            given.boxes = path.map(read_layout).transpose()?.map(Cow::Owned);
        }
        ConditionerConfig::SemanticMap { .. } => {
            let path = request.semantic_map.as_deref();
            given.map = path.map(|path| read_map(path, canvas)).transpose()?;
        }
        ConditionerConfig::LowResolution { .. } => {
            let small = request.upscale.as_deref().map(Picture::read).transpose()?;
            given.small = small.map(|small| {
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
        Field::Class => ("class", problem.expected),
        Field::Text | Field::States => ("prompt", problem.expected),
        Field::Boxes if problem.value.is_none() => ("layout", LAYOUT.to_owned()),
        Field::Boxes => ("layout", problem.expected),
        Field::Map => ("semantic_map", problem.expected),
        Field::Small => ("upscale", problem.expected),
        Field::Near => ("near", problem.expected),
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
        ("class", request.class.is_some()),
        ("layout", request.layout.is_some()),
        ("semantic_map", request.semantic_map.is_some()),
        (
            "upscale",
            request.upscale.is_some() && family.beside != Beside::Small,
        ),
        ("near", request.near.is_some()),
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
        Some(ConditionerConfig::Class { .. }) => "class",
        Some(ConditionerConfig::Layout { .. }) => "layout",
        Some(ConditionerConfig::SemanticMap { .. }) => "semantic_map",
        Some(ConditionerConfig::LowResolution { .. }) => "upscale",
        Some(ConditionerConfig::Neighbours { .. }) => "near",
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
fn read_layout(path: &Path) -> Result<Vec<LayoutBox>> {
    let failed =
        |reason: String| Error::field("layout", path.display(), format!("{LAYOUT}; {reason}"));
    let bytes = std::fs::read(path).map_err(|e| failed(e.to_string()))?;
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
fn read_map(path: &Path, canvas: Size) -> Result<Pixels<'static>> {
    let labels = labels(&Picture::read(path)?.flatten([255; 3])).ok_or_else(|| {
        let expected = "a grey picture whose values are numbers of classes";
        Error::field("semantic_map", path.display(), expected)
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
