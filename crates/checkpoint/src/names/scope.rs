//! Which networks a file holds, and under which prefix and scheme.

/// A network of a latent diffusion model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The denoising network.
    Unet,
    /// The picture compressor.
    Autoencoder,
    /// The text encoder.
    TextEncoder,
    /// A second text encoder beside the first.
    TextEncoder2,
    /// What reads the condition of a model that was trained here.
    Conditioner,
}

impl Part {
    /// The component's folder in the diffusers layout.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::Autoencoder => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
            Self::Conditioner => "conditioner",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unet => "U-Net",
            Self::Autoencoder => "autoencoder",
            Self::TextEncoder => "text encoder",
            Self::TextEncoder2 => "second text encoder",
            Self::Conditioner => "conditioner",
        })
    }
}

/// Who named the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// diffusers and transformers.
    Diffusers,
    /// The original latent-diffusion code: single-file checkpoints.
    Ldm,
    /// OpenCLIP (text encoders only).
    OpenClip,
}

/// A network found in a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Which network.
    pub component: Part,
    /// How its tensors are named below the prefix.
    pub scheme: Scheme,
    /// What every name of the network begins with; may be empty.
    pub prefix: &'static str,
}

/// One row per known place of a network: its prefix, and a tensor that exists there and nowhere else.
const PLACES: [(Part, Scheme, &str, &str); 19] = {
    use Part::{Autoencoder, TextEncoder, TextEncoder2, Unet};
    use Scheme::{Diffusers, Ldm, OpenClip};
    const RESNET: &str = "down_blocks.0.resnets.0.conv1.weight";
    const TOKENS: &str = "embeddings.token_embedding.weight";
    const STACKED: &str = "transformer.resblocks.0.attn.in_proj_weight";
    const OLD_MIDDLE: &str = "decoder.mid.block_1.conv1.weight";
    const NEW_MIDDLE: &str = "decoder.mid_block.resnets.0.conv1.weight";
    [
        (
            Unet,
            Ldm,
            "model.diffusion_model.",
            "input_blocks.0.0.weight",
        ),
        (Unet, Ldm, "", "input_blocks.0.0.weight"),
        (Unet, Diffusers, "", RESNET),
        (Unet, Diffusers, "unet.", RESNET),
        (Autoencoder, Ldm, "first_stage_model.", OLD_MIDDLE),
        (Autoencoder, Ldm, "", OLD_MIDDLE),
        (Autoencoder, Ldm, "vae.", OLD_MIDDLE),
        (Autoencoder, Diffusers, "", NEW_MIDDLE),
        (Autoencoder, Diffusers, "vae.", NEW_MIDDLE),
        (
            TextEncoder,
            Diffusers,
            "cond_stage_model.transformer.text_model.",
            TOKENS,
        ),
        (
            TextEncoder,
            Diffusers,
            "cond_stage_model.transformer.",
            TOKENS,
        ),
        (
            TextEncoder,
            Diffusers,
            "conditioner.embedders.0.transformer.text_model.",
            TOKENS,
        ),
        (TextEncoder, Diffusers, "text_encoder.text_model.", TOKENS),
        (TextEncoder, Diffusers, "text_model.", TOKENS),
        (TextEncoder, Diffusers, "", TOKENS),
        (TextEncoder, OpenClip, "cond_stage_model.model.", STACKED),
        (
            TextEncoder,
            OpenClip,
            "conditioner.embedders.0.model.",
            STACKED,
        ),
        (TextEncoder, OpenClip, "", STACKED),
        (
            TextEncoder2,
            OpenClip,
            "conditioner.embedders.1.model.",
            STACKED,
        ),
    ]
};

/// The networks of a file of which `has` says whether it holds a tensor of that name.
pub fn find(has: impl Fn(&str) -> bool) -> Vec<Found> {
    let places = PLACES.into_iter();
    let found = places.filter(|(_, _, prefix, anchor)| has(&format!("{prefix}{anchor}")));
    found
        .map(|(component, scheme, prefix, _)| Found {
            component,
            scheme,
            prefix,
        })
        .collect()
}

/// The prefix under which a network is written into a single file.
pub fn single_file_prefix(component: Part, scheme: Scheme) -> Option<&'static str> {
    let row = PLACES
        .into_iter()
        .find(|(c, s, _, _)| *c == component && *s == scheme);
    row.map(|(_, _, prefix, _)| prefix)
}
