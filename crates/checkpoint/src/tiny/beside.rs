//! Networks beside the tiny model: a ControlNet, a T2I-Adapter of style, and an IP-Adapter with its encoder of pictures.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use latent_models::ip_adapter::ProjectionConfig;
use latent_models::{ControlNetConfig, IpAdapterConfig, StyleAdapterConfig};

use super::{Weights, part, tiny_image_encoder, tiny_unet, values_of, write_parts};
use crate::Error;
use crate::convert::{Model, write_folder};
use crate::file::write::{Existing, safetensors};
use crate::file::{Dtype, TensorInfo};
use crate::networks::{Network, Role};
use crate::report::ModelError;

/// Tokens that a picture becomes.
const TOKENS: usize = 4;

/// Writes a ControlNet of the [tiny model](super::write_tiny) as one safetensors file, in f16.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tiny_controlnet(path: &Path, weights: &mut Weights<'_>) -> Result<(), ModelError> {
    let config = Network::ControlNet(ControlNetConfig::of(tiny_unet(4)));
    write_parts(path, vec![(Role::CONTROLNET, config)], weights)
}

/// Writes a T2I-Adapter of style of the [tiny model](super::write_tiny) as one safetensors file, in f16. It reads pictures by the
/// [encoder](tiny_image_encoder) that [`write_tiny_ip_adapter`] writes.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tiny_style_adapter(path: &Path, weights: &mut Weights<'_>) -> Result<(), ModelError> {
    let width = tiny_image_encoder().width;
    let config = Network::StyleAdapter(StyleAdapterConfig {
        width,
        tokens: 8,
        context: tiny_unet(4).context.unwrap_or_default(),
        layers: 3,
        heads: 8,
        intermediate: 4 * width,
    });
    write_parts(path, vec![(Role::STYLE_ADAPTER, config)], weights)
}

/// Writes an IP-Adapter of the [tiny model](super::write_tiny) into `dir` as `ip-adapter.safetensors`, in f16, and beside it, in the
/// folder `image_encoder`, the [encoder](tiny_image_encoder) that it reads pictures by. Gives the file's path.
///
/// # Errors
/// When a file cannot be written.
pub fn write_tiny_ip_adapter(dir: &Path, weights: &mut Weights<'_>) -> Result<PathBuf, ModelError> {
    let (unet, encoder) = (tiny_unet(4), tiny_image_encoder());
    let [down, middle, up] = unet.attentions_on_context();
    let config = Network::IpAdapter(IpAdapterConfig {
        projection: ProjectionConfig::Linear {
            input: encoder.projection,
            tokens: TOKENS,
        },
        context: unet.context.unwrap_or_default(),
        attentions: [down, up, middle].concat(),
    });
    let infos: Vec<TensorInfo> = config
        .parameters()
        .into_iter()
        .map(|(name, shape)| TensorInfo {
            name: published(&name),
            dtype: Dtype::F16,
            shape,
        })
        .collect();
    let path = dir.join("ip-adapter.safetensors");
    safetensors::<Error>(&path, &infos, &BTreeMap::new(), Existing::Replace, |info| {
        let values = weights("ip_adapter", &info.name, &info.shape);
        Ok(Cow::Owned(
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ))
    })?;
    let encoder = Network::ImageEncoder(encoder);
    let model = Model {
        parts: vec![part(Role::IMAGE_ENCODER, encoder)],
        ..Model::default()
    };
    let mut values = values_of(&model.parts, weights);
    write_folder(
        &dir.join("image_encoder"),
        &model,
        Existing::Replace,
        &mut values,
    )?;
    Ok(path)
}

/// A parameter's name in a published file, which counts the attention of pixels on themselves too.
fn published(name: &str) -> String {
    let attention = name.strip_prefix("ip_adapter.");
    let attention = attention.and_then(|rest| rest.split_once('.'));
    match attention.and_then(|(number, rest)| Some((number.parse::<usize>().ok()?, rest))) {
        Some((number, rest)) => format!("ip_adapter.{}.{rest}", 2 * number + 1),
        None => name.to_owned(),
    }
}
