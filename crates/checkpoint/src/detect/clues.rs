//! What a single file lets be told: by its tensors, its metadata, a file beside it.

use std::collections::BTreeMap;

use super::folder::ZEROS;
use super::open::SIDE;
use crate::file::{TensorInfo, Weights};
use crate::names::averaged::dotted;
use crate::networks::{DetectError, Found, KINDS, Network, Shapes};
use crate::report::ModelError;

/// What the names of a U-Net's tensors begin with in files of the original code.
const ORIGINAL_PREFIX: &str = "model.diffusion_model.";

fn pairs(tensors: &[TensorInfo]) -> impl Iterator<Item = (&str, &[usize])> {
    tensors
        .iter()
        .map(|info| (info.name.as_str(), info.shape.as_slice()))
}

/// Names and shapes that the U-Net's tensors would have in a file that holds their moving average alone; none in other files.
pub(super) fn averaged_alone(weights: &Weights) -> BTreeMap<String, Vec<usize>> {
    let tensors = weights.tensors();
    if tensors
        .iter()
        .any(|info| info.name.starts_with(ORIGINAL_PREFIX))
    {
        return BTreeMap::new();
    }
    let named = tensors.iter().filter_map(|info| {
        let name = dotted(&info.name)?;
        Some((format!("{ORIGINAL_PREFIX}{name}"), info.shape.clone()))
    });
    named.collect()
}

/// The configuration of one network of a single file: as stated in the metadata, else from its tensors.
pub(super) fn config_of(
    weights: &Weights,
    averaged: &BTreeMap<String, Vec<usize>>,
    metadata: &BTreeMap<String, String>,
    found: &Found,
) -> Result<Network, DetectError> {
    let kind = &KINDS[found.kind];
    let key = found.role.metadata_key();
    let Some(text) = metadata.get(&key) else {
        let averaged = averaged.iter();
        let averaged = averaged.map(|(name, shape)| (name.as_str(), shape.as_slice()));
        let shapes = Shapes::new(pairs(weights.tensors()).chain(averaged), found.prefix);
        return kind.detect(&shapes, found.scheme);
    };
    let settings = |problem: String| DetectError::Settings {
        what: "the metadata",
        problem: format!("`{key}`: {problem}"),
    };
    let config: Network = serde_json::from_str(text).map_err(|e| settings(e.to_string()))?;
    if *kind != config {
        return Err(settings("it describes another network".into()));
    }
    config.check()?;
    Ok(config)
}

/// The values of a small tensor of numbers, if it is there.
pub(super) fn numbers(weights: &Weights, name: &str) -> Result<Option<Vec<f64>>, ModelError> {
    let Some(info) = weights.get(name).filter(|info| info.dtype.is_float()) else {
        return Ok(None);
    };
    if info.elements() > 100_000 {
        return Ok(None);
    }
    let bytes = weights.bytes(name)?;
    // The shortest decimal that is this f32 is the number that was written.
    let written = |value: f32| value.to_string().parse().unwrap_or(f64::from(value));
    Ok(crate::load::to_f32(&bytes, info.dtype)
        .map(|values| values.into_iter().map(written).collect()))
}

/// Mean and deviation of each channel of the latents, where a file carries them.
pub(super) fn moments(weights: &Weights) -> Result<Vec<(f64, f64)>, ModelError> {
    let (means, deviations) = (numbers(weights, "edm_mean")?, numbers(weights, "edm_std")?);
    let pairs = means
        .into_iter()
        .flatten()
        .zip(deviations.into_iter().flatten());
    Ok(pairs.collect())
}

/// The side of the latent square that a file's metadata states.
pub(super) fn side(metadata: &BTreeMap<String, String>) -> Result<Option<usize>, DetectError> {
    let side = metadata.get(SIDE).map(|text| {
        let side = text.parse().ok().filter(|side| *side > 0);
        side.ok_or_else(|| DetectError::Key {
            what: "the metadata",
            key: SIDE.to_owned(),
            value: crate::error::shown(text),
            expected: "a whole number, at least 1".to_owned(),
        })
    });
    side.transpose()
}

/// Whether an empty negative prompt is zeros, where a file's metadata says it.
pub(super) fn zeros(metadata: &BTreeMap<String, String>) -> Result<Option<bool>, DetectError> {
    let key = format!("latent.{ZEROS}");
    let stated = metadata.get(&key).map(|text| {
        text.parse().map_err(|_| DetectError::Key {
            what: "the metadata",
            key,
            value: crate::error::shown(text),
            expected: "true or false".to_owned(),
        })
    });
    stated.transpose()
}
