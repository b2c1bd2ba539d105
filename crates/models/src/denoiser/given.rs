//! What a denoiser is given beside the latent and the step.

use burn::tensor::Tensor;
use thiserror::Error;

use super::Interface;
use crate::unet::{KeysValues, Labels};

/// What a denoiser is given beside the latent and the step: each exactly where its configuration has
/// it.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Tokens to look at, by [`Interface::context`]: `[batch, tokens, context]`.
    pub context: Option<Tensor<3>>,
    /// By [`Interface::labels`]: a vector, `[batch, width]`, or the number of a row as a single
    /// column, `[batch, 1]`.
    pub vector: Option<Tensor<2>>,
    /// The embedding of a guidance scale, by [`Interface::guidance`]: `[batch, width]`, as
    /// [`guidance_sinusoid`](crate::unet::guidance_sinusoid) makes it.
    pub guidance: Option<Tensor<2>>,
}

/// What is given is not what the network takes.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GivenError {
    /// The network has a layer for it.
    #[error("the denoiser needs {what} of shape {expected}, and none is given")]
    Missing {
        /// What it is.
        what: &'static str,
        /// Its shape.
        expected: String,
    },
    /// The network has no layer for it.
    #[error("the denoiser takes no {what}, and one of shape {found:?} is given")]
    Unexpected {
        /// What it is.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
    },
    /// Another width, or nothing in it.
    #[error("the denoiser needs {what} of shape {expected}, and one of {found:?} is given")]
    Shape {
        /// What it is.
        what: &'static str,
        /// The shape that the network takes.
        expected: String,
        /// The shape given.
        found: Vec<usize>,
    },
    /// Not as many of one as of another.
    #[error("the denoiser is given {what} for {found} pictures, and {expected} are drawn")]
    Batch {
        /// What it is.
        what: &'static str,
        /// How many the others are for.
        expected: usize,
        /// How many it is for.
        found: usize,
    },
    /// No row of the table.
    #[error(
        "the denoiser is given row {row} of a table; it must be a whole number from 0 to {last}"
    )]
    Row {
        /// The number given.
        row: f32,
        /// The last row.
        last: usize,
    },
}

/// What a denoiser made of what it was given, once for all steps.
#[derive(Debug, Clone)]
pub struct GivenStates {
    /// Keys and values of every attention on the context, in order: a U-Net's.
    pub(crate) context: Vec<KeysValues>,
    /// The same side by side, `[batch, tokens, 2·width]` each: a transformer's.
    pub(crate) joined: Vec<Tensor<3>>,
    pub(crate) shifts: Shifts,
}

/// What is added on the way to the time embedding.
#[derive(Debug, Clone)]
pub(crate) struct Shifts {
    /// To the sinusoid of the step, `[batch, model channels]`.
    pub guidance: Option<Tensor<2>>,
    /// To the embedding, `[batch, time channels]`.
    pub labels: Option<Tensor<2>>,
}

impl Given {
    /// Checks that it is what a network with this interface takes. Reads the numbers of rows of a
    /// table; of all else the shapes alone.
    ///
    /// # Errors
    ///
    /// The first that is missing, too much, or of another shape.
    pub fn check(&self, takes: &Interface) -> Result<(), GivenError> {
        let mut batch = None;
        let mut one = |what, given: Option<Vec<usize>>, middle: &str, width: Option<usize>| {
            let expected = |width| format!("[batch, {middle}{width}]");
            match (given, width) {
                (None, None) => Ok(()),
                (None, Some(width)) => Err(GivenError::Missing {
                    what,
                    expected: expected(width),
                }),
                (Some(found), None) => Err(GivenError::Unexpected { what, found }),
                (Some(found), Some(width)) => {
                    if found.last() != Some(&width) || found.contains(&0) {
                        let expected = expected(width);
                        return Err(GivenError::Shape {
                            what,
                            expected,
                            found,
                        });
                    }
                    let (found, expected) = (found[0], *batch.get_or_insert(found[0]));
                    match found == expected {
                        true => Ok(()),
                        false => Err(GivenError::Batch {
                            what,
                            expected,
                            found,
                        }),
                    }
                }
            }
        };
        let shape = |t: &Tensor<2>| t.dims().to_vec();
        let context = self.context.as_ref().map(|t| t.dims().to_vec());
        one("a context", context, "tokens, ", takes.context)?;
        let vector = self.vector.as_ref().map(shape);
        one("a vector", vector, "", takes.labels.width())?;
        let guidance = self.guidance.as_ref().map(shape);
        one("a guidance embedding", guidance, "", takes.guidance)?;
        match (takes.labels, &self.vector) {
            (Labels::Table(rows), Some(vector)) => check_rows(vector, rows),
            _ => Ok(()),
        }
    }
}

fn check_rows(vector: &Tensor<2>, rows: usize) -> Result<(), GivenError> {
    let data = vector.to_data();
    let outside = |row: &f32| row.fract() != 0.0 || !(0.0..rows as f32).contains(row);
    match data.iter::<f32>().find(outside) {
        Some(row) => Err(GivenError::Row {
            row,
            last: rows - 1,
        }),
        None => Ok(()),
    }
}
