//! What can be typed.
//!
//! The first of two stages: every flag is optional here and holds what was typed, no more. `crate::job` puts it on
//! top of a request file or of a picture's metadata and gives a validated `Request`. Names are those of stable-
//! diffusion.cpp, of CompVis's scripts and of A1111; where a program spells one with underscores, both spellings work.
//! A flag of theirs that this program cannot honour is known all the same and refused with a reason ([`refused`]):
//! nothing typed is ever ignored.

mod adapter;
mod by_eye;
mod choice;
mod control;
pub mod data;
mod eval;
mod generate;
mod ip_adapter;
mod output;
mod preprocess;
mod preview;
mod reference;
mod refused;
mod serve;
mod stored;
mod told;
mod train;

use std::{ffi::OsString, path::PathBuf};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use adapter::{ExtractArgs, MergeArgs};
pub use by_eye::{ByEyeArgs, ByEyeCommand, DrawArgs, ScoreArgs};
pub use control::ControlArgs;
pub use eval::EvalArgs;
pub use generate::{
    ConditionArgs, GenerateArgs, GuidanceArgs, HiresArgs, LegacyArgs, ModelArgs, PictureArgs,
    SamplingArgs, SourceArgs,
};
pub use ip_adapter::IpAdapterArgs;
pub use output::{Grid, OutputArgs};
pub use preprocess::PreprocessArgs;
pub use preview::PreviewTo;
pub use reference::ReferenceArgs;
pub use serve::{EngineArgs, ServeArgs, SharedArgs, WorkerArgs};
pub use told::ToldArgs;
pub use train::{ExportArgs, TrainArgs};

/// Native latent diffusion: pictures from Stable Diffusion checkpoints.
#[derive(Debug, Parser)]
#[command(
    name = "latent",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print the memory plan and every resolved setting; twice for debugging.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 900)]
    pub verbose: u8,
    /// Print one JSON object a line on standard output, for programs.
    #[arg(long, global = true, display_order = 901)]
    pub json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Draw pictures: from text, from a picture (--init-img), inside a mask (--mask).
    #[command(aliases = ["txt2img", "img2img", "inpaint", "img_gen"])]
    Generate(Box<GenerateArgs>),
    /// Draw for browsers and other programs, over HTTP: an API of its own, and those of A1111, OpenAI, stable-diffusion.cpp and ComfyUI.
    Serve(Box<ServeArgs>),
    /// Draw what `latent serve --database` elsewhere was asked for.
    Worker(Box<WorkerArgs>),
    /// Make what a control network is shown of a picture: edges, lines, a blur, normals of a depth map and so on.
    Preprocess(PreprocessArgs),
    /// Print what a checkpoint, an adapter or a picture is: family, parts, types, parameter counts, metadata.
    #[command(alias = "metadata")]
    Info(InfoArgs),
    /// List the models in folders of models: names, families, hashes.
    Models(ModelsArgs),
    /// Rewrite a checkpoint as another form or number type, or a LoRA in another program's names.
    Convert(ConvertArgs),
    /// Merge LoRAs into a checkpoint.
    Merge(MergeArgs),
    /// Make a LoRA of the difference of two checkpoints.
    Extract(ExtractArgs),
    /// Train a model from pictures; a run that was stopped goes on to the bit (--resume).
    Train(TrainArgs),
    /// Write the model of a run's latest checkpoint, for this program and for others.
    Export(ExportArgs),
    /// Measure a model that draws by text, by captioned pictures that it has not learnt from.
    Eval(Box<EvalArgs>),
    /// A test by eye: numbered drawings for somebody to name who does not know what they are, and the count of what was named.
    ByEye(ByEyeArgs),
    /// Check this build on this machine against embedded results of the reference implementations.
    Selftest(SelftestArgs),
    /// Time the kernels and the networks of Stable Diffusion 1.5 on this machine; no file is needed.
    Bench(BenchArgs),
    /// Check a data set for training, or make one.
    Data(data::DataArgs),
    /// List the names of samplers and schedulers.
    Samplers,
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff), or write one page for every command into a folder.
    Man {
        /// Where the pages go.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// `latent info`.
#[derive(Debug, clap::Args)]
pub struct InfoArgs {
    /// A checkpoint file, a diffusers folder, a LoRA, a picture, or the name of a model or of a LoRA in folders of them.
    pub file: PathBuf,
    #[command(flatten)]
    pub library: LibraryArgs,
    #[command(flatten)]
    pub loras: LoraLibraryArgs,
    /// Also compute the SHA-256, by which sites and programs know the file.
    #[arg(long)]
    pub hash: bool,
    /// Also list every tensor.
    #[arg(long)]
    pub tensors: bool,
}

/// Where models lie that are called by name.
#[derive(Debug, Default, clap::Args)]
pub struct LibraryArgs {
    /// A folder of models, which are then called by name: the file's, with or without its ending, or the beginning of its
    /// hash. Can be given several times [default: the folders in the environment variable LATENT_MODELS].
    #[arg(long, value_name = "DIR")]
    pub models: Vec<PathBuf>,
}

/// Where LoRAs lie that are called by name.
#[derive(Debug, Default, clap::Args)]
pub struct LoraLibraryArgs {
    /// A folder of LoRAs, which are then called by name: the file's, with or without its ending, or the name that its trainer
    /// gave it. Can be given several times [default: the folders in the environment variable LATENT_LORAS].
    #[arg(long, aliases = ["lora-dir", "lora-model-dir"], value_name = "DIR")]
    pub loras: Vec<PathBuf>,
}

/// `latent models`.
#[derive(Debug, clap::Args)]
pub struct ModelsArgs {
    #[command(flatten)]
    pub library: LibraryArgs,
    /// Also compute the hashes that are not known yet, by which sites, programs and pictures name a model.
    #[arg(long)]
    pub hash: bool,
}

/// `latent convert`.
#[derive(Debug, clap::Args)]
pub struct ConvertArgs {
    /// The checkpoint to read: a file, a diffusers folder, or the name of a model in a folder of models; `latent-default` is
    /// the built-in model.
    #[arg(value_name = "FROM")]
    pub source: PathBuf,
    #[command(flatten)]
    pub library: LibraryArgs,
    /// Where to write: NAME.safetensors or NAME.ckpt for a single file, any other name for a diffusers folder.
    #[arg(value_name = "TO")]
    pub target: PathBuf,
    /// The number type of the weights; without it they are kept to the bit. In eight bits (int8, fp8_e4m3, fp8_e5m2) only
    /// matrices and kernels are stored, and none of the autoencoder.
    #[arg(long, alias = "type", value_parser = choice::ChoiceParser::<stored::Stored>::new())]
    pub dtype: Option<stored::Stored>,
    /// Take the moving average of the weights (EMA) where the file has one beside them.
    #[arg(long)]
    pub ema: bool,
    /// Of a LoRA, whose names its keys shall have: kohya, kohya-original (SDXL's), diffusers, comfyui or simpletuner.
    #[arg(long, value_name = "PROGRAM")]
    pub names: Option<String>,
    /// The model that a LoRA was made for, where that is none of the published families.
    #[arg(long, value_name = "FILE|NAME", requires = "names")]
    pub like: Option<PathBuf>,
    /// Replace what is there.
    #[arg(long)]
    pub overwrite: bool,
}

/// `latent selftest`.
#[derive(Debug, clap::Args)]
pub struct SelftestArgs {
    /// Also run the networks at the size of Stable Diffusion 1.5 (needs about 8 GiB of memory and some minutes).
    #[arg(long)]
    pub full: bool,
    /// Keep the tiny checkpoint of the checks in this new folder, to try commands with: a model.safetensors, a model.ckpt and a
    /// diffusers folder; for it a LoRA, a ControlNet, an IP-Adapter, a hypernetwork and embeddings. The weights are a formula, the pictures patterns.
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,
    /// Where to run: cpu, vulkan, cuda, metal or rocm.
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of the CPU; all of them where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}

/// `latent bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// What to time; everything where this is left out.
    #[arg(value_enum)]
    pub what: Vec<Benchmark>,
    /// The number type of the networks. Training is in f32.
    #[arg(long, default_value = "f32", value_parser = choice::ChoiceParser::<latent_pipeline::request::Dtype>::new())]
    pub dtype: latent_pipeline::request::Dtype,
    /// Timed runs of each, after one that is not timed; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub runs: u16,
    /// Threads of the CPU; all of them where this is left out.
    #[arg(short, long)]
    pub threads: Option<usize>,
}

/// What `latent bench` can time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Benchmark {
    /// Each shape of the networks by itself: rate, and share of the measured peak.
    Kernels,
    /// A step of the U-Net with guidance: batch 2, 64×64 latent.
    Unet,
    /// The decoder to 512×512.
    Vae,
    /// The text encoder: two texts of 77 tokens.
    Text,
    /// A training step of a U-Net of width 128: batch 4, 32×32 latent.
    Train,
    /// A step with guidance of a U-Net of 21 million parameters, beside the time of its arithmetic: 16×16 latent.
    Small,
    /// What hangs onto Stable Diffusion 1.5, only where it is named: a step of the U-Net with guidance alone, with a ControlNet and
    /// with an IP-Adapter; what a LoRA of rank 32 costs beyond reading a model of 2 GB, which is written for it.
    Adapters,
    /// SDXL, only where it is named: a step of the U-Net with guidance (batch 2, 128×128 latent), the decoder to 1024×1024. The
    /// weights alone take 10 GB in f32, 5 in bf16.
    Xl,
}

impl Cli {
    /// The command with the refused flags, which completions and the manual leave out.
    fn full_command() -> clap::Command {
        Self::command().mut_subcommand("generate", refused::declare)
    }

    /// Reads the command line.
    ///
    /// # Errors
    /// clap's own: unknown flags with a suggestion, missing values, help and version.
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::full_command();
        let matches =
            command.try_get_matches_from_mut(arguments.scan(true, |flags, argument| {
                if argument == "--" {
                    *flags = false;
                }
                Some(if *flags {
                    hyphenated(argument)
                } else {
                    argument
                })
            }))?;
        if let Some(("generate", given)) = matches.subcommand() {
            refused::check(given).map_err(|message| {
                command.error(clap::error::ErrorKind::ArgumentConflict, message)
            })?;
        }
        Self::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
    }
}

/// `--cfg_scale=7` as `--cfg-scale=7`: flags are declared with hyphens only.
fn hyphenated(argument: OsString) -> OsString {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else {
        return argument;
    };
    match text.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")).into(),
        None => text.replace('_', "-").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::read(["latent"].iter().chain(line).map(OsString::from))
    }

    fn generate(line: &[&str]) -> GenerateArgs {
        match read(&[&["generate"], line].concat()).unwrap().command {
            Command::Generate(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::full_command().debug_assert();
    }

    #[test]
    fn stable_diffusion_cpp_is_understood() {
        let args = generate(&[
            "-M",
            "img_gen",
            "-m",
            "a.ckpt",
            "-p",
            "cat",
            "-n",
            "dog",
            "-H",
            "768",
            "-W",
            "640",
            "-s",
            "-1",
            "-b",
            "3",
            "-o",
            "x.png",
            "-i",
            "in.png",
            "-t",
            "4",
            "--cfg-scale",
            "5",
            "--sampling-method",
            "euler_a",
            "--clip-skip",
            "-1",
            "--strength",
            "0.4",
            "--vae-tiling",
            "--type",
            "f16",
            "--circularx",
            "--disable-image-metadata",
        ]);
        assert_eq!(args.model.model, Some("a.ckpt".into()));
        assert_eq!(
            (args.sampling.height, args.sampling.width),
            (Some(768), Some(640))
        );
        assert_eq!(
            (args.sampling.seed, args.sampling.clip_skip),
            (Some(-1), Some(-1))
        );
        assert_eq!(args.sampling.sampler.as_deref(), Some("euler_a"));
        assert_eq!(args.sampling.batch_count, Some(3));
        assert_eq!(args.model.threads, Some(4));
        assert!(args.output.no_metadata && args.legacy.circularx);
    }

    #[test]
    fn compvis_is_understood() {
        let args = generate(&[
            "--prompt",
            "cat",
            "--ddim_steps",
            "50",
            "--plms",
            "--ddim_eta",
            "0.5",
            "--n_iter",
            "2",
            "--H",
            "512",
            "--W",
            "256",
            "--C",
            "4",
            "--f",
            "8",
            "--n_samples",
            "3",
            "--scale",
            "7.5",
            "--ckpt",
            "m.ckpt",
            "--seed",
            "42",
            "--precision",
            "full",
            "--skip_grid",
            "--outdir",
            "out",
        ]);
        assert_eq!(
            (args.sampling.steps, args.sampling.cfg_scale),
            (Some(50), Some(7.5))
        );
        assert_eq!(
            (args.sampling.batch_size, args.sampling.batch_count),
            (Some(3), Some(2))
        );
        assert_eq!(
            (args.sampling.height, args.sampling.width),
            (Some(512), Some(256))
        );
        assert!(args.legacy.plms);
        assert_eq!(args.legacy.outdir, Some("out".into()));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (flag, word) in [
            (&["--motion-module", "x"][..], "motion"),
            (&["--canny"], "--control"),
            (&["--fixed_code"], "seed"),
            (&["--offload-to-cpu"], "memory"),
        ] {
            let error = read(&[&["generate", "-p", "x"], flag].concat())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(word) && error.contains(&flag[0].replace('_', "-")),
                "{error}"
            );
        }
        let unknown = read(&["generate", "--stepz", "3"]).unwrap_err().to_string();
        assert!(unknown.contains("--steps"), "{unknown}");
    }

    #[test]
    fn underscores_and_values() {
        assert_eq!(
            generate(&["--negative_prompt=a_b"])
                .prompt
                .negative_prompt
                .as_deref(),
            Some("a_b")
        );
        assert_eq!(
            generate(&["-p", "a_b"]).prompt.prompt.as_deref(),
            Some("a_b")
        );
        let error = read(&["generate", "--compat", "invoke"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("comfyui"), "{error}");
        assert!(matches!(
            read(&["txt2img"]).unwrap().command,
            Command::Generate(_)
        ));
    }
}
