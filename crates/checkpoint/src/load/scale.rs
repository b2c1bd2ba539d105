//! Scales of weights that are stored in eight bits: a number beside a weight by which it is multiplied.

use super::Assignment;
use super::values::{stored, to_f32};
use crate::file::{Dtype, TensorInfo, Weights};
use crate::report::ModelError;

/// What the scale of `NAME.weight` is called after `NAME.`: by ComfyUI at first, and by it and others since.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// The full name of the scale of a tensor of eight-bit numbers, where the file has one.
pub(super) fn of(weights: &Weights, info: &TensorInfo) -> Option<String> {
    if !matches!(info.dtype, Dtype::F8E4M3 | Dtype::F8E5M2) {
        return None;
    }
    let layer = info.name.strip_suffix("weight")?;
    let names = SCALES.iter().map(|scale| format!("{layer}{scale}"));
    names.into_iter().find(|name| weights.get(name).is_some())
}

/// The values of a parameter that has a scale, as f32; `None` where it has none.
///
/// # Errors
/// A scale that is not one finite number.
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
    let scale = to_f32(&weights.bytes(name)?, kept.dtype).unwrap_or_default();
    let &[scale] = scale.as_slice() else {
        return Err(ModelError::Request {
            path: weights.path().to_owned(),
            problem: format!(
                "`{}` has shape {:?}; one scale for a whole weight is read, not one for each of its rows",
                crate::error::shown(name),
                kept.shape
            ),
        });
    };
    if !scale.is_finite() {
        return Err(ModelError::NotFinite {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(name),
            element: 0,
            value: scale,
        });
    }
    let values = to_f32(bytes, info.dtype).unwrap_or_default();
    let scaled = values.iter().flat_map(|v| (v * scale).to_le_bytes());
    let info = TensorInfo {
        dtype: Dtype::F32,
        ..info.clone()
    };
    Ok(Some((scaled.collect(), info)))
}
