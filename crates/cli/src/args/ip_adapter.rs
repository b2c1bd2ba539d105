//! Flags for pictures as prompts.

use std::path::PathBuf;

use clap::Args;
use latent_pipeline::request::WeightType;

use super::choice::ChoiceParser;

/// IP-Adapters and their pictures. Of several adapters each has one picture, and every flag is given for each of them.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Pictures as prompts (IP-Adapter); for several adapters, each flag once for each"
)]
pub struct IpAdapterArgs {
    /// An IP-Adapter.
    #[arg(long, value_name = "FILE|NAME")]
    pub ip_adapter: Vec<PathBuf>,
    /// The picture that it shows; several are shown at once.
    #[arg(long, value_name = "FILE")]
    pub ip_adapter_image: Vec<PathBuf>,
    /// The encoder of pictures that it was trained with [default: image_encoder beside it].
    #[arg(long, alias = "clip-vision", value_name = "FILE|NAME")]
    pub ip_adapter_encoder: Vec<PathBuf>,
    /// The factor on what is seen of the pictures [default: 1].
    #[arg(long, aliases = ["ip-adapter-strength", "ip-adapter-scale"], value_name = "A,B,…", value_delimiter = ',')]
    pub ip_adapter_weight: Vec<f64>,
    /// How that factor differs from part to part of the network, as ComfyUI_IPAdapter_plus has it: linear; ease_in, ease_out,
    /// ease_in_out, reverse_in_out; weak_input, weak_output, weak_middle, strong_middle; style, composition, strong_style
    /// [default: linear].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = ChoiceParser::<WeightType>::new(), hide_possible_values = true)]
    pub ip_adapter_weight_type: Vec<WeightType>,
    /// Where they are seen: white. Fitted to the size [default: everywhere].
    #[arg(long, value_name = "FILE")]
    pub ip_adapter_mask: Vec<PathBuf>,
    /// The fraction of the run at which they are shown first, counted as --compat counts [default: 0].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub ip_adapter_start: Vec<f64>,
    /// The fraction until which they are shown [default: 1].
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub ip_adapter_end: Vec<f64>,
}
