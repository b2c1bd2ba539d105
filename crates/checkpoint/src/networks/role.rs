//! What networks are for in a model, and where their tensors lie in a file.

use serde::{Serialize, Serializer};

use super::{KINDS, Network};

/// What a network is for in a model: the name of its folder in the diffusers layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(&'static str);

impl Role {
    /// The denoiser.
    pub const DENOISER: Self = Self("unet");
    /// The picture compressor.
    pub const AUTOENCODER: Self = Self("vae");
    /// The first text encoder.
    pub const TEXT_ENCODER: Self = Self("text_encoder");
    /// The second text encoder.
    pub const TEXT_ENCODER_2: Self = Self("text_encoder_2");
    /// The encoder of pictures, for models that are shown one.
    pub const IMAGE_ENCODER: Self = Self("image_encoder");
    /// The statistics of that encoder's embeddings.
    pub const IMAGE_NORMALIZER: Self = Self("image_normalizer");
    /// A ControlNet: what holds the denoiser to a further picture.
    pub const CONTROLNET: Self = Self("controlnet");
    /// An IP-Adapter: what shows the denoiser pictures as prompts.
    pub const IP_ADAPTER: Self = Self("ip_adapter");
    /// A T2I-Adapter: a small network to the same end.
    pub const T2I_ADAPTER: Self = Self("t2i_adapter");
    /// A T2I-Adapter of style: what shows the denoiser a picture as further tokens of the prompt.
    pub const STYLE_ADAPTER: Self = Self("style_adapter");
    /// What reads the condition of a model that was trained here.
    pub const CONDITIONER: Self = Self("conditioner");

    /// The component's folder in the diffusers layout.
    pub fn folder(self) -> &'static str {
        self.0
    }

    /// The key under which a file's metadata states the network's configuration, where its tensors do not.
    pub(crate) fn metadata_key(self) -> String {
        let name = match self {
            Self::AUTOENCODER => "autoencoder",
            other => other.0,
        };
        format!("latent.{name}")
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match *self {
            Self::DENOISER => "denoiser",
            Self::AUTOENCODER => "autoencoder",
            Self::TEXT_ENCODER => "text encoder",
            Self::TEXT_ENCODER_2 => "second text encoder",
            Self::IMAGE_ENCODER => "image encoder",
            Self::IMAGE_NORMALIZER => "normaliser of picture embeddings",
            Self::CONTROLNET => "ControlNet",
            Self::IP_ADAPTER => "IP-Adapter",
            Self::T2I_ADAPTER => "T2I-Adapter",
            Self::STYLE_ADAPTER => "T2I-Adapter of style",
            Self(name) => name,
        })
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

/// Who named the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// diffusers and transformers.
    Diffusers,
    /// The original latent-diffusion code: single-file checkpoints.
    Ldm,
    /// OpenCLIP (text encoders only).
    OpenClip,
}

/// A place where networks of one kind lie in files.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// What the network there is for.
    pub role: Role,
    /// How its tensors are named below the prefix.
    pub scheme: Scheme,
    /// What every name begins with; may be empty.
    pub prefix: &'static str,
    /// A tensor, below the prefix, that exists there and nowhere else; empty for a network that a file's metadata states.
    pub anchor: &'static str,
    /// A tensor, below the prefix, of another kind of network that has the anchor too: where it is, the network is that.
    pub without: Option<&'static str>,
    /// It is written there only in a model with so many text encoders.
    pub texts: Option<usize>,
}

impl Role {
    /// A place where its networks lie in files whatever else is in them.
    pub const fn spot(self, scheme: Scheme, prefix: &'static str, anchor: &'static str) -> Spot {
        Spot {
            role: self,
            scheme,
            prefix,
            anchor,
            without: None,
            texts: None,
        }
    }
}

impl Spot {
    /// The same where there is no tensor of that name below the prefix.
    pub const fn without(self, other: &'static str) -> Self {
        Self {
            without: Some(other),
            ..self
        }
    }

    fn found(&self, kind: usize) -> Found {
        Found {
            role: self.role,
            scheme: self.scheme,
            prefix: self.prefix,
            kind,
        }
    }
}

/// A network found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// What it is for.
    pub role: Role,
    /// How its tensors are named below the prefix.
    pub scheme: Scheme,
    /// What every name of the network begins with; may be empty.
    pub prefix: &'static str,
    /// Which of the kinds it is.
    #[serde(skip)]
    pub(crate) kind: usize,
}

/// The networks of a file of which `has` says whether it holds a tensor of that name.
pub fn find(has: impl Fn(&str) -> bool) -> Vec<Found> {
    let mut found = Vec::new();
    for (kind, entry) in KINDS.iter().enumerate() {
        let spots = entry.spots.iter().filter(|spot| !spot.anchor.is_empty());
        let below = |spot: &Spot, name: &str| has(&format!("{}{name}", spot.prefix));
        let there = spots.filter(|spot| {
            below(spot, spot.anchor) && !spot.without.is_some_and(|other| below(spot, other))
        });
        found.extend(there.map(|spot| spot.found(kind)));
    }
    found
}

/// The networks whose settings stand in a file's metadata, since their tensors say nothing: `stated` gives the text under a
/// key. What it describes may be a network of another kind in the same role, which its tensors tell.
pub(crate) fn find_stated<'a>(stated: impl Fn(&str) -> Option<&'a str>) -> Vec<Found> {
    let mut found = Vec::new();
    for (kind, entry) in KINDS.iter().enumerate() {
        let spots = entry.spots.iter().filter(|spot| spot.anchor.is_empty());
        let there = spots.filter(|spot| {
            let text = stated(&spot.role.metadata_key());
            let other = |text| serde_json::from_str::<Network>(text).is_ok_and(|n| *entry != n);
            text.is_some_and(|text| !other(text))
        });
        found.extend(there.map(|spot| spot.found(kind)));
    }
    found
}

/// The metadata key under which a single file keeps the text of a file that stands beside a network in a folder.
pub(crate) fn attachment_key(path: &str) -> String {
    format!("latent.file/{path}")
}
