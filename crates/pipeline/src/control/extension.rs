//! A ControlNet before each call of the denoiser.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::controlnet::{ControlInput, ControlNet};
use latent_models::unet::Residuals;
use latent_models::{GivenStates, Input};

use super::When;
use crate::extension::{Call, Extension};
use crate::passes::Made;
use crate::request::ControlMode;

/// The factor from one part of the network to the next, where they fall.
const FALL: f64 = 0.825;
/// The number of the last of thirteen parts, which has the whole weight; networks of fewer parts have the factors of its first
/// ones.
const LAST: i32 = 12;

/// A ControlNet that is asked before each call.
pub struct Control {
    network: ControlNet,
    /// The picture, and what the network made of it.
    hint: Hint,
    when: When,
    factors: Vec<f64>,
    told: Made<GivenStates>,
}

enum Hint {
    Picture(Tensor<4>),
    Embedded(Tensor<4>),
}

impl Control {
    /// `hint` is the picture as the network reads it, `[1, 3, height, width]`.
    pub fn new(network: ControlNet, when: When, hint: Tensor<4>) -> Self {
        let parts = network.config().kept() + 1;
        let factors = factors(when.mode, parts);
        Self {
            factors: factors.map(|factor| factor * when.weight).collect(),
            network,
            hint: Hint::Picture(hint),
            when,
            told: Made::default(),
        }
    }

    fn embedded(&mut self) -> Tensor<4> {
        if let Hint::Picture(picture) = &self.hint {
            self.hint = Hint::Embedded(self.network.embed(picture.clone()));
        }
        match &self.hint {
            Hint::Embedded(hint) | Hint::Picture(hint) => hint.clone(),
        }
    }
}

/// The factor on each part of what is said, the middle last.
fn factors(mode: ControlMode, parts: usize) -> impl Iterator<Item = f64> {
    let last = parts.saturating_sub(1).max(1) as f64;
    (0..parts).map(move |i| match mode {
        ControlMode::Balanced => 1.0,
        ControlMode::Prompt | ControlMode::Control => FALL.powi(LAST - i as i32),
        ControlMode::Guess => 10f64.powf(i as f64 / last - 1.0),
    })
}

impl Extension for Control {
    fn before(&mut self, call: &Call<'_>, input: &mut Input<'_>) -> Result<(), diffusion::Error> {
        let Some(places) = self.when.places(call) else {
            return Ok(());
        };
        let hint = self.embedded();
        let seen = Call {
            seen: &call.seen[places.clone()],
            ..*call
        };
        let network = &self.network;
        let given = self.told.of(seen.names(), || network.prepare(seen.given()));
        let given = given.map_err(|source| seen.failed(source))?;
        let rows = places.len() * call.batch;
        let first = places.start * call.batch;
        let x = input.x.clone().narrow(0, first, rows);
        // Of a network for inpainting, the latent alone.
        let x = x.narrow(1, 0, network.config().unet.in_channels);
        let said = network.run(ControlInput {
            x,
            t: input.t.clone().narrow(0, first, rows),
            given,
            hint: &hint,
        });
        let after = (call.seen.len() - places.end) * call.batch;
        let said = said.scaled(&self.factors).between(first, after);
        let before = input.extras.residuals.take();
        let all = before.into_iter().chain([said]);
        input.extras.residuals = all.reduce(Residuals::plus);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_fall_as_programs_have_them() {
        let soft: Vec<f64> = factors(ControlMode::Prompt, 13).collect();
        assert_eq!((soft.len(), soft[12]), (13, 1.0));
        assert!((soft[0] - 0.825f64.powi(12)).abs() < 1e-12);
        // SDXL's ten are the first of thirteen.
        let ten: Vec<f64> = factors(ControlMode::Control, 10).collect();
        assert_eq!(ten, soft[..10]);
        let guess: Vec<f64> = factors(ControlMode::Guess, 13).collect();
        assert!((guess[0] - 0.1).abs() < 1e-12 && (guess[12] - 1.0).abs() < 1e-12);
        assert!(factors(ControlMode::Balanced, 13).all(|f| f == 1.0));
    }
}
