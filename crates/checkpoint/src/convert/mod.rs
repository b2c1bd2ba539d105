//! From every form to every other: diffusers folder, single safetensors file, single `.ckpt`.
//!
//! A conversion is a load without a network: the same plan says which stored tensor is which parameter, and the same
//! tables, read the other way, say what the output calls it. What loading refuses, conversion refuses; what loading
//! ignores is left out and reported. Where the type is kept, no bit of a weight changes.

mod configs;
mod index;
mod marks;
mod tokenizer;
mod write;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

pub use write::{Model, NamedPart, write_file, write_folder, write_trained};

use crate::detect::{Carried, Checkpoint, Form, SchedulerConfig};
use crate::file::write::Existing;
use crate::file::{Dtype, TensorInfo};
use crate::load::{
    Assignment, ENDING, Plan, STRANGER, applied, bytes_of, changed, check_finite, cut, plan,
    quantised, recast, stored, to_f32,
};
use crate::names::{Table, ignored};
use crate::networks::Role;
use crate::patch::{Patch, Targets};
use crate::report::{Mismatch, ModelError};

/// The form to convert to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A diffusers folder; of a file with one network, the folder of that component.
    Folder,
    /// One safetensors file with the original names.
    Safetensors,
    /// One torch checkpoint with the original names.
    Ckpt,
}

impl Target {
    /// The form that a path asks for: by its ending, a folder if it has none.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            None => Some(Self::Folder),
            Some("safetensors") => Some(Self::Safetensors),
            Some("ckpt" | "pt" | "pth") => Some(Self::Ckpt),
            Some(_) => None,
        }
    }
}

/// How to convert.
#[derive(Clone, Copy, Debug)]
pub struct ConvertOptions {
    /// The form.
    pub target: Target,
    /// The type of the weights: F32, F16, BF16, F8E4M3, F8E5M2 or I8; `None` keeps each tensor's own. Only matrices and kernels
    /// are stored in eight bits, and none of an autoencoder, which shows it: the others keep their own type. I8 are whole
    /// numbers −127..=127, and beside `NAME.weight` stands `NAME.weight_scale`, F32, a factor for each of its rows.
    pub dtype: Option<Dtype>,
    /// Take the moving average of the U-Net's weights where there is one.
    pub moving_average: bool,
    /// What to do when the output is there already.
    pub existing: Existing,
}

impl ConvertOptions {
    /// The type in which a parameter is stored whose own is `own`, under a name of the output.
    ///
    /// # Errors
    /// A type to be kept that the values do not have once they are multiplied by their scale.
    fn stored(
        &self,
        role: Role,
        assignment: &Assignment,
        own: Dtype,
        name: &str,
    ) -> Result<Dtype, String> {
        let scaled = assignment.scale.is_some();
        match self.dtype {
            None if scaled => Err(format!(
                "`{}` is stored in eight bits with a scale, which the output does not keep: choose the type of its \
                 weights (--dtype f16, bf16, f32 or int8)",
                assignment.tensor
            )),
            Some(dtype @ (Dtype::F8E4M3 | Dtype::F8E5M2 | Dtype::I8)) => {
                // A scale is found by the name of its weight.
                let named = dtype != Dtype::I8 || name.ends_with("weight");
                let small = assignment.shape.len() > 1 && role != Role::AUTOENCODER && named;
                Ok(match (small, scaled) {
                    (true, _) => dtype,
                    (false, true) => Dtype::F16,
                    (false, false) => own,
                })
            }
            dtype => Ok(dtype.unwrap_or(own)),
        }
    }
}

/// What a conversion did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Converted {
    /// How many numbers the parameters hold that were written.
    pub parameters: usize,
    /// Tensors and components that are not in the output, each with the reason.
    pub dropped: Vec<(String, String)>,
    /// Whether the moving average was taken.
    pub moving_average: bool,
}

/// Writes `checkpoint` to `output`. `progress` is called with the parameters written so far and their number.
///
/// # Errors
/// When the input does not fit its own configuration exactly (as in loading), when the target form cannot express the
/// network, or when the output cannot be written; nothing is left behind then.
pub fn convert(
    checkpoint: &Checkpoint,
    output: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Converted, ModelError> {
    merge(checkpoint, &[], output, options, progress)
}

/// [`convert`] with changes of weights, made one after the other in f32 before weights are stored.
///
/// # Errors
/// As [`convert`]'s, and those of the patches. That each of them finds its place is for the caller to see to
/// ([`Patch::unused`] with [`Checkpoint::targets`]).
pub fn merge(
    checkpoint: &Checkpoint,
    patches: &[Arc<dyn Patch>],
    output: &Path,
    options: &ConvertOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Converted, ModelError> {
    let plans: Vec<Plan> = checkpoint
        .parts
        .iter()
        .map(|part| plan(checkpoint, part, options.moving_average))
        .collect::<Result<_, _>>()?;
    let assignments = plans.iter().flat_map(|plan| &plan.assignments);
    let mut converted = Converted {
        parameters: assignments
            .clone()
            .map(|a| a.shape.iter().product::<usize>())
            .sum(),
        dropped: account(checkpoint, &plans)?,
        moving_average: plans.iter().any(|plan| plan.moving_average),
    };
    if options.moving_average && !converted.moving_average {
        let problem = "there is no moving average (EMA weights) in it: leave --ema out";
        return Err(request(&checkpoint.path, problem));
    }
    let mut carried = checkpoint.carried.clone();
    carried.retain(|component| {
        let reason = match options.target {
            _ if checkpoint.parts.len() == 1 => Some(ALONE),
            Target::Folder => None,
            _ => component.metadata().is_none().then_some(NOT_TEXT),
        };
        let dropped = reason.map(|reason| (component.name.clone(), reason.to_owned()));
        converted.dropped.extend(dropped);
        reason.is_none()
    });
    for other in &checkpoint.others {
        let kept = |component: &Carried| other.starts_with(&format!("{} (", component.name));
        if !other.starts_with("tokenizer") && !checkpoint.carried.iter().any(kept) {
            converted
                .dropped
                .push((other.clone(), "not one of the model's networks".into()));
        }
    }
    let sources: Vec<Source<'_>> = checkpoint
        .parts
        .iter()
        .zip(&plans)
        .map(Source::from)
        .collect();
    let find = |role: Role, parameter: &str| {
        let source = sources.iter().find(|source| source.role == role);
        source.and_then(|source| source.find(parameter))
    };
    let parts = checkpoint.parts.iter().zip(&plans);
    let parts: Vec<NamedPart> = parts
        .map(|(part, plan)| {
            let weights = checkpoint.weights_of(part);
            let table = match options.target {
                Target::Folder => Table::identity(),
                _ => part.config.table(part.config.file_scheme()),
            };
            let dtypes = plan.assignments.iter().map(|assignment| {
                let info = stored(weights, &assignment.tensor)?;
                let written = table.place(&assignment.parameter);
                let name = written.map(|place| place.name).unwrap_or_default();
                let dtype = options.stored(part.role, assignment, info.dtype, &name);
                let dtype = dtype.map_err(|problem| request(weights.path(), problem))?;
                Ok((assignment.parameter.clone(), dtype))
            });
            Ok(NamedPart {
                role: part.role,
                config: part.config.clone(),
                dtypes: dtypes.collect::<Result<_, ModelError>>()?,
            })
        })
        .collect::<Result<_, ModelError>>()?;
    let mut metadata = checkpoint.metadata.clone();
    if checkpoint.form == Form::Folder {
        metadata.clear();
    }
    let model = Model {
        parts,
        scheduler: checkpoint.scheduler.clone(),
        assumed: !checkpoint.states_scheduler(),
        sample_size: checkpoint.side,
        zeros_for_empty: checkpoint.zeros_for_empty,
        metadata,
        attachments: checkpoint.attachments()?,
        carried,
    };
    let dtypes: HashMap<(Role, &str), Dtype> = model
        .parts
        .iter()
        .flat_map(|part| {
            part.dtypes
                .iter()
                .map(|(name, dtype)| ((part.role, name.as_str()), *dtype))
        })
        .collect();
    let targets = match patches {
        [] => Vec::new(),
        _ => checkpoint.targets(),
    };
    let (mut done, total) = (0, assignments.count());
    let mut bytes = |role: Role, asked: &str| {
        // The scales of a weight, or a parameter.
        let weight = asked.strip_suffix(ENDING);
        let weight = weight.filter(|&weight| dtypes.get(&(role, weight)) == Some(&Dtype::I8));
        let parameter = weight.unwrap_or(asked);
        let found = find(role, parameter).zip(dtypes.get(&(role, parameter)));
        let Some(((index, assignment), &dtype)) = found else {
            let problem = format!("`{parameter}` was not planned for");
            return Err(request(&checkpoint.path, problem));
        };
        let weights = &checkpoint.weights[checkpoint.parts[index].weights];
        let info = stored(weights, &assignment.tensor)?;
        let values = {
            let stored = weights.bytes(&assignment.tensor)?;
            let values = cut(stored, assignment.piece, &assignment.shape);
            check_finite(&values, info, weights)?;
            let scaled = applied(&values, info, assignment, weights)?;
            let (values, info) = match &scaled {
                Some((values, info)) => (values.as_slice(), info),
                None => (&*values, info),
            };
            let target = targets.iter().find(|targets| targets.role() == role);
            let target = target.map(|own| own.one(&assignment.parameter, &assignment.shape));
            let patched =
                target.map(|target| changed(values, info, weights, &target, patches, true));
            let patched = patched.transpose()?.flatten();
            let patched = patched.map(|values| bytes_of(&values, |v| v.to_le_bytes()));
            let whole = TensorInfo {
                dtype: Dtype::F32,
                ..info.clone()
            };
            let (values, info) = match &patched {
                Some(values) => (values.as_slice(), &whole),
                None => (values, info),
            };
            match dtype {
                Dtype::I8 => {
                    let values = to_f32(values, info.dtype).unwrap_or_default();
                    let (scales, numbers) = quantised(&values, assignment.shape[0]);
                    match weight {
                        Some(_) => bytes_of(&scales, |v| v.to_le_bytes()),
                        None => bytes_of(&numbers, |v| v.to_le_bytes()),
                    }
                }
                dtype if dtype == info.dtype => values.to_vec(),
                dtype => recast(values, info, dtype, weights)?,
            }
        };
        weights.release(&assignment.tensor);
        done += usize::from(weight.is_none());
        progress(done, total);
        Ok(values)
    };
    match options.target {
        Target::Folder if checkpoint.scheduler.trained_here().is_some() => {
            write_trained(output, &model, options.existing, &mut bytes)?;
        }
        Target::Folder => write_folder(output, &model, options.existing, &mut bytes)?,
        target => write_file(output, target, &model, options.existing, &mut bytes)?,
    }
    Ok(converted)
}

impl Checkpoint {
    /// The parameters of its networks, as patches see them.
    pub fn targets(&self) -> Vec<Targets> {
        let parts = self.parts.iter();
        parts
            .map(|part| Targets::of(part.role, &part.config))
            .collect()
    }
}

/// A network being converted: its parameters by name.
struct Source<'a> {
    role: Role,
    index: usize,
    assignments: HashMap<&'a str, &'a Assignment>,
}

impl<'a> From<(&'a crate::detect::DetectedPart, &'a Plan)> for Source<'a> {
    fn from((part, plan): (&'a crate::detect::DetectedPart, &'a Plan)) -> Self {
        let assignments = plan.assignments.iter();
        Self {
            role: part.role,
            index: part.index,
            assignments: assignments.map(|a| (a.parameter.as_str(), a)).collect(),
        }
    }
}

impl<'a> Source<'a> {
    fn find(&self, parameter: &str) -> Option<(usize, &'a Assignment)> {
        Some((self.index, *self.assignments.get(parameter)?))
    }
}

/// Every tensor of every file must be used by a network or be known; what is known and left out is returned.
fn account(checkpoint: &Checkpoint, plans: &[Plan]) -> Result<Vec<(String, String)>, ModelError> {
    let mut dropped: Vec<(String, String)> = Vec::new();
    for (index, weights) in checkpoint.weights.iter().enumerate() {
        let parts = checkpoint.parts.iter().zip(plans);
        let plans: Vec<&Plan> = parts
            .filter(|(part, _)| part.weights == index)
            .map(|(_, plan)| plan)
            .collect();
        let used: HashSet<&str> = plans
            .iter()
            .flat_map(|plan| &plan.assignments)
            .flat_map(|a| [Some(a.tensor.as_str()), a.scale.as_deref()])
            .flatten()
            .collect();
        let known: HashSet<&str> = plans
            .iter()
            .flat_map(|plan| plan.ignored.iter().map(|(name, _)| name.as_str()))
            .collect();
        dropped.extend(plans.iter().flat_map(|plan| plan.ignored.iter().cloned()));
        let mut unused = Vec::new();
        for info in weights.tensors() {
            let name = info.name.as_str();
            if used.contains(name) || known.contains(name) {
                continue;
            }
            match ignored(name) {
                Some(reason) => dropped.push((name.to_owned(), reason.to_owned())),
                None if checkpoint.is_stranger(index, name) => {
                    dropped.push((name.to_owned(), STRANGER.to_owned()));
                }
                None => unused.push(name.to_owned()),
            }
        }
        if !unused.is_empty() {
            return Err(Box::new(Mismatch {
                path: weights.path().to_owned(),
                unused,
                ..Mismatch::default()
            })
            .into());
        }
    }
    dropped.sort();
    dropped.dedup();
    Ok(dropped)
}

pub(crate) fn request(path: &Path, problem: impl Into<String>) -> ModelError {
    ModelError::Request {
        path: path.to_owned(),
        problem: problem.into(),
    }
}

const ALONE: &str = "one network is written, not a model";
const NOT_TEXT: &str = "a single file has no place for a component that is not text";

/// Whether `scheduler` describes the same training as what is assumed of a file that says nothing but its prediction
/// type and zero-terminal-SNR mark.
fn usual_training(scheduler: &SchedulerConfig) -> bool {
    let usual = SchedulerConfig::stable_diffusion();
    (scheduler.beta_start, scheduler.beta_end) == (usual.beta_start, usual.beta_end)
        && scheduler.beta_schedule == usual.beta_schedule
        && scheduler.num_train_timesteps == usual.num_train_timesteps
        && matches!(
            scheduler.prediction_type.as_str(),
            "epsilon" | "v_prediction"
        )
}
