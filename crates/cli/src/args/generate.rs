//! The flags of `latent generate`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Args};
use latent_pipeline::request::{
    Class, Compat, Dtype, InpaintFill, Layers, PredictionType, ResizeMode, Rng, Size, Switch,
    Tiling, Upscaler, WeightRule,
};

use super::choice::ChoiceParser;
use super::control::ControlArgs;
use super::ip_adapter::IpAdapterArgs;
use super::output::OutputArgs;
use super::reference::ReferenceArgs;
use super::told::ToldArgs;
use super::{LibraryArgs, LoraLibraryArgs};

/// Everything `latent generate` takes.
#[derive(Debug, Args)]
#[command(mut_args = takes_negative_numbers)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub prompt: PromptArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
    #[command(flatten)]
    pub picture: PictureArgs,
    #[command(flatten)]
    pub condition: ConditionArgs,
    #[command(flatten)]
    pub control: ControlArgs,
    #[command(flatten)]
    pub ip_adapter: IpAdapterArgs,
    #[command(flatten)]
    pub reference: ReferenceArgs,
    #[command(flatten)]
    pub told: ToldArgs,
    #[command(flatten)]
    pub hires: HiresArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub legacy: LegacyArgs,
}

/// What follows a long flag is its value, and a number below 0 no flag: whoever reads it says what is wrong with it.
fn takes_negative_numbers(arg: Arg) -> Arg {
    let takes = arg.get_long().is_some() && arg.get_action().takes_values();
    arg.allow_negative_numbers(takes)
}

/// What to draw.
#[derive(Debug, Args)]
pub struct PromptArgs {
    /// What to draw, in the prompt language of --compat: the same as --prompt.
    #[arg(value_name = "PROMPT", conflicts_with_all = ["prompt", "prompts_from"])]
    pub words: Option<String>,
    /// What to draw, in the prompt language of --compat.
    #[arg(short, long, allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// What to keep out.
    #[arg(short, long, alias = "neg", allow_hyphen_values = true)]
    pub negative_prompt: Option<String>,
    /// One job for every line of a file that is not empty (`-` is standard input).
    #[arg(
        long,
        alias = "from-file",
        value_name = "FILE",
        conflicts_with = "prompt"
    )]
    pub prompts_from: Option<PathBuf>,
}

/// The model and where it runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// A checkpoint (.safetensors, .ckpt), a diffusers folder, or the name of a model in a folder of models.
    #[arg(short, long, alias = "ckpt", value_name = "FILE|NAME")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub library: LibraryArgs,
    /// A folder of embeddings (textual inversion), which prompts then name: by the file's name without its ending, with
    /// --compat comfyui as `embedding:NAME`. Can be given several times.
    #[arg(long, aliases = ["embd-dir", "embeddings-dir"], value_name = "DIR")]
    pub embeddings: Vec<PathBuf>,
    #[command(flatten)]
    pub loras: LoraLibraryArgs,
    /// Merge this LoRA (LoCon, LoHa, LoKr, DoRA, …) into the model, with its strength on the denoiser and on the text encoder [1
    /// and as the first]; `:blocks=LIST`, `:ranks=N`, `:start=CALL` and `:stop=CALL` may follow. Can be given several times. A file, a folder, or a name in a
    /// folder of LoRAs.
    #[arg(long, value_name = "FILE|NAME[:UNET[:TEXT]]")]
    pub lora: Vec<OsString>,
    /// Bend what the denoiser's attention reads by this hypernetwork, with its strength (1 where none is given). Can be given several times: they act
    /// one after the other. A file, or a name in a folder of hypernetworks.
    #[arg(long, value_name = "FILE|NAME[:STRENGTH]")]
    pub hypernetwork: Vec<OsString>,
    /// A folder of hypernetworks, which are then called by name: the file's, with or without its ending. Can be given several
    /// times [default: the folders in the environment variable LATENT_HYPERNETWORKS].
    #[arg(long, alias = "hypernetwork-dir", value_name = "DIR")]
    pub hypernetworks: Vec<PathBuf>,
    /// A VAE to use instead of the model's own; `none` for the model's own where one lies beside it.
    #[arg(long, value_name = "FILE|NAME")]
    pub vae: Option<PathBuf>,
    /// A text encoder to use instead of the model's own.
    #[arg(long, alias = "clip-l", value_name = "FILE|NAME")]
    pub text_encoder: Option<PathBuf>,
    /// The number type the networks run in [default: f32].
    #[arg(long, aliases = ["type", "precision"], value_parser = ChoiceParser::<Dtype>::new(), hide_possible_values = false)]
    pub dtype: Option<Dtype>,
    /// What the network predicts, where its files say it wrongly or not at all.
    #[arg(long, alias = "parameterization", value_parser = ChoiceParser::<PredictionType>::new())]
    pub prediction: Option<PredictionType>,
    /// Where to run: cpu, vulkan, cuda, metal or rocm.
    #[arg(long, alias = "backend", default_value = "cpu")]
    pub device: String,
    /// Threads of the CPU; all of them where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
    /// Decode in tiles [default: auto, when memory asks for it].
    #[arg(long, value_name = "WHEN", num_args = 0..=1, default_missing_value = "on", value_parser = ChoiceParser::<Switch>::new())]
    pub vae_tiling: Option<Switch>,
}

/// How to sample.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Sampling steps [default: 20].
    #[arg(long, aliases = ["ddim-steps", "num-inference-steps"])]
    pub steps: Option<usize>,
    /// How strongly the prompt is followed; 1 is no guidance [default: 7].
    #[arg(long, aliases = ["scale", "guidance-scale"])]
    pub cfg_scale: Option<f64>,
    /// A sampler's name in any program's vocabulary, see `latent samplers` [default: DPM++ 2M; with --compat comfyui Euler, with diffusers the model's own].
    #[arg(long, aliases = ["sampling-method", "sampler-name"], value_name = "NAME")]
    pub sampler: Option<String>,
    /// A σ ladder's name, see `latent samplers` [default: Automatic].
    #[arg(long, aliases = ["schedule", "schedule-type"], value_name = "NAME")]
    pub scheduler: Option<String>,
    /// The first picture's seed, the next ones counting up; a number below 0 draws one [default: −1].
    #[arg(short, long)]
    pub seed: Option<i128>,
    /// Width in pixels [default: 512, or --init-img's].
    #[arg(short = 'W', long, alias = "W")]
    pub width: Option<usize>,
    /// Height in pixels [default: 512, or --init-img's].
    #[arg(short = 'H', long, alias = "H")]
    pub height: Option<usize>,
    /// Both at once, such as 512x768; one number for a square.
    #[arg(long, value_name = "WxH", conflicts_with_all = ["width", "height"])]
    pub size: Option<Size>,
    /// Batches, one after the other [default: 1].
    #[arg(short, long, alias = "n-iter")]
    pub batch_count: Option<usize>,
    /// Pictures drawn together [default: 1].
    #[arg(long, alias = "n-samples")]
    pub batch_size: Option<usize>,
    /// The text encoder's layer, counted as --compat counts (A1111: 1 is the last); −1 leaves it to the model.
    #[arg(long)]
    pub clip_skip: Option<i32>,
    /// Whose picture this shall be [default: a1111].
    #[arg(long, value_parser = ChoiceParser::<Compat>::new())]
    pub compat: Option<Compat>,
    /// How prompt weights act [default: the profile's].
    #[arg(long, value_parser = ChoiceParser::<WeightRule>::new())]
    pub weight_rule: Option<WeightRule>,
    /// Whose random numbers [default: the profile's].
    #[arg(long, value_parser = ChoiceParser::<Rng>::new())]
    pub rng: Option<Rng>,
    /// Share of fresh noise in DDIM and ancestral steps [default: the sampler's].
    #[arg(long, alias = "ddim-eta")]
    pub eta: Option<f64>,
    /// Karras's churn.
    #[arg(long)]
    pub s_churn: Option<f64>,
    /// Churn above this σ only.
    #[arg(long)]
    pub s_tmin: Option<f64>,
    /// Churn below this σ only.
    #[arg(long)]
    pub s_tmax: Option<f64>,
    /// The factor on fresh noise.
    #[arg(long)]
    pub s_noise: Option<f64>,
    /// A σ ladder by hand, descending; replaces --steps and --scheduler.
    #[arg(long, value_delimiter = ',', value_name = "A,B,…")]
    pub sigmas: Option<Vec<f64>>,
    /// The seed of the variation noise.
    #[arg(long, alias = "variation-seed")]
    pub subseed: Option<i128>,
    /// How much of the variation noise, 0 to 1.
    #[arg(long, alias = "variation-strength")]
    pub subseed_strength: Option<f64>,
    /// Take the noise of a picture of this size.
    #[arg(long, value_name = "WxH")]
    pub seed_resize_from: Option<Size>,
    /// Added to the seed of ancestral noise (A1111's "eta noise seed delta").
    #[arg(long, alias = "eta-noise-seed-delta")]
    pub ensd: Option<i64>,
    /// Pull the guided prediction's contrast back, 0 to 1.
    #[arg(long, alias = "guidance-rescale")]
    pub cfg_rescale: Option<f64>,
    /// Guide in this part of the run only, such as 0.1,0.8.
    #[arg(long, value_delimiter = ',', num_args = 1, value_name = "FROM,TO")]
    pub guidance_interval: Option<Vec<f64>>,
    /// Bound the guided prediction: PERCENTILE, or PERCENTILE,MIMIC-SCALE [0.995,7 without a value].
    #[arg(long, value_delimiter = ',', num_args = 0..=1, default_missing_value = "0.995,7", value_name = "P,SCALE")]
    pub dynamic_thresholding: Option<Vec<f64>>,
    #[command(flatten)]
    pub guidance: GuidanceArgs,
    /// Opposite edges meet.
    #[arg(long, num_args = 0..=1, default_missing_value = "both", value_name = "EDGES", value_parser = ChoiceParser::<Tiling>::new())]
    pub tiling: Option<Tiling>,
}

/// Guidance beside the scale.
#[derive(Debug, Args)]
pub struct GuidanceArgs {
    /// Perturbed-attention guidance of this scale [3 without a value].
    #[arg(long, num_args = 0..=1, default_missing_value = "3", value_name = "SCALE")]
    pub pag: Option<f64>,
    /// Where it perturbs attention: mid, down.LEVEL, up.LEVEL, up.LEVEL.BLOCK [default: mid].
    #[arg(long, requires = "pag", value_name = "A,B,…")]
    pub pag_layers: Option<Layers>,
    /// Self-attention guidance of this scale [0.75 without a value].
    #[arg(long, num_args = 0..=1, default_missing_value = "0.75", value_name = "SCALE")]
    pub sag: Option<f64>,
    /// Its blur, in pixels of the latent [default: 1].
    #[arg(long, requires = "sag", value_name = "SIGMA")]
    pub sag_blur: Option<f64>,
    /// Of the negative prompt, follow what is perpendicular to the prompt alone, so much [1 without a value].
    #[arg(long, num_args = 0..=1, default_missing_value = "1", value_name = "WEIGHT")]
    pub perp_neg: Option<f64>,
    /// FreeU: factors on what comes from below on the network's way up, and on the lowest frequencies of what was kept, of two
    /// stages each [without a value 1.5,1.6,0.9,0.2; with SDXL 1.1,1.2,0.6,0.4].
    #[arg(long, value_delimiter = ',', num_args = 0..=1, value_name = "B1,B2,S1,S2")]
    pub freeu: Option<Vec<f64>>,
    /// Skip-layer guidance of this scale [2.8 without a value].
    #[arg(long, num_args = 0..=1, default_missing_value = "2.8", value_name = "SCALE")]
    pub slg_scale: Option<f64>,
    /// Which attention it leaves out, as --pag-layers names it [default: mid].
    #[arg(long, requires = "slg_scale", value_name = "A,B,…")]
    pub skip_layers: Option<Layers>,
    /// It begins at this fraction of the run [default: 0.01].
    #[arg(long, requires = "slg_scale", value_name = "FRACTION")]
    pub skip_layer_start: Option<f64>,
    /// It ends at this fraction of the run [default: 0.2].
    #[arg(long, requires = "slg_scale", value_name = "FRACTION")]
    pub skip_layer_end: Option<f64>,
}

/// Starting from a picture.
#[derive(Debug, Args)]
#[command(next_help_heading = "From a picture")]
pub struct PictureArgs {
    /// Start from this picture.
    #[arg(short, long, alias = "init-image", value_name = "FILE")]
    pub init_img: Option<PathBuf>,
    /// How much of it changes, 0 to 1 [default: 0.75].
    #[arg(long, alias = "denoising-strength")]
    pub strength: Option<f64>,
    /// How it is fitted to the size [default: stretch].
    #[arg(long, value_parser = ChoiceParser::<ResizeMode>::new())]
    pub resize_mode: Option<ResizeMode>,
    /// Repaint where this picture is white (or, with an alpha channel, opaque).
    #[arg(long, value_name = "FILE")]
    pub mask: Option<PathBuf>,
    /// Soften the mask by this many pixels [default: 4].
    #[arg(long, value_name = "PIXELS")]
    pub mask_blur: Option<u32>,
    /// Repaint what the mask leaves out.
    #[arg(long, aliases = ["invert-mask", "inpainting-mask-invert"])]
    pub mask_invert: bool,
    /// What lies under the mask at first [default: original].
    #[arg(long, aliases = ["inpainting-fill", "masked-content"], value_parser = ChoiceParser::<InpaintFill>::new())]
    pub inpaint_fill: Option<InpaintFill>,
    /// Work on the masked region only, at full size.
    #[arg(long, aliases = ["inpaint-only-masked", "inpaint-full-res"])]
    pub only_masked: bool,
    /// Pixels kept around the masked region [default: 32].
    #[arg(long, aliases = ["only-masked-padding", "inpaint-full-res-padding"], value_name = "PIXELS")]
    pub inpaint_padding: Option<usize>,
    /// Enlarge the picture by this many pixels at each edge.
    #[arg(
        long,
        value_delimiter = ',',
        num_args = 1,
        allow_hyphen_values = true,
        value_name = "LEFT,RIGHT,TOP,BOTTOM"
    )]
    pub outpaint: Option<Vec<usize>>,
}

/// What a model that was trained here is told beside a prompt.
#[derive(Debug, Args)]
#[command(next_help_heading = "Condition of a model trained with latent train")]
pub struct ConditionArgs {
    /// Draw this class: its number, or its name where the model's data had names.
    #[arg(long, value_name = "NUMBER|NAME")]
    pub class: Option<Class>,
    /// Draw what this grey picture says: its values are numbers of classes.
    #[arg(long, value_name = "FILE")]
    pub semantic_map: Option<PathBuf>,
    /// Draw these objects: a JSON list of {"class": 3, "box": [left, top, right, bottom]}, edges in 0..=1.
    #[arg(long, value_name = "FILE")]
    pub layout: Option<PathBuf>,
    /// Draw this small picture larger.
    #[arg(long, value_name = "FILE")]
    pub upscale: Option<PathBuf>,
    /// Draw something near to this picture that the model knows by name.
    #[arg(long, value_name = "NAME")]
    pub near: Option<String>,
}

/// The second pass.
#[derive(Debug, Args)]
#[command(next_help_heading = "Second pass (hires fix)")]
pub struct HiresArgs {
    /// Draw a second, larger pass. Any of the flags below asks for it too.
    #[arg(long)]
    pub hires: bool,
    /// The factor on both sides [default: 2].
    #[arg(long)]
    pub hires_scale: Option<f64>,
    /// The target's width.
    #[arg(long)]
    pub hires_width: Option<usize>,
    /// The target's height.
    #[arg(long)]
    pub hires_height: Option<usize>,
    /// How the first pass is enlarged [default: Latent].
    #[arg(long, value_name = "NAME", value_parser = ChoiceParser::<Upscaler>::new())]
    pub hires_upscaler: Option<Upscaler>,
    /// Steps of the second pass [default: as the first].
    #[arg(long)]
    pub hires_steps: Option<usize>,
    /// How much the second pass changes, 0 to 1 [default: 0.7].
    #[arg(long, alias = "hires-strength")]
    pub hires_denoising_strength: Option<f64>,
    /// Another sampler for the second pass.
    #[arg(long, value_name = "NAME")]
    pub hires_sampler: Option<String>,
    /// Another scheduler for the second pass.
    #[arg(long, value_name = "NAME")]
    pub hires_scheduler: Option<String>,
    /// Another prompt for the second pass.
    #[arg(long, value_name = "PROMPT", allow_hyphen_values = true)]
    pub hires_prompt: Option<String>,
    /// Another negative prompt for the second pass.
    #[arg(long, value_name = "PROMPT", allow_hyphen_values = true)]
    pub hires_negative_prompt: Option<String>,
}

/// Where settings come from before the flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings from files")]
pub struct SourceArgs {
    /// A request file (.toml or .json); flags override it.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub request: Option<PathBuf>,
    /// Repeat a picture from its metadata; flags override it.
    #[arg(long, value_name = "PICTURE")]
    pub from: Option<PathBuf>,
}

/// Flags of other programs that say the same in another way.
#[derive(Debug, Args)]
pub struct LegacyArgs {
    /// CompVis: the PLMS sampler.
    #[arg(long, hide = true, conflicts_with_all = ["sampler", "dpm_solver"])]
    pub plms: bool,
    /// CompVis: DPM-Solver++ of order 2 on even steps.
    #[arg(long, hide = true, conflicts_with = "sampler")]
    pub dpm_solver: bool,
    /// CompVis: the folder for pictures.
    #[arg(long, hide = true, value_name = "FOLDER", conflicts_with = "output")]
    pub outdir: Option<PathBuf>,
    /// CompVis: no sheet, which is what happens without --grid.
    #[arg(long, hide = true, conflicts_with = "grid")]
    pub skip_grid: bool,
    /// CompVis: latent channels.
    #[arg(long = "C", hide = true)]
    pub channels: Option<usize>,
    /// CompVis: pixels of a latent cell.
    #[arg(long = "f", hide = true)]
    pub factor: Option<usize>,
    /// sd.cpp: what to do.
    #[arg(short = 'M', long, hide = true)]
    pub mode: Option<String>,
    /// sd.cpp: map the file into memory, which always happens.
    #[arg(long, hide = true)]
    pub mmap: bool,
    /// sd.cpp: all edges meet.
    #[arg(long, hide = true, conflicts_with = "tiling")]
    pub circular: bool,
    /// sd.cpp: left and right meet.
    #[arg(long, hide = true, conflicts_with = "tiling")]
    pub circularx: bool,
    /// sd.cpp: top and bottom meet.
    #[arg(long, hide = true, conflicts_with = "tiling")]
    pub circulary: bool,
}
