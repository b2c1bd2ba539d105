//! `latent by-eye`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `latent by-eye`.
#[derive(Debug, Args)]
pub struct ByEyeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ByEyeCommand,
}

/// What `latent by-eye` does.
#[derive(Debug, Subcommand)]
pub enum ByEyeCommand {
    /// Draw prompts, hide real drawings among them, and write numbered pictures without a word, and the key apart.
    Draw(DrawArgs),
    /// Hold somebody's words against the key.
    Score(ScoreArgs),
}

/// `latent by-eye draw`.
#[derive(Debug, Args)]
pub struct DrawArgs {
    /// The folder to make: `pictures` to be shown (a sheet and numbered files), `key.json` to be kept back.
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// What is drawn, a prompt a line.
    #[arg(long, value_name = "FILE")]
    pub prompts_from: PathBuf,
    /// Pictures that the model has not learnt from, some of which are hidden among the drawn ones: a folder, a table, a shard, or
    /// a configuration (.toml).
    #[arg(long, value_name = "TEST")]
    pub data: String,
    /// The column of its table that says what a picture shows, or `class` for the classes of a set that is no table.
    #[arg(long, value_name = "COLUMN", default_value = "thing")]
    pub things_from: String,
    /// A list of things with the names that count as right (columns `thing`, `also`, `drawn as` with tabs between them); the
    /// program's own where this is left out.
    #[arg(long, value_name = "FILE")]
    pub things: Option<PathBuf>,
    /// How many real drawings.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub real: usize,
    /// The folder of a model that draws by text: what `latent train` wrote, or any checkpoint. Without it, the built-in model.
    #[arg(short, long, value_name = "FOLDER")]
    pub model: Option<PathBuf>,
    /// Side of the pictures in pixels. Without it, as the model was trained.
    #[arg(long, value_parser = clap::value_parser!(u32).range(16..=2048))]
    pub size: Option<u32>,
    /// Sampling steps. Without it, the model's own, or 20.
    #[arg(long, value_parser = steps)]
    pub steps: Option<usize>,
    /// Guidance. Without it, the model's own.
    #[arg(long, value_name = "G", value_parser = guidance)]
    pub cfg_scale: Option<f64>,
    /// What the order, the choice of real drawings and the noise are drawn from.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Where to compute: cpu, vulkan, cuda, metal or rocm.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of the CPU; all of them where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}

/// `latent by-eye score`.
#[derive(Debug, Args)]
pub struct ScoreArgs {
    /// The folder that `latent by-eye draw` made.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// What was seen, a line for each number: `17 cat`. A number that is left out, or has nothing behind it, counts as wrong.
    #[arg(value_name = "WORDS")]
    pub words: PathBuf,
}

fn steps(text: &str) -> Result<usize, String> {
    let steps = text.parse().ok().filter(|steps| (1..=1000).contains(steps));
    steps.ok_or_else(|| "expected 1 to 1000".to_owned())
}

fn guidance(text: &str) -> Result<f64, String> {
    let scale = text
        .parse()
        .ok()
        .filter(|scale| (0.0..=100.0).contains(scale));
    scale.ok_or_else(|| "expected 0 to 100".to_owned())
}
