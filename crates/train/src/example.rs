//! A training example, until `latent-data` has it.

use image::{GrayImage, RgbImage};

/// One picture after decoding, crop and flip, with what is known of it.
#[derive(Debug, Clone)]
pub struct Example {
    /// Path or member of a shard, for messages.
    pub id: String,
    /// The picture.
    pub picture: RgbImage,
    /// Height and width before resizing.
    pub original: [u32; 2],
    /// Top and left of the crop in the resized picture.
    pub crop: [u32; 2],
    /// Whether it is mirrored.
    pub flipped: bool,
    /// Its caption.
    pub caption: Option<String>,
    /// Its class.
    pub class: Option<u32>,
    /// Class ids of a semantic map, or 255 for a hole; cropped and flipped as the picture.
    pub mask: Option<GrayImage>,
    /// Objects in it.
    pub boxes: Vec<LabelledBox>,
    /// Its low-resolution partner.
    pub low: Option<RgbImage>,
}

/// An object: its class and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledBox {
    /// The class.
    pub class: u32,
    /// x₀, y₀, x₁, y₁ within 0..=1 of the cropped picture.
    pub edges: [f32; 4],
}
