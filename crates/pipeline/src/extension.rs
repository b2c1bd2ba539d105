//! What acts on the network's input before a call.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::Input;

use crate::guiders::At;

/// Something that acts on the network's input before each of its calls.
pub trait Extension {
    /// Changes the input of a call. Its pictures are those of the batch, once for each context that is seen together.
    ///
    /// # Errors
    /// Where it cannot.
    fn before(&mut self, at: &At, input: &mut Input<'_>) -> Result<(), diffusion::Error>;
}

/// Channels beside the latent's: mask and masked picture of an inpainting network, `[batch, channels, h, w]`, or one
/// picture for all.
#[derive(Debug, Clone)]
pub struct Beside(pub Tensor<4>);

impl Extension for Beside {
    fn before(&mut self, _: &At, input: &mut Input<'_>) -> Result<(), diffusion::Error> {
        let [all, _, _, _] = input.x.dims();
        let [batch, ..] = self.0.dims();
        let extra = self.0.clone().repeat_dim(0, all / batch);
        input.x = Tensor::cat(vec![input.x.clone(), extra], 1);
        Ok(())
    }
}
