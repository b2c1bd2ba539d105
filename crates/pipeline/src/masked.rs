//! A denoiser that repaints only where a mask is 1.

use burn::tensor::Tensor;
use latent_diffusion::{self as diffusion, Denoise, Mixing, NoisePath};

/// What the network sees outside a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// What the sampler made of it.
    Sampled,
    /// The picture with noise of the same level.
    Noised,
    /// The picture without noise, at the scale of the network's input: A1111's samplers on time steps. Only the
    /// network's output changes; the sampler goes on from its own latent.
    Clean,
}

/// When a mask's outside is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskRule {
    /// Into the latent, before the network sees it.
    pub before: Outside,
    /// Not before the first call, when the run starts from pure noise.
    pub spare_first: bool,
    /// Into the prediction.
    pub after: bool,
    /// Into the finished latent. A soft mask must not be applied twice.
    pub at_end: bool,
}

/// A denoiser that repaints only where the mask is 1.
///
/// Samplers act on each number alone, so keeping the outside right for the network and right at the end is the same as
/// overwriting it after every step.
pub struct Masked<'a> {
    /// The denoiser inside.
    pub inner: &'a mut dyn Denoise,
    /// 1 where the picture is repainted, `[1, 1, h, w]`.
    pub mask: Tensor<4>,
    /// The clean latent of the picture.
    pub original: Tensor<4>,
    /// The noise that the run started from, of unit variance.
    pub noise: Tensor<4>,
    /// How a latent is noised.
    pub path: &'a NoisePath,
    /// When to put the outside back.
    pub rule: MaskRule,
    /// No call has been made yet.
    pub first: bool,
}

impl Masked<'_> {
    /// `inside` where the mask is 1, `outside` where it is 0.
    pub fn blend(mask: &Tensor<4>, inside: Tensor<4>, outside: Tensor<4>) -> Tensor<4> {
        let mask = mask.clone().expand(inside.shape());
        outside.clone() + mask * (inside - outside)
    }
}

impl Denoise for Masked<'_> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, diffusion::Error> {
        let spare = self.first && self.rule.spare_first;
        self.first = false;
        let seen = match self.rule.before {
            Outside::Noised if !spare => {
                let (original, noise) = (self.original.clone(), self.noise.clone());
                let outside = self.path.add_noise(original, noise, sigma);
                Self::blend(&self.mask, x.clone(), outside)
            }
            Outside::Clean => {
                let outside = self.original.clone() / self.path.c_in(sigma);
                Self::blend(&self.mask, x.clone(), outside)
            }
            _ => x.clone(),
        };
        let clean = self.inner.denoise(seen.clone(), sigma)?;
        Ok(match self.rule {
            MaskRule { after: true, .. } => Self::blend(&self.mask, clean, self.original.clone()),
            // The network's ε is kept, so x̂₀ moves with the latent it is taken from.
            MaskRule {
                before: Outside::Clean,
                ..
            } => clean + x - seen,
            _ => clean,
        })
    }

    fn unconditional(&self) -> Option<Tensor<4>> {
        self.inner.unconditional()
    }

    fn mixing(&self) -> Mixing {
        self.inner.mixing()
    }
}
