//! Stored bytes to numbers: the conversions between types, and the checks on the way.

use std::path::Path;

use burn::tensor::{DType, TensorData};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

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

/// Numbers that are converted at once.
const BLOCK: usize = 1024;
/// Bytes that are one thread's share of a long tensor.
const SHARE: usize = 1 << 18;

/// Every element of `bytes` as f32, then as the type that `store` makes. Empty for a type that is no weight.
pub(super) fn convert<T: Copy + Default + Send>(
    bytes: &[u8],
    dtype: Dtype,
    store: impl Fn(f32) -> T + Sync,
) -> Vec<T> {
    let by_table = |float: Float8| {
        let values = float.values();
        each(bytes, |[b]: [u8; 1]| store(values[usize::from(b)]))
    };
    match dtype {
        Dtype::F32 => each(bytes, |b| store(f32::from_le_bytes(b))),
        Dtype::F16 => blocks(bytes, |halves, stored| of_halves(halves, stored, &store)),
        Dtype::BF16 => each(bytes, |b| store(bf16::from_le_bytes(b).to_f32())),
        Dtype::F64 => each(bytes, |b| store(f64::from_le_bytes(b) as f32)),
        Dtype::F8E4M3 => by_table(E4M3),
        Dtype::F8E5M2 => by_table(E5M2),
        Dtype::I8 => each(bytes, |b| store(f32::from(i8::from_le_bytes(b)))),
        _ => Vec::new(),
    }
}

/// What `value` makes of each number of `N` bytes.
fn each<const N: usize, T: Copy + Default + Send>(
    bytes: &[u8],
    value: impl Fn([u8; N]) -> T + Sync,
) -> Vec<T> {
    blocks(bytes, |numbers: &[[u8; N]], stored| {
        for (number, stored) in numbers.iter().zip(stored) {
            *stored = value(*number);
        }
    })
}

/// What `block` makes of every [`BLOCK`] numbers of `N` bytes, long tensors on several threads.
fn blocks<const N: usize, T: Copy + Default + Send>(
    bytes: &[u8],
    block: impl Fn(&[[u8; N]], &mut [T]) + Sync,
) -> Vec<T> {
    let numbers = bytes.as_chunks::<N>().0;
    let (whole, rest) = numbers.as_chunks::<BLOCK>();
    let one = |numbers: &[[u8; N]; BLOCK]| {
        let mut stored = [T::default(); BLOCK];
        block(numbers, &mut stored);
        stored
    };
    let share = SHARE / (N * BLOCK);
    let stored = whole.par_iter().with_min_len(share.max(1)).map(one);
    let mut stored = stored.collect::<Vec<_>>().into_flattened();
    let last = stored.len();
    stored.resize(numbers.len(), T::default());
    block(rest, &mut stored[last..]);
    stored
}

/// The same of f16: the CPU's instructions convert many at once.
fn of_halves<T>(bytes: &[[u8; 2]], stored: &mut [T], store: &impl Fn(f32) -> T) {
    let (mut halves, mut values) = ([f16::ZERO; BLOCK], [0f32; BLOCK]);
    let (halves, values) = (&mut halves[..bytes.len()], &mut values[..bytes.len()]);
    for (half, bytes) in halves.iter_mut().zip(bytes) {
        *half = f16::from_le_bytes(*bytes);
    }
    halves.convert_to_f32_slice(values);
    for (stored, value) in stored.iter_mut().zip(values) {
        *stored = store(*value);
    }
}

/// Whether `good` holds for every number of `N` bytes.
fn all<const N: usize>(bytes: &[u8], good: impl Fn([u8; N]) -> bool + Sync) -> bool {
    let numbers = bytes.as_chunks::<N>().0;
    // Without a way out in the middle, so that many are looked at at once.
    let block = |numbers: &[[u8; N]]| numbers.iter().fold(true, |all, &b| all & good(b));
    numbers.par_chunks(SHARE / N).all(block)
}

/// The bytes of numbers, one after the other.
pub(crate) fn bytes_of<const N: usize, T>(values: &[T], bytes: impl Fn(&T) -> [u8; N]) -> Vec<u8> {
    let each: Vec<[u8; N]> = values.iter().map(bytes).collect();
    each.into_flattened()
}

/// Values as f32, whole numbers without their scale; `None` for a type that is no weight.
pub(crate) fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let weight = dtype.is_float() || dtype == Dtype::I8;
    weight.then(|| convert(bytes, dtype, |value| value))
}

/// What `of` makes of each value.
fn mapped<T: Send>(values: &[f32], of: impl Fn(f32) -> T + Sync + Send) -> Vec<T> {
    let values = values.par_iter().with_min_len(SHARE / size_of::<f32>());
    values.map(|value| of(*value)).collect()
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
            let stored: Vec<f16> = mapped(&values, f16::from_f32);
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
        DType::BF16 => TensorData::new(mapped(&values, bf16::from_f32), shape),
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

/// The first of the values that is no number.
pub(super) fn not_finite(values: &[f32]) -> Option<usize> {
    let bad = |value: &f32| !value.is_finite();
    let share = SHARE / size_of::<f32>();
    let any = |values: &[f32]| values.iter().fold(false, |any, value| any | bad(value));
    let found = values.par_chunks(share).position_first(any)?;
    let start = found * share;
    values[start..].iter().position(bad).map(|at| start + at)
}

pub(crate) fn check_finite(
    bytes: &[u8],
    info: &TensorInfo,
    weights: &Weights,
) -> Result<(), ModelError> {
    // The exponent's bits are all ones in what is not finite; looking at them is one pass without conversion.
    let finite = match info.dtype {
        Dtype::F32 => all(bytes, |b| {
            u32::from_le_bytes(b) & 0x7F80_0000 != 0x7F80_0000
        }),
        Dtype::F16 => all(bytes, |b| u16::from_le_bytes(b) & 0x7C00 != 0x7C00),
        Dtype::BF16 => all(bytes, |b| u16::from_le_bytes(b) & 0x7F80 != 0x7F80),
        Dtype::F8E4M3 => all(bytes, |[b]| b & 0x7F != 0x7F),
        Dtype::F8E5M2 => all(bytes, |[b]| b & 0x7C != 0x7C),
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
