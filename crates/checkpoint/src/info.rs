//! What a file is, for people and programs: the facts behind `latent info`.

use serde::Serialize;
use std::collections::BTreeMap;

use crate::detect::{Checkpoint, Form, SchedulerConfig};
use crate::file::hash::{old_hash, sha256, short_hash};
use crate::file::{TensorInfo, Weights};
use crate::load::plan;
use crate::names::EMA_PREFIX;
use crate::networks::{Network, Role, Scheme};
use crate::report::ModelError;

/// What to find out beyond names and shapes.
#[derive(Clone, Copy, Debug, Default)]
pub struct InfoOptions {
    /// Hash the file: reads all of it. A folder has no hash.
    pub hash: bool,
    /// List every tensor.
    pub tensors: bool,
}

/// What a file or folder is.
#[derive(Clone, Debug, Serialize)]
pub struct Info {
    /// The file or folder.
    pub path: String,
    /// File or folder.
    pub form: Form,
    /// The container of each weight file: `safetensors`, `torch zip`, `torch legacy`.
    pub containers: Vec<String>,
    /// The family that the networks point to, in words; `None` where they point to none.
    pub family: Option<String>,
    /// What is unusual about it, and how it would be drawn, in sentences.
    pub notes: Vec<String>,
    /// The networks.
    pub parts: Vec<PartInfo>,
    /// Tensors that belong to no network and are known.
    pub other_tensors: usize,
    /// Tensors that belong to no network and are on no list, by name: left out.
    pub strangers: Vec<String>,
    /// Components of a folder that are not read here.
    pub other_components: Vec<String>,
    /// Bytes of all weight files.
    pub size: u64,
    /// Whether there is a moving average of the weights.
    pub moving_average: bool,
    /// `epsilon`, `v_prediction`, …; `None` where there is no denoiser.
    pub prediction: Option<String>,
    /// The noise schedule and what goes with it.
    pub scheduler: SchedulerConfig,
    /// Text stored in the weight files.
    pub metadata: BTreeMap<String, String>,
    /// SHA-256 of the file and the short hashes made of it, where asked for.
    pub hash: Option<Hashes>,
    /// Every tensor, where asked for.
    pub tensors: Option<Vec<TensorRow>>,
}

/// One network.
#[derive(Clone, Debug, Serialize)]
pub struct PartInfo {
    /// What it is for.
    pub role: Role,
    /// Who named its tensors.
    pub scheme: Scheme,
    /// What their names begin with.
    pub prefix: String,
    /// How many numbers its parameters hold.
    pub parameters: usize,
    /// How many of its tensors are stored in each type.
    pub dtypes: BTreeMap<String, usize>,
    /// Its configuration.
    pub config: Network,
    /// Why it would not load, if so: what is missing, unused or misshapen.
    pub problem: Option<String>,
}

/// A file's hashes.
#[derive(Clone, Debug, Serialize)]
pub struct Hashes {
    /// All 64 digits.
    pub sha256: String,
    /// The first ten: A1111's "model hash".
    pub short: String,
    /// A1111's model hash before 2023, eight digits.
    pub old: String,
}

/// One tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorRow {
    /// Its name in the file.
    pub name: String,
    /// Its type, as in a safetensors header.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl From<&TensorInfo> for TensorRow {
    fn from(info: &TensorInfo) -> Self {
        Self {
            name: info.name.clone(),
            dtype: info.dtype.name().to_owned(),
            shape: info.shape.clone(),
        }
    }
}

/// Describes a checkpoint. `progress` is called with the bytes hashed so far and their number. What family it is of is for
/// the caller to say.
///
/// A network that would not load is described all the same, with the reason in [`PartInfo::problem`].
///
/// # Errors
/// When a file cannot be read.
pub fn inspect(
    checkpoint: &Checkpoint,
    options: &InfoOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Info, ModelError> {
    let path = checkpoint.path();
    let hash = match (options.hash, checkpoint.form()) {
        (true, Form::SingleFile) => {
            let sha256 = sha256(path, progress)?;
            Some(Hashes {
                short: short_hash(&sha256).to_owned(),
                old: old_hash(path)?,
                sha256,
            })
        }
        _ => None,
    };
    let files = || checkpoint.weights().iter().flat_map(Weights::files);
    let tensors = || checkpoint.weights().iter().flat_map(Weights::tensors);
    let mut used = 0;
    let parts: Vec<PartInfo> = checkpoint
        .parts()
        .iter()
        .map(|part| {
            let weights = checkpoint.weights_of(part);
            let mut dtypes: BTreeMap<String, usize> = BTreeMap::new();
            let problem = match plan(checkpoint, part, false) {
                Ok(plan) => {
                    let mut names: Vec<_> = plan.assignments.iter().map(|a| &a.tensor).collect();
                    names.sort();
                    names.dedup();
                    used += names.len();
                    for info in names.iter().filter_map(|name| weights.get(name)) {
                        *dtypes.entry(info.dtype.name().to_owned()).or_default() += 1;
                    }
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            let parameters = part.config.parameters();
            PartInfo {
                role: part.role,
                scheme: part.scheme,
                prefix: part.prefix.to_owned(),
                parameters: parameters
                    .iter()
                    .map(|(_, s)| s.iter().product::<usize>())
                    .sum(),
                dtypes,
                config: part.config.clone(),
                problem,
            }
        })
        .collect();
    let mut containers: Vec<String> = files().map(|file| file.format().to_string()).collect();
    containers.dedup();
    Ok(Info {
        path: path.display().to_string(),
        form: checkpoint.form(),
        containers,
        family: None,
        notes: Vec::new(),
        parts,
        other_tensors: tensors().count().saturating_sub(used),
        strangers: checkpoint
            .strangers()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        other_components: checkpoint.other_components().to_vec(),
        size: files().map(crate::file::TensorFile::file_len).sum(),
        moving_average: tensors().any(|info| info.name.starts_with(EMA_PREFIX)),
        prediction: checkpoint
            .find(Role::DENOISER)
            .map(|_| checkpoint.scheduler().prediction_type.clone()),
        scheduler: checkpoint.scheduler().clone(),
        metadata: checkpoint.metadata().clone(),
        hash,
        tensors: options
            .tensors
            .then(|| tensors().map(TensorRow::from).collect()),
    })
}
