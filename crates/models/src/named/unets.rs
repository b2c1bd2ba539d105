//! U-Nets.

use crate::unet::{
    Attention, Depths, Heads, Labels, Level, Projection, Resample, TimeShift, UNetConfig,
};

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
            middle_resblocks: 2,
            depths: None,
            context_only_levels: Vec::new(),
            guidance: None,
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

/// Stable Diffusion 2.x inpainting: latent, mask and masked picture.
pub fn unet_sd2_inpainting() -> UNetConfig {
    with_inputs(unet_sd2(), 9)
}

/// Stable Diffusion 2.x depth: latent and depth map.
pub fn unet_sd2_depth() -> UNetConfig {
    with_inputs(unet_sd2(), 5)
}

/// Stable Diffusion 2.1 unCLIP of OpenCLIP ViT-H pictures: their noised embedding and the level of its
/// noise as the vector.
pub fn unet_sd2_unclip_h() -> UNetConfig {
    UNetConfig {
        labels: Labels::Projection(2048),
        ..unet_sd2()
    }
}

/// The same of CLIP ViT-L pictures.
pub fn unet_sd2_unclip_l() -> UNetConfig {
    UNetConfig {
        labels: Labels::Projection(1536),
        ..unet_sd2()
    }
}

/// The ×4 upscaler of Stable Diffusion 2: latent and small picture, the level of its noise as a row.
pub fn unet_x4_upscaler() -> UNetConfig {
    UNetConfig {
        projection: Projection::Linear,
        labels: Labels::Table(1000),
        context_only_levels: vec![1, 2],
        ..Written {
            channels: [7, 4],
            model_channels: 256,
            multipliers: &[1, 2, 2, 4],
            attention: &[2, 4, 8],
            heads: Heads::Count(8),
            depth: &[1],
            context: Some(1024),
        }
        .config()
    }
}

/// A latent consistency model of the shape of Stable Diffusion 1.x, which is told the guidance scale
/// (Luo et al., "Latent Consistency Models", 2023).
pub fn unet_lcm() -> UNetConfig {
    UNetConfig {
        guidance: Some(256),
        ..unet_sd1()
    }
}

/// SDXL base, and all that was trained from it: Turbo, Lightning, Playground, …
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

/// SDXL inpainting 0.1: latent, mask and masked picture.
pub fn unet_sdxl_inpainting() -> UNetConfig {
    with_inputs(unet_sdxl_base(), 9)
}

/// SDXL with other transformer blocks at the two levels that have any and without attention in the
/// middle.
fn pruned(depth: [usize; 2], resblocks: usize, middle_resblocks: usize) -> UNetConfig {
    let mut config = UNetConfig {
        middle: None,
        middle_resblocks,
        ..unet_sdxl_base()
    };
    for (level, depth) in config.levels[1..].iter_mut().zip(depth) {
        level.attention = level.attention.map(|a| Attention { depth, ..a });
    }
    for level in &mut config.levels {
        level.resblocks = resblocks;
    }
    config
}

/// SSD-1B (Gupta et al., "Progressive Knowledge Distillation of Stable Diffusion XL Using Layer Level
/// Loss", 2024).
pub fn unet_ssd_1b() -> UNetConfig {
    UNetConfig {
        depths: Some(Depths {
            down: vec![vec![], vec![2, 2], vec![4, 4]],
            up: vec![vec![], vec![2, 1, 1], vec![4, 4, 10]],
        }),
        ..pruned([2, 10], 2, 1)
    }
}

/// Segmind Vega, of the same paper.
pub fn unet_vega() -> UNetConfig {
    pruned([1, 2], 2, 1)
}

/// KOALA-700M (Lee et al., "KOALA: Empirical Lessons Toward Memory-Efficient and Fast Diffusion Models
/// for Text-to-Image Synthesis", 2024).
pub fn unet_koala_700m() -> UNetConfig {
    pruned([2, 5], 1, 0)
}

/// KOALA-1B, which has a middle.
pub fn unet_koala_1b() -> UNetConfig {
    let config = pruned([2, 6], 1, 2);
    UNetConfig {
        middle: config.levels[2].attention,
        ..config
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

fn with_inputs(config: UNetConfig, in_channels: usize) -> UNetConfig {
    UNetConfig {
        in_channels,
        ..config
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
