//! Guidance: the scale, what bounds it, and kinds that act beside it.

use std::fmt;
use std::str::FromStr;

use latent_models::unet::{MIDDLE, SPOTS, Spot};
use serde::{Deserialize, Serialize};

use super::validate::number;
use super::{DynamicThresholding, RequestError};

/// How strongly, and by what, the picture is pulled towards the prompt. Each kind beside the scale acts where it is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuidanceOptions {
    /// The s of `e_u + s (e_c − e_u)`, 0 to 1000; 1 is no guidance. Default 7.
    pub scale: f64,
    /// How much of the guided prediction's standard deviation is pulled back to the conditional's, 0 to 1. Default 0.
    pub rescale: f64,
    /// Guide only in this part of the run: two fractions of the steps, 0 ≤ from ≤ to ≤ 1.
    pub interval: Option<[f64; 2]>,
    /// Bound the guided prediction as at a smaller scale.
    pub threshold: Option<DynamicThresholding>,
    /// Away from what the network draws when pixels attend to themselves alone.
    pub pag: Option<PerturbedAttention>,
    /// Away from what the network draws where what it looks at is blurred.
    pub sag: Option<SelfAttention>,
    /// The share of the negative prompt, 0 to 100, of which only what is perpendicular to the prompt counts.
    pub perp_neg: Option<f64>,
    /// Away from what the network draws without some of its attention blocks.
    pub skip_layers: Option<SkipLayers>,
    /// What counts more and less on the network's way up.
    pub freeu: Option<FreeUFactors>,
}

impl Default for GuidanceOptions {
    fn default() -> Self {
        Self {
            scale: 7.0,
            rescale: 0.0,
            interval: None,
            threshold: None,
            pag: None,
            sag: None,
            perp_neg: None,
            skip_layers: None,
            freeu: None,
        }
    }
}

/// Perturbed-attention guidance (2403.17377).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PerturbedAttention {
    /// 0 to 100. Default 3.
    pub scale: f64,
    /// Where attention is perturbed. Default `mid`.
    pub layers: Layers,
}

impl Default for PerturbedAttention {
    fn default() -> Self {
        Self {
            scale: 3.0,
            layers: Layers(vec![MIDDLE]),
        }
    }
}

/// Self-attention guidance (2210.00939).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelfAttention {
    /// 0 to 100. Default 0.75.
    pub scale: f64,
    /// Standard deviation of the blur in pixels of the latent, 0.01 to 10. Default 1.
    pub blur: f64,
}

impl Default for SelfAttention {
    fn default() -> Self {
        Self {
            scale: 0.75,
            blur: 1.0,
        }
    }
}

/// Skip-layer guidance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SkipLayers {
    /// 0 to 100. Default 2.8.
    pub scale: f64,
    /// Which attention blocks are left out. Default `mid`.
    pub layers: Layers,
    /// From this fraction of the run, 0 to 1. Default 0.01.
    pub start: f64,
    /// To this fraction. Default 0.2.
    pub end: f64,
}

impl Default for SkipLayers {
    fn default() -> Self {
        Self {
            scale: 2.8,
            layers: Layers(vec![MIDDLE]),
            start: 0.01,
            end: 0.2,
        }
    }
}

/// FreeU (2309.11497): factors on what comes from below and on the lowest frequencies of what was kept, each of two stages of
/// the way up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreeUFactors {
    /// On what comes from below, 0 to 10. `None`: 1.5 and 1.6; with SDXL 1.1 and 1.2.
    pub b: Option<[f64; 2]>,
    /// On the lowest frequencies of what was kept, 0 to 10. `None`: 0.9 and 0.2; with SDXL 0.6 and 0.4.
    pub s: Option<[f64; 2]>,
}

/// Attention blocks of a U-Net, written `mid,down.2,up.1.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers(pub Vec<Spot>);

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Spot::to_string).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Layers {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let spots = text.split(',').map(str::parse);
        let spots: Result<Vec<Spot>, _> = spots.collect();
        let expected = || format!("attention blocks, divided by commas: {SPOTS}");
        spots
            .map(Self)
            .map_err(|_| RequestError::range("layers", text, expected()))
    }
}

impl Serialize for Layers {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Layers {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl GuidanceOptions {
    pub(super) fn validate(&self) -> Result<(), RequestError> {
        number("guidance.scale", self.scale, 0.0, 1000.0)?;
        number("guidance.rescale", self.rescale, 0.0, 1.0)?;
        if let Some([from, to]) = self.interval {
            number("guidance.interval (from)", from, 0.0, 1.0)?;
            number("guidance.interval (to)", to, from, 1.0)?;
        }
        if let Some(threshold) = self.threshold {
            number(
                "guidance.threshold.percentile",
                threshold.percentile,
                1e-3,
                1.0,
            )?;
            number("guidance.threshold.mimic", threshold.mimic, 1.0, 1000.0)?;
        }
        if let Some(pag) = &self.pag {
            number("guidance.pag.scale", pag.scale, 0.0, 100.0)?;
        }
        if let Some(sag) = self.sag {
            number("guidance.sag.scale", sag.scale, 0.0, 100.0)?;
            number("guidance.sag.blur", sag.blur, 0.01, 10.0)?;
        }
        if let Some(weight) = self.perp_neg {
            number("guidance.perp_neg", weight, 0.0, 100.0)?;
        }
        if let Some(freeu) = &self.freeu {
            for (field, factors) in [("guidance.freeu.b", freeu.b), ("guidance.freeu.s", freeu.s)] {
                for factor in factors.into_iter().flatten() {
                    number(field, factor, 0.0, 10.0)?;
                }
            }
        }
        if let Some(skip) = &self.skip_layers {
            number("guidance.skip_layers.scale", skip.scale, 0.0, 100.0)?;
            number("guidance.skip_layers.start", skip.start, 0.0, 1.0)?;
            let field = "guidance.skip_layers.end";
            if skip.start > skip.end && skip.end == SkipLayers::default().end {
                let expected = format!(
                    "a number from {}, where it starts, to 1: state it too",
                    skip.start
                );
                let value = format!("{} unless stated", skip.end);
                return Err(RequestError::range(field, value, expected));
            }
            number(field, skip.end, skip.start, 1.0)?;
        }
        Ok(())
    }
}
