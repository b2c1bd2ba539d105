//! Model families as values.
//!
//! A family says what the networks of a checkpoint have in common beyond their own configurations: how they are told
//! ([`Networks`]), the scale of the latent, the noise that they were trained with, what the denoiser is given
//! ([`TextInput`], [`VectorInput`], [`Beside`]), the size at which they draw. It is the one place that knows: opening,
//! describing, converting and drawing ask it. Adding a family is adding a value to [`FAMILIES`].

mod signature;
mod table;

use std::path::Path;

use latent_checkpoint::{
    Checkpoint, Files, Info, InfoOptions, ModelError, Network, Role, SchedulerConfig,
};
use latent_diffusion::AlignTable;
use latent_models::{AutoencoderConfig, Interface};
use latent_text::Pad;

use crate::picture::preview::Colours;

pub(crate) use signature::of_interface;
pub use signature::{Networks, Unknown, of_context};
pub use table::{FAMILIES, STABLE_DIFFUSION_1};

/// How a picture becomes the latent that the denoiser works in: `(encoded − shift) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentFormat {
    /// Channels.
    pub channels: usize,
    /// Pixels per latent number along each side.
    pub downsample: usize,
    /// See above.
    pub scale: f64,
    /// See above.
    pub shift: f64,
}

/// What a text encoder gives to the denoiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextInput {
    /// Which of the model's networks.
    pub role: Role,
    /// OpenCLIP's kind (exact GELU), not OpenAI's.
    pub open_clip: bool,
    /// Width of its states in published models.
    pub width: usize,
    /// What fills a text up.
    pub pad: Pad,
    /// The layer that is read.
    pub layer: Layer,
    /// Through the final norm.
    pub normed: bool,
    /// Its pooled state goes into the vector.
    pub pooled: bool,
}

/// A layer of a text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// So many before the last; 0 is the last.
    BeforeLast(usize),
    /// That of this number, counted from 1; the last where a file has fewer. The later ones are not needed.
    Number(usize),
}

/// The vector that is added to the embedding of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorInput {
    /// None.
    None,
    /// The pooled text, then sinusoids of 256 numbers each: height and width of the original, top and left of the crop,
    /// height and width aimed at.
    Sizes,
    /// The pooled text, then sinusoids of the first four of them and of an aesthetic score.
    Score,
    /// The number of a noise level, a row of a table.
    Level,
    /// A noised picture embedding, then the sinusoid of its noise level.
    Picture,
}

impl VectorInput {
    /// How many numbers become sinusoids.
    pub const fn sinusoids(self) -> usize {
        match self {
            Self::Sizes => 6,
            Self::Score => 5,
            Self::None | Self::Level | Self::Picture => 0,
        }
    }
}

/// What the denoiser takes beside the latent, as further channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// A mask and the latent of the masked picture.
    Masked,
    /// A depth map.
    Depth,
    /// The small picture.
    Small,
    /// The latent of the picture that is changed.
    Edited,
}

impl Beside {
    /// How many channels, for latents of `latent` channels.
    pub const fn channels(self, latent: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Masked => 1 + latent,
            Self::Depth => 1,
            Self::Small => 3,
            Self::Edited => latent,
        }
    }
}

/// One family.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// What people call it.
    pub name: &'static str,
    /// Its latent.
    pub latent: LatentFormat,
    /// What it was trained with where a file does not say.
    pub scheduler: fn() -> SchedulerConfig,
    /// Its text encoders, in the order in which their states are joined.
    pub texts: &'static [TextInput],
    /// Its vector.
    pub vector: VectorInput,
    /// Its further channels.
    pub beside: Beside,
    /// Width and height it draws best at, pixels.
    pub size: usize,
    /// Which of the published ladders of "Align Your Steps" was optimised for it.
    pub align: AlignTable,
    /// An empty negative prompt is zeros where the program does so.
    pub zeros_for_empty: bool,
    /// How its latents show as colours, where that is known.
    pub preview: Option<Colours>,
    /// Files may leave open what the network predicts: it is asked.
    pub untold: bool,
    /// Why it is known and not drawn.
    pub undrawn: Option<&'static str>,
}

impl Family {
    /// A family of its own: a model that was trained here, in the latents of `vae` or in pixels.
    ///
    /// # Errors
    ///
    /// Why the networks do not fit each other, as a sentence.
    pub fn trained(
        denoiser: &Interface,
        vae: Option<&AutoencoderConfig>,
        size: usize,
    ) -> Result<Self, String> {
        let channels = vae.map_or(3, |vae| vae.latent_channels);
        if denoiser.out_channels != channels {
            return Err(format!(
                "its denoiser makes {} channels, and a latent has {channels}",
                denoiser.out_channels
            ));
        }
        Ok(Self {
            name: "trained here",
            latent: LatentFormat {
                channels,
                downsample: vae.map_or(1, AutoencoderConfig::downsampling),
                scale: 1.0,
                ..STABLE_DIFFUSION_1.latent
            },
            size,
            preview: None,
            ..STABLE_DIFFUSION_1
        })
    }
}

/// What a checkpoint was recognised as.
#[derive(Debug, Clone)]
pub enum Recognised {
    /// A model of a family.
    Family(&'static Family),
    /// A model that was trained here, which says itself what it is.
    TrainedHere,
    /// Networks without a denoiser.
    Part,
    /// A denoiser of no family that is known.
    Unknown(Unknown),
}

impl Recognised {
    /// The family to draw with; `None` for a model that was trained here.
    ///
    /// # Errors
    /// Why there is nothing to draw with, as a sentence.
    pub fn family(&self) -> Result<Option<&'static Family>, String> {
        match self {
            Self::Family(family) => match family.undrawn {
                Some(reason) => Err(format!("it is {}: {reason}", family.name)),
                None => Ok(Some(family)),
            },
            Self::TrainedHere => Ok(None),
            Self::Part => Err("there is no denoiser in it to draw with".to_owned()),
            Self::Unknown(unknown) => Err(unknown.to_string()),
        }
    }
}

/// Opens the file or folder at `path`, finds its family and fills in what its files leave open: the noise that it was
/// trained with, the scale of its latents, which layers of its text encoders are used.
///
/// # Errors
/// Files that cannot be read.
pub fn open(path: &Path, built_in: Files) -> Result<(Checkpoint, Recognised), ModelError> {
    let mut checkpoint = match built_in {
        Files::Disk => Checkpoint::open(path)?,
        memory => Checkpoint::open_in(memory, path)?,
    };
    if checkpoint.scheduler().trained_here().is_some() {
        return Ok((checkpoint, Recognised::TrainedHere));
    }
    if checkpoint.find(Role::DENOISER).is_none() {
        return Ok((checkpoint, Recognised::Part));
    }
    let family = match Networks::of(&checkpoint).family() {
        Ok(family) => family,
        Err(unknown) => return Ok((checkpoint, Recognised::Unknown(unknown))),
    };
    checkpoint.assume((family.scheduler)());
    // At 512, the usual size, what it predicts says more.
    if family.size != STABLE_DIFFUSION_1.size
        || family.latent.downsample != STABLE_DIFFUSION_1.latent.downsample
    {
        checkpoint.assume_side(family.size / family.latent.downsample);
    }
    settle(&mut checkpoint, family);
    Ok((checkpoint, Recognised::Family(family)))
}

/// What the file or folder at `path` is, for people and programs. `progress` is called with the bytes hashed so far and
/// their number.
///
/// # Errors
/// When it cannot be read or holds no network that is known.
pub fn inspect(
    path: &Path,
    built_in: Files,
    options: &InfoOptions,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Info, ModelError> {
    let (checkpoint, recognised) = open(path, built_in)?;
    let mut info = latent_checkpoint::inspect(&checkpoint, options, progress)?;
    info.family = match &recognised {
        Recognised::Family(family) => Some(family.name.to_owned()),
        Recognised::TrainedHere => Some("trained here".to_owned()),
        Recognised::Part => {
            let roles = checkpoint.parts().iter().map(|part| part.role.to_string());
            let roles = roles.collect::<Vec<_>>().join(" and ");
            Some(match hung_onto(&checkpoint) {
                Some(family) => format!("{roles} alone, for {family}"),
                None => format!("{roles} alone"),
            })
        }
        Recognised::Unknown(_) => None,
    };
    info.notes = notes(&checkpoint, &recognised);
    info.notes.extend(missing(&checkpoint));
    Ok(info)
}

/// The family that a network beside a denoiser was made for.
fn hung_onto(checkpoint: &Checkpoint) -> Option<&'static str> {
    let [part] = checkpoint.parts() else {
        return None;
    };
    match &part.config {
        Network::ControlNet(config) => {
            let unet = &config.unet;
            of_interface(unet.context, unet.labels).map(|family| family.name)
        }
        Network::IpAdapter(config) => of_context(config.context).map(|family| family.name),
        Network::StyleAdapter(config) => of_context(config.context).map(|family| family.name),
        // Of the widths of all published denoisers; SDXL's has one level less, and its adapters see blocks twice as large.
        Network::T2iAdapter(config) => match (config.unshuffle, &config.channels[..]) {
            (16, [320, 640, 1280, 1280]) => Some("SDXL"),
            (8, [320, 640, 1280, 1280]) => Some("Stable Diffusion 1.x and 2.x"),
            _ => None,
        },
        _ => None,
    }
}

/// The settings that a folder's index names and that are not there, and what is taken in the place of each, as sentences.
pub fn missing(checkpoint: &Checkpoint) -> Vec<String> {
    let missing = checkpoint.missing().iter().map(|missing| {
        let (name, class) = (missing.name.as_str(), missing.class.as_str());
        let file = match name {
            "feature_extractor" => "preprocessor_config.json",
            _ => "scheduler_config.json",
        };
        let usual = checkpoint.scheduler();
        let taken = match name {
            "feature_extractor" => "pictures are made ready as for CLIP's image encoder".to_owned(),
            "image_noising_scheduler" => {
                "picture embeddings get the noise that unCLIP was trained with".to_owned()
            }
            "low_res_scheduler" => "the small picture gets noise by the denoiser's own".to_owned(),
            _ => format!(
                "the usual settings of its family are taken ({}, {} from {} to {})",
                usual.class_name, usual.beta_schedule, usual.beta_start, usual.beta_end
            ),
        };
        format!("{name}/{file} is missing, though model_index.json names it ({class}): {taken}")
    });
    missing.collect()
}

/// What is unusual about a checkpoint, and how it would be drawn.
fn notes(checkpoint: &Checkpoint, recognised: &Recognised) -> Vec<String> {
    let family = match recognised {
        Recognised::Family(family) => family,
        Recognised::Unknown(unknown) => return vec![unknown.to_string()],
        _ => return Vec::new(),
    };
    let mut notes = Vec::new();
    if let Some(reason) = family.undrawn {
        notes.push(format!("it is not drawn: {reason}"));
    }
    for input in family.texts {
        match checkpoint.find(input.role).map(|part| &part.config) {
            Some(Network::TextEncoder(text)) if text.width != input.width => notes.push(format!(
                "its {} has width {}; published ones have {}",
                input.role, text.width, input.width
            )),
            None => notes.push(format!("there is no {} in it", input.role)),
            _ => {}
        }
    }
    if family.vector == VectorInput::Picture {
        notes.push("it looks at pictures beside the prompt: give them with --image".to_owned());
        for role in [Role::IMAGE_ENCODER, Role::IMAGE_NORMALIZER] {
            if checkpoint.find(role).is_none() {
                notes.push(format!("there is no {role} in it"));
            }
        }
    }
    if checkpoint.find(Role::AUTOENCODER).is_none() {
        notes.push("there is no autoencoder in it: give one with --vae".to_owned());
    }
    let scheduler = checkpoint.scheduler();
    if !checkpoint.states_prediction() && family.untold {
        notes.push(
            "nothing in it says whether it predicts noise or velocity: the network is asked when it is opened; \
             --prediction says it"
                .to_owned(),
        );
    }
    if scheduler.rescale_betas_zero_snr {
        notes.push("it was trained to zero terminal SNR".to_owned());
    }
    notes
}

/// Fills in what the files of networks of `family` leave open: the scale of its latents, which of its text encoders they hold
/// and which layers of these are used.
pub fn settle(checkpoint: &mut Checkpoint, family: &Family) {
    // Files of one encoder have it in either place.
    if let [text] = family.texts
        && checkpoint.find(text.role).is_none()
    {
        for part in checkpoint.parts_mut() {
            if matches!(part.config, Network::TextEncoder(_)) {
                part.role = text.role;
            }
        }
    }
    for part in checkpoint.parts_mut() {
        match &mut part.config {
            Network::Autoencoder(stored) => {
                stored.scale = stored.scale.or(Some(family.latent.scale));
            }
            Network::TextEncoder(config) => {
                let input = family.texts.iter().find(|text| text.role == part.role);
                let Some(input) = input else { continue };
                if let Layer::Number(layers) = input.layer {
                    config.layers = config.layers.min(layers);
                }
                if !input.pooled {
                    config.projection = None;
                }
            }
            _ => {}
        }
    }
}
