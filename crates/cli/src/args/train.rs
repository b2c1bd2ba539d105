//! `latent train`.

use std::path::PathBuf;

use super::choice;
use super::stored::Stored;

/// `latent export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The settings that the run was trained with.
    pub config: PathBuf,
    /// Where to write: NAME.safetensors or NAME.ckpt for a single file, any other name for a folder.
    #[arg(value_name = "TO")]
    pub target: PathBuf,
    /// The run's folder. Without it, `runs/` and the name of the settings.
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// The number type of the weights: f32, f16, bf16, int8, fp8_e4m3 or fp8_e5m2.
    #[arg(long, value_parser = choice::ChoiceParser::<Stored>::new())]
    pub dtype: Option<Stored>,
    /// Replace what is there.
    #[arg(long)]
    pub overwrite: bool,
}

/// `latent train`.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// The settings, a TOML file: docs/training.md.
    pub config: PathBuf,
    /// The run's folder: checkpoints, logs, sheets and the model. Without it, `runs/` and the name of the settings.
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Go on from the latest checkpoint in the folder; begin where there is none.
    #[arg(long)]
    pub resume: bool,
    /// End after so many steps in all, at the latest. Rates are those of the whole run all the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: Option<u64>,
    /// Where to compute: cpu, vulkan, cuda, metal or rocm. Several GPUs share the batches of a step: cuda:0,cuda:1.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of the CPU; all of them where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}
