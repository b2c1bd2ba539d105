//! Adapters that change weights, by name.

use serde::{Deserialize, Serialize};

use latent_checkpoint::adapter::BlockWeights;

use super::validate::{number, whole};
use super::{Name, RequestError};

/// The largest strength either way: sliders are used far beyond 1.
const STRONGEST: f64 = 100.0;

/// A LoRA or one of its kin, and how strongly it acts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// The file or folder.
    pub name: Name,
    /// On the denoiser, −100 to 100. Default 1.
    #[serde(default = "full")]
    pub strength: f64,
    /// On the text encoders; `None`: as on the denoiser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_strength: Option<f64>,
    /// Factors on both, block by block: 17 or 26 for Stable Diffusion 1.x and 2.x, 12 or 20 for SDXL, the first of them the text
    /// encoders'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<f64>>,
    /// Only so many of its ranks, the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<usize>,
    /// The call of the denoiser at which it begins to act there, counted from 0 in each pass. Default 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub start: usize,
    /// The call from which it no longer acts there. `None`: it acts to the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<usize>,
}

const fn is_first(call: &usize) -> bool {
    *call == 0
}

const fn full() -> f64 {
    1.0
}

impl From<Name> for Lora {
    fn from(name: Name) -> Self {
        Self {
            name,
            strength: full(),
            text_strength: None,
            blocks: None,
            ranks: None,
            start: 0,
            stop: None,
        }
    }
}

impl Lora {
    /// Whether every field is in its range.
    ///
    /// # Errors
    /// The first that is not.
    pub fn validate(&self) -> Result<(), RequestError> {
        if self.name.as_os_str().is_empty() {
            let expected = "the name of a LoRA, or its file";
            return Err(RequestError::range("loras.name", "empty", expected));
        }
        number("loras.strength", self.strength, -STRONGEST, STRONGEST)?;
        let text = self.text_strength.unwrap_or_default();
        number("loras.text_strength", text, -STRONGEST, STRONGEST)?;
        if let Some(blocks) = &self.blocks {
            let checked = BlockWeights::new(blocks.clone());
            checked.map_err(|expected| {
                RequestError::range("loras.blocks", format!("{blocks:?}"), expected)
            })?;
        }
        whole("loras.ranks", self.ranks.unwrap_or(1), 1, usize::MAX)?;
        match self.stop {
            Some(stop) if stop <= self.start => Err(RequestError::range(
                "loras.stop",
                stop,
                format!("a call behind the one at which it begins, {}", self.start),
            )),
            _ => Ok(()),
        }
    }
}
