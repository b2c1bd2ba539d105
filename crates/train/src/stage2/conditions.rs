//! Examples to conditions.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use image::imageops::{FilterType, resize};
use image::{GrayImage, Luma, Rgb, RgbImage};
use latent_checkpoint::{Checkpoint, LoadOptions, Role, TensorFile};
use latent_models::condition::{LayoutBox, Tokenizer};
use latent_models::{ClipText, Condition, ConditionerConfig};
use latent_text::{ClipTokenizer, TextTokenizer, WordPiece};

use super::cache::{Cache, hash, hash_of};
use super::config::Stage2Config;
use super::first_stage::FirstStage;
use super::{degrade, holes};
use crate::pictures::stack;
use crate::{Error, Example, Needs, Step};

/// What turns examples into conditions: all of it but the networks that learn.
#[derive(Debug)]
pub struct Conditions {
    config: ConditionerConfig,
    reader: Reader,
    device: Device,
}

#[derive(Debug)]
enum Reader {
    Nothing,
    Words(Arc<TextTokenizer>),
    Frozen(Box<Frozen>),
    Vectors(Vectors),
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
        let reader = match (config, &settings.text_encoder, &settings.neighbours) {
            (
                ConditionerConfig::Text {
                    tokenizer,
                    transformer,
                    ..
                },
                ..,
            ) => {
                let words = match (tokenizer, &settings.vocabulary) {
                    (Tokenizer::WordPiece, Some(path)) => {
                        TextTokenizer::WordPiece(word_piece(path)?)
                    }
                    _ => TextTokenizer::Clip(ClipTokenizer::new()),
                };
                if words.vocabulary() > transformer.vocabulary {
                    let expected = format!(
                        "at least {}, the size of the vocabulary file",
                        words.vocabulary()
                    );
                    let name = "model.conditioner.transformer.vocabulary";
                    return Err(Error::setting(name, transformer.vocabulary, &expected));
                }
                Reader::Words(Arc::new(words))
            }
            (ConditionerConfig::FrozenText { width, tokens, .. }, Some(path), _) => {
                let cache = settings.cache.as_deref();
                let frozen = Frozen::open(path, [*tokens, *width], cache, device)?;
                Reader::Frozen(Box::new(frozen))
            }
            (ConditionerConfig::Neighbours { width, count, .. }, _, Some(path)) => {
                Reader::Vectors(Vectors::open(path, *width, *count)?)
            }
            _ => Reader::Nothing,
        };
        Ok(Some(Self {
            config: config.clone(),
            reader,
            device: device.clone(),
        }))
    }

    /// What the data must have. `reserved` says whether no condition is ever asked for.
    pub fn needs(&self, reserved: bool) -> Needs {
        match (&self.config, &self.reader) {
            (ConditionerConfig::Class { rows, .. }, _) => Needs::Classes {
                rows: *rows,
                reserved,
            },
            (ConditionerConfig::Text { transformer, .. }, Reader::Words(words)) => {
                Needs::Captions {
                    words: words.clone(),
                    positions: transformer.positions,
                }
            }
            (_, Reader::Frozen(frozen)) => Needs::Captions {
                words: frozen.words.clone(),
                positions: frozen.size[0],
            },
            (ConditionerConfig::Layout { tokens, .. }, _) => Needs::Boxes {
                classes: tokens.classes,
                most: tokens.objects,
            },
            (ConditionerConfig::SemanticMap { classes, .. }, _) => {
                Needs::SemanticMap { classes: *classes }
            }
            (_, Reader::Vectors(vectors)) => Needs::Vectors {
                known: Arc::new(vectors.ids.keys().cloned().collect()),
            },
            _ => Needs::Nothing,
        }
    }

    /// The frozen text encoder, to be exported with the model.
    pub fn text_encoder(&self) -> Option<&ClipText> {
        match &self.reader {
            Reader::Frozen(frozen) => Some(&frozen.encoder),
            _ => None,
        }
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
        let pairs = || batch.iter().zip(left_out.iter().copied());
        let lacks = |example: &Example, what: &str| Error::Example {
            id: example.id.clone(),
            problem: format!("it has no {what}, which the model's condition is made of"),
        };
        match &self.config {
            ConditionerConfig::Class { rows, .. } => {
                let row = |(example, out): (&Example, bool)| {
                    let class = match (example.class, out) {
                        (_, true) => rows - 1,
                        (Some(class), _) => class as usize,
                        (None, _) => return Err(lacks(example, "class")),
                    };
                    match class < *rows {
                        true => Ok(vec![class as u32]),
                        false => Err(Error::Example {
                            id: example.id.clone(),
                            problem: format!("class {class}, and model.conditioner.rows is {rows}"),
                        }),
                    }
                };
                self.ids(pairs().map(row).collect::<Result<_, _>>()?)
            }
            ConditionerConfig::Text { transformer, .. } => {
                let Reader::Words(words) = &self.reader else {
                    return Err(self.unread());
                };
                let row = |(example, out): (&Example, bool)| match (&example.caption, out) {
                    (_, true) => Ok(words.row("", transformer.positions)),
                    (Some(caption), _) => Ok(words.row(caption, transformer.positions)),
                    (None, _) => Err(lacks(example, "caption")),
                };
                self.ids(pairs().map(row).collect::<Result<_, _>>()?)
            }
            ConditionerConfig::Layout {
                tokens,
                transformer,
                ..
            } => {
                let row = |(example, out): (&Example, bool)| {
                    let of = |b: &crate::LabelledBox| LayoutBox {
                        class: b.class,
                        edges: b.area,
                    };
                    let boxes: Vec<LayoutBox> = example.boxes.iter().map(of).collect();
                    let known = |b: &&LayoutBox| b.class as usize >= tokens.classes;
                    if let Some(unknown) = boxes.iter().find(known) {
                        return Err(Error::Example {
                            id: example.id.clone(),
                            problem: format!(
                                "a box of class {}, and model.conditioner.tokens.classes is {}",
                                unknown.class, tokens.classes
                            ),
                        });
                    }
                    let boxes: &[LayoutBox] = if out { &[] } else { &boxes };
                    Ok(tokens.encode(boxes, [0.0, 0.0, 1.0, 1.0], transformer.vocabulary))
                };
                self.ids(pairs().map(row).collect::<Result<_, _>>()?)
            }
            ConditionerConfig::FrozenText { .. } => {
                let Reader::Frozen(frozen) = &self.reader else {
                    return Err(self.unread());
                };
                let states = pairs().map(|(example, out)| match (&example.caption, out) {
                    (_, true) => frozen.states(""),
                    (Some(caption), _) => frozen.states(caption),
                    (None, _) => Err(lacks(example, "caption")),
                });
                Ok(Condition::Vectors(Tensor::cat(
                    states.collect::<Result<_, _>>()?,
                    0,
                )))
            }
            ConditionerConfig::Neighbours { count, width, .. } => {
                let Reader::Vectors(vectors) = &self.reader else {
                    return Err(self.unread());
                };
                let mut numbers = Vec::with_capacity(batch.len() * count * width);
                for (example, out) in pairs() {
                    match out {
                        true => numbers.resize(numbers.len() + count * width, 0.0),
                        false => numbers.extend(vectors.near(&example.id)?),
                    }
                }
                let data = TensorData::new(numbers, [batch.len(), *count, *width]);
                Ok(Condition::Vectors(Tensor::from_data(data, &self.device)))
            }
            ConditionerConfig::SemanticMap { classes, .. } => {
                let map = |(example, out): (&Example, bool)| {
                    let mask = example.mask.as_ref();
                    let mask = mask.ok_or_else(|| lacks(example, "semantic map"))?;
                    Ok(one_hot(
                        mask,
                        if out { 0 } else { *classes },
                        *classes,
                        &self.device,
                    ))
                };
                self.pictures(pairs().map(map))
            }
            ConditionerConfig::LowResolution { factor } => {
                let small = |(index, (example, out)): (usize, (&Example, bool))| {
                    let random = &mut step.random("degrade", index);
                    let small = match &example.low {
                        Some(low) => low.clone(),
                        None => degrade::degrade(&example.picture, *factor as u32, random),
                    };
                    let [width, height] = [example.picture.width(), example.picture.height()]
                        .map(|v| v / first.downsampling() as u32);
                    if small.dimensions() != (width, height) {
                        return Err(Error::Example {
                            id: example.id.clone(),
                            problem: format!(
                                "its small picture is {}×{}, and the latent is {width}×{height}",
                                small.width(),
                                small.height()
                            ),
                        });
                    }
                    let x = stack(&[&small], &self.device);
                    Ok(if out { x.zeros_like() } else { x })
                };
                self.pictures(pairs().enumerate().map(small))
            }
            ConditionerConfig::Inpainting { .. } => {
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
                    let small = image::DynamicImage::ImageLuma8(small).to_rgb8();
                    stack(&[&small], &self.device).narrow(1, 0, 1)
                };
                let masks = Tensor::cat(masks.iter().map(channel).collect(), 0);
                Ok(Condition::Picture(Tensor::cat(vec![latents, masks], 1)))
            }
        }
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

    fn ids(&self, rows: Vec<Vec<u32>>) -> Result<Condition, Error> {
        let size = [rows.len(), rows.first().map_or(0, Vec::len)];
        let ids: Vec<i64> = rows.into_iter().flatten().map(i64::from).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, size), &self.device);
        Ok(Condition::Ids(ids))
    }

    fn pictures(
        &self,
        pictures: impl Iterator<Item = Result<Tensor<4>, Error>>,
    ) -> Result<Condition, Error> {
        Ok(Condition::Picture(Tensor::cat(
            pictures.collect::<Result<_, _>>()?,
            0,
        )))
    }

    /// [`open`](Self::open) makes the reader that the condition needs.
    fn unread(&self) -> Error {
        Error::setting(
            "model.conditioner",
            format!("{:?}", self.config),
            "one with the files it reads",
        )
    }
}

fn word_piece(path: &Path) -> Result<WordPiece, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    WordPiece::new(&text).map_err(|e| Error::Config {
        path: path.to_owned(),
        problem: e.to_string(),
    })
}

/// One channel for each of `classes`; numbers from `known` on have none: `[1, classes, height, width]`.
fn one_hot(mask: &GrayImage, known: usize, classes: usize, device: &Device) -> Tensor<4> {
    let (width, height) = mask.dimensions();
    let pixels = (width * height) as usize;
    let mut numbers = vec![0f32; classes * pixels];
    for (at, &class) in mask.as_raw().iter().enumerate() {
        if (class as usize) < known {
            numbers[class as usize * pixels + at] = 1.0;
        }
    }
    let shape = [1, classes, height as usize, width as usize];
    Tensor::from_data(TensorData::new(numbers, shape), device)
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

/// A text encoder that does not learn.
#[derive(Debug)]
struct Frozen {
    encoder: ClipText,
    words: Arc<TextTokenizer>,
    hash: String,
    cache: Option<Cache>,
    size: [usize; 2],
    device: Device,
}

impl Frozen {
    fn open(
        path: &Path,
        size: [usize; 2],
        cache: Option<&Path>,
        device: &Device,
    ) -> Result<Self, Error> {
        let options = LoadOptions::new(device.clone(), DType::F32);
        let checkpoint = Checkpoint::open(path)?;
        let (encoder, _) = checkpoint.load::<latent_models::ClipTextConfig>(
            Role::TEXT_ENCODER,
            &options,
            &mut |_, _| {},
        )?;
        let made = [encoder.config().positions, encoder.config().width];
        if made != size {
            let value = format!("{size:?}");
            let expected = format!("{made:?}, what the text encoder gives");
            return Err(Error::setting(
                "model.conditioner.tokens and width",
                value,
                &expected,
            ));
        }
        Ok(Self {
            hash: hash_of(&encoder),
            encoder,
            words: Arc::new(TextTokenizer::Clip(ClipTokenizer::new())),
            cache: cache.map(|folder| Cache::new(folder.join("texts"))),
            size,
            device: device.clone(),
        })
    }

    /// `[1, tokens, width]`.
    fn states(&self, text: &str) -> Result<Tensor<3>, Error> {
        let [tokens, width] = self.size;
        let row = self.words.row(text, tokens);
        let bytes: Vec<u8> = row.iter().flat_map(|id| id.to_le_bytes()).collect();
        let key = hash(&[self.hash.as_bytes(), &bytes]);
        let known = self
            .cache
            .as_ref()
            .and_then(|cache| cache.get(&key, tokens * width));
        let numbers = match known {
            Some(numbers) => numbers,
            None => {
                let ids: Vec<i64> = row.into_iter().map(i64::from).collect();
                let ids = Tensor::from_data(TensorData::new(ids, [1, tokens]), &self.device);
                let states = self.encoder.forward(ids, 0).into_data();
                let numbers: Vec<f32> = states.iter::<f32>().collect();
                if let Some(cache) = &self.cache {
                    cache.put(&key, &numbers)?;
                }
                numbers
            }
        };
        Ok(Tensor::from_data(
            TensorData::new(numbers, [1, tokens, width]),
            &self.device,
        ))
    }
}

/// The vectors of many pictures, and those that are near to each other.
#[derive(Debug)]
pub(super) struct Vectors {
    ids: std::collections::HashMap<String, usize>,
    /// Of unit length, row by row.
    rows: Vec<f32>,
    width: usize,
    count: usize,
}

impl Vectors {
    /// From a safetensors file: `vectors`, f32 of `[pictures, width]`, and in the metadata `ids`, a JSON list of the
    /// pictures' names as the data set gives them.
    fn open(path: &Path, width: usize, count: usize) -> Result<Self, Error> {
        let problem = |problem: String| Error::Config {
            path: path.to_owned(),
            problem,
        };
        let file = TensorFile::open(path)?;
        let ids = file.metadata().get("ids");
        let ids: Vec<String> = ids
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| problem("its metadata has no `ids`, a JSON list of names".into()))?;
        let shape = file.get("vectors").map(|info| info.shape.clone());
        if shape.as_deref() != Some(&[ids.len(), width][..]) || ids.len() < count {
            return Err(problem(format!(
                "`vectors` is {shape:?}; [{}, {width}] is wanted, and {count} pictures at least",
                ids.len()
            )));
        }
        let bytes = file.bytes("vectors")?;
        let (words, _) = bytes.as_chunks::<4>();
        let mut rows: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        if rows.len() != ids.len() * width {
            return Err(problem("`vectors` is not of f32".into()));
        }
        for row in rows.chunks_mut(width) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            row.iter_mut().for_each(|v| *v /= norm);
        }
        Ok(Self {
            ids: ids.into_iter().zip(0..).collect(),
            rows,
            width,
            count,
        })
    }

    /// The vectors nearest to a picture's, its own first.
    fn near(&self, id: &str) -> Result<Vec<f32>, Error> {
        let at = self.ids.get(id).ok_or_else(|| Error::Example {
            id: id.to_owned(),
            problem: "it is not among the pictures of model.neighbours".to_owned(),
        })?;
        let row = |i: usize| &self.rows[i * self.width..(i + 1) * self.width];
        let own = row(*at);
        let likeness = |i: usize| row(i).iter().zip(own).map(|(a, b)| a * b).sum::<f32>();
        let mut order: Vec<(f32, usize)> = (0..self.ids.len()).map(|i| (likeness(i), i)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let nearest = order.iter().take(self.count);
        Ok(nearest.flat_map(|(_, i)| row(*i).iter().copied()).collect())
    }
}
