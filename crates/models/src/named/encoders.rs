//! Encoders of texts and of pictures.

use crate::clip::{Activation, ClipTextConfig, ClipVisionConfig};

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

/// The text half of OpenCLIP's ViT-H/14, which Stable Diffusion 2.x uses up to the layer before the
/// last.
pub fn clip_h() -> ClipTextConfig {
    ClipTextConfig {
        width: 1024,
        layers: 24,
        heads: 16,
        intermediate: 4096,
        activation: Activation::Gelu,
        ..clip_l()
    }
}

/// The text half of OpenCLIP's ViT-bigG/14, SDXL's second text encoder.
pub fn clip_g() -> ClipTextConfig {
    ClipTextConfig {
        width: 1280,
        layers: 32,
        heads: 20,
        intermediate: 5120,
        activation: Activation::Gelu,
        projection: Some(1280),
        ..clip_l()
    }
}

/// The picture half of OpenAI's CLIP ViT-L/14.
pub fn clip_l_vision() -> ClipVisionConfig {
    ClipVisionConfig {
        image: 224,
        patch: 14,
        width: 1024,
        layers: 24,
        heads: 16,
        intermediate: 4096,
        activation: Activation::QuickGelu,
        projection: 768,
    }
}

/// The picture half of OpenCLIP's ViT-H/14.
pub fn clip_h_vision() -> ClipVisionConfig {
    ClipVisionConfig {
        width: 1280,
        layers: 32,
        intermediate: 5120,
        activation: Activation::Gelu,
        projection: 1024,
        ..clip_l_vision()
    }
}
