//! An autoencoder's settings as diffusers writes them.

use latent_models::AutoencoderConfig;
use latent_models::autoencoder::AutoencoderLevel;
use serde_json::{Value, json};

use super::DetectError;
use super::config_json::Keys;

const VAE_READ: [&str; 16] = [
    "in_channels",
    "out_channels",
    "down_block_types",
    "up_block_types",
    "block_out_channels",
    "layers_per_block",
    "latent_channels",
    "norm_num_groups",
    "use_quant_conv",
    "use_post_quant_conv",
    "mid_block_add_attention",
    "num_vq_embeddings",
    "vq_embed_dim",
    "scaling_factor",
    "shift_factor",
    "lookup_from_codebook",
];

/// The autoencoder of a `config.json` of class `AutoencoderKL` or `VQModel`.
///
/// # Errors
/// The first key whose value is not built here.
pub fn autoencoder_from_json(value: &Value) -> Result<AutoencoderConfig, DetectError> {
    let only = [("act_fn", json!("silu")), ("norm_type", json!("group"))];
    let free = ["sample_size", "force_upcast"];
    let keys = Keys::check("vae/config.json", value, &VAE_READ, &free, &only)?;
    let vq = keys.text("_class_name", "AutoencoderKL")? == "VQModel";
    if keys.flag("lookup_from_codebook", false)? {
        return Err(keys.bad("lookup_from_codebook", "false"));
    }
    let down = keys.texts("down_block_types", &["DownEncoderBlock2D"])?;
    let attentions = down.iter().map(|&name| match name {
        "DownEncoderBlock2D" => Ok(false),
        "AttnDownEncoderBlock2D" => Ok(true),
        _ => {
            let expected = "DownEncoderBlock2D or AttnDownEncoderBlock2D";
            Err(keys.bad("down_block_types", expected))
        }
    });
    let attentions: Vec<bool> = attentions.collect::<Result<_, _>>()?;
    let mirrored = down.iter().rev().map(|name| match *name {
        "AttnDownEncoderBlock2D" => "AttnUpDecoderBlock2D",
        _ => "UpDecoderBlock2D",
    });
    let mirrored: Vec<&str> = mirrored.collect();
    if keys.texts("up_block_types", &["UpDecoderBlock2D"])? != mirrored {
        return Err(keys.bad(
            "up_block_types",
            &format!("{mirrored:?}, the encoder mirrored"),
        ));
    }
    let channels = match keys.get("block_out_channels") {
        Some(_) => keys.sizes("block_out_channels", down.len(), 0)?,
        None => vec![64; down.len()],
    };
    let levels = channels.into_iter().zip(attentions);
    let z_channels = keys.size("latent_channels", if vq { 3 } else { 4 })?;
    let config = AutoencoderConfig {
        in_channels: keys.size("in_channels", 3)?,
        out_channels: keys.size("out_channels", 3)?,
        levels: levels
            .map(|(channels, attention)| AutoencoderLevel {
                channels,
                attention,
            })
            .collect(),
        resblocks: keys.size("layers_per_block", 1)?,
        middle_attention: keys.flag("mid_block_add_attention", true)?,
        z_channels,
        latent_channels: match vq {
            true => keys.size("vq_embed_dim", z_channels)?,
            false => z_channels,
        },
        double_z: !vq,
        quant_conv: keys.flag("use_quant_conv", true)?,
        post_quant_conv: keys.flag("use_post_quant_conv", true)?,
        codebook: match vq {
            true => Some(keys.size("num_vq_embeddings", 256)?),
            false => None,
        },
        norm_groups: keys.size("norm_num_groups", 32)?,
    };
    config.validate()?;
    Ok(config)
}

/// Latent scale and shift as `config.json` states them.
///
/// # Errors
/// When one is not a number.
pub fn latent_scale_from_json(value: &Value) -> Result<(Option<f64>, Option<f64>), DetectError> {
    let keys = Keys {
        what: "vae/config.json",
        value,
    };
    Ok((keys.number("scaling_factor")?, keys.number("shift_factor")?))
}
