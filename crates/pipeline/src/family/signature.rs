//! What the networks of a checkpoint must be like to be of a family.

use std::fmt;
use std::mem::discriminant;

use latent_checkpoint::{Checkpoint, Kind, Role, StoredAutoencoder};
use latent_models::clip::Activation;
use latent_models::unet::Labels;
use latent_models::{AutoencoderConfig, ClipTextConfig, TransformerConfig, UNetConfig};

use super::{FAMILIES, Family, TextInput, VectorInput};

/// Numbers in the sinusoid of a size.
const SINUSOID: usize = 256;

/// The networks of a model as far as a family is told by them.
#[derive(Debug, Clone, Default)]
pub struct Networks<'a> {
    /// The denoiser.
    pub unet: Option<&'a UNetConfig>,
    /// A denoiser that no family here has.
    pub transformer: Option<&'a TransformerConfig>,
    /// The picture compressor.
    pub autoencoder: Option<&'a AutoencoderConfig>,
    /// The text encoders, in the order of their roles.
    pub texts: Vec<&'a ClipTextConfig>,
}

/// No family has such networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// What the networks are like.
    pub found: String,
    /// The family that is nearest, and how the networks differ from it.
    pub nearest: Option<(&'static str, Vec<String>)>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is of no family that is known here: {}", self.found)?;
        if let Some((name, differences)) = &self.nearest {
            write!(f, "; nearest is {name}, but {}", differences.join(", and "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Unknown {}

impl<'a> Networks<'a> {
    /// Those of a checkpoint.
    pub fn of(checkpoint: &'a Checkpoint) -> Self {
        fn config<K: Kind>(checkpoint: &Checkpoint, role: Role) -> Option<&K> {
            K::of(&checkpoint.find(role)?.config)
        }
        let texts = [Role::TEXT_ENCODER, Role::TEXT_ENCODER_2];
        let texts = texts
            .into_iter()
            .filter_map(|role| config(checkpoint, role));
        Self {
            unet: config(checkpoint, Role::DENOISER),
            transformer: config(checkpoint, Role::DENOISER),
            autoencoder: config::<StoredAutoencoder>(checkpoint, Role::AUTOENCODER)
                .map(|stored| &stored.network),
            texts: texts.collect(),
        }
    }

    /// Those of a model of `family` that takes the text encoders of `given` in the place of its own.
    pub(crate) fn with_texts(main: &'a Checkpoint, given: &'a Checkpoint, family: &Family) -> Self {
        let roles = family.texts.iter().map(|input| input.role);
        let texts = roles.filter_map(|role| given.find(role).or(main.find(role)));
        Self {
            texts: texts.filter_map(|text| Kind::of(&text.config)).collect(),
            ..Self::of(main)
        }
    }

    /// In what they differ from those of `family`; `None` where they are of it, or where text encoders are missing.
    pub(crate) fn misfit(&self, family: &Family) -> Option<String> {
        let whole = self.texts.len() == family.texts.len();
        let differences = self.differences(family, self.unet.filter(|_| whole)?);
        (!differences.is_empty()).then(|| differences.join(", and "))
    }

    /// The family that they are of. Networks that are not there are taken for right.
    ///
    /// # Errors
    /// When there is none, or no denoiser to tell it by.
    pub fn family(&self) -> Result<&'static Family, Unknown> {
        let found = self.to_string();
        let Some(unet) = self.unet else {
            return Err(Unknown {
                found,
                nearest: None,
            });
        };
        let mut nearest: Option<(usize, &'static Family, Vec<String>)> = None;
        for family in FAMILIES {
            let differences = self.differences(family, unet);
            if differences.is_empty() {
                return Ok(family);
            }
            // What it is given beside the time tells more than a width does.
            let other = discriminant(&unet.labels) != discriminant(&family.vector.labels(0));
            let distance = differences.len() + usize::from(other);
            if nearest.as_ref().is_none_or(|(least, ..)| distance < *least) {
                nearest = Some((distance, family, differences));
            }
        }
        Err(Unknown {
            found,
            nearest: nearest.map(|(_, family, differences)| (family.name, differences)),
        })
    }

    /// In what the networks differ from a family's, as sentences without their beginning.
    fn differences(&self, family: &Family, unet: &UNetConfig) -> Vec<String> {
        let mut differences = Vec::new();
        let mut check = |what: &str, found: String, expected: String| {
            if found != expected {
                differences.push(format!("{what} {found} in the place of {expected}"));
            }
        };
        let latent = &family.latent;
        let given = latent.channels + family.beside.channels(latent.channels);
        check(
            "its denoiser takes",
            format!("{} channels", unet.in_channels),
            format!("{given} channels"),
        );
        check(
            "it makes",
            format!("{} channels", unet.out_channels),
            format!("{} channels", latent.channels),
        );
        if let Some(vae) = self.autoencoder {
            check(
                "its autoencoder has",
                autoencoder(vae.latent_channels, vae.downsampling(), vae.codebook),
                autoencoder(latent.channels, latent.downsample, None),
            );
        }
        // Without its text encoders a denoiser is told by the published widths.
        let known = !self.texts.is_empty();
        if known {
            check(
                "its text encoders are",
                list(self.texts.iter().map(|t| kind(is_open_clip(t)))),
                list(family.texts.iter().map(|t| kind(t.open_clip))),
            );
        }
        let widths = |texts: &[TextInput]| texts.iter().map(|t| t.width).sum();
        let (context, pooled) = match known {
            true => (
                self.texts.iter().map(|t| t.width).sum(),
                self.texts
                    .last()
                    .map_or(0, |t| t.projection.unwrap_or(t.width)),
            ),
            false => (
                widths(family.texts),
                family.texts.last().map_or(0, |t| t.width),
            ),
        };
        check(
            "its denoiser looks at",
            states(unet.context),
            states(Some(context)),
        );
        let vector = match (family.vector, unet.labels) {
            // Any number of levels, any width of embedding.
            (VectorInput::Level, any @ Labels::Table(_))
            | (VectorInput::Picture, any @ Labels::Projection(_)) => any,
            (vector, _) => vector.labels(pooled),
        };
        check(
            "beside the time it is given",
            labels(unet.labels),
            labels(vector),
        );
        differences
    }
}

impl VectorInput {
    /// What a denoiser is given, with a pooled text of so many numbers.
    fn labels(self, pooled: usize) -> Labels {
        match self {
            Self::None => Labels::None,
            Self::Sizes | Self::Score => Labels::Vector(pooled + SINUSOID * self.sinusoids()),
            Self::Level => Labels::Table(1000),
            Self::Picture => Labels::Projection(2048),
        }
    }
}

/// The family whose denoiser looks at text states of that width; where it looks at none, by what it is told beside the time.
pub(crate) fn of_interface(context: Option<usize>, labels: Labels) -> Option<&'static Family> {
    let width = |family: &Family, which: fn(&TextInput) -> bool| -> usize {
        let texts = family.texts.iter().filter(|text| which(text));
        texts.map(|text| text.width).sum()
    };
    FAMILIES.iter().find(|family| match context {
        Some(context) => width(family, |_| true) == context,
        None => {
            let pooled = width(family, |text| text.pooled);
            labels != Labels::None && family.vector.labels(pooled) == labels
        }
    })
}

/// The family whose denoiser looks at text states of that width.
pub fn of_context(width: usize) -> Option<&'static Family> {
    of_interface(Some(width), Labels::None)
}

/// Whether a text encoder is of OpenCLIP's kind.
fn is_open_clip(text: &ClipTextConfig) -> bool {
    text.activation == Activation::Gelu
}

fn kind(open_clip: bool) -> String {
    if open_clip { "OpenCLIP" } else { "CLIP" }.to_owned()
}

fn list(kinds: impl Iterator<Item = String>) -> String {
    let kinds: Vec<_> = kinds.collect();
    match kinds.is_empty() {
        true => "none".to_owned(),
        false => kinds.join(" and "),
    }
}

fn autoencoder(channels: usize, downsampling: usize, codebook: Option<usize>) -> String {
    let kind = if codebook.is_some() { "VQ" } else { "KL" };
    format!("{channels} latent channels at 1/{downsampling} size ({kind})")
}

fn states(width: Option<usize>) -> String {
    match width {
        Some(width) => format!("text states of width {width}"),
        None => "no text states".to_owned(),
    }
}

fn labels(labels: Labels) -> String {
    match labels {
        Labels::None => "nothing".to_owned(),
        Labels::Table(rows) => format!("one of {rows} numbers"),
        Labels::Vector(width) => format!("a vector of {width}"),
        Labels::Projection(width) => format!("an embedding of {width}"),
    }
}

impl fmt::Display for Networks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unet {
            Some(unet) => write!(
                f,
                "a U-Net of {} → {} channels that looks at {} and is given {} beside the time",
                unet.in_channels,
                unet.out_channels,
                states(unet.context),
                labels(unet.labels),
            )?,
            None if self.transformer.is_some() => f.write_str("a transformer as denoiser")?,
            None => f.write_str("no denoiser")?,
        }
        match self.autoencoder {
            Some(vae) => {
                let latent = autoencoder(vae.latent_channels, vae.downsampling(), vae.codebook);
                write!(f, ", an autoencoder of {latent}")?;
            }
            None => f.write_str(", no autoencoder")?,
        }
        match self.texts.as_slice() {
            [] => f.write_str(", no text encoder"),
            texts => texts.iter().try_for_each(|text| {
                let kind = kind(is_open_clip(text));
                write!(
                    f,
                    ", a text encoder of {kind}'s kind and width {}",
                    text.width
                )
            }),
        }
    }
}
