//! A LoRA of the tiny model, or of any other.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use half::f16;

use super::{Weights, tiny_text_encoder, tiny_unet};
use crate::Error;
use crate::adapter::Dialect;
use crate::file::write::{Existing, safetensors};
use crate::file::{Dtype, TensorInfo};
use crate::networks::{Network, Role};
use crate::patch::Targets;
use crate::report::ModelError;

const RANK: usize = 2;
/// Modules that it changes, by the ends of their names.
const MODULES: [&str; 4] = [
    "attn2.to_k",
    "attn2.to_v",
    "self_attn.q_proj",
    "self_attn.v_proj",
];

/// Writes a LoRA of the [tiny model](super::write_tiny) in kohya's names: of rank 2 and alpha 1, for the cross-attention of the
/// denoiser and the attention of the text encoder.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tiny_lora(path: &Path, weights: &mut Weights<'_>) -> Result<(), ModelError> {
    let networks: [(Role, Network); 2] = [
        (Role::DENOISER, tiny_unet(4).into()),
        (Role::TEXT_ENCODER, tiny_text_encoder().into()),
    ];
    write_lora(path, &networks, (RANK, &MODULES), weights)
}

/// Writes a LoRA of these networks in kohya's names: of a rank and alpha 1, for the matrices of the modules whose names end so.
///
/// # Errors
/// When the file cannot be written.
pub fn write_lora(
    path: &Path,
    networks: &[(Role, Network)],
    (rank, modules): (usize, &[&str]),
    weights: &mut Weights<'_>,
) -> Result<(), ModelError> {
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    for (role, network) in networks {
        let targets = Targets::of(*role, network);
        for target in targets.all() {
            let Some(module) = target.name.strip_suffix(".weight") else {
                continue;
            };
            let asked = modules.iter().any(|end| module.ends_with(end));
            if !asked || target.shape.len() != 2 {
                continue;
            }
            let Some(stem) = Dialect::Kohya.spell(&target, module).into_iter().next() else {
                continue;
            };
            let (o, i) = (target.shape[0], target.shape[1]);
            tensors.push((format!("{stem}.lora_down.weight"), vec![rank, i]));
            tensors.push((format!("{stem}.lora_up.weight"), vec![o, rank]));
            tensors.push((format!("{stem}.alpha"), Vec::new()));
        }
    }
    let infos: Vec<TensorInfo> = tensors
        .into_iter()
        .map(|(name, shape)| TensorInfo {
            name,
            dtype: Dtype::F16,
            shape,
        })
        .collect();
    let rank = rank.to_string();
    let metadata = [
        ("ss_network_module", "networks.lora"),
        ("ss_network_dim", rank.as_str()),
        ("ss_network_alpha", "1"),
        ("ss_output_name", "tiny"),
        (
            "ss_tag_frequency",
            r#"{"1_tiny": {"tiny pattern": 3, "grey": 1}}"#,
        ),
    ];
    let metadata: BTreeMap<_, _> = metadata
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    safetensors::<Error>(path, &infos, &metadata, Existing::Replace, |info| {
        let values = match info.shape.is_empty() {
            true => vec![f16::ONE],
            false => weights("lora", &info.name, &info.shape),
        };
        Ok(Cow::Owned(
            values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ))
    })?;
    Ok(())
}
