//! Scales of weights that are stored in eight bits: numbers beside a weight by which it is multiplied, one for the whole or one
//! for each of its rows, which are its output channels.

use super::values::{stored, to_f32};
use super::{Assignment, cut};
use crate::file::{Dtype, TensorInfo, Weights};
use crate::report::{Misshapen, ModelError};

/// What the scale of `NAME.weight` is called after `NAME.`: by ComfyUI at first, and by it and others since.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// What is written after a weight's name to name its scales.
pub(crate) const ENDING: &str = "_scale";

/// The full name of the scale of a tensor of eight-bit numbers, where the file has one.
pub(super) fn of(weights: &Weights, info: &TensorInfo) -> Option<String> {
    if !matches!(info.dtype, Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::I8) {
        return None;
    }
    let layer = info.name.strip_suffix("weight")?;
    let names = SCALES.iter().map(|scale| format!("{layer}{scale}"));
    names.into_iter().find(|name| weights.get(name).is_some())
}

/// What is wrong with the shape of the scale `name` of a weight that is stored in that shape.
pub(super) fn misshapen(weights: &Weights, name: &str, weight: &[usize]) -> Option<Misshapen> {
    let rows = weight.first().copied().unwrap_or(1);
    let info = weights.get(name)?;
    let fits = [1, rows].contains(&info.elements());
    (!fits).then(|| Misshapen {
        tensor: name.to_owned(),
        expected: vec![rows],
        found: info.shape.clone(),
    })
}

/// The values of a parameter that has a scale, as f32; `None` where it has none.
///
/// # Errors
/// A scale that is not finite.
pub(crate) fn applied(
    bytes: &[u8],
    info: &TensorInfo,
    assignment: &Assignment,
    weights: &Weights,
) -> Result<Option<(Vec<u8>, TensorInfo)>, ModelError> {
    let Some(name) = &assignment.scale else {
        return Ok(None);
    };
    let kept = stored(weights, name)?;
    let mut scales = weights.bytes(name)?;
    if kept.elements() > 1 {
        // Stacked weights have their scales stacked.
        let rows = assignment.shape.get(..1).unwrap_or_default();
        scales = cut(scales, assignment.piece, rows);
    }
    let scales = to_f32(&scales, kept.dtype).unwrap_or_default();
    if let Some(element) = scales.iter().position(|scale| !scale.is_finite()) {
        return Err(ModelError::NotFinite {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(name),
            element,
            value: scales[element],
        });
    }
    let values = to_f32(bytes, info.dtype).unwrap_or_default();
    let row = values.len() / scales.len().max(1);
    let rows = values.chunks(row.max(1)).zip(&scales);
    let scaled =
        rows.flat_map(|(row, scale)| row.iter().flat_map(move |v| (v * scale).to_le_bytes()));
    let info = TensorInfo {
        dtype: Dtype::F32,
        ..info.clone()
    };
    Ok(Some((scaled.collect(), info)))
}
