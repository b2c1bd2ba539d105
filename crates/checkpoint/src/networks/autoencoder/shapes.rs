//! An autoencoder's configuration from the names and shapes of its tensors.

use latent_models::AutoencoderConfig;
use latent_models::autoencoder::AutoencoderLevel;

use super::names::AutoencoderLayout;
use crate::networks::{DetectError, Scheme, Shapes};

/// The configuration of the autoencoder whose tensors `shapes` lists.
///
/// # Errors
///
/// The first tensor that is missing or of a shape that no autoencoder has.
pub fn autoencoder_config(
    shapes: &Shapes<'_>,
    scheme: Scheme,
) -> Result<AutoencoderConfig, DetectError> {
    let original = scheme == Scheme::Ldm;
    let (level_word, block_word, attention_word) = if original {
        ("down", "block", "attn")
    } else {
        ("down_blocks", "resnets", "attentions")
    };
    let block =
        |i: usize, j: usize| format!("encoder.{level_word}.{i}.{block_word}.{j}.conv2.weight");
    let count = shapes.count(|i| block(i, 0));
    let resblocks = shapes.count(|j| block(0, j));
    let levels = (0..count).map(|i| {
        let attention = format!("encoder.{level_word}.{i}.{attention_word}.0");
        Ok(AutoencoderLevel {
            channels: shapes.need(&block(i, 0), 4)?[0],
            attention: shapes.has(&format!("{attention}.norm.weight"))
                || shapes.has(&format!("{attention}.group_norm.weight")),
        })
    });
    let levels: Vec<AutoencoderLevel> = levels.collect::<Result<_, DetectError>>()?;
    let middle = if original {
        "encoder.mid.attn_1"
    } else {
        "encoder.mid_block.attentions.0"
    };
    let middle_attention = ["norm", "group_norm"]
        .iter()
        .any(|norm| shapes.has(&format!("{middle}.{norm}.weight")));
    let encoded = shapes.need("encoder.conv_out.weight", 4)?[0];
    let z_channels = shapes.need("decoder.conv_in.weight", 4)?[1];
    let post_quant = shapes.get("post_quant_conv.weight");
    let codebook = match shapes.get("quantize.embedding.weight") {
        Some(_) => Some(shapes.need("quantize.embedding.weight", 2)?[0]),
        None => None,
    };
    let config = AutoencoderConfig {
        in_channels: shapes.need("encoder.conv_in.weight", 4)?[1],
        out_channels: shapes.need("decoder.conv_out.weight", 4)?[0],
        levels,
        resblocks,
        middle_attention,
        z_channels,
        latent_channels: match post_quant {
            Some(_) => shapes.need("post_quant_conv.weight", 4)?[1],
            None => z_channels,
        },
        double_z: codebook.is_none() && Some(encoded) == z_channels.checked_mul(2),
        quant_conv: shapes.has("quant_conv.weight"),
        post_quant_conv: post_quant.is_some(),
        codebook,
        norm_groups: 32,
    };
    config.validate()?;
    Ok(config)
}

/// What a configuration says about names.
pub fn autoencoder_layout(config: &AutoencoderConfig) -> AutoencoderLayout {
    AutoencoderLayout {
        layers: config.resblocks,
        attention: config.levels.iter().map(|level| level.attention).collect(),
    }
}
