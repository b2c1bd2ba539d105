//! An autoencoder's settings as diffusers writes them, read and written.

use latent_models::AutoencoderConfig;
use latent_models::autoencoder::AutoencoderLevel;
use serde_json::{Value, json};

use super::StoredAutoencoder;
use crate::networks::keys::Keys;
use crate::networks::{DIFFUSERS, DetectError, extend};

const VAE_READ: [&str; 18] = [
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
    "latents_mean",
    "latents_std",
    "lookup_from_codebook",
];

/// The autoencoder of a `config.json` of class `AutoencoderKL` or `VQModel`.
///
/// # Errors
/// The first key whose value is not built here.
pub fn autoencoder_from_json(value: &Value) -> Result<AutoencoderConfig, DetectError> {
    let only = [("act_fn", json!("silu")), ("norm_type", json!("group"))];
    let free = ["sample_size", "force_upcast"];
    let keys = Keys::check("config.json", value, &VAE_READ, &free, &only)?;
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

/// `network` with what `config.json` states of its latents.
///
/// # Errors
/// When a value is not a number, the scale is not above 0, or means and deviations are not as many as there are channels.
pub(super) fn with_latents(
    network: AutoencoderConfig,
    value: &Value,
) -> Result<StoredAutoencoder, DetectError> {
    let keys = Keys {
        what: "config.json",
        value,
    };
    let count = network.latent_channels;
    let list = |key: &str| {
        let Some(value) = keys.get(key) else {
            return Ok(Vec::new());
        };
        let numbers = value.as_array().into_iter().flatten().map(Value::as_f64);
        let numbers: Option<Vec<f64>> = numbers.collect();
        let numbers = numbers.filter(|numbers| numbers.len() == count);
        numbers.ok_or_else(|| keys.bad(key, &format!("a list of {count} numbers")))
    };
    let (means, deviations) = (list("latents_mean")?, list("latents_std")?);
    if means.len() != deviations.len() || deviations.iter().any(|deviation| *deviation <= 0.0) {
        let expected = "a number above 0 for each of latents_mean";
        return Err(keys.bad("latents_std", expected));
    }
    let scale = keys.number("scaling_factor")?;
    if scale.is_some_and(|scale| !sound(scale)) {
        return Err(keys.bad("scaling_factor", SOUND));
    }
    Ok(StoredAutoencoder {
        network,
        scale,
        shift: keys.number("shift_factor")?,
        moments: means.into_iter().zip(deviations).collect(),
    })
}

/// What the scale of latents must be.
pub(super) const SOUND: &str = "a finite number above 0";

/// Whether latents can be multiplied by `scale`, and divided.
pub(super) fn sound(scale: f64) -> bool {
    scale.is_finite() && scale > 0.0
}

/// Means and deviations of latent channels as diffusers writes them.
pub(super) fn moments_json(moments: &[(f64, f64)]) -> Value {
    let (means, deviations): (Vec<f64>, Vec<f64>) = moments.iter().copied().unzip();
    match moments.is_empty() {
        true => json!({"latents_mean": null, "latents_std": null}),
        false => json!({"latents_mean": means, "latents_std": deviations}),
    }
}

/// The `config.json` of an autoencoder whose latents are scaled by `scale`; `side` is that of the latent square.
///
/// # Errors
/// Why diffusers' classes cannot say it.
pub(super) fn autoencoder_json(
    stored: &StoredAutoencoder,
    scale: f64,
    side: usize,
) -> Result<Value, String> {
    let config = &stored.network;
    let names = |plain: &str, attentive: &str| -> Vec<String> {
        let name = |level: &AutoencoderLevel| if level.attention { attentive } else { plain };
        config
            .levels
            .iter()
            .map(|level| name(level).to_owned())
            .collect()
    };
    let down = names("DownEncoderBlock2D", "AttnDownEncoderBlock2D");
    let mut up = names("UpDecoderBlock2D", "AttnUpDecoderBlock2D");
    up.reverse();
    let channels: Vec<usize> = config.levels.iter().map(|level| level.channels).collect();
    let mut value = json!({
        "_diffusers_version": DIFFUSERS,
        "act_fn": "silu", "block_out_channels": channels, "down_block_types": down,
        "in_channels": config.in_channels, "latent_channels": config.z_channels, "layers_per_block": config.resblocks,
        "mid_block_add_attention": config.middle_attention, "norm_num_groups": config.norm_groups,
        "out_channels": config.out_channels, "sample_size": side * config.downsampling(),
        "scaling_factor": scale, "up_block_types": up,
    });
    let more = match (config.codebook, config.double_z) {
        (None, true) if config.latent_channels == config.z_channels => json!({
            "_class_name": "AutoencoderKL", "force_upcast": true, "shift_factor": stored.shift, "use_quant_conv": config.quant_conv, "use_post_quant_conv": config.post_quant_conv,
        }),
        (Some(entries), false) if config.quant_conv && config.post_quant_conv => json!({
            "_class_name": "VQModel", "force_upcast": false, "lookup_from_codebook": false, "norm_type": "group",
            "num_vq_embeddings": entries, "vq_embed_dim": config.latent_channels,
        }),
        _ => {
            return Err("diffusers has no class for this kind of autoencoder".into());
        }
    };
    extend(&mut value, more);
    if config.codebook.is_none() {
        extend(&mut value, moments_json(&stored.moments));
    }
    Ok(value)
}
