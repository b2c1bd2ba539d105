//! Flags for the preview of `latent generate`.

use std::{convert::Infallible, path::PathBuf, str::FromStr};

use clap::Args;

/// What shows the latent while it forms, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct PreviewArgs {
    /// Show the latent while it forms: none, terminal, or a file that is rewritten.
    #[arg(long = "preview", value_name = "WHERE", default_value = "none")]
    pub to: PreviewTo,
    /// A tiny autoencoder (TAESD, TAESDXL) that decodes previews at full size [default: a linear map, one pixel a cell; of a model
    /// without a published one it is fitted to the model's own decoder].
    #[arg(id = "preview_vae", long = "preview-vae", value_name = "FILE|NAME")]
    pub vae: Option<PathBuf>,
    /// Where `--preview proj` and `--preview tae` write.
    #[arg(id = "preview_path", long = "preview-path", value_name = "FILE")]
    pub path: Option<PathBuf>,
    /// Steps from one preview to the next [default: 1].
    #[arg(id = "preview_interval", long = "preview-interval", value_name = "STEPS", value_parser = clap::value_parser!(u32).range(1..))]
    pub interval: Option<u32>,
}

/// Where a preview goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviewTo {
    /// Nowhere.
    None,
    /// Half blocks of colour above the progress bar.
    Terminal,
    /// sd.cpp's name for the linear map: into --preview-path.
    Projection,
    /// sd.cpp's name for a tiny autoencoder: into --preview-path, by --preview-vae.
    Tiny,
    /// A picture file, rewritten as the run goes on.
    File(PathBuf),
}

impl FromStr for PreviewTo {
    type Err = Infallible;
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "none" => Self::None,
            "terminal" => Self::Terminal,
            "proj" => Self::Projection,
            "tae" => Self::Tiny,
            file => Self::File(file.into()),
        })
    }
}
