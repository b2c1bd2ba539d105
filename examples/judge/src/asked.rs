//! What every measure is told.

use std::path::PathBuf;

/// A model, and pictures to measure it with.
#[derive(Debug, clap::Args)]
pub struct Asked {
    /// The folder that training wrote.
    #[arg(long)]
    pub model: PathBuf,
    /// Pictures that nothing has learnt from.
    #[arg(long)]
    pub test: String,
    /// Sides of pictures.
    #[arg(long, default_value_t = 32)]
    pub size: u32,
    /// Pictures to draw; of each class where there are classes.
    #[arg(long, default_value_t = 150)]
    pub count: usize,
    /// Where a sheet of what was drawn goes.
    #[arg(long)]
    pub sheet: PathBuf,
}

/// The same, where a network has to learn first what it judges.
#[derive(Debug, clap::Args)]
pub struct Taught {
    #[command(flatten)]
    pub asked: Asked,
    /// Pictures to learn from.
    #[arg(long)]
    pub real: String,
}
