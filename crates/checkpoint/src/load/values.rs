//! Stored bytes to numbers: the conversions between types, and the checks on the way.

use std::path::Path;

use burn::tensor::{DType, TensorData};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::float8::{E4M3, E5M2, Float8};
use super::scale;
use crate::file::{Dtype, TensorInfo, Weights};
use crate::report::ModelError;

/// What is known of a weight, which must be of a floating-point type that is read here, or of whole numbers with a scale.
pub(crate) fn stored<'a>(weights: &'a Weights, name: &str) -> Result<&'a TensorInfo, ModelError> {
    let info = weights
        .get(name)
        .ok_or_else(|| crate::Error::MissingTensor {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(name),
        })?;
    match info.dtype {
        dtype if dtype.is_float() => Ok(info),
        Dtype::I8 if scale::of(weights, info).is_some() => Ok(info),
        dtype => Err(ModelError::StoredType {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(name),
            dtype: match dtype {
                Dtype::I8 => "I8 without a scale",
                dtype => dtype.name(),
            },
        }),
    }
}

/// Every element of `bytes` as f32, then as the type that `store` makes. Empty for a type that is no weight.
pub(super) fn convert<T>(bytes: &[u8], dtype: Dtype, store: impl Fn(f32) -> T) -> Vec<T> {
    fn each<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&b| value(b)).collect()
    }
    match dtype {
        Dtype::F32 => each(bytes, |b| store(f32::from_le_bytes(b))),
        Dtype::F16 => of_halves(bytes, store),
        Dtype::BF16 => each(bytes, |b| store(bf16::from_le_bytes(b).to_f32())),
        Dtype::F64 => each(bytes, |b| store(f64::from_le_bytes(b) as f32)),
        Dtype::F8E4M3 => each_of(bytes, E4M3, store),
        Dtype::F8E5M2 => each_of(bytes, E5M2, store),
        Dtype::I8 => each(bytes, |b| store(f32::from(i8::from_le_bytes(b)))),
        _ => Vec::new(),
    }
}

/// The same of f16, block by block: the CPU's instructions convert many at once.
fn of_halves<T>(bytes: &[u8], store: impl Fn(f32) -> T) -> Vec<T> {
    const BLOCK: usize = 1024;
    let mut stored = Vec::with_capacity(bytes.len() / 2);
    let (mut halves, mut values) = ([f16::ZERO; BLOCK], [0f32; BLOCK]);
    for block in bytes.as_chunks().0.chunks(BLOCK) {
        let (halves, values) = (&mut halves[..block.len()], &mut values[..block.len()]);
        for (half, bytes) in halves.iter_mut().zip(block) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(values);
        stored.extend(values.iter().map(|value| store(*value)));
    }
    stored
}

/// The bytes of numbers, one after the other.
pub(crate) fn bytes_of<const N: usize, T>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    let each: Vec<[u8; N]> = values.iter().map(bytes).collect();
    each.into_flattened()
}

fn each_of<T>(bytes: &[u8], float: Float8, store: impl Fn(f32) -> T) -> Vec<T> {
    let values = float.values();
    bytes
        .iter()
        .map(|&b| store(values[usize::from(b)]))
        .collect()
}

/// Values as f32, whole numbers without their scale; `None` for a type that is no weight.
pub(crate) fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let weight = dtype.is_float() || dtype == Dtype::I8;
    weight.then(|| convert(bytes, dtype, |value| value))
}

/// Numbers of a parameter as `dtype`.
pub(super) fn of_numbers(
    values: Vec<f32>,
    (info, weights): (&TensorInfo, &Weights),
    dtype: DType,
    shape: Vec<usize>,
) -> Result<TensorData, ModelError> {
    Ok(match dtype {
        DType::F16 => {
            let stored: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
            let large = |i: &usize| stored[*i].is_infinite() && values[*i].is_finite();
            if let Some(element) = (0..values.len()).find(large) {
                return Err(ModelError::Overflow {
                    path: weights.path().to_owned(),
                    tensor: crate::error::shown(&info.name),
                    element,
                    value: values[element],
                    dtype: "f16",
                });
            }
            TensorData::new(stored, shape)
        }
        DType::BF16 => {
            let stored: Vec<bf16> = values.iter().map(|v| bf16::from_f32(*v)).collect();
            TensorData::new(stored, shape)
        }
        _ => TensorData::new(values, shape),
    })
}

/// `bytes` stored as `dtype` instead: F32, F16, BF16 or a type of eight bits.
pub(crate) fn recast(
    bytes: &[u8],
    info: &TensorInfo,
    dtype: Dtype,
    weights: &Weights,
) -> Result<Vec<u8>, ModelError> {
    match dtype {
        Dtype::F16 => {
            let values: Vec<f16> = convert(bytes, info.dtype, f16::from_f32);
            if values.iter().any(|v| v.is_infinite()) {
                overflow(bytes, info, weights, "f16", |i| values[i].is_infinite())?;
            }
            Ok(bytes_of(&values, |v| v.to_le_bytes()))
        }
        Dtype::BF16 => {
            let values = convert(bytes, info.dtype, bf16::from_f32);
            Ok(bytes_of(&values, |v| v.to_le_bytes()))
        }
        Dtype::F32 => {
            let values = convert(bytes, info.dtype, |v| v);
            Ok(bytes_of(&values, |v| v.to_le_bytes()))
        }
        Dtype::F8E4M3 => narrow(bytes, info, weights, E4M3, "float8 E4M3"),
        Dtype::F8E5M2 => narrow(bytes, info, weights, E5M2, "float8 E5M2"),
        dtype => Err(ModelError::StoredType {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(&info.name),
            dtype: dtype.name(),
        }),
    }
}

/// Numbers stored as the type of `info`: F32, F16 or BF16. `path` is the file that they are for.
pub(crate) fn recast_numbers(
    values: &[f32],
    info: &TensorInfo,
    path: &Path,
) -> Result<Vec<u8>, ModelError> {
    let large = |v: &&f32| info.dtype == Dtype::F16 && f16::from_f32(**v).is_infinite();
    if let Some(element) = values.iter().position(|v| large(&v)) {
        return Err(ModelError::Overflow {
            path: path.to_owned(),
            tensor: crate::error::shown(&info.name),
            element,
            value: values[element],
            dtype: "f16",
        });
    }
    Ok(match info.dtype {
        Dtype::F16 => bytes_of(values, |v| f16::from_f32(*v).to_le_bytes()),
        Dtype::BF16 => bytes_of(values, |v| bf16::from_f32(*v).to_le_bytes()),
        _ => bytes_of(values, |v| v.to_le_bytes()),
    })
}

fn narrow(
    bytes: &[u8],
    info: &TensorInfo,
    weights: &Weights,
    float: Float8,
    name: &'static str,
) -> Result<Vec<u8>, ModelError> {
    let values = convert(bytes, info.dtype, |value| float.nearest(value));
    if values.contains(&None) {
        overflow(bytes, info, weights, name, |i| values[i].is_none())?;
    }
    Ok(values.into_iter().flatten().collect())
}

/// The first element that `bad` points at, with its value.
fn first(bytes: &[u8], dtype: Dtype, bad: impl Fn(usize, f32) -> bool) -> Option<(usize, f32)> {
    let size = dtype.size();
    let values = bytes.chunks_exact(size).enumerate();
    let mut values = values.map(|(i, b)| (i, convert(b, dtype, |v| v).first().copied()));
    values.find_map(|(i, value)| value.filter(|&v| bad(i, v)).map(|v| (i, v)))
}

pub(crate) fn check_finite(
    bytes: &[u8],
    info: &TensorInfo,
    weights: &Weights,
) -> Result<(), ModelError> {
    // The exponent's bits are all ones in what is not finite; looking at them is one pass without conversion.
    let finite = match info.dtype {
        Dtype::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .all(|&b| u32::from_le_bytes(b) & 0x7F80_0000 != 0x7F80_0000),
        Dtype::F16 => bytes
            .as_chunks()
            .0
            .iter()
            .all(|&b| u16::from_le_bytes(b) & 0x7C00 != 0x7C00),
        Dtype::BF16 => bytes
            .as_chunks()
            .0
            .iter()
            .all(|&b| u16::from_le_bytes(b) & 0x7F80 != 0x7F80),
        Dtype::F8E4M3 => bytes.iter().all(|&b| b & 0x7F != 0x7F),
        Dtype::F8E5M2 => bytes.iter().all(|&b| b & 0x7C != 0x7C),
        Dtype::I8 => true,
        _ => first(bytes, info.dtype, |_, v| !v.is_finite()).is_none(),
    };
    if finite {
        return Ok(());
    }
    match first(bytes, info.dtype, |_, value| !value.is_finite()) {
        None => Ok(()),
        Some((element, value)) => Err(ModelError::NotFinite {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(&info.name),
            element,
            value,
        }),
    }
}

/// Refuses values that were finite and are not any more.
pub(super) fn overflow(
    bytes: &[u8],
    info: &TensorInfo,
    weights: &Weights,
    dtype: &'static str,
    infinite: impl Fn(usize) -> bool,
) -> Result<(), ModelError> {
    match first(bytes, info.dtype, |i, value| {
        value.is_finite() && infinite(i)
    }) {
        None => Ok(()),
        Some((element, value)) => Err(ModelError::Overflow {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(&info.name),
            element,
            value,
            dtype,
        }),
    }
}
