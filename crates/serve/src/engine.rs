//! What draws, as the service sees it.
//!
//! The service knows requests as JSON in the shape of the request's tables and pictures as bytes of files. What a request means,
//! the engine says: [`settle`](Engine::settle) once when it is accepted, [`draw`](Engine::draw) when its turn comes, perhaps
//! after a restart and more than once, always with the same bytes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::fault::Fault;

/// The pictures and files that a request names, by the names it has for them.
pub type Inputs = BTreeMap<String, Vec<u8>>;

/// What draws. All of it is called on threads that may block; [`draw`](Self::draw) on one thread at a time.
pub trait Engine: Send + Sync + 'static {
    /// The program and its version, `latent v0.1.0`, as A1111's text and `version` fields have it.
    fn version(&self) -> String;

    /// Everything that a request may name, from the last scan.
    fn catalogue(&self) -> Catalogue;

    /// Looks through the folders of models anew.
    ///
    /// # Errors
    /// A folder that cannot be read.
    fn scan(&self) -> Result<(), Fault>;

    /// Decides everything that a request leaves open, without drawing: names, defaults of the model, seeds (taken from `seed`,
    /// which gives random ones), and checks that it can be drawn, memory included.
    ///
    /// # Errors
    /// The first fault, with the field of the request.
    fn settle(&self, asked: &Asked<'_>, seed: &mut dyn FnMut() -> u64) -> Result<Settled, Fault>;

    /// Draws the pictures of `work.missing`, handing over each through `watch` as soon as it is finished, and returns when all are
    /// there or `watch` says to stop.
    ///
    /// # Errors
    /// What ended the work.
    fn draw(&self, work: &Work<'_>, watch: &dyn Watch) -> Result<(), Fault>;

    /// What a picture's file says of how it was made.
    ///
    /// # Errors
    /// A file that is no picture, or damaged.
    fn read(&self, picture: &[u8]) -> Result<Read, Fault>;

    /// The picture decoded, brought to a size and encoded anew.
    ///
    /// # Errors
    /// A file that is no picture, or damaged; a size out of range.
    fn convert(&self, picture: &[u8], to: &Convert) -> Result<Encoded, Fault>;

    /// Loads a model (none: the one that is drawn with where none is named), so that the next picture begins at once.
    /// Returns its name.
    ///
    /// # Errors
    /// No such model, or one that cannot be drawn with.
    fn load(&self, model: Option<&str>) -> Result<String, Fault>;

    /// Gives up the loaded model and its memory.
    fn unload(&self);

    /// The name of the loaded model.
    fn loaded(&self) -> Option<String>;

    /// Main memory.
    fn memory(&self) -> Memory;
}

/// A request as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What is stated, in the request's tables (`prompt`, `start.image`, `hires.scale` …), and no more.
    pub request: &'a Map<String, Value>,
    /// The pictures it names.
    pub inputs: &'a Inputs,
}

/// A request of which everything is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Settled {
    /// The whole request, seeds and all, as [`Work::request`] has it later.
    pub request: Value,
    /// The model's name, as in [`Catalogue::models`].
    pub model: String,
    /// How many pictures: batch size × count.
    pub pictures: u32,
    /// In pixels, after all passes.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Steps of one picture, all passes together.
    pub steps: u32,
    /// What was read and does nothing here, in words.
    pub notes: Vec<String>,
}

/// How a picture's file is to be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Output {
    /// The format.
    pub format: Format,
    /// JPEG's quality, 1 to 100.
    pub quality: u8,
    /// Whether the file carries the text and the request.
    pub text: bool,
    /// Whether a plain background is left out. JPEG has no transparency.
    #[serde(default)]
    pub transparent: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            format: Format::Png,
            quality: 90,
            text: true,
            transparent: false,
        }
    }
}

/// A format of picture files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// PNG.
    #[default]
    Png,
    /// JPEG.
    Jpeg,
    /// WebP, lossless.
    Webp,
}

impl Format {
    /// The format of that name or ending.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().trim_start_matches('.') {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::Webp),
            _ => None,
        }
    }

    /// Its name in the APIs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }
}

impl From<Format> for latent_queue::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Png => Self::Png,
            Format::Jpeg => Self::Jpeg,
            Format::Webp => Self::WebP,
        }
    }
}

/// A job to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// [`Settled::request`], after JSON and back.
    pub request: &'a Value,
    /// The pictures it names.
    pub inputs: &'a Inputs,
    /// Which of its pictures to draw, rising from 0.
    pub missing: &'a [u32],
    /// How they are encoded.
    pub output: Output,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Drop the picture being drawn, without decoding, and return.
    Drop,
    /// Decode the picture being drawn as it is, hand it over, and return.
    Keep,
    /// The same, but go on with the next picture.
    Skip,
}

/// What a job tells while it is drawn, and is told.
pub trait Watch: Sync {
    /// Whether to stop. To be asked after every step, and before each stretch of work.
    fn stop(&self) -> Option<Stop>;

    /// A stretch of work begins: `loading`, `encoding the prompt`, `sampling`, `decoding` …; with the picture it is for.
    fn stage(&self, name: &str, picture: u32);

    /// So many of `steps` steps of that picture are done, all passes counted.
    fn step(&self, picture: u32, step: u32, steps: u32);

    /// Whether somebody wants to see a preview now. Making one costs time: not to be done unasked.
    fn wants_preview(&self) -> bool;

    /// A preview, as a JPEG or PNG file.
    fn preview(&self, file: Vec<u8>);

    /// A picture is finished. Returns when it is kept safely.
    ///
    /// # Errors
    /// It cannot be kept: give up the work and return this fault.
    fn picture(&self, drawn: Drawn) -> Result<(), Fault>;

    /// Something the person should know that is no error.
    fn note(&self, text: String);
}

/// A finished picture.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// Which of its job's, from 0.
    pub n: u32,
    /// The file, encoded as [`Work::output`] says.
    pub file: Vec<u8>,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Its own seed.
    pub seed: u64,
    /// The sampler that drew it, by A1111's name.
    pub sampler: String,
    /// Steps of the first pass.
    pub steps: u32,
    /// The model's name.
    pub model: String,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: String,
    /// A1111's text.
    pub infotext: String,
    /// The request that draws this picture alone.
    pub request: Value,
}

/// What a picture's file says of how it was made.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Read {
    /// A1111's text; empty where there is none.
    pub infotext: String,
    /// Its pairs, in order, as A1111's page splits them (`Prompt`, `Negative prompt`, `Steps`, `Size-1` …).
    pub items: Vec<(String, Value)>,
    /// What of it a request states, in its tables.
    pub request: Map<String, Value>,
    /// What was not taken over, in words.
    pub notes: Vec<String>,
    /// The program whose picture it is, where that is known.
    pub program: Option<String>,
}

/// What to make of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Convert {
    /// The size; none keeps it.
    pub size: Option<(u32, u32)>,
    /// How it is enlarged or reduced.
    pub filter: Filter,
    /// How it is fitted where the aspect differs.
    pub fit: Fit,
    /// How it is encoded. With `text`, texts that it carries are kept.
    pub output: Output,
}

/// How a picture is resampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// Lanczos, of three lobes.
    #[default]
    Lanczos,
    /// The nearest pixel.
    Nearest,
}

/// How a picture is fitted into a size of another aspect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Stretched.
    #[default]
    Stretch,
    /// Kept, and cut.
    Crop,
}

/// A picture's file.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The bytes.
    pub file: Vec<u8>,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// Everything that a request may name.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Catalogue {
    /// Models to draw with; the first is drawn with where none is named.
    pub models: Vec<Model>,
    /// Autoencoders, by the names that `vae` takes.
    pub vaes: Vec<String>,
    /// LoRAs and their kin.
    pub loras: Vec<Adapter>,
    /// Embeddings of textual inversion.
    pub embeddings: Vec<Embedding>,
    /// Hypernetworks.
    pub hypernetworks: Vec<String>,
    /// ControlNets and T2I-Adapters.
    pub controls: Vec<String>,
    /// IP-Adapters.
    pub ip_adapters: Vec<String>,
    /// Samplers.
    pub samplers: Vec<Sampler>,
    /// σ ladders.
    pub schedulers: Vec<Scheduler>,
    /// Ways to enlarge the first pass's latent, as `hires.upscaler` takes them.
    pub latent_upscalers: Vec<String>,
    /// Ways to enlarge its pixels.
    pub upscalers: Vec<String>,
}

/// A model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Model {
    /// The name that `model` takes: its path below its folder, with the ending.
    pub name: String,
    /// The SHA-256 of its file, if it is known already.
    pub sha256: Option<String>,
    /// Its family, such as `sd15`, in words.
    pub family: String,
    /// Bytes.
    pub size: u64,
    /// The side in pixels that it draws best.
    pub side: u32,
    /// The steps that it is drawn with where none are stated.
    pub steps: u32,
    /// The guidance that it is drawn with where none is stated.
    pub cfg_scale: f64,
}

/// A LoRA or one of its kin.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Adapter {
    /// The name that prompts and `loras` take.
    pub name: String,
    /// The name that its trainer gave it.
    pub alias: Option<String>,
    /// What its file says of it.
    pub metadata: Map<String, Value>,
}

/// An embedding.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Embedding {
    /// The word that prompts take.
    pub name: String,
    /// How many vectors it is.
    pub vectors: u32,
    /// Their length.
    pub width: u32,
}

/// A sampler.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Sampler {
    /// A1111's name.
    pub name: String,
    /// Other names that are read.
    pub aliases: Vec<String>,
    /// What A1111 says of it (`scheduler`, `second_order` …), each a text.
    pub options: BTreeMap<String, String>,
}

/// A σ ladder.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Scheduler {
    /// A1111's short name.
    pub name: String,
    /// What its page shows.
    pub label: String,
    /// Other names that are read.
    pub aliases: Vec<String>,
    /// ρ where the ladder has one.
    pub rho: Option<f64>,
    /// Whether it reads the model.
    pub reads_model: bool,
}

/// Main memory, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub struct Memory {
    /// Of the machine.
    pub total: u64,
    /// Not in use.
    pub free: u64,
    /// Of this process.
    pub used: u64,
}
