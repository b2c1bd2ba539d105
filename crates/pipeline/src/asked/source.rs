//! Where settings come from before those that are typed: a request file, or a picture's metadata.

use serde_json::Value;

use super::{Layer, Said};
use crate::embeddings::Used;
use crate::error::{Error, Result};
use crate::infotext::{Infotext, LORA_HASHES, STOPPED};
use crate::library::Library;
use crate::picture::metadata::Metadata;
use crate::request::{Name, Remark, Request, RequestError};

/// What a layer is laid over.
#[derive(Debug, Default)]
pub struct Base {
    /// Not validated: the layer may still replace what is wrong.
    pub request: Request,
    /// What it states.
    pub said: Said,
    /// What was read and not taken over as it stands.
    pub remarks: Vec<Remark>,
    /// More that the person should know.
    pub notes: Vec<String>,
    /// The model that a picture was drawn with.
    pub drawn_with: Option<DrawnWith>,
}

/// A network, as a picture says it was drawn with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The file's name without the ending.
    pub name: Option<String>,
    /// The first digits of the file's SHA-256.
    pub hash: Option<String>,
}

/// The model that a picture says it was drawn with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrawnWith {
    /// The checkpoint.
    pub model: Named,
    /// An autoencoder in the place of its own.
    pub vae: Named,
    /// The checkpoint that finished it.
    pub refiner: Named,
    /// The embeddings that its prompts name.
    pub embeddings: Vec<Used>,
    /// LoRAs, each with the first digits of its hash.
    pub loras: Vec<(String, String)>,
    /// Only this says which model it was: no request of this program is in the picture.
    pub nameless: bool,
}

impl Named {
    fn of(info: &Infotext, name: &str, hash: &str) -> Self {
        let text = |key| info.get(key).filter(|v| !v.is_empty()).map(str::to_owned);
        Self {
            name: text(name),
            hash: text(hash),
        }
    }

    /// Of a value as A1111 writes it for a refiner, `name [hash]`.
    fn with_hash(info: &Infotext, key: &str) -> Self {
        let text = info.get(key).filter(|v| !v.is_empty());
        let parts = text.and_then(|text| text.strip_suffix(']')?.rsplit_once(" ["));
        match (parts, text) {
            (Some((name, hash)), _) => Self {
                name: Some(name.to_owned()),
                hash: Some(hash.to_owned()),
            },
            (None, text) => Self {
                name: text.map(str::to_owned),
                hash: None,
            },
        }
    }

    /// Whether there is anything to know it by.
    pub fn is_named(&self) -> bool {
        self.name.is_some() || self.hash.is_some()
    }

    /// As a person would say it.
    pub fn describe(&self) -> String {
        match (&self.name, &self.hash) {
            (Some(name), Some(hash)) => format!("{name} (hash {hash})"),
            (Some(name), None) => name.clone(),
            (None, Some(hash)) => format!("a model of hash {hash}"),
            (None, None) => "a model that it does not name".to_owned(),
        }
    }

    /// Whether one of that name and hash is certainly another. Hashes decide where both are of one kind: programs before
    /// 2023 wrote another one, of eight digits.
    pub fn differs(&self, name: &str, hash: Option<&str>) -> bool {
        match (&self.hash, hash, &self.name) {
            (Some(own), Some(other), _) if own.len() == other.len() => {
                !own.eq_ignore_ascii_case(other)
            }
            // The name is written without these.
            (_, _, Some(own)) => own.replace([',', ':'], "") != name.replace([',', ':'], ""),
            _ => false,
        }
    }

    /// What it is called in a library.
    pub fn find(&self, library: &Library) -> Option<Name> {
        let found = library.find_drawn(self.name.as_deref(), self.hash.as_deref());
        found.map(|entry| entry.name.clone())
    }
}

/// Names and hashes in `name: hash, name: hash`.
fn hashes(text: &str) -> Vec<(String, String)> {
    let each = text.split(',').filter_map(|pair| pair.rsplit_once(':'));
    each.map(|(name, hash)| (name.trim().to_owned(), hash.trim().to_owned()))
        .collect()
}

impl Base {
    /// The fields of a request file.
    ///
    /// # Errors
    /// Fields that no request has, and values that they do not take.
    pub fn of_values(fields: Value) -> Result<Self, RequestError> {
        let layer = Layer::of(fields)?;
        Ok(Self {
            request: layer.over(&Request::default())?,
            said: Said::by(&layer),
            ..Self::default()
        })
    }

    /// The settings of a picture, given as the bytes of its file; `name` is what errors call it.
    ///
    /// # Errors
    /// Bytes that are no picture, a picture without settings.
    pub fn of_picture(name: &str, bytes: &[u8]) -> Result<Self> {
        let metadata = Metadata::read(name, bytes)?;
        let without = |reason: String| Error::NoSettings {
            name: name.to_owned(),
            reason,
        };
        let info = metadata.parameters.as_deref().map(Infotext::parse);
        let mut base = match (&metadata.request, &info) {
            (Some(json), _) => Self::of_json(json).or_else(|e| match &info {
                Some(info) => Ok(Self::of_text(info)),
                None => Err(without(format!("holds settings that cannot be read: {e}"))),
            })?,
            (None, Some(info)) if !info.entries.is_empty() => Self::of_text(info),
            (None, Some(_)) => {
                return Err(without(format!(
                    "holds text without settings: {}",
                    metadata.parameters.unwrap_or_default()
                )));
            }
            (None, None) => return Err(without(without_settings(&metadata))),
        };
        base.said = Said::ALL;
        let stopped = info.as_ref().and_then(|info| info.get(STOPPED));
        if let Some(at) = stopped {
            base.notes.push(format!(
                "the picture was stopped at {at}: this run goes on to the end and draws another"
            ));
        }
        let nameless = base.drawn_with.is_some();
        base.drawn_with = info.as_ref().map(|info| DrawnWith {
            model: Named::of(info, "Model", "Model hash"),
            vae: Named::of(info, "VAE", "VAE hash"),
            refiner: Named::with_hash(info, "Refiner"),
            embeddings: info.embeddings(),
            loras: hashes(info.get(LORA_HASHES).unwrap_or_default()),
            nameless,
        });
        Ok(base)
    }

    /// A request of this program.
    fn of_json(json: &str) -> Result<Self, RequestError> {
        let (request, remarks) = Request::from_value_each(Request::values_of_json(json)?)?;
        Ok(Self {
            request,
            remarks,
            ..Self::default()
        })
    }

    /// A1111's text.
    fn of_text(info: &Infotext) -> Self {
        let reading = info.to_request();
        let mut notes = Vec::new();
        if info.broken {
            let keys = info.entries.iter().map(|(key, _)| key.to_lowercase());
            notes.push(format!(
                "the settings of the picture are broken into several lines and were read as one: {}",
                keys.collect::<Vec<_>>().join(", ")
            ));
        }
        if !reading.unknown.is_empty() {
            notes.push(format!(
                "settings of the picture that have no meaning here: {}",
                reading.unknown.join(", ")
            ));
        }
        Self {
            request: reading.request,
            remarks: reading.remarks,
            notes,
            drawn_with: Some(DrawnWith::default()),
            ..Self::default()
        }
    }
}

/// Why a picture cannot be repeated.
fn without_settings(metadata: &Metadata) -> String {
    let keys: Vec<&str> = metadata
        .others
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    let holds = match (metadata.program(), keys.is_empty()) {
        (Some(program), _) => format!(
            "; it holds text of {program}, which is not read ({})",
            keys.join(", ")
        ),
        (None, false) => format!("; it holds other text ({})", keys.join(", ")),
        (None, true) => String::new(),
    };
    format!(
        "holds no settings: neither this program's request nor A1111's `parameters` text{holds}; `latent info` shows what is in it"
    )
}
