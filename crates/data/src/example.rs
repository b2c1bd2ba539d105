use image::{GrayImage, RgbImage};

/// A box around an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledBox {
    /// The object's class.
    pub class: u32,
    /// Left, top, right, bottom in 0..=1 of the picture's width and height.
    pub area: [f32; 4],
}

/// A picture as its source holds it, with what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw {
    /// Path or shard member, for messages.
    pub id: String,
    /// The picture, at its own size.
    pub picture: RgbImage,
    /// What it shows, in words; an empty caption is one too.
    pub caption: Option<String>,
    /// What it shows, as a class.
    pub class: Option<u32>,
    /// A semantic map of class ids, or a hole (255) for inpainting; of the picture's shape, at any size.
    pub mask: Option<GrayImage>,
    /// Boxes in 0..=1 of the whole picture.
    pub boxes: Vec<LabelledBox>,
    /// The same picture, a whole number of times smaller.
    pub low: Option<RgbImage>,
    /// What the columns hold that were asked for ([`Columns::also`](crate::config::Columns::also)), in their order: texts as
    /// they are, other values as JSON, nothing as an empty text.
    pub columns: Vec<String>,
}

impl Raw {
    /// A picture by itself.
    pub fn new(id: impl Into<String>, picture: RgbImage) -> Self {
        Self {
            id: id.into(),
            picture,
            caption: None,
            class: None,
            mask: None,
            boxes: Vec::new(),
            low: None,
            columns: Vec::new(),
        }
    }
}

/// What belongs to a picture, without the picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    /// What it shows, in words; an empty caption is one too.
    pub caption: Option<String>,
    /// What it shows, as a class.
    pub class: Option<u32>,
    /// Boxes in 0..=1 of the whole picture.
    pub boxes: Vec<LabelledBox>,
    /// A semantic map of class ids, or a hole (255).
    pub mask: Option<GrayImage>,
}

impl From<Raw> for Labels {
    fn from(raw: Raw) -> Self {
        Self {
            caption: raw.caption,
            class: raw.class,
            boxes: raw.boxes,
            mask: raw.mask,
        }
    }
}

/// One training example: decoded, resized, cropped and flipped.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Path or shard member, for messages.
    pub id: String,
    /// The picture's index in its source.
    pub index: usize,
    /// Running number within the run: position of the batch × size of the batch + place in it. It is the same for any
    /// number of threads and processes, and no two examples of a run share one: what the randomness of training is
    /// keyed by.
    pub number: u64,
    /// The picture.
    pub picture: RgbImage,
    /// Height and width before resizing.
    pub original: [u32; 2],
    /// Top and left of the crop in the resized picture.
    pub crop: [u32; 2],
    /// Whether left and right were exchanged.
    pub flipped: bool,
    /// What it shows, in words.
    pub caption: Option<String>,
    /// What it shows, as a class.
    pub class: Option<u32>,
    /// Class ids of a semantic map, or 255 where a hole is; cropped and flipped alike.
    pub mask: Option<GrayImage>,
    /// Boxes in 0..=1 of the cropped picture.
    pub boxes: Vec<LabelledBox>,
    /// The low-resolution partner, cropped and flipped alike.
    pub low: Option<RgbImage>,
    /// As [`Raw::columns`].
    pub columns: Vec<String>,
}
