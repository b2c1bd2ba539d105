//! The arguments of `latent data`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `latent data`.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// What `latent data` does.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Read every picture of a data set and report what it holds; exit code 2 where something is broken.
    Check(CheckArgs),
    /// Make a data set.
    Build(BuildArgs),
}

/// `latent data check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A folder, a table (.csv, .jsonl, .parquet), a shard (.tar), an IDX file, or a configuration (.toml).
    #[arg(value_name = "DATA")]
    pub data: String,
    /// Also write a contact sheet.
    #[arg(long, value_name = "FILE")]
    pub sheet: Option<PathBuf>,
    /// How many pictures the sheet shows.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub pictures: u16,
    /// Replace the sheet where it exists.
    #[arg(long)]
    pub overwrite: bool,
    /// Threads; all cores where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}

/// `latent data build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// What to make.
    #[command(subcommand)]
    pub what: Build,
}

/// The data sets that can be made.
#[derive(Debug, Subcommand)]
pub enum Build {
    /// Scenes of one to four objects with captions, boxes and masks.
    Scenes(ScenesArgs),
    /// What the model that ships learns from: emoji, icons and clip art with captions, and scenes of them.
    Default(DefaultArgs),
    /// The same of your own drawings: a folder of icons becomes pictures with captions, to learn from and to test with.
    Icons(IconsArgs),
    /// Fashion-MNIST, from Debian's package.
    FashionMnist(FashionArgs),
}

/// `latent data build default`.
#[derive(Debug, Args)]
pub struct DefaultArgs {
    /// The folder to make: `train`, `test`, `vocabulary.txt`, `NOTICE.txt`.
    #[arg(value_name = "OUT")]
    pub target: PathBuf,
    /// The side of the square pictures.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(32..=2048))]
    pub size: u32,
    /// Pictures of each drawing; 2, or 6 with --styles.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100))]
    pub variants: Option<u64>,
    /// Composed scenes to learn from; 24000, or none with --things, which puts them into a folder of their own.
    #[arg(long, value_parser = clap::value_parser!(u64).range(20..))]
    pub scenes: Option<u64>,
    /// What everything is drawn from: the same seed makes the same set.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Size and place of a drawing: box cuts it to what can be seen of it, 88 % of the picture's side, in the middle.
    #[arg(long, value_enum, default_value_t = Fit::None)]
    pub fit: Fit,
    /// Mirror drawings so that all of a thing look the same way, and no others.
    #[arg(long)]
    pub orient: bool,
    /// What is behind a drawing.
    #[arg(long, value_enum, default_value_t = Ground::Any)]
    pub ground: Ground,
    /// Silhouettes and greyscale as styles: of each drawing its own colours, another, a silhouette, grey, further colours.
    /// Captions leave no style unsaid but flat ones.
    #[arg(long)]
    pub styles: bool,
    /// Call things what people call them, and make the list's the common ones: the program's list, or that of --things=FILE
    /// (columns `thing`, `also`, `drawn as` with tabs between them). Letters, times and marks are left out.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub things: Option<Option<PathBuf>>,
    /// Where downloads are kept; ~/.cache/latent where this is left out.
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Threads; all cores where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}

/// `latent data build icons`.
#[derive(Debug, Args)]
pub struct IconsArgs {
    /// The folder to make: `train`, `test`, tables, `vocabulary.txt`, `NOTICE.txt`.
    #[arg(value_name = "OUT")]
    pub target: PathBuf,
    /// Your drawings: .svg, .png, .webp, .jpg, called what they show, or with a caption in .txt beside them. A folder in it is a
    /// style.
    #[arg(long, value_name = "FOLDER")]
    pub from: PathBuf,
    /// The style of drawings that lie in no folder of it.
    #[arg(long, value_name = "WORDS", default_value = "icon")]
    pub style: String,
    /// The side of the square pictures.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(32..=2048))]
    pub size: u32,
    /// Pictures of each drawing: its own colours, another, a silhouette, greyscale, further colours.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=10))]
    pub variants: u64,
    /// What everything is drawn from: the same seed makes the same set.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Size and place of a drawing: box cuts it to what can be seen of it, 88 % of the picture's side, in the middle.
    #[arg(long, value_enum, default_value_t = Fit::Box)]
    pub fit: Fit,
    /// Mirror half of the pictures, in place of turning all drawings of a thing the same way.
    #[arg(long)]
    pub no_orient: bool,
    /// What is behind a drawing.
    #[arg(long, value_enum, default_value_t = Ground::White)]
    pub ground: Ground,
    /// A list of names (columns `thing`, `also`, `drawn as` with tabs between them); captions say those of `also` at times.
    #[arg(long, value_name = "FILE")]
    pub things: Option<PathBuf>,
    /// Threads; all cores where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}

/// How a drawing fills a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fit {
    /// 72 to 94 % of the side in the box of its file, about the middle.
    None,
    /// Cut to what can be seen of it, 88 % of the side, in the middle.
    Box,
}

/// What is behind a drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ground {
    /// White where the caption names none (pale blue, grey or black behind what is too pale), else one colour.
    White,
    /// One colour, named or not.
    Plain,
    /// One colour or two, named or not.
    Any,
}

/// `latent data build scenes`.
#[derive(Debug, Args)]
pub struct ScenesArgs {
    /// The folder to make.
    #[arg(value_name = "OUT")]
    pub target: PathBuf,
    /// How many scenes.
    #[arg(long, default_value_t = 1000)]
    pub count: u64,
    /// The number of the first scene.
    #[arg(long, default_value_t = 0)]
    pub first: u64,
    /// The side of the square pictures.
    #[arg(long, default_value_t = 128)]
    pub size: u32,
    /// What everything is drawn from: the same seed and number make the same scene.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The fewest objects of a scene.
    #[arg(long, default_value_t = 1)]
    pub least: usize,
    /// The most objects of a scene.
    #[arg(long, default_value_t = 4)]
    pub most: usize,
    /// Sets of drawings: shapes (needs no download), fluent-flat, fluent, noto, noto-v1, twemoji, emojione, streamline,
    /// fxemoji, flat-color, meteocons, icon-park, streamline-color, game-icons.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "shapes"
    )]
    pub art: Vec<String>,
    /// A folder of cut-outs (.svg, or .png and .webp with transparency), called what they show.
    #[arg(long, value_name = "FOLDER")]
    pub art_folder: Option<PathBuf>,
    /// What the scenes show, with a colour (`red apple`) or without (`apple`); `all` for everything. Left out, it is 41
    /// everyday things of downloaded sets.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub concepts: Vec<String>,
    /// Leave every drawing in its own colours.
    #[arg(long)]
    pub no_paint: bool,
    /// Which part: one in ten drawings, and pairs of things, is held out of train and makes up test.
    #[arg(long, value_enum, default_value_t = Part::All)]
    pub split: Part,
    /// Where downloads are kept; ~/.cache/latent where this is left out.
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Threads; all cores where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}

/// A part of the scenes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Everything.
    All,
    /// What is not held out.
    Train,
    /// What is held out.
    Test,
}

/// `latent data build fashion-mnist`.
#[derive(Debug, Args)]
pub struct FashionArgs {
    /// The folder to make.
    #[arg(value_name = "OUT")]
    pub target: PathBuf,
    /// A folder that has the four IDX files (packed or not), or Debian's package, in place of a download.
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
    /// Where downloads are kept; ~/.cache/latent where this is left out.
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
}
