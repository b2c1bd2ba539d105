//! Differences of weights, added as they are: what LyCORIS calls "full".

use std::collections::HashSet;
use std::path::Path;

use super::{Patch, Target, Targets};
use crate::file::{TensorFile, TensorInfo, Weights};
use crate::load::{check_finite, fits, stored, to_f32};
use crate::report::{Mismatch, Misshapen, ModelError};

/// The differences of a layer's parameters after the layer's name, by the parameter: of linear layers and convolutions, and
/// of normalisations.
const ENDINGS: [(&str, [&str; 2]); 2] = [
    ("weight", [".diff", ".w_norm"]),
    ("bias", [".diff_b", ".b_norm"]),
];
/// Written beside them by some programs and read by none: a difference has no scale of its own.
const WITHOUT_EFFECT: &str = ".alpha";

/// A file of differences of weights, W' = W + s·ΔW, in kohya's or ComfyUI's names: `lora_unet_….diff` and `….diff_b` of linear
/// layers and convolutions, `….w_norm` and `….b_norm` of normalisations.
#[derive(Debug)]
pub struct Difference {
    weights: Weights,
    strength: f32,
}

impl Difference {
    /// Opens a file (safetensors or torch); its differences are multiplied by `strength`.
    ///
    /// # Errors
    /// A file that cannot be read or holds nothing, or a strength that is not finite.
    pub fn open(path: &Path, strength: f64) -> Result<Self, ModelError> {
        let weights = Weights::from(TensorFile::open(path)?);
        let refused = |problem| ModelError::Request {
            path: path.to_owned(),
            problem,
        };
        if weights.tensors().is_empty() {
            return Err(refused("it holds no tensors".to_owned()));
        }
        if !strength.is_finite() {
            let problem = format!("its strength is {strength}; it must be a number");
            return Err(refused(problem));
        }
        Ok(Self {
            weights,
            strength: strength as f32,
        })
    }

    /// The difference for a parameter.
    fn of(&self, target: &Target<'_>) -> Option<&TensorInfo> {
        let (layers, kind) = target.layer();
        let (_, endings) = ENDINGS.iter().find(|(name, _)| *name == kind)?;
        let names = layers
            .iter()
            .flat_map(|layer| endings.map(|ending| format!("{layer}{ending}")));
        names.into_iter().find_map(|name| self.weights.get(&name))
    }
}

impl Patch for Difference {
    fn changes(&self, target: &Target<'_>) -> Result<bool, ModelError> {
        let Some(info) = self.of(target) else {
            return Ok(false);
        };
        stored(&self.weights, &info.name)?;
        match fits(&info.shape, target.shape) {
            true => Ok(true),
            false => Err(Box::new(Mismatch {
                path: self.weights.path().to_owned(),
                part: Some(target.role()),
                misshapen: vec![Misshapen {
                    tensor: info.name.clone(),
                    expected: target.shape.to_vec(),
                    found: info.shape.clone(),
                }],
                ..Mismatch::default()
            })
            .into()),
        }
    }

    fn apply(&self, target: &Target<'_>, values: &mut [f32]) -> Result<(), ModelError> {
        let Some(info) = self.of(target) else {
            return Ok(());
        };
        {
            let bytes = self.weights.bytes(&info.name)?;
            check_finite(&bytes, info, &self.weights)?;
            let difference = to_f32(&bytes, info.dtype).unwrap_or_default();
            for (value, change) in values.iter_mut().zip(difference) {
                *value += self.strength * change;
            }
        }
        self.weights.release(&info.name);
        Ok(())
    }

    fn unused(&self, networks: &[Targets]) -> Result<Vec<String>, ModelError> {
        let mut used = HashSet::new();
        for target in networks.iter().flat_map(Targets::all) {
            if self.changes(&target)? {
                used.extend(self.of(&target).map(|info| info.name.as_str()));
            }
        }
        let idle = |name: &str| {
            let layer = name.strip_suffix(WITHOUT_EFFECT);
            let endings = ENDINGS.iter().flat_map(|(_, endings)| endings);
            let mut beside = layer.into_iter().flat_map(|layer| {
                endings
                    .clone()
                    .map(move |ending| format!("{layer}{ending}"))
            });
            beside.any(|name| used.contains(name.as_str()))
        };
        let names = self.weights.tensors().iter().map(|info| info.name.as_str());
        let unused = names.filter(|name| !used.contains(name) && !idle(name));
        Ok(unused.map(crate::error::shown).collect())
    }
}
