//! Examples to conditions.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use image::imageops::{FilterType, resize};
use image::{GrayImage, Luma, Rgb, RgbImage};
use latent_checkpoint::{ModelError, TensorFile};
use latent_conditions::{
    Field, FileProblem, Given, Pixels, Problem, Reader, masked_channels, vocabulary_at,
};
use latent_models::condition::LayoutBox;
use latent_models::{ClipText, Condition, ConditionerConfig};

use super::config::Stage2Config;
use super::first_stage::FirstStage;
use super::frozen::Frozen;
use super::{degrade, holes};
use crate::{Error, Example, Needs, Step};

/// What turns examples into conditions: all of it but the networks that learn.
#[derive(Debug)]
pub struct Conditions {
    reader: Reader,
    frozen: Option<Frozen>,
    device: Device,
}

/// The files that the settings name; [`Stage2Config::validate`] sees to it that they do.
struct Named<'a>(&'a Stage2Config);

impl latent_conditions::Files for Named<'_> {
    fn vocabulary(&self) -> Result<(PathBuf, Vec<u8>), ModelError> {
        vocabulary_at(self.0.vocabulary.as_deref().unwrap_or(Path::new("")))
    }

    fn neighbours(&self) -> Result<TensorFile, ModelError> {
        let path = self.0.neighbours.as_deref().unwrap_or(Path::new(""));
        Ok(TensorFile::open(path)?)
    }
}

impl Conditions {
    /// Those that `settings` ask for, if any.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn open(settings: &Stage2Config, device: &Device) -> Result<Option<Self>, Error> {
        let Some(config) = &settings.conditioner else {
            return Ok(None);
        };
        let reader = Reader::open(config, &Named(settings), device);
        let reader = reader.map_err(|problem| match problem {
            FileProblem::Unread(error) => Error::named(match config {
                ConditionerConfig::Neighbours { .. } => "model.neighbours",
                _ => "model.vocabulary",
            })(error),
            FileProblem::Wrong { path, problem } => Error::Config { path, problem },
        })?;
        if let (ConditionerConfig::Text { transformer, .. }, Some(words)) = (config, reader.words())
            && words.vocabulary() > transformer.vocabulary
        {
            let expected = format!(
                "at least {}, the size of the vocabulary file",
                words.vocabulary()
            );
            let name = "model.conditioner.transformer.vocabulary";
            return Err(Error::setting(name, transformer.vocabulary, &expected));
        }
        let frozen = match (config, &settings.text_encoder) {
            (ConditionerConfig::FrozenText { width, tokens, .. }, Some(path)) => {
                let cache = settings.cache.as_deref();
                let frozen = Frozen::open(path, [*tokens, *width], cache, device);
                Some(frozen.map_err(Error::named("model.text_encoder"))?)
            }
            _ => None,
        };
        Ok(Some(Self {
            reader,
            frozen,
            device: device.clone(),
        }))
    }

    /// What the data must have. `reserved` says whether no condition is ever asked for.
    pub fn needs(&self, reserved: bool) -> Needs {
        let captions = |words: &Arc<_>, positions| Needs::Captions {
            words: Arc::clone(words),
            positions,
        };
        match self.reader.config() {
            ConditionerConfig::Class { rows, .. } => Needs::Classes {
                rows: *rows,
                reserved,
            },
            ConditionerConfig::Text { transformer, .. } => match self.reader.words() {
                Some(words) => captions(words, transformer.positions),
                None => Needs::Nothing,
            },
            ConditionerConfig::FrozenText { .. } => match &self.frozen {
                Some(frozen) => captions(&frozen.words, frozen.size[0]),
                None => Needs::Nothing,
            },
            ConditionerConfig::Layout { tokens, .. } => Needs::Boxes {
                classes: tokens.classes,
                most: tokens.objects,
            },
            ConditionerConfig::SemanticMap { classes, .. } => {
                Needs::SemanticMap { classes: *classes }
            }
            ConditionerConfig::Neighbours { .. } => {
                let vectors = self.reader.vectors().into_iter();
                let names = vectors.flat_map(|vectors| vectors.names());
                Needs::Vectors {
                    known: Arc::new(names.map(str::to_owned).collect()),
                }
            }
            ConditionerConfig::LowResolution { .. } | ConditionerConfig::Inpainting { .. } => {
                Needs::Nothing
            }
        }
    }

    /// The frozen text encoder, to be exported with the model.
    pub fn text_encoder(&self) -> Option<&ClipText> {
        self.frozen.as_ref().map(|frozen| &frozen.encoder)
    }

    /// The condition of a batch; of those that are `left_out`, no condition.
    ///
    /// # Errors
    /// Examples without what the condition is made of.
    pub fn read(
        &self,
        batch: &[Example],
        left_out: &[bool],
        step: Step,
        first: &FirstStage,
    ) -> Result<Condition, Error> {
        if let ConditionerConfig::Inpainting { .. } = self.reader.config() {
            return self.masked(batch, step, first);
        }
        let each = batch.iter().zip(left_out).enumerate();
        let given = each.map(|(index, (example, left_out))| {
            Ok(Given {
                left_out: *left_out,
                ..self.given(example, *left_out, step, index)?
            })
        });
        let given: Vec<Given<'_>> = given.collect::<Result<_, Error>>()?;
        let read = self.reader.read(&given);
        read.map_err(|problem| unread(&batch[problem.index], problem))
    }

    /// What an example says of the condition, and what is made of it at random.
    fn given<'a>(
        &self,
        example: &'a Example,
        left_out: bool,
        step: Step,
        index: usize,
    ) -> Result<Given<'a>, Error> {
        let caption = example.caption.as_deref();
        let mut given = Given {
            class: example.class,
            text: caption.map(Cow::Borrowed),
            map: example.mask.as_ref().map(|mask| Pixels {
                width: mask.width() as usize,
                height: mask.height() as usize,
                bytes: Cow::Borrowed(mask.as_raw()),
            }),
            near: Some(&example.id),
            size: [example.picture.width(), example.picture.height()].map(|side| side as usize),
            ..Given::default()
        };
        match self.reader.config() {
            ConditionerConfig::Layout { .. } => {
                let boxes = example.boxes.iter().map(|b| LayoutBox {
                    class: b.class,
                    edges: b.area,
                });
                given.boxes = Some(boxes.collect());
            }
            ConditionerConfig::FrozenText { .. } => {
                let text = if left_out { Some("") } else { caption };
                let states = self.frozen.as_ref().zip(text);
                let states = states.map(|(frozen, text)| frozen.states(text));
                given.states = states.transpose()?;
            }
            ConditionerConfig::LowResolution { factor } => {
                let random = &mut step.random("degrade", index);
                let small = match &example.low {
                    Some(low) => low.clone(),
                    None => degrade::degrade(&example.picture, *factor as u32, random),
                };
                given.small = Some(Pixels {
                    width: small.width() as usize,
                    height: small.height() as usize,
                    bytes: Cow::Owned(small.into_raw()),
                });
            }
            _ => {}
        }
        Ok(given)
    }

    /// Masks of the examples, or holes that are drawn, and the latents of the pictures without what they hide.
    fn masked(
        &self,
        batch: &[Example],
        step: Step,
        first: &FirstStage,
    ) -> Result<Condition, Error> {
        let mut drawn = false;
        let masks = batch.iter().enumerate().map(|(index, example)| {
            let mask = example.mask.as_ref().and_then(holes::marked);
            mask.unwrap_or_else(|| {
                drawn = true;
                let (width, height) = example.picture.dimensions();
                holes::hole(width, height, &mut step.random("hole", index))
            })
        });
        let masks: Vec<GrayImage> = masks.collect();
        let pictures = batch.iter().zip(&masks);
        let masked: Vec<RgbImage> = pictures
            .map(|(e, mask)| without(&e.picture, mask))
            .collect();
        let named: Vec<(&str, &RgbImage)> =
            batch.iter().map(|e| e.id.as_str()).zip(&masked).collect();
        // A hole that was drawn does not come again, nor does a crop that was.
        let keep: Vec<bool> = batch.iter().map(|e| !drawn && e.is_centred()).collect();
        let latents = first.encode(&named, &keep)?.mean;
        let [_, _, height, width] = latents.dims();
        let channel = |mask: &GrayImage| {
            let small = resize(mask, width as u32, height as u32, FilterType::Nearest);
            let values: Vec<f32> = small.iter().map(|&v| f32::from(v) / 255.0).collect();
            let data = TensorData::new(values, [1, 1, height, width]);
            Tensor::<4>::from_data(data, &self.device)
        };
        let masks = Tensor::cat(masks.iter().map(channel).collect(), 0);
        Ok(Condition::Picture(masked_channels(latents, masks)))
    }

    /// A batch of no conditions of the same kind and shape as `like`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn nothing(
        &self,
        batch: &[Example],
        step: Step,
        first: &FirstStage,
    ) -> Result<Condition, Error> {
        self.read(batch, &vec![true; batch.len()], step, first)
    }
}

/// A problem in words of the data.
fn unread(example: &Example, problem: Problem) -> Error {
    let Problem {
        field,
        value,
        expected,
        ..
    } = problem;
    let what = match field {
        Field::Class => "class",
        Field::Text | Field::States => "caption",
        Field::Boxes => "boxes",
        Field::Map => "semantic map",
        Field::Small => "small picture",
        Field::Near => "name",
        Field::Size => "size",
    };
    Error::Example {
        id: example.id.clone(),
        problem: match value {
            None => format!("it has no {what}, which the model's condition is made of"),
            Some(value) => format!("its {what} is {value}: expected {expected}"),
        },
    }
}

/// The picture, black where the mask is set.
fn without(picture: &RgbImage, mask: &GrayImage) -> RgbImage {
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let hole = x < mask.width() && y < mask.height() && mask.get_pixel(x, y) != &Luma([0]);
        if hole {
            Rgb([0; 3])
        } else {
            *picture.get_pixel(x, y)
        }
    })
}
