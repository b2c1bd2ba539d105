//! ControlNets that are stored as changes of the denoiser which they are for: as products of low rank (Control-LoRA), or as
//! differences.
//!
//! Such a file has a mark, and what the denoiser has nothing of (what reads the picture, the convolutions of what is said) in
//! full. Biases and norms of a Control-LoRA are the file's own where it has them, else the denoiser's.

use std::collections::HashSet;
use std::path::Path;

use burn::tensor::{DType, Device, TensorData};
use latent_models::{ControlNet, ControlNetConfig, UNetConfig};
use serde::Serialize;

use super::{Assignment, LoadOptions, plan, read};
use crate::detect::Checkpoint;
use crate::file::{TensorFile, TensorInfo, Weights};
use crate::names::Piece;
use crate::networks::{Kind, Role, Scheme, Shapes, controlnet};
use crate::report::{Mismatch, Misshapen, ModelError, Report};

/// The mark of products of low rank.
const LOW_RANK: &str = "lora_controlnet";
/// The mark of differences.
const DIFFERENCE: &str = "difference";
/// What the names of some differences begin with.
const PREFIX: &str = "control_model.";

/// How a parameter is made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Made {
    /// The file's own.
    Own(String),
    /// The denoiser's.
    Base,
    /// The denoiser's and a product: `[out, rank]` and `[rank, in…]`, in this order.
    Product([String; 2]),
    /// The denoiser's and a difference.
    Sum(String),
}

/// A ControlNet stored as changes of a denoiser.
#[derive(Debug)]
pub struct ControlChanges {
    weights: Weights,
    config: ControlNetConfig,
    made: Vec<(String, Vec<usize>, Made)>,
}

/// Whether a file has the mark of such changes.
fn holds_changes(file: &TensorFile) -> bool {
    [LOW_RANK, DIFFERENCE]
        .iter()
        .any(|mark| file.get(mark).is_some())
}

/// What such a file is, by its names and shapes alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AboutChanges {
    /// Products of low rank, and not differences.
    pub low_rank: bool,
    /// The least and the largest rank of products.
    pub ranks: Option<[usize; 2]>,
    /// The width of the tokens that the denoiser reads, where a tensor tells.
    pub context: Option<usize>,
    /// Tensors that change the denoiser's, and those that are the file's own.
    pub changed: usize,
    /// The latter.
    pub own: usize,
}

impl AboutChanges {
    /// Of a file; `None` where it holds no changes.
    pub fn of(file: &TensorFile) -> Option<Self> {
        if !holds_changes(file) {
            return None;
        }
        let low_rank = file.get(LOW_RANK).is_some();
        let tensors = || {
            let all = file.tensors().iter();
            all.filter(|info| ![LOW_RANK, DIFFERENCE].contains(&info.name.as_str()))
        };
        let downs = || tensors().filter(|info| info.name.ends_with(".down"));
        let ranks = || downs().filter_map(|info| info.shape.first().copied());
        let stem = "attn2.to_k.";
        let told = |info: &&TensorInfo| info.name.contains(stem) && !info.name.ends_with(".up");
        let context = tensors().find(told);
        let ups = tensors().filter(|info| info.name.ends_with(".up")).count();
        let changed = match low_rank {
            true => ups,
            false => tensors().filter(|info| !is_own(&info.name)).count(),
        };
        Some(Self {
            low_rank,
            ranks: ranks()
                .min()
                .zip(ranks().max())
                .map(|(least, most)| [least, most]),
            context: context.and_then(|info| info.shape.get(1).copied()),
            changed,
            own: tensors().count() - changed - if low_rank { downs().count() } else { 0 },
        })
    }
}

/// Whether the denoiser has nothing of a tensor of the original names.
fn is_own(name: &str) -> bool {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    ["input_hint_block.", "zero_convs.", "middle_block_out."]
        .iter()
        .any(|start| name.starts_with(start))
}

impl ControlChanges {
    /// Opens a file of changes of the denoiser of `base`; `None` where it is none.
    ///
    /// # Errors
    /// One that cannot be read, or that does not fit the denoiser.
    pub fn open(path: &Path, base: &Checkpoint) -> Result<Option<Self>, ModelError> {
        if !path.is_file() {
            return Ok(None);
        }
        let file = TensorFile::open(path)?;
        if !holds_changes(&file) {
            return Ok(None);
        }
        let differences = file.get(DIFFERENCE).is_some();
        let weights = Weights::from(file);
        let prefix = match weights.tensors().iter().any(|t| t.name.starts_with(PREFIX)) {
            true => PREFIX,
            false => "",
        };
        let tensors = weights.tensors().iter();
        let tensors = tensors.map(|info| (info.name.as_str(), info.shape.as_slice()));
        let shapes = Shapes::new(tensors, prefix);
        let unet = base.config::<UNetConfig>(Role::DENOISER)?.clone();
        let config = controlnet::hint_config(&shapes, Scheme::Ldm, unet.clone());
        let config = config.map_err(|source| ModelError::Detect {
            path: path.to_owned(),
            source,
        })?;
        let table = Kind::table(&config, Scheme::Ldm);
        // Listing takes no memory there.
        let device = Device::flex();
        let of_base: HashSet<String> = latent_models::parameters(&unet.init(&device))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let (mut used, mut made) = (HashSet::new(), Vec::new());
        let mut mismatch = Mismatch {
            path: path.to_owned(),
            part: Some(Role::CONTROLNET),
            ..Mismatch::default()
        };
        used.extend([LOW_RANK, DIFFERENCE].map(str::to_owned));
        for (parameter, shape) in latent_models::parameters(&config.init(&device)) {
            let name = table
                .place(&parameter)
                .map_or(parameter.clone(), |p| p.name);
            let name = format!("{prefix}{name}");
            let stem = name.strip_suffix(".weight");
            let pair = stem.map(|stem| ["up", "down"].map(|part| format!("{stem}.{part}")));
            let pair = pair.filter(|pair| pair.iter().any(|name| weights.get(name).is_some()));
            let inherits = of_base.contains(&parameter);
            let how = match (weights.get(&name), pair) {
                (Some(_), _) if differences && inherits => Made::Sum(name),
                (Some(_), _) => Made::Own(name),
                (None, Some(pair)) if inherits => Made::Product(pair),
                (None, _) if inherits => Made::Base,
                _ => {
                    mismatch.missing.push(name);
                    continue;
                }
            };
            let names: &[String] = match &how {
                Made::Own(name) | Made::Sum(name) => std::slice::from_ref(name),
                Made::Product(pair) => pair,
                Made::Base => &[],
            };
            used.extend(names.iter().cloned());
            let misshapen = misshapen(&weights, names, &shape, &how);
            mismatch.missing.extend(
                names
                    .iter()
                    .filter(|name| weights.get(name).is_none())
                    .cloned(),
            );
            mismatch.misshapen.extend(misshapen);
            made.push((parameter, shape, how));
        }
        let unused = weights.tensors().iter().filter(|t| !used.contains(&t.name));
        mismatch.unused = unused.map(|info| info.name.clone()).collect();
        match mismatch.is_empty() {
            true => Ok(Some(Self {
                weights,
                config,
                made,
            })),
            false => Err(Box::new(mismatch).into()),
        }
    }

    /// What the network is made of.
    pub fn config(&self) -> &ControlNetConfig {
        &self.config
    }

    /// Every parameter with its tensor; those that are the denoiser's, with none.
    pub fn report(&self) -> Report {
        let applied = self.made.iter().filter_map(|(parameter, _, made)| {
            let name = match made {
                Made::Own(name) | Made::Sum(name) | Made::Product([name, _]) => name,
                Made::Base => return None,
            };
            Some((parameter.clone(), name.clone()))
        });
        Report {
            applied: applied.collect(),
            ..Report::default()
        }
    }

    /// The network, on top of the denoiser of `base`, whose file it was opened for.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn load(
        &self,
        base: &Checkpoint,
        options: &LoadOptions,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<ControlNet, ModelError> {
        let part = base.part(Role::DENOISER)?;
        let plan = plan(base, part, options.moving_average)?;
        let exact = LoadOptions {
            dtype: DType::F32,
            patches: Vec::new(),
            ..options.clone()
        };
        let own = |name: &str, shape: &[usize]| {
            let assignment = Assignment {
                parameter: name.to_owned(),
                shape: shape.to_vec(),
                tensor: name.to_owned(),
                piece: Piece::Whole,
                scale: None,
            };
            Ok::<_, ModelError>(numbers(read(&self.weights, &assignment, &exact, None)?))
        };
        let inherited = |parameter: &str| {
            let mut assignments = plan.assignments.iter();
            let found = assignments.find(|assignment| assignment.parameter == parameter);
            let assignment = found.ok_or_else(|| ModelError::Request {
                path: self.weights.path().to_owned(),
                problem: format!("the model has no `{parameter}`, which it changes"),
            })?;
            Ok::<_, ModelError>(numbers(read(
                base.weights_of(part),
                assignment,
                &exact,
                None,
            )?))
        };
        let mut made = self.made.iter();
        let mut done = 0;
        let mut fetch = |parameter: &str, shape: &[usize]| {
            let how = made.next().map_or(&Made::Base, |(_, _, how)| how);
            let values = match how {
                Made::Own(name) => own(name, shape)?,
                Made::Base => inherited(parameter)?,
                Made::Sum(name) => {
                    let mut values = inherited(parameter)?;
                    let difference = own(name, shape)?;
                    values.iter_mut().zip(difference).for_each(|(v, d)| *v += d);
                    values
                }
                Made::Product([up, down]) => {
                    let mut values = inherited(parameter)?;
                    let whole = |name: &str| {
                        let shape = self.weights.get(name).map(|info| info.shape.clone());
                        own(name, &shape.unwrap_or_default())
                    };
                    add_product(&mut values, &whole(up)?, &whole(down)?, shape[0]);
                    values
                }
            };
            done += 1;
            progress(done, self.made.len());
            let data = TensorData::new(values, shape.to_vec());
            Ok(data.convert_dtype(options.dtype))
        };
        let network = self.config.init(&options.device);
        latent_models::load::<ControlNet, ModelError>(network, &mut fetch, options.dtype)
    }
}

fn numbers(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// Adds `up`·`down` to a weight of so many outputs.
fn add_product(values: &mut [f32], up: &[f32], down: &[f32], outputs: usize) {
    let (rank, width) = (up.len() / outputs.max(1), values.len() / outputs.max(1));
    for (row, factors) in values.chunks_exact_mut(width).zip(up.chunks_exact(rank)) {
        for (factor, line) in factors.iter().zip(down.chunks_exact(width)) {
            row.iter_mut().zip(line).for_each(|(v, d)| *v += factor * d);
        }
    }
}

/// The tensors whose shapes are not a parameter's.
fn misshapen(weights: &Weights, names: &[String], shape: &[usize], how: &Made) -> Vec<Misshapen> {
    let sizes: Vec<&[usize]> = names
        .iter()
        .filter_map(|name| Some(weights.get(name)?.shape.as_slice()))
        .collect();
    let wrong = |name: &String, found: &[usize], expected: Vec<usize>| Misshapen {
        tensor: name.clone(),
        expected,
        found: found.to_vec(),
    };
    match (how, &sizes[..]) {
        (Made::Product(_), [up, down]) => {
            let rank = down.first().copied().unwrap_or(0).max(1);
            let count = |shape: &[usize]| shape.iter().product::<usize>();
            let inputs = count(shape) / shape[0].max(1);
            let mut all = Vec::new();
            if up.first() != shape.first() || count(up) != shape[0] * rank {
                all.push(wrong(&names[0], up, vec![shape[0], rank]));
            }
            if count(down) != rank * inputs {
                let expected = [&[rank], &shape[1..]].concat();
                all.push(wrong(&names[1], down, expected));
            }
            all
        }
        (Made::Own(_) | Made::Sum(_), [found]) if !super::fits(found, shape) => {
            vec![wrong(&names[0], found, shape.to_vec())]
        }
        _ => Vec::new(),
    }
}
