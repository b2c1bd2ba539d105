//! Hypernetworks, by name.

use serde::{Deserialize, Serialize};

use super::validate::number;
use super::{Name, RequestError};

/// The largest strength either way.
const STRONGEST: f64 = 100.0;

/// A hypernetwork, and how strongly it acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsedHypernetwork {
    /// The file.
    pub name: Name,
    /// The factor on what it adds, −100 to 100. Default 1.
    #[serde(default = "full")]
    pub strength: f64,
}

const fn full() -> f64 {
    1.0
}

impl From<Name> for UsedHypernetwork {
    fn from(name: Name) -> Self {
        Self {
            name,
            strength: full(),
        }
    }
}

impl UsedHypernetwork {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn validate(&self) -> Result<(), RequestError> {
        if self.name.as_os_str().is_empty() {
            let expected = "the name of a hypernetwork, or its file";
            return Err(RequestError::range("hypernetworks.name", "empty", expected));
        }
        number(
            "hypernetworks.strength",
            self.strength,
            -STRONGEST,
            STRONGEST,
        )
    }
}
