//! Flags for pictures that a drawing is held to.

use std::path::PathBuf;

use clap::Args;
use latent_pipeline::preprocess::Preprocess;
use latent_pipeline::request::{ControlKind, ControlMode, ResizeMode};

use super::choice::ChoiceParser;

/// Networks that hold the drawing to pictures. Where there are several, every flag is given for each of them in their order:
/// files by repeating the flag, the rest divided by commas.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Held to pictures (ControlNet); for several networks, each flag once for each"
)]
pub struct ControlArgs {
    /// A ControlNet, or a T2I-Adapter.
    #[arg(long, alias = "control-net", value_name = "FILE|NAME")]
    pub control: Vec<PathBuf>,
    /// The encoder of pictures of a T2I-Adapter of style [default: the folder image_encoder beside it].
    #[arg(long, value_name = "FILE|NAME")]
    pub control_encoder: Vec<PathBuf>,
    /// The picture that it reads: lines, depths, poses, whatever it was taught [default: --init-img's].
    #[arg(long, value_name = "FILE")]
    pub control_image: Vec<PathBuf>,
    /// White is a hole in that picture, for ControlNets that fill them.
    #[arg(long, value_name = "FILE")]
    pub control_mask: Vec<PathBuf>,
    /// The factor on what it adds [default: 1].
    #[arg(
        long,
        alias = "control-strength",
        value_name = "A,B,…",
        value_delimiter = ','
    )]
    pub control_weight: Vec<f64>,
    /// The fraction of the run at which it begins, counted as --compat counts [default: 0].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub control_start: Vec<f64>,
    /// The fraction at which it ends [default: 1].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub control_end: Vec<f64>,
    /// balanced; prompt ("My prompt is more important"); control ("ControlNet is more important"); guess (diffusers'
    /// guess_mode) [default: balanced].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = ChoiceParser::<ControlMode>::new(), hide_possible_values = true)]
    pub control_mode: Vec<ControlMode>,
    /// What kind of picture it is, for a ControlNet that reads several (Union).
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = ChoiceParser::<ControlKind>::new())]
    pub control_kind: Vec<ControlKind>,
    /// How its picture is fitted to the size [default: crop; with --compat diffusers stretch].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = ChoiceParser::<ResizeMode>::new())]
    pub control_resize_mode: Vec<ResizeMode>,
    /// What is made of the pictures first, as `latent preprocess` does: canny, lineart:resolution=512, canny:low=50:high=150; its
    /// flags without their dashes, behind colons [default: nothing].
    #[arg(long, value_name = "KIND[:NAME=VALUE…],…", value_delimiter = ',')]
    pub control_preprocess: Vec<Preprocess>,
    /// Another picture for the second pass.
    #[arg(long, value_name = "FILE")]
    pub control_hires_image: Vec<PathBuf>,
}
