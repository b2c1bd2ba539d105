//! The first stage, as data.

use std::path::{Path, PathBuf};

use latent_models::{AutoencoderConfig, DiscriminatorConfig};
use serde::{Deserialize, Serialize};

use super::codebook::Revival;
use super::loss::LossConfig;
use crate::Error;

/// What the first stage learns, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage1Config {
    /// The autoencoder; three channels in and out.
    pub autoencoder: AutoencoderConfig,
    /// What tells its pictures from real ones.
    #[serde(default)]
    pub discriminator: DiscriminatorConfig,
    /// The weights of the loss.
    #[serde(default)]
    pub loss: LossConfig,
    /// The file of the network whose features are compared (`tools/perceptual.sh`); none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<PathBuf>,
    /// Brings back dead entries of the codebook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revive: Option<Revival>,
    /// How much noise the decoder learns to take: each picture's latent is given σ·ε, ε of unit variance and σ uniform from 0
    /// to so many deviations of all latents. A denoiser's errors are like it, and a decoder that never saw any answers them
    /// with grain (Zheng et al., 2510.11690, section 4.3).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub latent_noise: f64,
    /// The share of steps, 0 to 1, in which latent and picture are shrunk together, by one factor between ½ and 1, before
    /// they are compared: latents then vary over their pixels as pictures do, and are easier to denoise (Kouzelis et al.,
    /// 2502.09509, section 3; Skorokhodov et al., 2502.14831).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub equivariance: f64,
    /// What does not learn; all does where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// The second stage of these latents, a folder or a file, whose guesses the decoder learns to decode: each picture's latent
    /// is noised, and x̂₀ of one step takes its place. Only with a frozen encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denoiser: Option<PathBuf>,
    /// The noise that the denoiser is given, drawn evenly between two shares of all its time, 0 to 1; 0.05 to 0.4 where it is
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denoiser_times: Option<[f64; 2]>,
    /// Pictures on a sheet, each beside what became of it: the first of the run.
    #[serde(default = "eight")]
    pub shown: usize,
}

/// What of an autoencoder does not learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// What makes latents: they stay what they are, and so do the second stages that learnt them.
    Encoder,
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn eight() -> usize {
    8
}

impl Stage1Config {
    /// # Errors
    /// A network that cannot be built, settings out of range or that belong to another kind of latent.
    pub fn validate(&self) -> Result<(), Error> {
        self.autoencoder.validate()?;
        self.discriminator.validate()?;
        self.loss.validate()?;
        let channels = [
            self.autoencoder.in_channels,
            self.autoencoder.out_channels,
            self.discriminator.in_channels,
        ];
        if channels != [3; 3] {
            let name = "in_channels, out_channels, discriminator.in_channels";
            return Err(Error::setting(name, format!("{channels:?}"), "3 each"));
        }
        self.validate_latent()?;
        self.validate_denoiser()?;
        match self.revive {
            Some(_) if self.autoencoder.codebook.is_none() || self.freeze.is_some() => {
                let expected = "absent in a model without codebook, or with one that model.freeze keeps as it is";
                Err(Error::setting("model.revive", "set", expected))
            }
            Some(revive) => revive.validate(),
            None => Ok(()),
        }
    }

    /// What is done to latents before they are decoded.
    fn validate_latent(&self) -> Result<(), Error> {
        let noise = self.latent_noise;
        if !(0.0..f64::INFINITY).contains(&noise) {
            let expected = "0 or more, in deviations of the latents; 0.3 is usual";
            return Err(Error::setting("model.latent_noise", noise, expected));
        }
        let equivariance = self.equivariance;
        if !(0.0..=1.0).contains(&equivariance) {
            let expected = "0 to 1, a share of the steps; 0.5 is usual";
            return Err(Error::setting("model.equivariance", equivariance, expected));
        }
        let altered = [
            ("model.latent_noise", noise),
            ("model.equivariance", equivariance),
        ];
        let coded = self.autoencoder.codebook.is_some();
        if let Some((name, value)) = altered.into_iter().find(|(_, v)| coded && *v > 0.0) {
            let expected =
                "0 in a model with a codebook, whose latents are rounded before they are decoded";
            return Err(Error::setting(name, value, expected));
        }
        Ok(())
    }

    fn validate_denoiser(&self) -> Result<(), Error> {
        let times = self.denoiser_times;
        match (&self.denoiser, times) {
            (Some(path), _) if self.freeze.is_none() => {
                let expected = "nothing, or model.freeze = \"encoder\": a denoiser knows the latents of one encoder";
                return Err(Error::setting("model.denoiser", path.display(), expected));
            }
            (None, Some(times)) => {
                let expected = "nothing where there is no model.denoiser";
                return Err(Error::setting(
                    "model.denoiser_times",
                    format!("{times:?}"),
                    expected,
                ));
            }
            _ => {}
        }
        let [from, to] = self.denoiser_times();
        match 0.0 <= from && from <= to && to <= 1.0 {
            true => Ok(()),
            false => {
                let expected = "two shares of all time within 0 to 1, the smaller one first";
                Err(Error::setting(
                    "model.denoiser_times",
                    format!("{times:?}"),
                    expected,
                ))
            }
        }
    }

    /// Between which shares of all time a denoiser's input is noised.
    pub fn denoiser_times(&self) -> [f64; 2] {
        self.denoiser_times.unwrap_or([0.05, 0.4])
    }

    /// Puts `folder` before relative paths.
    pub fn relative_to(&mut self, folder: &Path) {
        for path in [&mut self.perceptual, &mut self.denoiser]
            .into_iter()
            .flatten()
        {
            *path = folder.join(&*path);
        }
    }

    /// What the sides of pictures must be multiples of.
    pub fn multiple(&self) -> usize {
        self.autoencoder.downsampling()
    }
}
