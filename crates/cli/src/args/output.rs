//! The flags of `latent generate` for what it writes.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use super::preview::PreviewArgs;

/// A sheet of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grid {
    /// Of all pictures of the run, into this file.
    File(PathBuf),
    /// Of as many pictures as there are in so many columns and rows.
    Shape([usize; 2]),
}

impl Grid {
    /// The file, where one is named.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Shape(_) => None,
        }
    }
}

/// The most columns or rows that a sheet may have where it says how many pictures are drawn.
const MOST_CELLS: usize = 64;

impl FromStr for Grid {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = || {
            let (columns, rows) = text.split_once(['x', 'X', '×'])?;
            Some([columns.parse().ok()?, rows.parse().ok()?])
        };
        match numbers() {
            None => Ok(Self::File(text.into())),
            Some(shape) if shape.iter().all(|n| (1..=MOST_CELLS).contains(n)) => {
                Ok(Self::Shape(shape))
            }
            Some(_) => Err(format!("expected 1 to {MOST_CELLS} columns and rows")),
        }
    }
}

fn grid_columns(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a whole number from 1".to_owned()),
        Ok(columns) => Ok(columns),
    }
}

/// What is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// A picture (.png, .jpg, .webp; several are numbered name-00001.png) or a folder [default: here, as
    /// latent-00001.png].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The number of the first file where files are numbered.
    #[arg(long, value_name = "NUMBER")]
    pub output_begin_idx: Option<usize>,
    /// Replace files that exist.
    #[arg(long)]
    pub overwrite: bool,
    /// Write no prompt and no settings into the pictures.
    #[arg(long, alias = "disable-image-metadata")]
    pub no_metadata: bool,
    /// Quality of JPEG files, 1 to 100 [default: 95].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: Option<u8>,
    /// Also write all pictures of the run on one sheet. Columns and rows in place of a name, such as 4x4, draw so many
    /// pictures, of each prompt where there are several, and write the sheet alone, to --output.
    #[arg(long, value_name = "FILE|COLUMNSxROWS")]
    pub grid: Option<Grid>,
    /// Columns of the sheet.
    #[arg(long, alias = "n-rows", value_name = "NUMBER", requires = "grid", value_parser = grid_columns)]
    pub grid_columns: Option<usize>,
    /// Leave a plain background out: what has the colour of the picture's edge becomes transparent (PNG and WebP).
    #[arg(long)]
    pub transparent: bool,
    /// Write no single pictures, only the sheet.
    #[arg(long, requires = "grid")]
    pub skip_save: bool,
    /// Also write the latents (safetensors, one tensor `latents` of [pictures, channels, height, width]).
    #[arg(long, value_name = "FILE")]
    pub save_latents: Option<PathBuf>,
    #[command(flatten)]
    pub preview: PreviewArgs,
}

impl OutputArgs {
    /// Of JPEG files.
    pub fn jpeg_quality(&self) -> u8 {
        self.quality.unwrap_or(95)
    }
}
