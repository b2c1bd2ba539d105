//! The conditions of models that were trained here: what a request says, as what the denoiser is given.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_checkpoint::{Checkpoint, Files};
use latent_models::condition::{LayoutBox, Tokenizer};
use latent_models::{Condition, Conditioned, Conditioner, ConditionerConfig};
use latent_text::{ClipTokenizer, TextTokenizer, WordPiece};

use crate::error::{Error, Result};
use crate::family::{Beside, Family};
use crate::model::Part;
use crate::picture::resize::Filter;
use crate::picture::{Grey, Picture};
use crate::request::{Request, Size, text_of};

/// The longest vocabulary accepted, in bytes.
const MAX_VOCABULARY: u64 = 64 << 20;

/// What reads conditions, and the files it needs.
#[derive(Debug)]
pub struct Reader {
    network: Part<Conditioner>,
    words: Option<TextTokenizer>,
    vectors: Option<Vectors>,
    device: Device,
}

/// Vectors of pictures by name, of unit length.
#[derive(Debug)]
struct Vectors {
    names: Vec<String>,
    rows: Vec<f32>,
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
        let (mut words, mut vectors) = (None, None);
        match network.config() {
            ConditionerConfig::Text {
                tokenizer: Tokenizer::WordPiece,
                ..
            } => {
                let name = "conditioner/vocab.txt";
                let failed = |reason: String| Error::Model {
                    path: checkpoint.path().join(name),
                    reason,
                };
                let text = checkpoint.attachment(name, MAX_VOCABULARY);
                let text = text.map_err(|e| failed(e.to_string()))?;
                let text = std::str::from_utf8(&text).map_err(|e| failed(e.to_string()))?;
                let pieces = WordPiece::new(text).map_err(|e| failed(e.to_string()))?;
                words = Some(TextTokenizer::WordPiece(pieces));
            }
            ConditionerConfig::Text { .. } => {
                words = Some(TextTokenizer::Clip(ClipTokenizer::new()))
            }
            ConditionerConfig::Neighbours { width, count, .. } => {
                let path = checkpoint.path().join("conditioner/neighbours.safetensors");
                vectors = Some(Vectors::open(checkpoint.files(), &path, *width, *count)?);
            }
            _ => {}
        }
        Ok(Self {
            network,
            words,
            vectors,
            device: device.clone(),
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
    pub fn read(&self, request: &Request, canvas: Size) -> Result<[Conditioned; 2]> {
        let network = self.network.get()?;
        let given = |condition| network.forward(condition);
        let pair = |with, without| Ok([given(with), given(without)]);
        match self.config() {
            ConditionerConfig::Class { rows, .. } => {
                let expected = format!("a class of this model, 0 to {}", rows - 1);
                let class = request
                    .class
                    .ok_or_else(|| Error::field("class", "not set", &expected))?;
                if class as usize >= *rows {
                    return Err(Error::field("class", class, expected));
                }
                pair(self.ids(vec![class]), self.ids(vec![*rows as u32 - 1]))
            }
            ConditionerConfig::Text { transformer, .. } => {
                let row = |text: &str| {
                    let words = self.words.as_ref();
                    self.ids(words.map_or_else(Vec::new, |w| w.row(text, transformer.positions)))
                };
                pair(row(&request.prompt), row(&request.negative_prompt))
            }
            ConditionerConfig::Layout {
                tokens,
                transformer,
                ..
            } => {
                let boxes = read_layout(request.layout.as_deref())?;
                if let Some(unknown) = boxes.iter().find(|b| b.class as usize >= tokens.classes) {
                    let expected = format!("classes of this model, 0 to {}", tokens.classes - 1);
                    return Err(Error::field(
                        "layout",
                        format!("class {}", unknown.class),
                        expected,
                    ));
                }
                let row = |boxes: &[LayoutBox]| {
                    self.ids(tokens.encode(boxes, [0.0, 0.0, 1.0, 1.0], transformer.vocabulary))
                };
                pair(row(&boxes), row(&[]))
            }
            ConditionerConfig::SemanticMap { classes, .. } => {
                let expected = "a grey picture whose values are numbers of classes";
                let path = request.semantic_map.as_ref();
                let path = path.ok_or_else(|| Error::field("semantic_map", "not set", expected))?;
                let map = Picture::read(path)?.flatten([255; 3]);
                let labels = labels(&map)
                    .ok_or_else(|| Error::field("semantic_map", path.display(), expected))?;
                let labels = labels.resize(canvas, Filter::Nearest);
                pair(
                    self.one_hot(&labels, *classes, *classes),
                    self.one_hot(&labels, 0, *classes),
                )
            }
            ConditionerConfig::LowResolution { factor } => {
                let path = request.upscale.as_ref();
                let path =
                    path.ok_or_else(|| Error::field("upscale", "not set", "the small picture"))?;
                let small = Picture::read(path)?.flatten([255; 3]);
                if [small.width() * factor, small.height() * factor]
                    != [canvas.width, canvas.height]
                {
                    let value = format!("{}×{}", canvas.width, canvas.height);
                    let expected = format!(
                        "{}×{}, {factor} times the small picture; leave it out, and a multiple of 8 for each side",
                        small.width() * factor,
                        small.height() * factor
                    );
                    return Err(Error::field("width and height", value, expected));
                }
                let shape = [1, 3, small.height(), small.width()];
                let x =
                    Tensor::<4>::from_data(TensorData::new(small.to_planes(), shape), &self.device);
                pair(
                    Condition::Picture(x.clone()),
                    Condition::Picture(x.zeros_like()),
                )
            }
            ConditionerConfig::Neighbours { count, width, .. } => {
                let vectors = self.vectors.as_ref();
                let near = vectors
                    .map(|v| v.near(request.near.as_deref(), *count, *width))
                    .transpose()?;
                let data = TensorData::new(near.unwrap_or_default(), [1, *count, *width]);
                let x = Tensor::<3>::from_data(data, &self.device);
                pair(
                    Condition::Vectors(x.clone()),
                    Condition::Vectors(x.zeros_like()),
                )
            }
            // Their states come from the model's text encoder, their channels from the picture and its mask.
            ConditionerConfig::FrozenText { .. } | ConditionerConfig::Inpainting { .. } => {
                Ok([Conditioned::default(), Conditioned::default()])
            }
        }
    }

    fn ids(&self, row: Vec<u32>) -> Condition {
        let size = [1, row.len()];
        let ids: Vec<i64> = row.into_iter().map(i64::from).collect();
        Condition::Ids(Tensor::<2, Int>::from_data(
            TensorData::new(ids, size),
            &self.device,
        ))
    }

    /// One channel for each of `classes`; labels from `known` on have none.
    fn one_hot(&self, labels: &Grey, known: usize, classes: usize) -> Condition {
        let pixels = labels.values().len();
        let mut values = vec![0f32; classes * pixels];
        for (at, &label) in labels.values().iter().enumerate() {
            if usize::from(label) < known {
                values[usize::from(label) * pixels + at] = 1.0;
            }
        }
        let shape = [1, classes, labels.height(), labels.width()];
        Condition::Picture(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }
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

/// The boxes of a JSON file: `[{"class": 3, "box": [left, top, right, bottom]}, …]`, edges in 0..=1.
fn read_layout(path: Option<&Path>) -> Result<Vec<LayoutBox>> {
    let expected =
        "a JSON list of {\"class\": 3, \"box\": [left, top, right, bottom]} with edges in 0..=1";
    let path = path.ok_or_else(|| Error::field("layout", "not set", expected))?;
    let failed =
        |reason: String| Error::field("layout", path.display(), format!("{expected}; {reason}"));
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

/// The values of a grey picture; `None` for one with colours.
fn labels(map: &Picture) -> Option<Grey> {
    let (pixels, _) = map.rgb().as_chunks::<3>();
    let grey = pixels.iter().all(|[r, g, b]| r == g && g == b);
    let values = pixels.iter().map(|[r, ..]| *r).collect();
    grey.then(|| Grey::new(map.width(), map.height(), values))
        .flatten()
}

impl Vectors {
    /// As training reads them: `vectors`, `[pictures, width]` of f32, and the names in the metadata's `ids`.
    fn open(files: Files, path: &Path, width: usize, count: usize) -> Result<Self> {
        let failed = |reason: String| Error::Model {
            path: path.to_owned(),
            reason,
        };
        let file = files.tensors(path).map_err(|e| failed(e.to_string()))?;
        let names = file.metadata().get("ids");
        let names: Option<Vec<String>> = names.and_then(|text| serde_json::from_str(text).ok());
        let names = names.ok_or_else(|| failed("its metadata has no `ids`".to_owned()))?;
        let bytes = file.bytes("vectors").map_err(|e| failed(e.to_string()))?;
        let (words, _) = bytes.as_chunks::<4>();
        let mut rows: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        if rows.len() != names.len() * width || names.len() < count {
            return Err(failed(format!(
                "`vectors` is not of {} rows of {width}, {count} at least",
                names.len()
            )));
        }
        for row in rows.chunks_mut(width) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
            row.iter_mut().for_each(|v| *v /= norm);
        }
        Ok(Self { names, rows })
    }

    /// The vectors nearest to those of a picture, its own first.
    fn near(&self, name: Option<&str>, count: usize, width: usize) -> Result<Vec<f32>> {
        let at = name.and_then(|name| self.names.iter().position(|n| n == name));
        let value = name.unwrap_or("not set");
        let expected = "the name of a picture that the model knows";
        let at = at.ok_or_else(|| Error::field("near", value, expected))?;
        let row = |i: usize| &self.rows[i * width..(i + 1) * width];
        let own = row(at);
        let likeness = |i: usize| row(i).iter().zip(own).map(|(a, b)| a * b).sum::<f32>();
        let mut order: Vec<(f32, usize)> =
            (0..self.names.len()).map(|i| (likeness(i), i)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let nearest = order.iter().take(count);
        Ok(nearest.flat_map(|(_, i)| row(*i).iter().copied()).collect())
    }
}
