//! The small model that the program carries: icons, emoji and clip art of 128×128 pixels from a phrase.
//!
//! Its weights are bf16 in `assets/default`, a folder as `latent export` writes it, and are read where the program has
//! them. How it was trained and what it can do: `docs/default-model.md`.

use latent_checkpoint::Files;

/// The model's folder among [`FILES`]; the model is called so, too.
pub const FOLDER: &str = "latent-default";

/// The side of its pictures in pixels.
pub const SIDE: usize = 128;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        Files::Memory(&[$((
            concat!("latent-default/", $name),
            include_bytes!(concat!("../../../assets/default/", $name)),
        )),*])
    };
}

/// What is in the folder.
pub const FILES: Files = files![
    "model_index.json",
    "scheduler/scheduler_config.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "conditioner/config.json",
    "conditioner/diffusion_pytorch_model.safetensors",
    "conditioner/vocab.txt",
];
