//! The families.

use latent_checkpoint::{Role, SchedulerConfig};
use latent_diffusion::AlignTable;
use latent_text::Pad;

use crate::picture::preview;

use super::{Beside, Family, LatentFormat, Layer, TextInput, VectorInput};

/// OpenAI's ViT-L/14.
const CLIP_L: TextInput = TextInput {
    role: Role::TEXT_ENCODER,
    open_clip: false,
    width: 768,
    pad: Pad::End,
    layer: Layer::BeforeLast(0),
    normed: true,
    pooled: false,
};

/// OpenCLIP's ViT-H/14, read after the 23rd of its 24 layers: published folders end there.
const OPEN_CLIP_H: TextInput = TextInput {
    open_clip: true,
    width: 1024,
    pad: Pad::Zero,
    layer: Layer::Number(23),
    ..CLIP_L
};

/// OpenCLIP's ViT-bigG/14.
const OPEN_CLIP_G: TextInput = TextInput {
    role: Role::TEXT_ENCODER_2,
    open_clip: true,
    width: 1280,
    pad: Pad::Zero,
    layer: Layer::BeforeLast(1),
    normed: false,
    pooled: true,
};

/// Text encoders of SDXL.
const XL_TEXTS: &[TextInput] = &[
    TextInput {
        layer: Layer::BeforeLast(1),
        normed: false,
        ..CLIP_L
    },
    OPEN_CLIP_G,
];

/// The original, and what was fine-tuned from it.
pub const STABLE_DIFFUSION_1: Family = Family {
    name: "Stable Diffusion 1.x",
    latent: LatentFormat {
        channels: 4,
        downsample: 8,
        scale: 0.18215,
        shift: 0.0,
    },
    scheduler: SchedulerConfig::stable_diffusion,
    texts: &[CLIP_L],
    vector: VectorInput::None,
    beside: Beside::Nothing,
    size: 512,
    align: AlignTable::Trained512,
    zeros_for_empty: false,
    preview: Some(preview::SD1),
    untold: false,
    undrawn: None,
};

const STABLE_DIFFUSION_2: Family = Family {
    name: "Stable Diffusion 2.x",
    texts: &[OPEN_CLIP_H],
    untold: true,
    ..STABLE_DIFFUSION_1
};

const SDXL: Family = Family {
    name: "SDXL",
    latent: LatentFormat {
        scale: 0.13025,
        ..STABLE_DIFFUSION_1.latent
    },
    scheduler: sdxl,
    texts: XL_TEXTS,
    vector: VectorInput::Sizes,
    size: 1024,
    align: AlignTable::Trained1024,
    zeros_for_empty: true,
    preview: Some(preview::SDXL),
    ..STABLE_DIFFUSION_1
};

/// Every family that is known, those first that more must be right for.
pub static FAMILIES: &[Family] = &[
    STABLE_DIFFUSION_1,
    Family {
        name: "Stable Diffusion 1.x, inpainting",
        beside: Beside::Masked,
        ..STABLE_DIFFUSION_1
    },
    Family {
        name: "Stable Diffusion 1.x, instructed editing",
        beside: Beside::Edited,
        undrawn: Some("it changes a picture by an instruction, which is not here yet"),
        ..STABLE_DIFFUSION_1
    },
    STABLE_DIFFUSION_2,
    Family {
        name: "Stable Diffusion 2.x, inpainting",
        untold: false,
        beside: Beside::Masked,
        ..STABLE_DIFFUSION_2
    },
    Family {
        name: "Stable Diffusion 2.x, depth",
        untold: false,
        beside: Beside::Depth,
        ..STABLE_DIFFUSION_2
    },
    Family {
        name: "Stable Diffusion 2.x, ×4 upscaler",
        untold: false,
        latent: LatentFormat {
            downsample: 4,
            scale: 0.08333,
            ..STABLE_DIFFUSION_1.latent
        },
        scheduler: upscaler,
        vector: VectorInput::Level,
        beside: Beside::Small,
        preview: None,
        ..STABLE_DIFFUSION_2
    },
    Family {
        name: "Stable Diffusion 2.x, unCLIP",
        untold: false,
        scheduler: unclip,
        vector: VectorInput::Picture,
        size: 768,
        ..STABLE_DIFFUSION_2
    },
    SDXL,
    Family {
        name: "SDXL, inpainting",
        beside: Beside::Masked,
        ..SDXL
    },
    Family {
        name: "SDXL, instructed editing",
        beside: Beside::Edited,
        undrawn: Some("it changes a picture by an instruction, which is not here yet"),
        ..SDXL
    },
    Family {
        name: "SDXL refiner",
        texts: &[OPEN_CLIP_G],
        vector: VectorInput::Score,
        zeros_for_empty: false,
        ..SDXL
    },
];

fn sdxl() -> SchedulerConfig {
    SchedulerConfig {
        class_name: "EulerDiscreteScheduler".into(),
        timestep_spacing: Some("leading".into()),
        ..SchedulerConfig::stable_diffusion()
    }
}

fn unclip() -> SchedulerConfig {
    SchedulerConfig {
        prediction_type: "v_prediction".into(),
        ..SchedulerConfig::stable_diffusion()
    }
}

fn upscaler() -> SchedulerConfig {
    SchedulerConfig {
        class_name: "DDIMScheduler".into(),
        beta_start: 0.0001,
        beta_end: 0.02,
        prediction_type: "v_prediction".into(),
        ..SchedulerConfig::stable_diffusion()
    }
}
