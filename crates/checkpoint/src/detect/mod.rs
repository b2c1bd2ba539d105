//! What a file or folder is: which networks it has, how they are built, what they predict.
//!
//! A folder says so in JSON. A single file says nothing, so its configuration is read off the names and shapes of its
//! tensors. What those leave open (how channels divide into heads, which activation) is decided by small tables of the
//! published models; the tables are in this module, and a caller with better knowledge can overwrite a configuration
//! before loading ([`Checkpoint::parts_mut`]).

mod autoencoder;
mod autoencoder_json;
mod clip;
mod config_json;
mod open;
mod scheduler;
mod size;
mod unet;

use std::collections::HashMap;

use latent_models::{AutoencoderConfig, ClipTextConfig, ConditionerConfig, UNetConfig};

pub use autoencoder::{autoencoder_config, autoencoder_layout};
pub use autoencoder_json::{autoencoder_from_json, latent_scale_from_json};
pub(crate) use clip::OPEN_CLIP_WIDTH;
pub use clip::{clip_config, clip_from_json, clip_layout};
pub use config_json::unet_from_json;
pub use open::{Checkpoint, DetectedPart, Form, OpenOptions};
pub(crate) use open::{OWN_CLASS, config_metadata_key, detect_part};
pub use scheduler::SchedulerConfig;
pub use unet::{unet_config, unet_layout};

use crate::names::{Scheme, Table};

/// Why a model's configuration could not be told.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// A tensor that every network of its kind has is not there.
    #[error("there is no tensor `{tensor}`, without which the network's size is unknown")]
    Missing {
        /// The full name in the file.
        tensor: String,
    },
    /// A tensor has a shape that no network of its kind has.
    #[error("tensor `{tensor}` has shape {found:?}; expected {expected}")]
    Shape {
        /// The full name in the file.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it may be.
        expected: String,
    },
    /// The tensors describe a network that cannot be built.
    #[error("the network cannot be built: {0}")]
    Config(#[from] latent_models::ConfigError),
    /// A network larger than anything that could be meant.
    #[error("`{field}` is {value}, above the limit of {limit}")]
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// A setting of a JSON file that is not supported.
    #[error("{what}: `{key}` is {value}; expected {expected}")]
    Key {
        /// Which file.
        what: &'static str,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// Settings of the wrong type.
    #[error("{what}: {problem}")]
    Settings {
        /// Which file.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
}

/// A network's configuration.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartConfig {
    /// Of the denoising network.
    Unet(UNetConfig),
    /// Of the picture compressor.
    Autoencoder {
        /// The network.
        network: AutoencoderConfig,
        /// The factor by which its latents are multiplied before they are denoised; `None` where nothing says it.
        scale: Option<f64>,
        /// What is subtracted from its latents before that.
        shift: Option<f64>,
    },
    /// Of a text encoder.
    TextEncoder(ClipTextConfig),
    /// Of what reads a condition.
    Conditioner(ConditionerConfig),
}

impl PartConfig {
    /// The name table of this network in `scheme`.
    pub fn table(&self, scheme: Scheme) -> Table {
        match self {
            Self::Unet(config) => unet_layout(config).table(scheme),
            Self::Autoencoder { network, .. } => autoencoder_layout(network).table(scheme),
            Self::TextEncoder(config) => clip_layout(config).table(scheme),
            Self::Conditioner(_) => Table::identity(),
        }
    }

    /// Every parameter's published name and shape.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        // Listing a lazy network allocates nothing, so the device is never used.
        let device = burn::tensor::Device::flex();
        match self {
            Self::Unet(config) => latent_models::parameters(&config.init(&device)),
            Self::Autoencoder { network, .. } => latent_models::parameters(&network.init(&device)),
            Self::TextEncoder(config) => latent_models::parameters(&config.init(&device)),
            Self::Conditioner(config) => latent_models::parameters(&config.init(&device)),
        }
    }
}

/// The tensors of one network: names without the prefix, and shapes.
#[derive(Debug)]
pub struct Shapes<'a> {
    prefix: &'a str,
    map: HashMap<&'a str, &'a [usize]>,
}

impl<'a> Shapes<'a> {
    /// Those of `tensors` whose name begins with `prefix`.
    pub fn new(tensors: impl Iterator<Item = (&'a str, &'a [usize])>, prefix: &'a str) -> Self {
        let inside = tensors.filter_map(|(name, shape)| Some((name.strip_prefix(prefix)?, shape)));
        Self {
            prefix,
            map: inside.collect(),
        }
    }

    /// The shape of tensor `name`.
    pub fn get(&self, name: &str) -> Option<&'a [usize]> {
        self.map.get(name).copied()
    }

    fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn any(&self, name: &str) -> Result<&'a [usize], DetectError> {
        self.get(name).ok_or_else(|| DetectError::Missing {
            tensor: self.full(name),
        })
    }

    fn need(&self, name: &str, dims: usize) -> Result<&'a [usize], DetectError> {
        let shape = self.any(name)?;
        if shape.len() == dims {
            return Ok(shape);
        }
        Err(DetectError::Shape {
            tensor: self.full(name),
            found: shape.to_vec(),
            expected: format!("{dims} dimensions"),
        })
    }

    /// How many of the names `name(0)`, `name(1)`, … exist without a gap.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..self.map.len())
            .take_while(|&i| self.has(&name(i)))
            .count()
    }
}
