//! A denoiser, of whatever kind it is.

use latent_models::{Denoiser, DenoiserConfig, TransformerConfig, UNetConfig};

use super::LoadOptions;
use crate::detect::Checkpoint;
use crate::networks::Role;
use crate::report::{ModelError, Report};

impl Checkpoint {
    /// What the denoiser that plays `role` is made of.
    ///
    /// # Errors
    /// When there is none, or a network that is no denoiser.
    pub fn denoiser(&self, role: Role) -> Result<DenoiserConfig, ModelError> {
        let network = &self.part(role)?.config;
        network.denoiser().ok_or_else(|| ModelError::Request {
            path: self.path().to_owned(),
            problem: format!("its {role} is a {}, not a denoiser", network.kind()),
        })
    }

    /// Loads the denoiser that plays `role`. `progress` is called with the parameters read so far and their number.
    ///
    /// # Errors
    /// As [`denoiser`](Self::denoiser)'s and [`load`](Self::load)'s.
    pub fn load_denoiser(
        &self,
        role: Role,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Denoiser, Report), ModelError> {
        Ok(match self.denoiser(role)? {
            DenoiserConfig::Unet(_) => {
                let (network, report) = self.load::<UNetConfig>(role, options, progress)?;
                (network.into(), report)
            }
            DenoiserConfig::Transformer(_) => {
                let (network, report) = self.load::<TransformerConfig>(role, options, progress)?;
                (network.into(), report)
            }
        })
    }
    /// [`load_denoiser`](Self::load_denoiser) of the modules for which `chosen` holds, by their dotted path: the others have no
    /// weights.
    ///
    /// # Errors
    /// As [`load_denoiser`](Self::load_denoiser)'s.
    pub fn load_some_of_denoiser(
        &self,
        role: Role,
        options: &LoadOptions,
        chosen: &dyn Fn(&str) -> bool,
    ) -> Result<Denoiser, ModelError> {
        Ok(match self.denoiser(role)? {
            DenoiserConfig::Unet(_) => self.load_some::<UNetConfig>(role, options, chosen)?.into(),
            DenoiserConfig::Transformer(_) => self
                .load_some::<TransformerConfig>(role, options, chosen)?
                .into(),
        })
    }
}
