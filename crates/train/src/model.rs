//! What can be learnt: the `[model]` of a run's settings.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::{Error, LearnerSettings, Pixels, PixelsConfig, Task};

/// What is learnt, by its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelConfig {
    /// A diffusion model of pixels, without condition.
    Pixels(PixelsConfig),
}

/// What a task is built on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Where to compute; records gradients.
    pub device: Device,
    /// How its networks are trained.
    pub learner: LearnerSettings,
    /// What the first weights are drawn from.
    pub seed: u64,
}

impl ModelConfig {
    /// The task, with first weights.
    ///
    /// # Errors
    /// A network that cannot be built, a file that cannot be read.
    pub fn build(&self, ground: &Ground) -> Result<Box<dyn Task>, Error> {
        Ok(match self {
            Self::Pixels(config) => Box::new(Pixels::new(config, ground)?),
        })
    }

    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Pixels(config) => config.validate(),
        }
    }

    /// Puts `folder` before relative paths.
    pub(crate) fn relative_to(&mut self, _folder: &Path) {
        match self {
            Self::Pixels(_) => {}
        }
    }
}
