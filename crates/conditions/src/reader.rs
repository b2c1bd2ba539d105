//! From what is given to what a conditioner reads.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_models::condition::{LayoutTokens, Tokenizer};
use latent_models::{Condition, ConditionerConfig};
use latent_text::{ClipTokenizer, TextTokenizer, WordPiece};

use crate::files::{FileProblem, Files};
use crate::given::{Field, Given, Pixels, Problem};
use crate::vectors::Vectors;

/// What reads one kind of condition, with the files it needs.
#[derive(Debug)]
pub struct Reader {
    config: ConditionerConfig,
    words: Option<Arc<TextTokenizer>>,
    vectors: Option<Vectors>,
    device: Device,
}

/// Reads one thing that is given, which stands at this place of its batch.
type Read<'r, T> = &'r dyn Fn(usize, &Given<'_>) -> Result<T, Problem>;

impl Reader {
    /// For the condition of `config`. Tensors are made on `device`.
    ///
    /// # Errors
    /// A file that the condition needs and that is missing, or does not fit.
    pub fn open(
        config: &ConditionerConfig,
        files: &dyn Files,
        device: &Device,
    ) -> Result<Self, FileProblem> {
        let (mut words, mut vectors) = (None, None);
        match config {
            ConditionerConfig::Text { tokenizer, .. } => {
                words = Some(Arc::new(match tokenizer {
                    Tokenizer::Clip => TextTokenizer::Clip(ClipTokenizer::new()),
                    Tokenizer::WordPiece => {
                        let (path, bytes) = files.vocabulary()?;
                        let wrong = |e: &dyn ToString| FileProblem::wrong(&path, e.to_string());
                        let text = std::str::from_utf8(&bytes).map_err(|e| wrong(&e))?;
                        TextTokenizer::WordPiece(WordPiece::new(text).map_err(|e| wrong(&e))?)
                    }
                }));
            }
            ConditionerConfig::Neighbours { width, count, .. } => {
                vectors = Some(Vectors::of(&files.neighbours()?, *width, *count)?);
            }
            _ => {}
        }
        Ok(Self {
            config: config.clone(),
            words,
            vectors,
            device: device.clone(),
        })
    }

    /// What is read.
    pub fn config(&self) -> &ConditionerConfig {
        &self.config
    }

    /// What makes tokens of texts, where it does.
    pub fn words(&self) -> Option<&Arc<TextTokenizer>> {
        self.words.as_ref()
    }

    /// The vectors of pictures, where they are read.
    pub fn vectors(&self) -> Option<&Vectors> {
        self.vectors.as_ref()
    }

    /// The condition of a batch, one picture for each that is given.
    ///
    /// # Errors
    /// The first that lacks what the condition is made of, or has what the model does not know. A model that fills holes reads
    /// nothing here: see [`masked_channels`](crate::masked_channels).
    pub fn read(&self, batch: &[Given<'_>]) -> Result<Condition, Problem> {
        match &self.config {
            ConditionerConfig::Class { rows, .. } => {
                self.ids(batch, &|at, given| class(given, *rows, at))
            }
            ConditionerConfig::Text { transformer, .. } => self.ids(batch, &|at, given| {
                let text = match (&given.text, given.left_out) {
                    (_, true) => "",
                    (Some(text), _) => text,
                    (None, _) => return Err(missing(at, Field::Text, "a text")),
                };
                let words = self.words.as_ref();
                Ok(words.map_or_else(Vec::new, |w| w.row(text, transformer.positions)))
            }),
            ConditionerConfig::Layout {
                tokens,
                transformer,
                ..
            } => self.ids(batch, &|at, given| {
                layout(given, tokens, transformer.vocabulary, at)
            }),
            ConditionerConfig::FrozenText { .. } => self.vectors_of(batch, &|at, given| {
                let states = given.states.clone();
                states.ok_or_else(|| missing(at, Field::States, "the states of a text"))
            }),
            ConditionerConfig::Neighbours { count, width, .. } => {
                self.vectors_of(batch, &|at, given| {
                    let numbers = match given.left_out {
                        true => vec![0.0; count * width],
                        false => self.near(given, at)?,
                    };
                    let data = TensorData::new(numbers, [1, *count, *width]);
                    Ok(Tensor::from_data(data, &self.device))
                })
            }
            ConditionerConfig::SemanticMap { classes, .. } => self.pictures(batch, &|at, given| {
                let expected = "a grey picture whose values are numbers of classes";
                let map = given.map.as_ref();
                let map = map.ok_or_else(|| missing(at, Field::Map, expected))?;
                let known = if given.left_out { 0 } else { *classes };
                Ok(one_hot(map, known, *classes, &self.device))
            }),
            ConditionerConfig::LowResolution { factor } => self.pictures(batch, &|at, given| {
                let small = given.small.as_ref();
                let small = small.ok_or_else(|| missing(at, Field::Small, "the small picture"))?;
                let wanted = [small.width * factor, small.height * factor];
                if wanted != given.size {
                    let [width, height] = wanted;
                    return Err(Problem {
                        index: at,
                        field: Field::Size,
                        value: Some(format!("{}×{}", given.size[0], given.size[1])),
                        expected: format!("{width}×{height}, {factor} times the small picture"),
                    });
                }
                let x = planes(small, &self.device);
                Ok(if given.left_out { x.zeros_like() } else { x })
            }),
            ConditionerConfig::Inpainting { .. } => {
                Err(missing(0, Field::Map, "a masked picture's latent"))
            }
        }
    }

    fn near(&self, given: &Given<'_>, at: usize) -> Result<Vec<f32>, Problem> {
        let name = given.near;
        let near = self
            .vectors
            .as_ref()
            .zip(name)
            .map(|(v, name)| v.near(name));
        near.flatten().ok_or_else(|| Problem {
            index: at,
            field: Field::Near,
            value: name.map(str::to_owned),
            expected: "the name of a picture that the model knows".to_owned(),
        })
    }

    fn ids(&self, batch: &[Given<'_>], read: Read<'_, Vec<u32>>) -> Result<Condition, Problem> {
        let rows = each(batch, read)?;
        let size = [rows.len(), rows.first().map_or(0, Vec::len)];
        let ids: Vec<i64> = rows.into_iter().flatten().map(i64::from).collect();
        let data = TensorData::new(ids, size);
        Ok(Condition::Ids(Tensor::<2, Int>::from_data(
            data,
            &self.device,
        )))
    }

    fn vectors_of(
        &self,
        batch: &[Given<'_>],
        read: Read<'_, Tensor<3>>,
    ) -> Result<Condition, Problem> {
        Ok(Condition::Vectors(Tensor::cat(each(batch, read)?, 0)))
    }

    fn pictures(
        &self,
        batch: &[Given<'_>],
        read: Read<'_, Tensor<4>>,
    ) -> Result<Condition, Problem> {
        Ok(Condition::Picture(Tensor::cat(each(batch, read)?, 0)))
    }
}

fn each<T>(batch: &[Given<'_>], read: Read<'_, T>) -> Result<Vec<T>, Problem> {
    let read = batch.iter().enumerate().map(|(at, given)| read(at, given));
    read.collect()
}

fn missing(index: usize, field: Field, expected: &str) -> Problem {
    Problem {
        index,
        field,
        value: None,
        expected: expected.to_owned(),
    }
}

/// A row of the table; the last one stands for no class.
fn class(given: &Given<'_>, rows: usize, index: usize) -> Result<Vec<u32>, Problem> {
    let last = rows.saturating_sub(1) as u32;
    let class = if given.left_out {
        Some(last)
    } else {
        given.class
    };
    match class {
        Some(class) if class <= last => Ok(vec![class]),
        class => Err(Problem {
            index,
            field: Field::Class,
            value: class.map(|class| class.to_string()),
            expected: format!("a class of this model, 0 to {last}"),
        }),
    }
}

fn layout(
    given: &Given<'_>,
    tokens: &LayoutTokens,
    vocabulary: usize,
    index: usize,
) -> Result<Vec<u32>, Problem> {
    let boxes = match (&given.boxes, given.left_out) {
        (_, true) => &[][..],
        (Some(boxes), _) => boxes,
        (None, _) => return Err(missing(index, Field::Boxes, "classes and boxes of objects")),
    };
    if let Some(unknown) = boxes.iter().find(|b| b.class as usize >= tokens.classes) {
        return Err(Problem {
            index,
            field: Field::Boxes,
            value: Some(format!("class {}", unknown.class)),
            expected: format!("classes of this model, 0 to {}", tokens.classes - 1),
        });
    }
    Ok(tokens.encode(boxes, [0.0, 0.0, 1.0, 1.0], vocabulary))
}

/// One channel for each of `classes`; numbers from `known` on have none: `[1, classes, height, width]`.
fn one_hot(map: &Pixels<'_>, known: usize, classes: usize, device: &Device) -> Tensor<4> {
    let pixels = map.width * map.height;
    let mut numbers = vec![0f32; classes * pixels];
    for (at, &class) in map.bytes.iter().take(pixels).enumerate() {
        if usize::from(class) < known {
            numbers[usize::from(class) * pixels + at] = 1.0;
        }
    }
    let shape = [1, classes, map.height, map.width];
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

/// A picture of three bytes a pixel within −1..=1: `[1, 3, height, width]`.
fn planes(picture: &Pixels<'_>, device: &Device) -> Tensor<4> {
    let numbers = picture.bytes.iter().map(|&v| f32::from(v) / 127.5 - 1.0);
    let shape = [1, picture.height, picture.width, 3];
    let data = TensorData::new(numbers.collect::<Vec<f32>>(), shape);
    Tensor::<4>::from_data(data, device).permute([0, 3, 1, 2])
}
