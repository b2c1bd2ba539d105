//! Pictures as tensors.

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;

use crate::{Error, Example};

/// One picture within −1..=1: `[1, 3, height, width]`.
pub(crate) fn picture(picture: &RgbImage, device: &Device) -> Tensor<4> {
    let (width, height) = picture.dimensions();
    let numbers = picture.as_raw().iter().map(|&v| f32::from(v) / 127.5 - 1.0);
    let shape = [1, height as usize, width as usize, 3];
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
    let pictures = batch
        .iter()
        .map(|example| picture(&example.picture, device));
    Ok(Tensor::cat(pictures.collect(), 0))
}
