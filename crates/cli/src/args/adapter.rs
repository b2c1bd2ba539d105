//! The flags of `latent merge` and `latent extract`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::choice::ChoiceParser;
use super::stored::Stored;
use super::{LibraryArgs, LoraLibraryArgs};

/// `latent merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// The checkpoint to read: a file, a diffusers folder, or the name of a model in a folder of models.
    #[arg(value_name = "FROM")]
    pub source: PathBuf,
    /// Where to write: NAME.safetensors or NAME.ckpt for a single file, any other name for a diffusers folder.
    #[arg(value_name = "TO")]
    pub target: PathBuf,
    /// Another checkpoint of the same layout to merge with this one: the sum of both, as --weight says. Before LoRAs.
    #[arg(long, required_unless_present = "lora", value_name = "FILE|NAME")]
    pub with: Option<PathBuf>,
    /// The share of the other, 0 this one alone, 1 the other alone; with --minus the factor on the difference [default: 0.5; with
    /// --minus 1].
    #[arg(
        long,
        requires = "with",
        allow_negative_numbers = true,
        value_name = "WEIGHT"
    )]
    pub weight: Option<f64>,
    /// Add the difference of the other from this checkpoint, in the place of a sum: FROM + WEIGHT (WITH − MINUS).
    #[arg(long, requires = "with", value_name = "FILE|NAME")]
    pub minus: Option<PathBuf>,
    /// A weight for each block in the place of --weight, in the order of block weights of LoRAs: 26 (or 17) for Stable Diffusion
    /// 1.x and 2.x, 20 (or 12) for SDXL; the first is that of all else.
    #[arg(
        long,
        requires = "with",
        conflicts_with = "weight",
        value_delimiter = ',',
        allow_negative_numbers = true,
        value_name = "A,B,…"
    )]
    pub blocks: Option<Vec<f64>>,
    /// A LoRA to merge, with its strengths as `latent generate` takes them. Can be given several times.
    #[arg(long, value_name = "FILE|NAME[:UNET[:TEXT]]")]
    pub lora: Vec<OsString>,
    #[command(flatten)]
    pub library: LibraryArgs,
    #[command(flatten)]
    pub loras: LoraLibraryArgs,
    /// The number type of the weights; without it, their own.
    #[arg(long, alias = "type", value_parser = ChoiceParser::<Stored>::new())]
    pub dtype: Option<Stored>,
    /// Replace what is there.
    #[arg(long)]
    pub overwrite: bool,
}

/// `latent extract`.
#[derive(Debug, clap::Args)]
pub struct ExtractArgs {
    /// The checkpoint that was trained on.
    #[arg(value_name = "TUNED")]
    pub tuned: PathBuf,
    /// The LoRA to write, NAME.safetensors.
    #[arg(value_name = "TO")]
    pub target: PathBuf,
    /// The checkpoint that it was trained from.
    #[arg(long, value_name = "FILE|NAME")]
    pub base: PathBuf,
    #[command(flatten)]
    pub library: LibraryArgs,
    /// The largest rank of a module.
    #[arg(long, alias = "dim", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=2048))]
    pub rank: u16,
    /// Take no more ranks than hold this share of a module's change (of the sum of squares), 0 to 1.
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    pub kept: f64,
    /// The number type of the LoRA: f32, f16 or bf16.
    #[arg(long, default_value = "f16", value_parser = ChoiceParser::<Stored>::new())]
    pub dtype: Stored,
    /// Replace what is there.
    #[arg(long)]
    pub overwrite: bool,
}
