//! What can be learnt: the `[model]` of a run's settings.

use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::stage1::{Stage1, Stage1Config};
use crate::{Error, LearnerSettings, Stage2, Stage2Config, Task};

/// What is learnt, by its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)] // a run has one
pub enum ModelConfig {
    /// An autoencoder.
    Stage1(Stage1Config),
    /// A denoiser of an autoencoder's latents, or of pixels, with or without a condition.
    Stage2(Stage2Config),
}

/// What a task is built on.
#[derive(Debug, Clone)]
pub struct TaskContext {
    /// Where to compute; records gradients.
    pub device: Device,
    /// More devices like it, for other parts of a step at the same time.
    pub more_devices: Vec<Device>,
    /// How its networks are trained.
    pub learner: LearnerSettings,
    /// What the first weights are drawn from.
    pub seed: u64,
    /// The larger side of the pictures in pixels, where the settings state one.
    pub side: Option<usize>,
}

impl ModelConfig {
    /// The task, with first weights.
    ///
    /// # Errors
    /// A network that cannot be built, a file that cannot be read.
    pub fn build(&self, context: &TaskContext) -> Result<Box<dyn Task>, Error> {
        Ok(match self {
            Self::Stage1(config) => Box::new(Stage1::new(config, context)?),
            Self::Stage2(config) => Box::new(Stage2::new(config, context)?),
        })
    }

    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Stage1(config) => config.validate(),
            Self::Stage2(config) => config.validate(),
        }
    }

    /// Columns of the data's table that are of use beside the usual ones.
    pub(crate) fn columns(&self) -> &[String] {
        match self {
            Self::Stage2(Stage2Config {
                contrast: Some(contrast),
                ..
            }) => &contrast.same,
            _ => &[],
        }
    }

    /// Puts `folder` before relative paths.
    pub(crate) fn relative_to(&mut self, folder: &Path) {
        match self {
            Self::Stage1(config) => config.relative_to(folder),
            Self::Stage2(config) => config.relative_to(folder),
        }
    }
}
