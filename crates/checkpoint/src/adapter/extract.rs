//! A LoRA out of the difference of two checkpoints.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::change::sides;
use super::spelling::Dialect;
use super::svd;
use crate::Error;
use crate::detect::Checkpoint;
use crate::file::write::{Existing, safetensors};
use crate::file::{Dtype, TensorInfo};
use crate::load::recast_numbers;
use crate::networks::Role;
use crate::patch::Targets;
use crate::report::{Mismatch, Misshapen, ModelError};

/// The networks that a LoRA changes.
const ROLES: [Role; 3] = [Role::DENOISER, Role::TEXT_ENCODER, Role::TEXT_ENCODER_2];
/// A change that is smaller than this beside its weight is rounding, and no training.
const LEAST: f64 = 1e-7;

/// How to extract.
#[derive(Clone, Copy, Debug)]
pub struct ExtractOptions {
    /// The largest rank of a module.
    pub rank: usize,
    /// The share of a change's sum of squares that a module's ranks must hold, as far as they suffice: 0 to 1.
    pub kept: f64,
    /// The type of the output: F32, F16 or BF16.
    pub dtype: Dtype,
    /// What to do when the output is there already.
    pub existing: Existing,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Extracted {
    /// Modules of each network.
    pub modules: Vec<(Role, usize)>,
    /// The least and the largest rank.
    pub ranks: Option<[usize; 2]>,
    /// The share of the sum of squares of all changes of matrices and kernels that is in the output.
    pub kept: f64,
    /// Changed parameters that a LoRA has no place for: norms, biases, embeddings.
    pub left_out: Vec<String>,
}

/// Writes what `tuned` has beside `base` as a LoRA in kohya's names. `progress` is called with the parameters compared so far and
/// their number.
///
/// # Errors
/// Checkpoints of different layouts, or that do not differ; values that are no numbers; an output that cannot be written.
pub fn extract(
    base: &Checkpoint,
    tuned: &Checkpoint,
    output: &Path,
    options: &ExtractOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Extracted, ModelError> {
    let there = |checkpoint: &Checkpoint, role: &Role| checkpoint.find(*role).is_some();
    let roles: Vec<Role> = ROLES
        .into_iter()
        .filter(|role| there(base, role) && there(tuned, role))
        .collect();
    let two = roles.contains(&Role::TEXT_ENCODER_2);
    let mut found = Extracted::default();
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
    let (mut whole, mut lost) = (0.0, 0.0);
    let counts = roles
        .iter()
        .filter_map(|role| Some(base.find(*role)?.config.parameters().len()));
    let (mut done, total) = (0, counts.sum());
    for role in roles {
        let (old, new) = (base.parameters(role)?, tuned.parameters(role)?);
        same_layout(
            tuned.path(),
            role,
            &old.list().collect(),
            &new.list().collect(),
        )?;
        let targets = Targets::of(role, &base.part(role)?.config);
        let mut modules = 0;
        for target in targets.all() {
            done += 1;
            progress(done, total);
            let [Some(a), Some(b)] = [old.read(target.name)?, new.read(target.name)?] else {
                continue;
            };
            let change: Vec<f32> = b.iter().zip(&a).map(|(b, a)| b - a).collect();
            let squares =
                |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            let size = squares(&change);
            if size <= LEAST * LEAST * squares(&a) {
                continue;
            }
            let (path, kind) = target.name.rsplit_once('.').unwrap_or((target.name, ""));
            let lookup = path.ends_with("embedding") || path.ends_with("class_embedding");
            if kind != "weight" || target.shape.len() < 2 || lookup {
                found.left_out.push(format!("{role}: {}", target.name));
                continue;
            }
            let dialect = match (role, two) {
                // As kohya names a denoiser beside two text encoders.
                (Role::DENOISER, true) if target.original().is_some() => Dialect::KohyaOriginal,
                _ => Dialect::Kohya,
            };
            let names = dialect.spell(&target, path);
            let own = if two && role == Role::TEXT_ENCODER {
                names.last()
            } else {
                names.first()
            };
            let Some(stem) = own else { continue };
            let [o, i, k] = sides(target.shape);
            let factors = svd::factors(&change, [o, i * k], options.rank, options.kept);
            whole += size;
            lost += factors.lost;
            let r = factors.rank;
            let ranks = found.ranks.get_or_insert([r, r]);
            *ranks = [ranks[0].min(r), ranks[1].max(r)];
            let places = &target.shape[2..];
            let down = [&[r, i][..], places].concat();
            let up = [&[o, r][..], &vec![1; places.len()]].concat();
            tensors.insert(format!("{stem}.lora_down.weight"), (down, factors.down));
            tensors.insert(format!("{stem}.lora_up.weight"), (up, factors.up));
            tensors.insert(format!("{stem}.alpha"), (Vec::new(), vec![r as f32]));
            modules += 1;
        }
        found.modules.push((role, modules));
    }
    if tensors.is_empty() {
        return Err(ModelError::Request {
            path: tuned.path().to_owned(),
            problem: format!(
                "no matrix of it differs from those of {}: there is nothing to extract",
                base.path().display()
            ),
        });
    }
    found.kept = if whole > 0.0 { 1.0 - lost / whole } else { 1.0 };
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, (shape, _))| TensorInfo {
            name: name.clone(),
            dtype: options.dtype,
            shape: shape.clone(),
        })
        .collect();
    let most = found.ranks.map_or(0, |[_, most]| most).to_string();
    let metadata = [
        ("format", "pt"),
        ("ss_network_module", "networks.lora"),
        ("ss_network_dim", most.as_str()),
        ("ss_network_alpha", most.as_str()),
    ];
    let metadata = metadata
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    safetensors::<ModelError>(output, &infos, &metadata, options.existing, |info| {
        let (_, values) = tensors
            .get(&info.name)
            .ok_or_else(|| Error::MissingTensor {
                path: output.to_owned(),
                tensor: info.name.clone(),
            })?;
        Ok(Cow::Owned(recast_numbers(values, info, output)?))
    })?;
    Ok(found)
}

type Parameters<'a> = BTreeMap<&'a str, &'a [usize]>;

fn same_layout(
    path: &Path,
    role: Role,
    old: &Parameters<'_>,
    new: &Parameters<'_>,
) -> Result<(), ModelError> {
    let names = |of: &Parameters<'_>, beside: &Parameters<'_>| -> Vec<String> {
        let only = of.keys().filter(|name| !beside.contains_key(*name));
        only.map(|name| (*name).to_owned()).collect()
    };
    let other = old.iter().filter_map(|(name, expected)| {
        let found = new.get(name).filter(|found| *found != expected)?;
        Some(Misshapen {
            tensor: (*name).to_owned(),
            expected: expected.to_vec(),
            found: found.to_vec(),
        })
    });
    let mismatch = Mismatch {
        path: path.to_owned(),
        part: Some(role),
        missing: names(old, new),
        unused: names(new, old),
        misshapen: other.collect(),
    };
    mismatch.checked()
}
