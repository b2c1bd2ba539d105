//! A checkpoint of Stable Diffusion 1's shape, a thousandth of its size, written on the spot.
//!
//! Tests and demonstrations need a model and no clone can carry a real one. This one has every kind of layer that the
//! real one has. Its weights come from the caller, by name, so that this crate knows no recipe.

mod adapter;
mod beside;
mod families;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use half::f16;
use latent_models::autoencoder::AutoencoderLevel;
use latent_models::clip::Activation;
use latent_models::unet::{Attention, Heads, Labels, Level, Projection, Resample, TimeShift};
use latent_models::{AutoencoderConfig, ClipTextConfig, UNetConfig};

use crate::convert::{Model, NamedPart, Target, write_file, write_folder};
use crate::detect::SchedulerConfig;
use crate::file::Dtype;
use crate::file::write::Existing;
use crate::networks::{Network, Role, StoredAutoencoder};
use crate::report::ModelError;

pub use adapter::{write_lora, write_tiny_lora};
pub use beside::{write_tiny_controlnet, write_tiny_ip_adapter, write_tiny_style_adapter};
pub use families::{TINY_FAMILIES, TinyFamily, tiny_image_encoder, tiny_taesd};

/// The side of the latent that the tiny model draws by default: pictures of 64×64.
pub const TINY_LATENT: usize = 8;

/// The tiny U-Net; `in_channels` is 4, or 9 for an inpainting model.
pub fn tiny_unet(in_channels: usize) -> UNetConfig {
    let attention = Attention {
        heads: Heads::Count(8),
        depth: 1,
    };
    let level = |channels: usize, attends: bool| Level {
        channels,
        resblocks: 2,
        attention: attends.then_some(attention),
    };
    UNetConfig {
        in_channels,
        out_channels: 4,
        model_channels: 32,
        levels: vec![
            level(32, true),
            level(64, true),
            level(64, true),
            level(96, false),
        ],
        middle: Some(attention),
        context: Some(48),
        projection: Projection::Conv,
        time_shift: TimeShift::Additive,
        resample: Resample::Conv,
        labels: Labels::None,
        norm_groups: 32,
        middle_resblocks: 2,
        depths: None,
        context_only_levels: Vec::new(),
        guidance: None,
    }
}

/// The tiny autoencoder, of downsampling 8.
pub fn tiny_autoencoder() -> AutoencoderConfig {
    let levels = [32, 32, 64, 64].into_iter();
    AutoencoderConfig {
        in_channels: 3,
        out_channels: 3,
        levels: levels
            .map(|channels| AutoencoderLevel {
                channels,
                attention: false,
            })
            .collect(),
        resblocks: 2,
        middle_attention: true,
        z_channels: 4,
        latent_channels: 4,
        double_z: true,
        quant_conv: true,
        post_quant_conv: true,
        codebook: None,
        norm_groups: 32,
    }
}

/// The tiny text encoder.
pub fn tiny_text_encoder() -> ClipTextConfig {
    ClipTextConfig {
        vocabulary: 49408,
        width: 48,
        layers: 3,
        heads: 4,
        intermediate: 192,
        activation: Activation::QuickGelu,
        positions: 77,
        projection: None,
    }
}

/// Where [`write_tiny`] wrote.
#[derive(Clone, Debug)]
pub struct TinyPaths {
    /// The diffusers folder.
    pub folder: PathBuf,
    /// The single safetensors file.
    pub safetensors: PathBuf,
    /// The single torch checkpoint.
    pub ckpt: PathBuf,
}

impl TinyPaths {
    fn new(dir: &Path) -> Self {
        Self {
            folder: dir.join("diffusers"),
            safetensors: dir.join("model.safetensors"),
            ckpt: dir.join("model.ckpt"),
        }
    }
}

/// Gives a parameter's values, row-major, from the component (`unet`, `vae`, `text_encoder`), its published name and its
/// shape.
pub type Weights<'a> = dyn FnMut(&str, &str, &[usize]) -> Vec<f16> + 'a;

/// Writes the tiny checkpoint into `dir` (which must exist) in its three forms, in f16: `diffusers/`,
/// `model.safetensors` and `model.ckpt`. What is there under these names is replaced.
///
/// # Errors
/// When a file cannot be written, or `weights` gives another number of values than the shape says.
pub fn write_tiny(
    dir: &Path,
    in_channels: usize,
    weights: &mut Weights<'_>,
) -> Result<TinyPaths, ModelError> {
    let paths = TinyPaths::new(dir);
    let model = tiny_model(in_channels);
    write_forms(&paths, [&model, &model], weights)?;
    Ok(paths)
}

/// Writes a tiny model of a published kind as [`write_tiny`] does.
///
/// # Errors
/// As [`write_tiny`]'s.
pub fn write_family(
    dir: &Path,
    family: TinyFamily,
    weights: &mut Weights<'_>,
) -> Result<TinyPaths, ModelError> {
    let paths = TinyPaths::new(dir);
    let [folder, single] = [false, true].map(|original| family.model(original));
    write_forms(&paths, [&folder, &single], weights)?;
    Ok(paths)
}

/// Writes [TAESD, narrow](tiny_taesd), as one safetensors file.
///
/// # Errors
/// As [`write_tiny`]'s.
pub fn write_taesd(path: &Path, weights: &mut Weights<'_>) -> Result<(), ModelError> {
    let config = Network::AutoencoderTiny(tiny_taesd());
    write_parts(path, vec![(Role::AUTOENCODER, config)], weights)
}

/// Writes networks as one safetensors file, in f16.
///
/// # Errors
/// As [`write_tiny`]'s.
pub fn write_parts(
    path: &Path,
    networks: Vec<(Role, Network)>,
    weights: &mut Weights<'_>,
) -> Result<(), ModelError> {
    let parts = networks.into_iter();
    let model = Model {
        parts: parts.map(|(role, config)| part(role, config)).collect(),
        ..Model::default()
    };
    let mut values = values_of(&model.parts, weights);
    write_file(
        path,
        Target::Safetensors,
        &model,
        Existing::Replace,
        &mut values,
    )
}

/// The bytes of each parameter.
fn values_of<'a>(
    parts: impl IntoIterator<Item = &'a NamedPart>,
    weights: &mut Weights<'_>,
) -> impl FnMut(Role, &str) -> Result<Vec<u8>, ModelError> {
    let mut shapes: HashMap<(Role, String), Vec<usize>> = HashMap::new();
    for part in parts {
        for (name, shape) in part.config.parameters() {
            shapes.insert((part.role, name), shape);
        }
    }
    move |role, name| {
        let shape = shapes.get(&(role, name.to_owned()));
        let shape = shape.map_or(&[] as &[usize], Vec::as_slice);
        let drawn = weights(role.folder(), name, shape);
        Ok(drawn.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

/// Writes one model as a folder and another as single files.
fn write_forms(
    paths: &TinyPaths,
    [folder, single]: [&Model; 2],
    weights: &mut Weights<'_>,
) -> Result<(), ModelError> {
    let mut values = values_of(folder.parts.iter().chain(&single.parts), weights);
    let existing = Existing::Replace;
    write_folder(&paths.folder, folder, existing, &mut values)?;
    for (path, target) in [
        (&paths.safetensors, Target::Safetensors),
        (&paths.ckpt, Target::Ckpt),
    ] {
        write_file(path, target, single, existing, &mut values)?;
    }
    Ok(())
}

/// A network to write as f16.
fn part(role: Role, config: Network) -> NamedPart {
    let parameters = config.parameters().into_iter();
    let dtypes = parameters.map(|(name, _)| (name, Dtype::F16)).collect();
    NamedPart {
        role,
        config,
        dtypes,
    }
}

fn tiny_model(in_channels: usize) -> Model {
    let autoencoder = StoredAutoencoder::from(tiny_autoencoder());
    Model {
        parts: vec![
            part(Role::DENOISER, tiny_unet(in_channels).into()),
            part(Role::AUTOENCODER, autoencoder.into()),
            part(Role::TEXT_ENCODER, tiny_text_encoder().into()),
        ],
        scheduler: SchedulerConfig::stable_diffusion(),
        sample_size: Some(TINY_LATENT),
        metadata: BTreeMap::new(),
        ..Model::default()
    }
}
