//! Pictures as tensors.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use crate::{Error, Example};

/// Pictures of one size within −1..=1: `[batch, 3, height, width]`.
pub(crate) fn stack(pictures: &[&RgbImage], device: &Device) -> Tensor<4> {
    let (width, height) = pictures.first().map(|p| p.dimensions()).unwrap_or_default();
    let bytes = pictures.iter().flat_map(|picture| picture.as_raw());
    let numbers = bytes.map(|&v| f32::from(v) / 127.5 - 1.0);
    let shape = [pictures.len(), height as usize, width as usize, 3];
    let data = TensorData::new(numbers.collect::<Vec<f32>>(), shape);
    Tensor::<4>::from_data(data, device).permute([0, 3, 1, 2])
}

/// The pictures of a batch, all of one size: `[batch, 3, height, width]`. `multiple` is what their sides must
/// be multiples of.
///
/// # Errors
/// The first example of another size, or of one that does not fit.
pub(crate) fn batch_of(
    batch: &[Example],
    multiple: usize,
    device: &Device,
) -> Result<Tensor<4>, Error> {
    let first = batch.first().map(|example| example.picture.dimensions());
    for Example { id, picture, .. } in batch {
        let (width, height) = picture.dimensions();
        let problem = if Some((width, height)) != first {
            "a batch has pictures of one size".to_owned()
        } else if ![width, height]
            .iter()
            .all(|side| (*side as usize).is_multiple_of(multiple))
        {
            format!("{width}×{height} pixels: both sides must be multiples of {multiple}")
        } else {
            continue;
        };
        return Err(Error::Example {
            id: id.clone(),
            problem: format!("{problem}; set `data.size`"),
        });
    }
    let pictures: Vec<&RgbImage> = batch.iter().map(|example| &example.picture).collect();
    Ok(stack(&pictures, device))
}
