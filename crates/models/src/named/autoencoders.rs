//! Autoencoders.

use crate::autoencoder::{AutoencoderConfig, AutoencoderLevel, AutoencoderTinyConfig};

/// An autoencoder of 128 channels: `attention` lists the levels with attention, counted from 0.
fn autoencoder(multipliers: &[usize], attention: &[usize], z: usize) -> AutoencoderConfig {
    let level = |(i, multiplier): (usize, &usize)| AutoencoderLevel {
        channels: 128 * multiplier,
        attention: attention.contains(&i),
    };
    AutoencoderConfig {
        in_channels: 3,
        out_channels: 3,
        levels: multipliers.iter().enumerate().map(level).collect(),
        resblocks: 2,
        middle_attention: true,
        z_channels: z,
        latent_channels: z,
        double_z: true,
        quant_conv: true,
        post_quant_conv: true,
        codebook: None,
        norm_groups: 32,
    }
}

fn quantised(config: AutoencoderConfig, entries: usize) -> AutoencoderConfig {
    AutoencoderConfig {
        double_z: false,
        codebook: Some(entries),
        ..config
    }
}

/// KL, 3 latent channels at a quarter of the size.
pub fn autoencoder_kl_f4() -> AutoencoderConfig {
    autoencoder(&[1, 2, 4], &[], 3)
}

/// KL, 4 latent channels at an eighth of the size: Stable Diffusion's.
pub fn autoencoder_kl_f8() -> AutoencoderConfig {
    autoencoder(&[1, 2, 4, 4], &[], 4)
}

/// KL, 4 latent channels at a quarter of the size: that of Stable Diffusion's ×4 upscaler.
pub fn autoencoder_x4_upscaler() -> AutoencoderConfig {
    autoencoder(&[1, 2, 4], &[], 4)
}

/// TAESD and TAESDXL, which are tiny ones for the latents of [`autoencoder_kl_f8`]'s shape.
pub fn autoencoder_tiny() -> AutoencoderTinyConfig {
    AutoencoderTinyConfig {
        channels: 3,
        latent_channels: 4,
        width: 64,
        encoder_blocks: vec![1, 3, 3, 3],
        decoder_blocks: vec![3, 3, 3, 1],
    }
}

/// KL, 16 latent channels at a sixteenth of the size.
pub fn autoencoder_kl_f16() -> AutoencoderConfig {
    autoencoder(&[1, 1, 2, 2, 4], &[4], 16)
}

/// KL, 64 latent channels at a thirty-second of the size.
pub fn autoencoder_kl_f32() -> AutoencoderConfig {
    autoencoder(&[1, 1, 2, 2, 4, 4], &[4, 5], 64)
}

/// VQ, 3 latent channels at a quarter of the size, 8192 entries.
pub fn autoencoder_vq_f4() -> AutoencoderConfig {
    quantised(autoencoder_kl_f4(), 8192)
}

/// [`autoencoder_vq_f4`] without any attention.
pub fn autoencoder_vq_f4_noattn() -> AutoencoderConfig {
    AutoencoderConfig {
        middle_attention: false,
        ..autoencoder_vq_f4()
    }
}

/// VQ, 4 latent channels at an eighth of the size, 16384 entries.
pub fn autoencoder_vq_f8() -> AutoencoderConfig {
    quantised(autoencoder(&[1, 2, 2, 4], &[3], 4), 16384)
}

/// [`autoencoder_vq_f8`] with 256 entries.
pub fn autoencoder_vq_f8_n256() -> AutoencoderConfig {
    AutoencoderConfig {
        codebook: Some(256),
        ..autoencoder_vq_f8()
    }
}

/// VQ, 8 latent channels at a sixteenth of the size, 16384 entries.
pub fn autoencoder_vq_f16() -> AutoencoderConfig {
    quantised(autoencoder(&[1, 1, 2, 2, 4], &[4], 8), 16384)
}
