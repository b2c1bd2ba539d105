//! Pictures that a model looks at beside the prompt.

use serde::{Deserialize, Serialize};

use super::Name;

/// A picture that a model looks at beside the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePrompt {
    /// The picture.
    pub image: Name,
    /// The factor on its embedding, −10 to 10. Default 1.
    #[serde(default = "whole")]
    pub strength: f64,
}

const fn whole() -> f64 {
    1.0
}

impl From<Name> for ImagePrompt {
    fn from(image: Name) -> Self {
        Self {
            image,
            strength: whole(),
        }
    }
}
