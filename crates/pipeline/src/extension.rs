//! What acts on the network's input before a call.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::FreeU;
use latent_models::{Denoiser, Given, GivenError, Input};

use crate::guiders::At;
use crate::passes::{Name, Seen, given};

/// A call of the network, as extensions see it.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// When it is.
    pub at: &'a At,
    /// How many pictures are drawn together.
    pub batch: usize,
    /// What is seen together, in the order of the input: each by every picture of the batch.
    pub seen: &'a [Seen],
    /// The network that is called.
    pub network: &'a Denoiser,
}

impl Call<'_> {
    /// What is seen, by name.
    pub fn names(&self) -> Vec<Name> {
        self.seen.iter().map(|seen| seen.name.clone()).collect()
    }

    /// What networks are given of it, for every picture of the batch.
    pub fn given(&self) -> Given {
        given(self.seen, self.batch)
    }

    /// A network does not take what it is given.
    pub fn failed(&self, source: GivenError) -> diffusion::Error {
        diffusion::Error::Network {
            sigma: self.at.sigma,
            source: source.into(),
        }
    }
}

/// Something that acts on the network's input before each of its calls.
pub trait Extension {
    /// Changes the input of a call. Its pictures are those of the batch, once for each context that is seen together.
    ///
    /// # Errors
    /// Where it cannot.
    fn before(&mut self, call: &Call<'_>, input: &mut Input<'_>) -> Result<(), diffusion::Error>;
}

/// What counts more and less on the network's way up.
impl Extension for FreeU {
    fn before(&mut self, _: &Call<'_>, input: &mut Input<'_>) -> Result<(), diffusion::Error> {
        input.extras.freeu = Some(*self);
        Ok(())
    }
}

/// Channels beside the latent's: mask and masked picture of an inpainting network, `[batch, channels, h, w]`, or one
/// picture for all.
#[derive(Debug, Clone)]
pub struct Beside(pub Tensor<4>);

impl Beside {
    /// As a list: of one, or of none where there are no such channels.
    pub fn all(channels: Option<&Tensor<4>>) -> Vec<Box<dyn Extension>> {
        let channels = channels.cloned().into_iter();
        let beside = channels.map(|channels| Box::new(Self(channels)) as Box<dyn Extension>);
        beside.collect()
    }
}

impl Extension for Beside {
    fn before(&mut self, _: &Call<'_>, input: &mut Input<'_>) -> Result<(), diffusion::Error> {
        let [all, _, _, _] = input.x.dims();
        let [batch, ..] = self.0.dims();
        let extra = self.0.clone().repeat_dim(0, all / batch);
        input.x = Tensor::cat(vec![input.x.clone(), extra], 1);
        Ok(())
    }
}
