//! Flags for what some models are told beside a prompt.

use std::path::PathBuf;

use clap::Args;
use latent_pipeline::request::Size;

/// What SDXL, depth models, upscalers and unCLIP are told.
#[derive(Debug, Args)]
#[command(next_help_heading = "What SDXL, depth models, upscalers and unCLIP are told")]
pub struct ToldArgs {
    /// The prompt of the second text encoder (SDXL) [default: the prompt].
    #[arg(long, value_name = "PROMPT", allow_hyphen_values = true)]
    pub prompt_2: Option<String>,
    /// The negative prompt of the second text encoder [default: the negative prompt].
    #[arg(long, value_name = "PROMPT", allow_hyphen_values = true)]
    pub negative_prompt_2: Option<String>,
    /// A depth map, nearer is lighter (Stable Diffusion 2 depth).
    #[arg(long, value_name = "FILE")]
    pub depth: Option<PathBuf>,
    /// Draw something like this picture (Stable Diffusion 2.1 unCLIP); several are added up.
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// The factor on each --image, in their order [default: 1 each].
    #[arg(
        long,
        value_name = "A,B,…",
        value_delimiter = ',',
        allow_negative_numbers = true
    )]
    pub image_strength: Vec<f64>,
    /// How much noise the picture of --upscale is given first, 0 to 350 [default: 20], or what is seen of --image, 0 to 999
    /// [default: 0].
    #[arg(long, value_name = "LEVEL")]
    pub noise_level: Option<u32>,
    /// The size of the original [default: the picture's own].
    #[arg(long, value_name = "WxH")]
    pub original_size: Option<Size>,
    /// Pixels cut off at the top and at the left [default: 0,0].
    #[arg(long, value_name = "TOP,LEFT", value_delimiter = ',', num_args = 1)]
    pub crop: Option<Vec<usize>>,
    /// The size aimed at [default: the picture's own].
    #[arg(long, value_name = "WxH")]
    pub target_size: Option<Size>,
    /// The same three for the negative prompt, where they differ.
    #[arg(long, value_name = "WxH")]
    pub negative_original_size: Option<Size>,
    #[arg(long, value_name = "TOP,LEFT", value_delimiter = ',', num_args = 1)]
    pub negative_crop: Option<Vec<usize>>,
    #[arg(long, value_name = "WxH")]
    pub negative_target_size: Option<Size>,
    /// How beautiful the picture shall be, 0 to 10, for SDXL's refiner [default: 6].
    #[arg(long, value_name = "SCORE")]
    pub aesthetic_score: Option<f64>,
    /// The same for the negative prompt [default: 2.5].
    #[arg(long, value_name = "SCORE")]
    pub negative_aesthetic_score: Option<f64>,
    /// Whether an empty negative prompt is zeros to the network [default: as the profile's program does].
    #[arg(long, value_name = "BOOL")]
    pub zero_empty_negative: Option<bool>,
    #[command(flatten)]
    pub refiner: RefinerArgs,
}

/// A second model that finishes the picture.
#[derive(Debug, Args)]
#[command(next_help_heading = "Refiner")]
pub struct RefinerArgs {
    /// A checkpoint that finishes the pictures: SDXL's refiner, or any model of the same latents as --model.
    #[arg(long, value_name = "FILE|NAME")]
    pub refiner: Option<PathBuf>,
    /// Where it takes over, as a fraction of the run, counted as --compat counts: by time steps, with comfyui by steps [default: 0.8].
    #[arg(
        long,
        alias = "refiner-switch-at",
        value_name = "FRACTION",
        allow_negative_numbers = true
    )]
    pub refiner_switch: Option<f64>,
}
