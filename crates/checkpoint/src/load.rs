//! Files to networks.
//!
//! Loading has two halves. [`plan`] matches names and shapes and needs no weight; if anything is missing, unused or
//! misshapen it is an error and nothing has been read. Then the tensors are read one at a time, converted straight to
//! the wanted type, and their pages given back, so that memory peaks at the model plus one tensor. What is to be changed in
//! them ([`Patch`]) is changed on the way.

mod changes;
mod denoiser;
mod float8;
mod int8;
mod parameters;
mod scale;
mod values;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use burn::tensor::{DType, Device, TensorData};
use half::{bf16, f16};

use crate::detect::{Checkpoint, DetectedPart};
use crate::file::{Dtype, TensorInfo, Weights};
use crate::names::{EMA_PREFIX, Piece, Table, ema_name, ignored};
use crate::networks::{Kind, Role};
use crate::patch::{Patch, Target, Targets};
use crate::report::{Mismatch, Misshapen, ModelError, Report};
pub use changes::{AboutChanges, ControlChanges};
pub(crate) use int8::quantised;
pub use parameters::Parameters;
pub(crate) use scale::{ENDING, applied};
pub(crate) use values::{bytes_of, check_finite, recast, recast_numbers, stored, to_f32};
use values::{convert, of_numbers, overflow};

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
    /// What changes parameters on their way, one after the other.
    pub patches: Vec<Arc<dyn Patch>>,
}

impl LoadOptions {
    /// The plain weights, checked, on `device` as `dtype`.
    pub fn new(device: Device, dtype: DType) -> Self {
        Self {
            device,
            dtype,
            moving_average: false,
            check_finite: true,
            patches: Vec::new(),
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
    /// The full name of what it is multiplied by, one number or one for each row, where the file has that.
    pub scale: Option<String>,
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

const NOT_AVERAGED: &str = "the plain weights; their moving average was asked for";

/// Matches the tensors of `part` with its parameters.
///
/// # Errors
/// A [`Mismatch`] where anything is missing, unused or misshapen; a tensor of a type that is no weight's.
pub fn plan(
    checkpoint: &Checkpoint,
    part: &DetectedPart,
    moving_average: bool,
) -> Result<Plan, ModelError> {
    let weights = checkpoint.weights_of(part);
    let table = part.config.table(part.scheme);
    let holds = |prefix: &str| {
        let mut tensors = weights.tensors().iter();
        tensors.any(|info| info.name.starts_with(prefix) && info.shape.len() > 1)
    };
    // A file may hold the average alone.
    let averaged =
        part.role == Role::DENOISER && holds(EMA_PREFIX) && (moving_average || !holds(part.prefix));
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
        part: Some(part.role),
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
        stored(weights, &info.name)?;
        let scale = scale::of(weights, info);
        used.extend(scale.clone());
        let expected = place.piece.stored_shape(&shape);
        let of_scale = scale.as_ref();
        let of_scale = of_scale.and_then(|name| scale::misshapen(weights, name, &expected));
        let misshapen = match fits(&info.shape, &expected) {
            true => of_scale,
            false => Some(Misshapen {
                tensor: info.name.clone(),
                expected,
                found: info.shape.clone(),
            }),
        };
        if let Some(misshapen) = misshapen {
            mismatch.misshapen.push(misshapen);
            continue;
        }
        plan.assignments.push(Assignment {
            parameter,
            shape,
            tensor: info.name.clone(),
            piece: place.piece,
            scale,
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
        let known = part.config.ignored(part.scheme, name);
        match known.or_else(|| ignored(&info.name)) {
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

/// Why a tensor is left out that no network has.
pub(crate) const STRANGER: &str = "belongs to none of the networks that were found";

impl Checkpoint {
    /// The tensors that belong to none of the networks and are on no list: of adapters and ControlNets that were merged into the
    /// file, notes, counters. Loading and converting leave them out.
    pub fn strangers(&self) -> Vec<&str> {
        let files = self.weights.iter().enumerate();
        let names = files.flat_map(|(index, weights)| {
            let tensors = weights.tensors().iter().map(|info| info.name.as_str());
            tensors.filter(move |name| self.is_stranger(index, name))
        });
        names.collect()
    }

    /// Whether `name` in file number `weights` is one of [`strangers`](Self::strangers).
    pub(crate) fn is_stranger(&self, weights: usize, name: &str) -> bool {
        let mut parts = self.parts.iter().filter(|part| part.weights == weights);
        // Within a network's own names, what the network has not is an error.
        !parts.any(|part| name.starts_with(part.prefix)) && ignored(name).is_none()
    }
}

/// The other networks of the same file: their tensors are no business of this one.
struct Others {
    prefixes: Vec<&'static str>,
    bare: Vec<(Table, HashSet<String>)>,
}

impl Others {
    fn new(checkpoint: &Checkpoint, part: &DetectedPart) -> Self {
        let others = checkpoint
            .parts
            .iter()
            .filter(|other| other.weights == part.weights && other.index != part.index);
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

/// Equal, or the same matrix with and without the ones of a 1×1 convolution.
pub(crate) fn fits(found: &[usize], expected: &[usize]) -> bool {
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

/// The rows of query (0), key (1) or value (2) among stacked ones, of a parameter with `rows` rows.
fn rows(index: usize, groups: usize, rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let width = rows / groups.max(1);
    (0..groups.max(1)).map(move |group| {
        let start = (3 * group + index) * width;
        start..start + width
    })
}

/// The bytes of the parameter of shape `shape` that is `piece` of a tensor whose whole bytes are `bytes`.
pub(crate) fn cut<'a>(bytes: Cow<'a, [u8]>, piece: Piece, shape: &[usize]) -> Cow<'a, [u8]> {
    let count = shape.first().copied().unwrap_or(1);
    match piece {
        Piece::Third { index, groups } if count > 0 => {
            let row = bytes.len() / (3 * count);
            let parts = rows(index, groups, count);
            let cut: Vec<u8> = parts
                .flat_map(|range| bytes[range.start * row..range.end * row].iter().copied())
                .collect();
            cut.into()
        }
        Piece::Transposed => {
            let columns = shape.get(1).copied().unwrap_or(1);
            transposed(&bytes, count, columns).into()
        }
        _ => bytes,
    }
}

/// The bytes of a matrix that is to have `rows` × `columns` numbers and is stored with its dimensions exchanged.
pub(crate) fn transposed(bytes: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    let size = bytes.len() / (rows * columns).max(1);
    let number = |row: usize, column: usize| (column * rows + row) * size;
    let numbers = (0..rows).flat_map(|row| (0..columns).map(move |column| number(row, column)));
    numbers
        .flat_map(|start| bytes[start..start + size].iter().copied())
        .collect()
}

impl Checkpoint {
    /// The configuration of the network that plays `role`, which must be of kind `K`.
    ///
    /// # Errors
    /// When there is none or it is of another kind.
    pub fn config<K: Kind>(&self, role: Role) -> Result<&K, ModelError> {
        let part = self.part(role)?;
        K::of(&part.config).ok_or_else(|| ModelError::Request {
            path: self.path.clone(),
            problem: format!("its {role} is a {}, not a {}", part.config.kind(), K::OWN),
        })
    }

    /// Loads the network that plays `role`, which must be of kind `K`. `progress` is called with the parameters read so
    /// far and their number.
    ///
    /// # Errors
    /// When there is none or it is of another kind, when the file does not fit it exactly, or when a weight cannot be read.
    pub fn load<K: Kind>(
        &self,
        role: Role,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(K::Net, Report), ModelError> {
        let net = Kind::init(self.config::<K>(role)?, &options.device);
        self.fill(self.part(role)?, net, options, &|_| true, progress)
    }

    /// [`load`](Self::load) of the modules of the network for which `chosen` holds, by their dotted path: the others have no weights.
    ///
    /// # Errors
    /// As [`load`](Self::load)'s.
    pub fn load_some<K: Kind>(
        &self,
        role: Role,
        options: &LoadOptions,
        chosen: &dyn Fn(&str) -> bool,
    ) -> Result<K::Net, ModelError> {
        let net = Kind::init(self.config::<K>(role)?, &options.device);
        let filled = self.fill(self.part(role)?, net, options, chosen, &mut |_, _| {});
        Ok(filled?.0)
    }

    fn fill<M: burn::module::Module>(
        &self,
        part: &DetectedPart,
        module: M,
        options: &LoadOptions,
        chosen: &dyn Fn(&str) -> bool,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(M, Report), ModelError> {
        let plan = plan(self, part, options.moving_average)?;
        let weights = self.weights_of(part);
        let patched = !options.patches.is_empty();
        let targets = patched.then(|| Targets::of(part.role, &part.config));
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
            let data = read(weights, assignment, options, targets.as_ref())?;
            done += 1;
            progress(done, total);
            Ok(data)
        };
        let module =
            latent_models::load_some::<M, ModelError>(module, chosen, &mut fetch, options.dtype)?;
        Ok((module, plan.report()))
    }
}

/// Reads one parameter and gives the file's pages back.
fn read(
    weights: &Weights,
    assignment: &Assignment,
    options: &LoadOptions,
    targets: Option<&Targets>,
) -> Result<TensorData, ModelError> {
    let name = &assignment.tensor;
    let info = stored(weights, name)?;
    let data = {
        let bytes = cut(weights.bytes(name)?, assignment.piece, &assignment.shape);
        if options.check_finite {
            check_finite(&bytes, info, weights)?;
        }
        let scaled = scale::applied(&bytes, info, assignment, weights)?;
        let (bytes, info) = match &scaled {
            Some((bytes, info)) => (Cow::Borrowed(bytes.as_slice()), info),
            None => (bytes, info),
        };
        let target = targets.map(|all| all.one(&assignment.parameter, &assignment.shape));
        let changed = target.map(|target| {
            let (patches, check) = (&options.patches, options.check_finite);
            changed(&bytes, info, weights, &target, patches, check)
        });
        let shape = assignment.shape.clone();
        if let Some(values) = changed.transpose()?.flatten() {
            weights.release(name);
            return of_numbers(values, (info, weights), options.dtype, shape);
        }
        match options.dtype {
            DType::F16 => {
                let values: Vec<f16> = convert(&bytes, info.dtype, f16::from_f32);
                if info.dtype != Dtype::F16 && values.iter().any(|v| v.is_infinite()) {
                    overflow(&bytes, info, weights, "f16", |i| values[i].is_infinite())?;
                }
                TensorData::new(values, shape)
            }
            DType::BF16 => {
                let values: Vec<bf16> = convert(&bytes, info.dtype, bf16::from_f32);
                TensorData::new(values, shape)
            }
            _ => TensorData::new(convert(&bytes, info.dtype, |value| value), shape),
        }
    };
    weights.release(name);
    Ok(data)
}

/// The values of a parameter with all changes that patches make to it, as f32; `None` where they make none.
pub(crate) fn changed(
    bytes: &[u8],
    info: &TensorInfo,
    weights: &Weights,
    target: &Target<'_>,
    patches: &[Arc<dyn Patch>],
    check: bool,
) -> Result<Option<Vec<f32>>, ModelError> {
    let mut values = None;
    for patch in patches {
        if patch.changes(target)? {
            let values = values.get_or_insert_with(|| to_f32(bytes, info.dtype));
            patch.apply(target, values.as_deref_mut().unwrap_or_default())?;
        }
    }
    let values = values.flatten();
    let numbers = values.as_deref().unwrap_or_default();
    if check && let Some(element) = values::not_finite(numbers) {
        return Err(ModelError::NotFinite {
            path: weights.path().to_owned(),
            tensor: crate::error::shown(&info.name),
            element,
            value: numbers[element],
        });
    }
    Ok(values)
}
