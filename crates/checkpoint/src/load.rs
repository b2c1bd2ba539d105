//! Files to networks.
//!
//! Loading has two halves. [`plan`] matches names and shapes and needs no weight; if anything is missing, unused or
//! misshapen it is an error and nothing has been read. Then the tensors are read one at a time, converted straight to
//! the wanted type, and their pages given back, so that memory peaks at the model plus one tensor.

mod values;

use std::collections::{BTreeMap, HashSet};

use burn::tensor::{DType, Device, TensorData};
use half::{bf16, f16};
use latent_models::{Autoencoder, ClipText, Conditioner, UNet};

use crate::detect::{Checkpoint, DetectedPart, PartConfig};
use crate::file::{Dtype, Weights};
use crate::names::{EMA_PREFIX, Part, Piece, Scheme, Table, ema_name, ignored};
use crate::report::{Mismatch, Misshapen, ModelError, Report};
pub(crate) use values::{check_finite, recast, stored, to_f32};
use values::{convert, overflow};

/// How to load a network.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Where its parameters will live.
    pub device: Device,
    /// Their type: F32, F16 or BF16.
    pub dtype: DType,
    /// Prefer the moving average of the weights where a training checkpoint carries one.
    pub moving_average: bool,
    /// Refuse NaN and infinite weights.
    pub check_finite: bool,
}

impl LoadOptions {
    /// The plain weights, checked, on `device` as `dtype`.
    pub fn new(device: Device, dtype: DType) -> Self {
        Self {
            device,
            dtype,
            moving_average: false,
            check_finite: true,
        }
    }
}

/// Where one parameter's values are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The parameter's published name.
    pub parameter: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The tensor's full name in the file.
    pub tensor: String,
    /// Which part of the tensor.
    pub piece: Piece,
}

/// Which tensor fills which parameter of one network.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// One per parameter, in the network's order.
    pub assignments: Vec<Assignment>,
    /// Tensors left unread, with reasons.
    pub ignored: Vec<(String, String)>,
    /// Whether the moving average is read.
    pub moving_average: bool,
}

impl Plan {
    /// The report of a finished load.
    pub fn report(&self) -> Report {
        let applied = self.assignments.iter();
        Report {
            applied: applied
                .map(|a| (a.parameter.clone(), a.tensor.clone()))
                .collect(),
            ignored: self.ignored.clone(),
            moving_average: self.moving_average,
        }
    }
}

const LAST_LAYER: &str =
    "the last layer of an OpenCLIP encoder; these models draw from the layer before it";
const NOT_AVERAGED: &str = "the plain weights; their moving average was asked for";

/// Matches the tensors of `part` with its parameters.
///
/// # Errors
/// A [`Mismatch`] where anything is missing, unused or misshapen.
pub fn plan(
    checkpoint: &Checkpoint,
    part: &DetectedPart,
    moving_average: bool,
) -> Result<Plan, ModelError> {
    let weights = checkpoint.weights_of(part);
    let table = part.config.table(part.scheme);
    let averaged = moving_average
        && part.part == Part::Unet
        && weights
            .tensors()
            .iter()
            .any(|info| info.name.starts_with(EMA_PREFIX) && info.shape.len() > 1);
    let full = |name: &str| match averaged {
        true => ema_name(name),
        false => format!("{}{name}", part.prefix),
    };
    let mut plan = Plan {
        moving_average: averaged,
        ..Plan::default()
    };
    let mut mismatch = Mismatch {
        path: weights.path().to_owned(),
        part: Some(part.part),
        ..Mismatch::default()
    };
    let mut used = HashSet::new();
    for (parameter, shape) in part.config.parameters() {
        let found = table.places(&parameter).find_map(|place| {
            let info = weights.get(&full(&place.name))?;
            Some((place, info))
        });
        let Some((place, info)) = found else {
            let written = table.place(&parameter);
            let name = written.map_or_else(|| parameter.clone(), |place| place.name);
            let name = full(&name);
            if !mismatch.missing.contains(&name) {
                mismatch.missing.push(name);
            }
            continue;
        };
        used.insert(info.name.clone());
        let expected = stored_shape(&shape, place.piece);
        if !fits(&info.shape, &expected) {
            mismatch.misshapen.push(Misshapen {
                tensor: info.name.clone(),
                expected,
                found: info.shape.clone(),
            });
            continue;
        }
        plan.assignments.push(Assignment {
            parameter,
            shape,
            tensor: info.name.clone(),
            piece: place.piece,
        });
    }
    mismatch.misshapen.dedup();
    let others = Others::new(checkpoint, part);
    for info in weights.tensors() {
        let scope = info.name.strip_prefix(part.prefix);
        let Some(name) = scope.filter(|_| !used.contains(&info.name)) else {
            continue;
        };
        if others.claim(&info.name) {
            continue;
        }
        match reason(part, name, &info.name) {
            Some(reason) => plan.ignored.push((info.name.clone(), reason.to_owned())),
            None if averaged && !table.parameters(name).is_empty() => {
                plan.ignored
                    .push((info.name.clone(), NOT_AVERAGED.to_owned()));
            }
            None => mismatch.unused.push(info.name.clone()),
        }
    }
    match mismatch.is_empty() {
        true => Ok(plan),
        false => Err(Box::new(mismatch).into()),
    }
}

/// Why tensor `name` (below the prefix; `full` with it) of `part` is left unread.
fn reason(part: &DetectedPart, name: &str, full: &str) -> Option<&'static str> {
    if let (Scheme::OpenClip, PartConfig::TextEncoder(config)) = (part.scheme, &part.config)
        && name.starts_with(&format!("transformer.resblocks.{}.", config.layers))
    {
        return Some(LAST_LAYER);
    }
    ignored(full)
}

/// The other networks of the same file: their tensors are no business of this one.
struct Others {
    prefixes: Vec<&'static str>,
    bare: Vec<(Table, HashSet<String>)>,
}

impl Others {
    fn new(checkpoint: &Checkpoint, part: &DetectedPart) -> Self {
        let others = checkpoint.parts.iter().filter(|other| {
            other.weights == part.weights && (other.part, other.prefix) != (part.part, part.prefix)
        });
        let (mut prefixes, mut bare) = (Vec::new(), Vec::new());
        for other in others {
            if other.prefix.is_empty() {
                let parameters = other.config.parameters().into_iter().map(|(name, _)| name);
                bare.push((other.config.table(other.scheme), parameters.collect()));
            } else {
                prefixes.push(other.prefix);
            }
        }
        Self { prefixes, bare }
    }

    fn claim(&self, name: &str) -> bool {
        let known = |(table, parameters): &(Table, HashSet<String>)| {
            table
                .parameters(name)
                .iter()
                .any(|p| parameters.contains(p))
        };
        self.prefixes.iter().any(|prefix| name.starts_with(prefix)) || self.bare.iter().any(known)
    }
}

/// The shape of the stored tensor of which a parameter of shape `shape` is `piece`.
fn stored_shape(shape: &[usize], piece: Piece) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let (Piece::Third { .. }, Some(first)) = (piece, shape.first_mut()) {
        *first = first.saturating_mul(3);
    }
    shape
}

/// Equal, or the same matrix with and without the ones of a 1×1 convolution.
fn fits(found: &[usize], expected: &[usize]) -> bool {
    fn matrix(shape: &[usize]) -> &[usize] {
        let mut end = shape.len();
        while end > 2 && shape[end - 1] == 1 {
            end -= 1;
        }
        &shape[..end]
    }
    found == expected
        || (found.len() >= 2 && expected.len() >= 2 && matrix(found) == matrix(expected))
}

/// Which rows of the stored tensor make up `piece` of a parameter with `rows` rows.
pub(crate) fn rows(piece: Piece, rows: usize) -> Vec<std::ops::Range<usize>> {
    let whole = 0..rows;
    match piece {
        Piece::Whole => vec![whole],
        Piece::Third { index, groups } => {
            let groups = groups.max(1);
            let width = rows / groups;
            (0..groups)
                .map(|group| {
                    let start = (3 * group + index) * width;
                    start..start + width
                })
                .collect()
        }
    }
}

/// The bytes of the rows in `piece` of a tensor whose whole bytes are `bytes`; `count` is the parameter's rows.
pub(crate) fn cut<'a>(
    bytes: std::borrow::Cow<'a, [u8]>,
    piece: Piece,
    count: usize,
) -> std::borrow::Cow<'a, [u8]> {
    if piece == Piece::Whole || count == 0 {
        return bytes;
    }
    let row = bytes.len() / (3 * count);
    let parts = rows(piece, count).into_iter();
    let cut: Vec<u8> = parts
        .flat_map(|range| bytes[range.start * row..range.end * row].iter().copied())
        .collect();
    cut.into()
}

impl Checkpoint {
    /// Loads the U-Net. `progress` is called with the parameters read so far and their number.
    ///
    /// # Errors
    /// When there is none, when the file does not fit it exactly, or when a weight cannot be read.
    pub fn load_unet(
        &self,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(UNet, Report), ModelError> {
        let part = self.part(Part::Unet)?;
        match &part.config {
            PartConfig::Unet(config) => {
                self.fill(part, config.init(&options.device), options, progress)
            }
            _ => Err(self.confused(part)),
        }
    }

    /// Loads the autoencoder: see [`load_unet`](Self::load_unet).
    ///
    /// # Errors
    /// As [`load_unet`](Self::load_unet).
    pub fn load_autoencoder(
        &self,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Autoencoder, Report), ModelError> {
        let part = self.part(Part::Autoencoder)?;
        match &part.config {
            PartConfig::Autoencoder { network, .. } => {
                self.fill(part, network.init(&options.device), options, progress)
            }
            _ => Err(self.confused(part)),
        }
    }

    /// Loads the text encoder: see [`load_unet`](Self::load_unet).
    ///
    /// # Errors
    /// As [`load_unet`](Self::load_unet).
    pub fn load_text_encoder(
        &self,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(ClipText, Report), ModelError> {
        let part = self.part(Part::TextEncoder)?;
        match &part.config {
            PartConfig::TextEncoder(config) => {
                self.fill(part, config.init(&options.device), options, progress)
            }
            _ => Err(self.confused(part)),
        }
    }

    /// Loads the conditioner: see [`load_unet`](Self::load_unet).
    ///
    /// # Errors
    /// As [`load_unet`](Self::load_unet).
    pub fn load_conditioner(
        &self,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(Conditioner, Report), ModelError> {
        let part = self.part(Part::Conditioner)?;
        match &part.config {
            PartConfig::Conditioner(config) => {
                self.fill(part, config.init(&options.device), options, progress)
            }
            _ => Err(self.confused(part)),
        }
    }

    /// A caller has put one network's configuration on another.
    fn confused(&self, part: &DetectedPart) -> ModelError {
        ModelError::Request {
            path: self.path.clone(),
            problem: format!(
                "the configuration set for the {} is another network's",
                part.part
            ),
        }
    }

    fn fill<M: burn::module::Module>(
        &self,
        part: &DetectedPart,
        module: M,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(M, Report), ModelError> {
        let plan = plan(self, part, options.moving_average)?;
        let weights = self.weights_of(part);
        let places: BTreeMap<&str, &Assignment> = plan
            .assignments
            .iter()
            .map(|assignment| (assignment.parameter.as_str(), assignment))
            .collect();
        let total = places.len();
        let mut done = 0;
        let mut fetch = |parameter: &str, _: &[usize]| {
            // The plan has an entry for every parameter, or there would be no plan.
            let assignment = places.get(parameter).ok_or_else(|| ModelError::Request {
                path: self.path.clone(),
                problem: format!("parameter `{parameter}` was not planned for"),
            })?;
            let data = read(weights, assignment, options)?;
            done += 1;
            progress(done, total);
            Ok(data)
        };
        let module = latent_models::load::<M, ModelError>(module, &mut fetch, options.dtype)?;
        Ok((module, plan.report()))
    }
}

/// Reads one parameter and gives the file's pages back.
fn read(
    weights: &Weights,
    assignment: &Assignment,
    options: &LoadOptions,
) -> Result<TensorData, ModelError> {
    let name = &assignment.tensor;
    let info = stored(weights, name)?;
    let rows = assignment.shape.first().copied().unwrap_or(1);
    let data = {
        let bytes = cut(weights.bytes(name)?, assignment.piece, rows);
        if options.check_finite {
            check_finite(&bytes, info, weights)?;
        }
        match options.dtype {
            DType::F16 => {
                let values: Vec<f16> = convert(&bytes, info.dtype, f16::from_f32);
                if info.dtype != Dtype::F16 && values.iter().any(|v| v.is_infinite()) {
                    overflow(&bytes, info, weights, "f16", |i| values[i].is_infinite())?;
                }
                TensorData::new(values, assignment.shape.clone())
            }
            DType::BF16 => {
                let values: Vec<bf16> = convert(&bytes, info.dtype, bf16::from_f32);
                TensorData::new(values, assignment.shape.clone())
            }
            _ => TensorData::new(
                convert(&bytes, info.dtype, |value| value),
                assignment.shape.clone(),
            ),
        }
    };
    weights.release(name);
    Ok(data)
}
