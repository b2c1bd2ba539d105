//! The vector that a denoiser is given beside the time: pooled text and sizes.

use burn::tensor::{Device, Tensor};
use latent_models::unet::timestep_sinusoid;

use crate::family::VectorInput;
use crate::request::{Size, SizeConditions};

/// Numbers in the sinusoid of a size.
const SINUSOID: usize = 256;

/// The vector of a family that takes sizes; `negative` of the negative prompt's half. `[1, width]`
///
/// # Shapes
/// pooled `[1, width of the pooled text]`
pub fn sizes_vector(
    input: VectorInput,
    pooled: Tensor<2>,
    asked: &SizeConditions,
    size: Size,
    negative: bool,
) -> Tensor<2> {
    let other = asked.negative.filter(|_| negative).unwrap_or_default();
    let original = other.original.or(asked.original).unwrap_or(size);
    let [top, left] = other.crop.or(asked.crop).unwrap_or([0, 0]);
    let target = other.target.or(asked.target).unwrap_or(size);
    let mut numbers = vec![original.height, original.width, top, left]
        .into_iter()
        .map(|number| number as f64)
        .collect::<Vec<_>>();
    match input {
        VectorInput::Score => numbers.push(match negative {
            true => asked.negative_score.unwrap_or(2.5),
            false => asked.score.unwrap_or(6.0),
        }),
        _ => numbers.extend([target.height as f64, target.width as f64]),
    }
    let device = pooled.device();
    Tensor::cat(vec![pooled, sinusoids(&numbers, &device)], 1)
}

/// Each number as a sinusoid, one after another: `[1, 256 · numbers]`.
fn sinusoids(numbers: &[f64], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
    let values = Tensor::from_floats(values.as_slice(), device);
    timestep_sinusoid(values, SINUSOID).reshape([1, SINUSOID * numbers.len()])
}
