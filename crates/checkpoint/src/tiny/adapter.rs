//! A LoRA of the tiny model.

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
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    for (role, network) in networks {
        let targets = Targets::of(role, &network);
        for target in targets.all() {
            let Some(module) = target.name.strip_suffix(".weight") else {
                continue;
            };
            let ends = |words: &[&str]| words.iter().any(|word| module.ends_with(word));
            if !ends(&[
                "attn2.to_k",
                "attn2.to_v",
                "self_attn.q_proj",
                "self_attn.v_proj",
            ]) {
                continue;
            }
            let Some(stem) = Dialect::Kohya.spell(&target, module).into_iter().next() else {
                continue;
            };
            let (o, i) = (target.shape[0], target.shape[1]);
            tensors.push((format!("{stem}.lora_down.weight"), vec![RANK, i]));
            tensors.push((format!("{stem}.lora_up.weight"), vec![o, RANK]));
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
    let metadata = [
        ("ss_network_module", "networks.lora"),
        ("ss_network_dim", "2"),
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
