//! A T2I-Adapter: what it makes of a picture is the same before every call.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::between;
use latent_models::{Input, T2iAdapter};

use super::When;
use crate::extension::{Call, Extension};
use crate::request::ControlMode;

/// The factors of the four levels where they fall, as A1111's extension has them.
const FALLING: [f64; 4] = [0.25, 0.62, 0.825, 1.0];

/// What a T2I-Adapter adds before each call.
pub struct Features {
    /// `[1, channels, h, w]` each, times its factor.
    features: Vec<Tensor<4>>,
    when: When,
}

impl Features {
    /// `hint` is the picture as the network reads it, `[1, 3, height, width]`.
    pub fn new(network: &T2iAdapter, when: When, hint: Tensor<4>) -> Self {
        let features = network.forward(hint).into_iter().enumerate();
        let features = features.map(|(level, feature)| {
            let factor = match when.mode {
                ControlMode::Balanced => 1.0,
                _ => FALLING.get(level).copied().unwrap_or(1.0),
            };
            feature * (factor * when.weight)
        });
        Self {
            features: features.collect(),
            when,
        }
    }
}

impl Extension for Features {
    fn before(&mut self, call: &Call<'_>, input: &mut Input<'_>) -> Result<(), diffusion::Error> {
        let Some(places) = self.when.places(call) else {
            return Ok(());
        };
        let (rows, first) = (places.len() * call.batch, places.start * call.batch);
        let after = (call.seen.len() - places.end) * call.batch;
        let features = self.features.iter().map(|feature| {
            let [_, c, h, w] = feature.dims();
            between(feature.clone().expand([rows, c, h, w]), first, after)
        });
        input.extras.add_features(features.collect());
        Ok(())
    }
}
