//! Textual inversion: files of learnt vectors, which take the place of token embeddings.
//!
//! | file | what it holds |
//! |---|---|
//! | the original code's and A1111's `.pt` | `string_to_param`: one pair of a token and `[vectors, width]`; a name, steps, the checkpoint it learnt on |
//! | diffusers' and other `.bin`, `.pt`, `.safetensors` | one tensor, `[vectors, width]` or `[width]`, under its token or as `emb_params` |
//! | of two text encoders | `clip_l` and `clip_g` |
//!
//! Source: Gal et al., "An Image is Worth One Word", 2022.

use std::path::Path;

use serde::Serialize;

use crate::Error;
use crate::error::shown;
use crate::file::{TensorFile, TensorInfo, Weights};
use crate::load::{check_finite, stored, to_f32};
use crate::report::ModelError;

/// What the original code and A1111 call the dictionary of vectors.
const ORIGINAL: &str = "string_to_param.";
/// Some programs' name of an only tensor.
const UNNAMED: &str = "emb_params";
/// The tensors of the two encoders.
const PAIR: [&str; 2] = ["clip_l", "clip_g"];
/// More vectors than anybody learns.
const MAX_VECTORS: usize = 4096;
/// Wider than any text encoder.
const MAX_WIDTH: usize = 1 << 16;

/// The vectors for one text encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    width: usize,
    values: Vec<f32>,
}

/// Which text encoders learnt vectors are for.
#[derive(Debug, Clone, PartialEq)]
pub enum Learnt {
    /// For the only one.
    One(Vectors),
    /// For CLIP's and for OpenCLIP's, in models that read both; as many of one as of the other.
    Pair([Vectors; 2]),
}

/// What a file says of its vectors, beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The name that it was given when it was learnt, which its file's may differ from.
    pub name: Option<String>,
    /// The token that stood for it, where the file says one of its own.
    pub token: Option<String>,
    /// Training steps.
    pub steps: Option<u64>,
    /// The checkpoint that it was learnt on.
    pub checkpoint: Option<String>,
    /// The beginning of that checkpoint's hash.
    pub checkpoint_hash: Option<String>,
}

/// Learnt vectors, and what is known of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Inversion {
    /// The vectors.
    pub learnt: Learnt,
    /// What is said of them.
    pub about: About,
}

impl Vectors {
    /// Vectors of `width` numbers each, one after the other.
    ///
    /// # Errors
    /// A sentence: no vectors, more than 4096, a width of 0 or above 65,536, values that are not finite.
    pub fn new(width: usize, values: Vec<f32>) -> Result<Self, String> {
        if width == 0 || width > MAX_WIDTH || !values.len().is_multiple_of(width) {
            return Err(format!(
                "{} numbers are no vectors of width {width}",
                values.len()
            ));
        }
        match values.len() / width {
            0 => return Err("it holds no vector".to_owned()),
            1..=MAX_VECTORS => {}
            count => {
                return Err(format!(
                    "it holds {count} vectors; at most {MAX_VECTORS} are read"
                ));
            }
        }
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(format!(
                "number {} of vector {} is {}: its training diverged, or the file is damaged",
                at % width,
                at / width,
                values[at]
            )),
            None => Ok(Self { width, values }),
        }
    }

    /// Numbers in each.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.values.len() / self.width
    }

    /// Each of them.
    pub fn each(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width)
    }
}

impl Learnt {
    /// Of two encoders.
    ///
    /// # Errors
    /// A sentence: more vectors for one than for the other.
    pub fn pair(clip_l: Vectors, clip_g: Vectors) -> Result<Self, String> {
        match (clip_l.count(), clip_g.count()) {
            (l, g) if l == g => Ok(Self::Pair([clip_l, clip_g])),
            (l, g) => Err(format!(
                "it holds {l} vectors for the first text encoder (`clip_l`) and {g} for the second (`clip_g`); a name stands for \
                 as many in both"
            )),
        }
    }

    /// How many vectors a name stands for.
    pub fn count(&self) -> usize {
        match self {
            Self::One(vectors) | Self::Pair([vectors, _]) => vectors.count(),
        }
    }

    /// The width of each encoder's.
    pub fn widths(&self) -> Vec<usize> {
        match self {
            Self::One(vectors) => vec![vectors.width()],
            Self::Pair(both) => both.iter().map(Vectors::width).collect(),
        }
    }
}

impl Inversion {
    /// Whether a file holds learnt vectors, by the names and shapes in it.
    pub fn recognise(file: &TensorFile) -> bool {
        tensors(file).is_some()
    }

    /// Reads a file's vectors.
    ///
    /// # Errors
    /// A file that holds none; numbers that are not finite; types and shapes that vectors do not have.
    pub fn of(file: TensorFile) -> Result<Self, ModelError> {
        let path = file.path().to_owned();
        let about = about(&file);
        let Some(found) = tensors(&file) else {
            return Err(none(&file).into());
        };
        let weights = Weights::from(file);
        let read = |info: &TensorInfo| vectors(&weights, info);
        let learnt =
            match found {
                Found::One(info) => Learnt::One(read(&info)?),
                Found::Pair([clip_l, clip_g]) => Learnt::pair(read(&clip_l)?, read(&clip_g)?)
                    .map_err(|problem| Error::Unsupported {
                        path: path.clone(),
                        what: problem,
                    })?,
            };
        Ok(Self { learnt, about })
    }

    /// Opens a file and reads its vectors.
    ///
    /// # Errors
    /// As [`of`](Self::of)'s; a file that cannot be read, a pickle that asks for more than data.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::of(TensorFile::open(path)?)
    }
}

/// The tensors of vectors.
enum Found {
    One(TensorInfo),
    Pair([TensorInfo; 2]),
}

fn tensors(file: &TensorFile) -> Option<Found> {
    let all = file.tensors();
    if let [Some(clip_l), Some(clip_g)] = PAIR.map(|name| file.get(name)) {
        return (all.len() == 2).then(|| Found::Pair([clip_l.clone(), clip_g.clone()]));
    }
    let original = all.iter().filter(|info| info.name.starts_with(ORIGINAL));
    let original: Vec<_> = original.collect();
    match (&original[..], all) {
        ([only], _) => Some(Found::One((*only).clone())),
        ([], [only]) if only.shape.len() <= 2 => Some(Found::One(only.clone())),
        _ => None,
    }
}

/// Why a file holds no vectors.
fn none(file: &TensorFile) -> Error {
    let names: Vec<_> = file
        .tensors()
        .iter()
        .map(|info| shown(&info.name))
        .collect();
    let has = match &names[..] {
        [] => "no tensors".to_owned(),
        names => {
            let first: Vec<_> = names.iter().take(3).map(String::as_str).collect();
            format!("{} tensors, such as {}", names.len(), first.join(", "))
        }
    };
    Error::Unsupported {
        path: file.path().to_owned(),
        what: format!(
            "it is no textual inversion: expected one tensor of vectors, `string_to_param` with one, or `clip_l` and `clip_g`; it \
             has {has}"
        ),
    }
}

fn vectors(weights: &Weights, info: &TensorInfo) -> Result<Vectors, ModelError> {
    let wrong = |problem: String| Error::tensor(weights.path(), &info.name, problem);
    let width = match info.shape[..] {
        [width] | [_, width] => width,
        _ => {
            let shape = &info.shape;
            return Err(wrong(format!("shape {shape:?}, expected [vectors, width]")).into());
        }
    };
    stored(weights, &info.name)?;
    let bytes = weights.bytes(&info.name)?;
    check_finite(&bytes, info, weights)?;
    let values = to_f32(&bytes, info.dtype).unwrap_or_default();
    Ok(Vectors::new(width, values).map_err(wrong)?)
}

fn about(file: &TensorFile) -> About {
    let said = |key: &str| {
        let text = file.metadata().get(key).map(|text| text.trim());
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let only = match file.tensors() {
        [only] => Some(only.name.as_str()),
        _ => None,
    };
    let token = only.filter(|name| {
        let plain = |name: &str| name == UNNAMED || name == "weight" || PAIR.contains(&name);
        !name.starts_with(ORIGINAL) && !plain(name)
    });
    About {
        name: said("name").or_else(|| said("modelspec.title")),
        token: token.map(str::to_owned),
        steps: said("step")
            .or_else(|| said("ss_steps"))
            .and_then(|steps| steps.parse().ok()),
        checkpoint: said("sd_checkpoint_name").or_else(|| said("ss_sd_model_name")),
        checkpoint_hash: said("sd_checkpoint").or_else(|| said("ss_sd_model_hash")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_checked() {
        let good = Vectors::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((good.width(), good.count()), (2, 2));
        assert_eq!(good.each().collect::<Vec<_>>(), [[1.0, 2.0], [3.0, 4.0]]);
        for (width, values, word) in [
            (0, vec![], "width 0"),
            (3, vec![1.0; 4], "no vectors of width 3"),
            (4, vec![], "no vector"),
            (1, vec![0.0; 5000], "at most 4096"),
            (
                2,
                vec![0.0, 1.0, f32::NAN, 0.0],
                "number 0 of vector 1 is NaN",
            ),
        ] {
            let error = Vectors::new(width, values).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let one = Vectors::new(2, vec![0.5; 2]).unwrap();
        let error = Learnt::pair(good, one).unwrap_err();
        assert!(
            error.contains("2 vectors") && error.contains("1 for the second"),
            "{error}"
        );
    }
}
