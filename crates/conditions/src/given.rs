//! What is said of a picture, as plain values.

use std::borrow::Cow;

use burn::tensor::Tensor;
use latent_models::condition::LayoutBox;

/// What a request asks of one picture, or what an example shows. A condition reads its own field and no other.
#[derive(Debug, Clone, Default)]
pub struct Given<'a> {
    /// The number of a class, from 0.
    pub class: Option<u32>,
    /// A text.
    pub text: Option<Cow<'a, str>>,
    /// Objects in boxes; an empty list is a layout too.
    pub boxes: Option<Cow<'a, [LayoutBox]>>,
    /// The number of a class for each pixel, one byte each, at the size of the picture.
    pub map: Option<Pixels<'a>>,
    /// A small picture, three bytes a pixel.
    pub small: Option<Pixels<'a>>,
    /// The name of a picture whose neighbours are meant.
    pub near: Option<&'a str>,
    /// What a text encoder that was trained before makes of the text: `[1, tokens, width]`.
    pub states: Option<Tensor<3>>,
    /// Width and height of the picture that is drawn or learnt from.
    pub size: [usize; 2],
    /// No condition is meant: of pictures the size alone counts, of the rest nothing. States and near ones must be there.
    pub left_out: bool,
}

/// Bytes of a picture, row by row.
#[derive(Debug, Clone)]
pub struct Pixels<'a> {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height · width` times the bytes of a pixel.
    pub bytes: Cow<'a, [u8]>,
}

/// A field of [`Given`], for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // as in `Given`
pub enum Field {
    Class,
    Text,
    Boxes,
    Map,
    Small,
    Near,
    States,
    Size,
}

/// Why a condition cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which one of the batch.
    pub index: usize,
    /// What of it.
    pub field: Field,
    /// What it is; `None` where it is not given.
    pub value: Option<String>,
    /// What it may be, as a noun phrase.
    pub expected: String,
}

/// The channels of a picture whose holes are to be filled, as models that were trained here take them: the latent of the
/// picture with black holes, then the mask within −1..=1.
///
/// # Shapes
///
/// latents `[batch, channels, height, width]`, masks `[batch, 1, height, width]`, 1 where a hole is and 0 elsewhere →
/// `[batch, channels + 1, height, width]`
pub fn masked_channels(latents: Tensor<4>, masks: Tensor<4>) -> Tensor<4> {
    Tensor::cat(vec![latents, masks * 2.0 - 1.0], 1)
}
