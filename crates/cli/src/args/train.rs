//! `latent train`.

use std::path::PathBuf;

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
    /// Where to compute: cpu, vulkan, cuda, metal or rocm.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of the CPU; all of them where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}
