//! Choices that a user names: the dialect and the rule for weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnknownName;

/// Whose prompt language a prompt is written in. The crate's documentation has the grammars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// AUTOMATIC1111/stable-diffusion-webui 1.10: weights, schedules, alternation, `AND`, `BREAK`, comments.
    #[default]
    A1111,
    /// ComfyUI: `(text)` and `(text:1.2)` only.
    ComfyUi,
    /// diffusers: plain text, cut after 75 tokens.
    Diffusers,
}

impl Dialect {
    /// The rule by which this program lets weights act.
    pub fn weight_rule(self) -> WeightRule {
        match self {
            Self::A1111 => WeightRule::MeanRestoring,
            Self::ComfyUi => WeightRule::InterpolateFromEmpty,
            Self::Diffusers => WeightRule::None,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A1111 => "a1111",
            Self::ComfyUi => "comfyui",
            Self::Diffusers => "diffusers",
        })
    }
}

impl FromStr for Dialect {
    type Err = UnknownName;

    /// Reads a dialect's name in any case.
    fn from_str(given: &str) -> Result<Self, UnknownName> {
        match given.to_ascii_lowercase().as_str() {
            "a1111" | "automatic1111" => Ok(Self::A1111),
            "comfyui" | "comfy" => Ok(Self::ComfyUi),
            "diffusers" => Ok(Self::Diffusers),
            _ => Err(UnknownName {
                what: "prompt language",
                given: given.to_owned(),
                expected: "a1111, comfyui, diffusers",
            }),
        }
    }
}

/// How the weights of a [`Chunk`](crate::Chunk) act on what the text encoder makes of its ids.
///
/// Below, z is the encoder's output for the chunk, `[77, width]` (after clip skip and the final layer norm), zᵢ its row
/// for token i and wᵢ the token's weight. The arithmetic is done where there are tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightRule {
    /// A1111's "Original": z′ᵢ = wᵢ · zᵢ, then z″ = z′ · mean(z) / mean(z′). The means run over all 77 · width numbers,
    /// of one chunk at a time; A1111 takes them over the batch, which for one prompt is the same. Done for every chunk,
    /// where all weights are 1 it changes nothing but rounding.
    ///
    /// Source: [A1111 `sd_emphasis.py`](https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_emphasis.py).
    #[default]
    MeanRestoring,
    /// ComfyUI's: z′ᵢ = eᵢ + wᵢ · (zᵢ − eᵢ), where e is the encoding of the empty prompt (one [`BOS`](crate::BOS), then
    /// [`EOS`](crate::EOS)), row by row. Rows of weight 1 are left as they are, to the bit.
    ///
    /// Source: [ComfyUI `sd1_clip.py`](https://github.com/Comfy-Org/ComfyUI/blob/4bd7a4004ab8bf0e516222036dc97733ddf3aa74/comfy/sd1_clip.py).
    InterpolateFromEmpty,
    /// Weights are read and dropped: z′ = z. A1111 calls it "Ignore".
    None,
}

impl fmt::Display for WeightRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MeanRestoring => "mean-restoring",
            Self::InterpolateFromEmpty => "interpolate-from-empty",
            Self::None => "none",
        })
    }
}

impl FromStr for WeightRule {
    type Err = UnknownName;

    /// Reads a rule's name, or the name of the program whose rule it is, in any case.
    fn from_str(given: &str) -> Result<Self, UnknownName> {
        match given.to_ascii_lowercase().as_str() {
            "mean-restoring" | "a1111" | "original" => Ok(Self::MeanRestoring),
            "interpolate-from-empty" | "comfyui" => Ok(Self::InterpolateFromEmpty),
            "none" | "ignore" => Ok(Self::None),
            _ => Err(UnknownName {
                what: "weight rule",
                given: given.to_owned(),
                expected: "mean-restoring (a1111), interpolate-from-empty (comfyui), none",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for dialect in [Dialect::A1111, Dialect::ComfyUi, Dialect::Diffusers] {
            assert_eq!(dialect.to_string().parse(), Ok(dialect));
            let json = serde_json::to_string(&dialect).unwrap();
            assert_eq!(json, format!("\"{dialect}\""));
        }
        let rules = [
            WeightRule::MeanRestoring,
            WeightRule::InterpolateFromEmpty,
            WeightRule::None,
        ];
        for rule in rules {
            assert_eq!(rule.to_string().parse(), Ok(rule));
            let json = serde_json::to_string(&rule).unwrap();
            assert_eq!(json, format!("\"{rule}\""));
        }
        assert_eq!("ComfyUI".parse(), Ok(Dialect::ComfyUi));
        let error = "forge".parse::<Dialect>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown prompt language `forge`: expected one of a1111, comfyui, diffusers"
        );
        assert!("loud".parse::<WeightRule>().is_err());
    }
}
