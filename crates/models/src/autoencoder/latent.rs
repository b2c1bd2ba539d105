//! What an encoder answers.

use burn::tensor::{Int, Tensor};

/// The encoder's answer: a normal distribution per latent number, `[batch, latent_channels, height,
/// width]`, f32.
#[derive(Debug, Clone)]
pub struct Moments {
    /// The mean; in a model without variance, the latent itself.
    pub mean: Tensor<4>,
    /// The natural logarithm of the variance, within −30..20; −30 in a model without variance.
    pub logvar: Tensor<4>,
}

/// A latent rounded to the codebook, in training.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The rounded latent, whose gradient goes to the latent before rounding as if nothing had
    /// happened.
    pub latent: Tensor<4>,
    /// The mean squared distance, as a loss of the codebook alone.
    pub codebook_loss: Tensor<1>,
    /// The mean squared distance, as a loss of the encoder alone.
    pub commitment_loss: Tensor<1>,
    /// The entry of each latent pixel: `[batch, height·width]`.
    pub ids: Tensor<2, Int>,
}

impl Moments {
    /// The Kullback-Leibler divergence from a standard normal distribution: ½·Σ(μ² + σ² − 1 − ln σ²)
    /// of each picture, `[batch]`.
    pub fn kl(&self) -> Tensor<1> {
        let (mean, logvar) = (self.mean.clone(), self.logvar.clone());
        let [batch, ..] = mean.dims();
        let each = mean.square() + logvar.clone().exp() - 1.0 - logvar;
        each.reshape([batch as i64, -1]).sum_dim(1).squeeze_dim(1) * 0.5
    }

    /// mean + exp(logvar / 2)·`noise`.
    ///
    /// # Shapes
    ///
    /// noise and output as `mean`
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.logvar.clone() * 0.5).exp() * noise
    }
}
