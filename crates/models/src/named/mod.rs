//! The published models' networks, as values.
//!
//! Configurations only: which weights go with one, and how it is sampled, is for the crates above.
//! Sources: the yaml files of `CompVis/latent-diffusion` (`configs/`, `models/`),
//! `CompVis/stable-diffusion` (`configs/`) and `Stability-AI/generative-models`
//! (`configs/inference/`).

use crate::autoencoder::{AutoencoderConfig, AutoencoderLevel};
use crate::clip::{Activation, ClipTextConfig};
use crate::perceptual::{EfficientNetConfig, Stage, VggBlock, VggConfig};
use crate::unet::{Attention, Heads, Labels, Level, Projection, Resample, TimeShift, UNetConfig};

/// A U-Net as the published files write it: multipliers and downsampling factors.
struct Written<'a> {
    channels: [usize; 2],
    model_channels: usize,
    multipliers: &'a [usize],
    /// The downsampling factors at which there is attention, as `attention_resolutions` has them.
    attention: &'a [usize],
    heads: Heads,
    /// Transformer blocks by level.
    depth: &'a [usize],
    context: Option<usize>,
}

impl Written<'_> {
    fn config(&self) -> UNetConfig {
        let depth = |i: usize| {
            self.depth
                .get(i)
                .or(self.depth.last())
                .copied()
                .unwrap_or(1)
        };
        let attention = |i| Attention {
            heads: self.heads,
            depth: depth(i),
        };
        let level = |(i, multiplier): (usize, &usize)| Level {
            channels: self.model_channels * multiplier,
            resblocks: 2,
            attention: self.attention.contains(&(1 << i)).then(|| attention(i)),
        };
        UNetConfig {
            in_channels: self.channels[0],
            out_channels: self.channels[1],
            model_channels: self.model_channels,
            levels: self.multipliers.iter().enumerate().map(level).collect(),
            middle: Some(attention(self.multipliers.len().saturating_sub(1))),
            context: self.context,
            projection: Projection::Conv,
            time_shift: TimeShift::Additive,
            resample: Resample::Conv,
            labels: Labels::None,
            norm_groups: 32,
        }
    }
}

/// Unconditional LDM-4 of CelebA-HQ, FFHQ and LSUN bedrooms.
pub fn unet_celebahq() -> UNetConfig {
    Written {
        channels: [3, 3],
        model_channels: 224,
        multipliers: &[1, 2, 3, 4],
        attention: &[8, 4, 2],
        heads: Heads::Width(32),
        depth: &[1],
        context: None,
    }
    .config()
}

/// Unconditional LDM-8 of LSUN churches: scale-shift time embedding, resblocks that change the
/// resolution.
pub fn unet_lsun_churches() -> UNetConfig {
    UNetConfig {
        time_shift: TimeShift::ScaleShift,
        resample: Resample::Resnet,
        ..Written {
            channels: [4, 4],
            model_channels: 192,
            multipliers: &[1, 2, 2, 4, 4],
            attention: &[1, 2, 4, 8],
            heads: Heads::Count(8),
            depth: &[1],
            context: None,
        }
        .config()
    }
}

/// Class-conditional LDM-8 of ImageNet; the class is one context token.
pub fn unet_imagenet_f8() -> UNetConfig {
    Written {
        channels: [4, 4],
        model_channels: 256,
        multipliers: &[1, 2, 4],
        attention: &[4, 2, 1],
        heads: Heads::Width(32),
        depth: &[1],
        context: Some(512),
    }
    .config()
}

/// Class-conditional LDM-4 of ImageNet for classifier-free guidance (`cin256-v2`).
pub fn unet_imagenet_f4() -> UNetConfig {
    Written {
        channels: [3, 3],
        model_channels: 192,
        multipliers: &[1, 2, 3, 5],
        attention: &[8, 4, 2],
        heads: Heads::Count(1),
        depth: &[1],
        context: Some(512),
    }
    .config()
}

/// Text-conditional LDM-4 of Conceptual Captions (`text2img256`).
pub fn unet_text2img256() -> UNetConfig {
    UNetConfig {
        context: Some(640),
        ..with_heads(unet_imagenet_f4(), Heads::Width(32))
    }
}

/// The 1.45-billion-parameter text-to-image LDM-8 of LAION-400M (`txt2img-1p4B`).
pub fn unet_txt2img_1p4b() -> UNetConfig {
    UNetConfig {
        context: Some(1280),
        ..unet_sd1()
    }
}

/// Inpainting LDM-4 (`inpainting_big`): latent, masked latent and mask.
pub fn unet_inpainting_big() -> UNetConfig {
    UNetConfig {
        resample: Resample::Resnet,
        ..Written {
            channels: [7, 3],
            model_channels: 256,
            multipliers: &[1, 2, 3, 4],
            attention: &[8, 4, 2],
            heads: Heads::Count(8),
            depth: &[1],
            context: None,
        }
        .config()
    }
}

/// Super-resolution LDM-4 (`bsr_sr`): latent and low-resolution picture.
pub fn unet_superresolution() -> UNetConfig {
    Written {
        channels: [6, 3],
        model_channels: 160,
        multipliers: &[1, 2, 2, 4],
        attention: &[16, 8],
        heads: Heads::Width(32),
        depth: &[1],
        context: None,
    }
    .config()
}

/// Semantic-map LDM-4 (`semantic_synthesis256` and `512`): latent and rescaled map; attention in
/// the middle only.
pub fn unet_semantic() -> UNetConfig {
    Written {
        channels: [6, 3],
        model_channels: 128,
        multipliers: &[1, 4, 8],
        attention: &[32, 16, 8],
        heads: Heads::Count(8),
        depth: &[1],
        context: None,
    }
    .config()
}

/// Layout LDM-4 (`layout2img-openimages256`): bounding boxes as context tokens, three transformer
/// blocks each.
pub fn unet_layout2img() -> UNetConfig {
    Written {
        channels: [3, 3],
        model_channels: 128,
        multipliers: &[1, 2, 3, 4],
        attention: &[8, 4, 2],
        heads: Heads::Width(32),
        depth: &[3],
        context: Some(512),
    }
    .config()
}

/// Retrieval-augmented diffusion (RDM 768×768): CLIP picture embeddings as context tokens.
pub fn unet_rdm() -> UNetConfig {
    Written {
        channels: [16, 16],
        model_channels: 448,
        multipliers: &[1, 2, 3, 4],
        attention: &[4, 2, 1],
        heads: Heads::Width(32),
        depth: &[1],
        context: Some(768),
    }
    .config()
}

/// Stable Diffusion 1.x. Its inpainting models differ by nine input channels.
pub fn unet_sd1() -> UNetConfig {
    Written {
        channels: [4, 4],
        model_channels: 320,
        multipliers: &[1, 2, 4, 4],
        attention: &[4, 2, 1],
        heads: Heads::Count(8),
        depth: &[1],
        context: Some(768),
    }
    .config()
}

/// Stable Diffusion 2.x.
pub fn unet_sd2() -> UNetConfig {
    UNetConfig {
        context: Some(1024),
        projection: Projection::Linear,
        ..with_heads(unet_sd1(), Heads::Width(64))
    }
}

/// SDXL base.
pub fn unet_sdxl_base() -> UNetConfig {
    UNetConfig {
        projection: Projection::Linear,
        labels: Labels::Vector(2816),
        ..Written {
            channels: [4, 4],
            model_channels: 320,
            multipliers: &[1, 2, 4],
            attention: &[4, 2],
            heads: Heads::Width(64),
            depth: &[1, 2, 10],
            context: Some(2048),
        }
        .config()
    }
}

/// SDXL refiner.
pub fn unet_sdxl_refiner() -> UNetConfig {
    UNetConfig {
        projection: Projection::Linear,
        labels: Labels::Vector(2560),
        ..Written {
            channels: [4, 4],
            model_channels: 384,
            multipliers: &[1, 2, 4, 4],
            attention: &[4, 2],
            heads: Heads::Width(64),
            depth: &[4],
            context: Some(1280),
        }
        .config()
    }
}

fn with_heads(mut config: UNetConfig, heads: Heads) -> UNetConfig {
    let attentions = config
        .levels
        .iter_mut()
        .filter_map(|level| level.attention.as_mut());
    attentions
        .chain(config.middle.as_mut())
        .for_each(|attention| attention.heads = heads);
    config
}

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

/// The text half of OpenAI's CLIP ViT-L/14.
pub fn clip_l() -> ClipTextConfig {
    ClipTextConfig {
        vocabulary: 49408,
        width: 768,
        layers: 12,
        heads: 12,
        intermediate: 3072,
        activation: Activation::QuickGelu,
        positions: 77,
        projection: None,
    }
}

/// VGG16 up to relu4_3.
pub fn vgg16() -> VggConfig {
    let block = |(channels, convolutions)| VggBlock {
        channels,
        convolutions,
    };
    VggConfig {
        blocks: [(64, 2), (128, 2), (256, 3), (512, 3)].map(block).to_vec(),
    }
}

/// EfficientNet-Lite0, with its classifier of ImageNet's thousand classes.
pub fn efficientnet_lite0() -> EfficientNetConfig {
    let stage = |[blocks, kernel, stride, expansion, channels]: [usize; 5]| Stage {
        blocks,
        kernel,
        stride,
        expansion,
        channels,
    };
    EfficientNetConfig {
        stem: 32,
        stages: [
            [1, 3, 1, 1, 16],
            [2, 3, 2, 6, 24],
            [2, 5, 2, 6, 40],
            [3, 3, 2, 6, 80],
            [3, 5, 1, 6, 112],
            [4, 5, 2, 6, 192],
            [1, 3, 1, 6, 320],
        ]
        .map(stage)
        .to_vec(),
        features: 1280,
        classes: 1000,
    }
}
