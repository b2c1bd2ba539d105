//! What a file is, for people and programs: the facts behind `latent info`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::detect::{Checkpoint, Form, PartConfig, SchedulerConfig};
use crate::file::hash::{old_hash, sha256, short_hash};
use crate::file::{TensorInfo, Weights};
use crate::load::plan;
use crate::names::{EMA_PREFIX, Part, Scheme};
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
    /// The networks.
    pub parts: Vec<PartInfo>,
    /// Tensors that belong to no network and are known.
    pub other_tensors: usize,
    /// Components of a folder that are not read here.
    pub other_components: Vec<String>,
    /// Bytes of all weight files.
    pub size: u64,
    /// Whether there is a moving average of the weights.
    pub moving_average: bool,
    /// `epsilon`, `v_prediction`, ….
    pub prediction: String,
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
    /// Which.
    pub part: Part,
    /// Who named its tensors.
    pub scheme: Scheme,
    /// What their names begin with.
    pub prefix: String,
    /// How many numbers its parameters hold.
    pub parameters: usize,
    /// How many of its tensors are stored in each type.
    pub dtypes: BTreeMap<String, usize>,
    /// Its configuration.
    pub config: PartConfig,
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

/// What the family is told by.
struct Signs {
    in_channels: usize,
    context: Option<usize>,
    vector: bool,
    latent: Option<usize>,
}

/// A family: its description and what its U-Net must be like. The first row that fits is the answer.
type Family = (&'static str, fn(&Signs) -> bool);

const FAMILIES: [Family; 12] = [
    ("Stable Diffusion 1.x, inpainting", |s| {
        s.context == Some(768) && s.in_channels == 9 && s.small()
    }),
    ("Stable Diffusion 1.x, instructed editing", |s| {
        s.context == Some(768) && s.in_channels == 8 && s.small()
    }),
    ("Stable Diffusion 1.x", |s| {
        s.context == Some(768) && s.in_channels == 4 && s.small()
    }),
    ("Stable Diffusion 2.x, inpainting", |s| {
        s.context == Some(1024) && s.in_channels == 9
    }),
    ("Stable Diffusion 2.x, depth-conditioned", |s| {
        s.context == Some(1024) && s.in_channels == 5
    }),
    ("Stable Diffusion 2.x, upscaler", |s| {
        s.context == Some(1024) && s.in_channels == 7
    }),
    ("Stable Diffusion 2.x", |s| s.context == Some(1024)),
    ("SDXL", |s| s.context == Some(2048) && s.vector),
    ("SDXL refiner", |s| s.context == Some(1280) && s.vector),
    (
        "tiny test model in the layout of Stable Diffusion 1.x",
        |s| s.context == Some(48),
    ),
    ("latent diffusion, conditioned by cross-attention", |s| {
        s.context.is_some()
    }),
    ("latent diffusion, without cross-attention", |_| true),
];

impl Signs {
    fn small(&self) -> bool {
        !self.vector && self.latent.is_none_or(|channels| channels == 4)
    }
}

fn family(checkpoint: &Checkpoint) -> Option<String> {
    let config = |part: Part| {
        checkpoint
            .parts()
            .iter()
            .find(|p| p.part == part)
            .map(|p| &p.config)
    };
    let latent = match config(Part::Autoencoder) {
        Some(PartConfig::Autoencoder { network, .. }) => Some(network.latent_channels),
        _ => None,
    };
    if let Some(PartConfig::Unet(unet)) = config(Part::Unet) {
        let signs = Signs {
            in_channels: unet.in_channels,
            context: unet.context,
            vector: matches!(unet.labels, latent_models::unet::Labels::Vector(_)),
            latent,
        };
        let row = FAMILIES.iter().find(|(_, fits)| fits(&signs));
        return row.map(|(name, _)| (*name).to_owned());
    }
    match (config(Part::Autoencoder), config(Part::TextEncoder)) {
        (Some(PartConfig::Autoencoder { network, .. }), None) => {
            let kind = if network.codebook.is_some() {
                "VQ"
            } else {
                "KL"
            };
            let (f, z) = (network.downsampling(), network.latent_channels);
            Some(format!(
                "autoencoder alone: {kind}-f{f}, {z} latent channels"
            ))
        }
        (None, Some(PartConfig::TextEncoder(text))) => {
            let (layers, width) = (text.layers, text.width);
            Some(format!(
                "CLIP text encoder alone: {layers} layers of width {width}"
            ))
        }
        _ => None,
    }
}

/// Finds out what the file or folder at `path` is. `progress` is called with the bytes hashed so far and their number.
///
/// A network that would not load is described all the same, with the reason in [`PartInfo::problem`].
///
/// # Errors
/// When it cannot be read or holds no network that is known here.
pub fn inspect(
    path: &Path,
    options: &InfoOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Info, ModelError> {
    let checkpoint = Checkpoint::open(path)?;
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
            let problem = match plan(&checkpoint, part, false) {
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
                part: part.part,
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
        family: family(&checkpoint),
        parts,
        other_tensors: tensors().count().saturating_sub(used),
        other_components: checkpoint.other_components().to_vec(),
        size: files().map(crate::file::TensorFile::file_len).sum(),
        moving_average: tensors().any(|info| info.name.starts_with(EMA_PREFIX)),
        prediction: checkpoint.scheduler().prediction_type.clone(),
        scheduler: checkpoint.scheduler().clone(),
        metadata: checkpoint.metadata().clone(),
        hash,
        tensors: options
            .tensors
            .then(|| tensors().map(TensorRow::from).collect()),
    })
}
