//! What a network predicts where no file says it.

use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::{Checkpoint, LoadOptions, ModelError, Role};
use latent_diffusion::Prediction;
use latent_models::{Denoiser, Given};

/// Side of the latent that is looked at.
const SIDE: usize = 8;

/// What the denoiser of a checkpoint of Stable Diffusion 2 predicts, by its own answer: it is read for it, in bf16.
///
/// # Errors
/// Weights that cannot be read.
pub fn predicted(checkpoint: &Checkpoint) -> Result<Prediction, ModelError> {
    let options = LoadOptions::new(Device::flex(), DType::BF16);
    let progress = &mut |_, _| {};
    let (network, _) = checkpoint.load_denoiser(Role::DENOISER, &options, progress)?;
    Ok(prediction(&network))
}

/// Whether a network of Stable Diffusion 2 predicts noise or velocity. A1111 asks the network: of a latent of 0.5 everywhere at
/// the noisiest step, one that predicts noise gives about the latent again, one that predicts velocity about minus the
/// picture in it (`is_using_v_parameterization_for_sd2` of its `sd_models_config.py`).
pub(super) fn prediction(network: &Denoiser) -> Prediction {
    let config = network.interface();
    let device = network.device();
    let x = Tensor::full([1, config.in_channels, SIDE, SIDE], 0.5, &device);
    let given = Given {
        context: config
            .context
            .map(|width| Tensor::full([1, 2, width], 0.5, &device)),
        ..Given::default()
    };
    let t = Tensor::from_floats([999.0f32], &device);
    // Anything that this network is not given would have made it another family's.
    let Ok(predicted) = network.forward(x, t, given) else {
        return Prediction::Epsilon;
    };
    let mean: f32 = (predicted - 0.5).mean().into_scalar();
    match mean < -1.0 {
        true => Prediction::V,
        false => Prediction::Epsilon,
    }
}
