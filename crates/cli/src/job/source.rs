//! Where settings come from before the flags: a request file, or a picture's metadata.

use std::path::Path;

use latent_pipeline::{
    infotext::{Infotext, STOPPED},
    picture::{files::read_bytes, metadata::Metadata},
    request::{Remark, Request},
};

use super::{Said, read_text};
use crate::{args::SourceArgs, failure::Failure};

/// What the flags are laid over.
#[derive(Debug, Default)]
pub struct Base {
    /// Not validated: flags may still replace what is wrong.
    pub request: Request,
    /// What was read and not taken over as it stands.
    pub remarks: Vec<Remark>,
    /// More that the person should know.
    pub notes: Vec<String>,
    /// The model that a picture was drawn with.
    pub drawn_with: Option<DrawnWith>,
}

/// The model that a picture says it was drawn with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DrawnWith {
    /// Its name: the file's without the ending.
    pub name: Option<String>,
    /// The first digits of the file's SHA-256.
    pub hash: Option<String>,
    /// Only this says which model it was: no path is known.
    pub nameless: bool,
}

impl DrawnWith {
    fn of(info: &Infotext) -> Self {
        let text = |key| info.get(key).filter(|v| !v.is_empty()).map(str::to_owned);
        Self {
            name: text("Model"),
            hash: text("Model hash"),
            nameless: false,
        }
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

    /// Whether a model of that name and hash is certainly another. Hashes decide where both are of one kind: programs before
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
}

impl Base {
    /// Reads what `args` name; the defaults where they name nothing.
    ///
    /// # Errors
    /// A file that cannot be read, a request file that is wrong, a picture without settings.
    pub fn read(args: &SourceArgs, said: &mut Said) -> Result<Self, Failure> {
        match (&args.request, &args.from) {
            (Some(file), _) => Self::of_file(file, said),
            (None, Some(picture)) => {
                *said = Said::ALL;
                Self::of_picture(picture)
            }
            (None, None) => Ok(Self::default()),
        }
    }

    fn of_file(file: &Path, said: &mut Said) -> Result<Self, Failure> {
        let text = read_text(file)?;
        let in_file = |e| Failure::input(format!("{}: {e}", file.display()));
        let toml = file
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        let fields = match toml {
            true => Request::values_of_toml(&text),
            false => Request::values_of_json(&text),
        };
        let fields = fields.map_err(in_file)?;
        *said = said.or_by(&fields);
        Ok(Self {
            request: Request::from_value(fields).map_err(in_file)?,
            ..Self::default()
        })
    }

    fn of_picture(file: &Path) -> Result<Self, Failure> {
        let name = file.display().to_string();
        let metadata = Metadata::read(&name, &read_bytes(file)?)?;
        let info = metadata.parameters.as_deref().map(Infotext::parse);
        let mut base = match (&metadata.request, &info) {
            (Some(json), _) => Self::of_json(json).or_else(|e| match &info {
                Some(info) => Ok(Self::of_text(info)),
                None => Err(Failure::input(format!("the metadata of {name}: {e}"))),
            })?,
            (None, Some(info)) if !info.entries.is_empty() => Self::of_text(info),
            (None, Some(_)) => {
                return Err(Failure::input(format!(
                    "{name} holds text without settings: {}",
                    metadata.parameters.unwrap_or_default()
                )));
            }
            (None, None) => return Err(Failure::input(without_settings(&name, &metadata))),
        };
        let stopped = info.as_ref().and_then(|info| info.get(STOPPED));
        if let Some(at) = stopped {
            base.notes.push(format!(
                "the picture was stopped at {at}: this run goes on to the end and draws another"
            ));
        }
        let nameless = base.drawn_with.is_some();
        base.drawn_with = info.as_ref().map(|info| DrawnWith {
            nameless,
            ..DrawnWith::of(info)
        });
        Ok(base)
    }

    /// A request of this program.
    fn of_json(json: &str) -> Result<Self, latent_pipeline::RequestError> {
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
            drawn_with: Some(DrawnWith::of(info)),
        }
    }
}

/// Why a picture cannot be repeated.
fn without_settings(name: &str, metadata: &Metadata) -> String {
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
        "{name} holds no settings: neither this program's request nor A1111's `parameters` text{holds}; `latent info` shows what is \
         in it"
    )
}
