//! Flags for pictures that the denoiser's own attention looks at.

use std::path::PathBuf;

use clap::Args;
use latent_pipeline::request::{ControlMode, ResizeMode};

use super::choice::ChoiceParser;

/// Pictures as references, by no network that was taught to read them.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Pictures as references (reference-only); for several, each flag once for each"
)]
pub struct ReferenceArgs {
    /// A picture that the drawing shall resemble: the denoiser sees it beside the drawing. A step takes about twice as long.
    #[arg(long, value_name = "FILE")]
    pub reference: Vec<PathBuf>,
    /// The share of the network's blocks that look at it, coarse ones first [default: 1].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub reference_weight: Vec<f64>,
    /// How much the negative prompt is left as it is, 0 to 1 (A1111's style fidelity) [default: 0.5].
    #[arg(
        long,
        alias = "style-fidelity",
        value_name = "A,B,…",
        value_delimiter = ','
    )]
    pub reference_fidelity: Vec<f64>,
    /// balanced; prompt: a fidelity of 0; control: one of 1 [default: balanced].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = ChoiceParser::<ControlMode>::new(), hide_possible_values = true)]
    pub reference_mode: Vec<ControlMode>,
    /// The fraction of the run at which it begins, counted as --compat counts [default: 0].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub reference_start: Vec<f64>,
    /// The fraction at which it ends [default: 1].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub reference_end: Vec<f64>,
    /// How it is fitted to the size [default: crop; with --compat diffusers stretch].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = ChoiceParser::<ResizeMode>::new())]
    pub reference_resize_mode: Vec<ResizeMode>,
}
