//! Pictures that a model looks at beside the prompt.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A picture that a model looks at beside the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePrompt {
    /// The picture.
    #[serde(with = "super::paths::one")]
    pub image: PathBuf,
    /// The factor on its embedding, −10 to 10. Default 1.
    #[serde(default = "whole")]
    pub strength: f64,
}

const fn whole() -> f64 {
    1.0
}

impl From<PathBuf> for ImagePrompt {
    fn from(image: PathBuf) -> Self {
        Self {
            image,
            strength: whole(),
        }
    }
}
