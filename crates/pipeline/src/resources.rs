//! What the names of a request stand for.
//!
//! A request holds no path: a remote client could fill it with any. Whoever runs a request says by a [`Resources`] what can
//! be named. [`Disk`] takes names for paths, as a command line does; [`Memory`] knows what was handed over and opens nothing
//! else, as a service does. Models are found by both in a [`Library`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use latent_checkpoint::file::hash::sha256;
use latent_checkpoint::{Files, ModelError};

use crate::embeddings::Embeddings;
use crate::error::{Error, Result};
use crate::hypernetworks;
use crate::library::Library;
use crate::loras;
use crate::model::AdapterUse;
use crate::picture::Picture;
use crate::picture::files::{PictureError, read_bytes};
use crate::request::{Name, Request, UsedHypernetwork, near};

/// Something that a request names and that is not there, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// No file of that name.
    #[error("{name} does not exist")]
    Missing {
        /// What was asked for.
        name: Name,
    },
    /// A folder of that name.
    #[error("{name} is a folder: expected a file")]
    Folder {
        /// What was asked for.
        name: Name,
    },
    /// Nothing was handed over under that name.
    #[error("nothing was handed over under the name {name}{hint}")]
    Unknown {
        /// What was asked for.
        name: Name,
        /// The nearest name, as a half sentence.
        hint: String,
    },
    /// No model of that name.
    #[error("{name} does not exist{hint}")]
    Model {
        /// What was asked for.
        name: Name,
        /// The nearest names, as a half sentence.
        hint: String,
    },
    /// A name that several models have.
    #[error("{name} may be any of {fits}: give more of the name")]
    Ambiguous {
        /// What was asked for.
        name: Name,
        /// Their names.
        fits: String,
    },
    /// No model is named, and there is none to draw with then.
    #[error("no model is named, and none is built in: name one")]
    NoModel,
    /// A picture that cannot be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
}

/// Where a model is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file or folder.
    pub path: PathBuf,
    /// What `path` is among.
    pub files: Files,
}

impl From<PathBuf> for Place {
    /// On disk.
    fn from(path: PathBuf) -> Self {
        Self {
            path,
            files: Files::Disk,
        }
    }
}

/// A model that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// What it is called: its folder among `files`.
    pub name: &'static str,
    /// Where it is.
    pub files: Files,
}

impl BuiltIn {
    fn place(self) -> Place {
        Place {
            path: self.name.into(),
            files: self.files,
        }
    }
}

/// The models that can be named.
#[derive(Debug, Default)]
pub struct Models {
    /// Those in folders.
    pub library: Library,
    /// LoRAs and their kin in folders of their own.
    pub loras: Library,
    /// Hypernetworks in folders of their own.
    pub hypernetworks: Library,
    /// The one that is drawn with where none is named.
    pub built_in: Option<BuiltIn>,
    /// Embeddings of textual inversion that prompts may name.
    pub embeddings: Embeddings,
}

impl Models {
    fn find(&self, name: Option<&Name>) -> Result<Place, ResourceError> {
        let Some(name) = name else {
            let built_in = self.built_in.ok_or(ResourceError::NoModel);
            return built_in.map(BuiltIn::place);
        };
        match (self.part(name), self.built_in) {
            (Err(ResourceError::Model { .. }), Some(built_in))
                if name.as_str() == Some(built_in.name) =>
            {
                Ok(built_in.place())
            }
            (found, _) => found,
        }
    }

    fn part(&self, name: &Name) -> Result<Place, ResourceError> {
        Ok(self.library.find(name)?.path.clone().into())
    }

    /// A LoRA: by the names of the files in its folders; by the name that its trainer gave it, where no file is called so; among
    /// the models.
    fn lora(&self, name: &Name) -> Result<Place, ResourceError> {
        let missing = match self.loras.find_adapter(name) {
            Ok(entry) => return Ok(entry.path.clone().into()),
            Err(missing @ ResourceError::Model { .. }) => missing,
            Err(other) => return Err(other),
        };
        match (self.part(name), self.loras.entries().is_empty()) {
            (Ok(place), _) => Ok(place),
            (Err(ResourceError::Model { name, .. }), true) => Err(ResourceError::Model {
                name,
                hint: "; give its file, or the folder of LoRAs that it is in with --loras DIR"
                    .to_owned(),
            }),
            (Err(ambiguous @ ResourceError::Ambiguous { .. }), _) => Err(ambiguous),
            (Err(_), _) => Err(missing),
        }
    }
}

impl Models {
    /// A hypernetwork: in its folders, or among the models.
    fn hypernetwork(&self, name: &Name) -> Result<Place, ResourceError> {
        let missing = match self.hypernetworks.find(name) {
            Ok(entry) => return Ok(entry.path.clone().into()),
            Err(missing @ ResourceError::Model { .. }) => missing,
            Err(other) => return Err(other),
        };
        match (self.part(name), self.hypernetworks.entries().is_empty()) {
            (Ok(place), _) => Ok(place),
            (Err(ResourceError::Model { name, .. }), true) => Err(ResourceError::Model {
                name,
                hint: "; give its file, or the folder of hypernetworks that it is in with --hypernetworks DIR"
                    .to_owned(),
            }),
            (Err(_), _) => Err(missing),
        }
    }
}

/// What can be named in a request.
pub trait Resources {
    /// The models.
    fn models(&self) -> &Models;

    /// Whether a picture or file is there, without reading it.
    ///
    /// # Errors
    /// That it is not.
    fn find(&self, name: &Name) -> Result<(), ResourceError>;

    /// The bytes of a picture or file, at most 1 GiB.
    ///
    /// # Errors
    /// One that is not there or cannot be read.
    fn bytes(&self, name: &Name) -> Result<Vec<u8>, ResourceError>;

    /// A picture.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), and bytes that are no picture.
    fn picture(&self, name: &Name) -> Result<Picture, ResourceError> {
        Ok(Picture::decode(&name.to_string(), &self.bytes(name)?)?)
    }

    /// Where the model of that name is, or the refiner; without a name, the built-in one.
    ///
    /// # Errors
    /// None of that name, or several.
    fn model(&self, name: Option<&Name>) -> Result<Place, ResourceError> {
        self.models().find(name)
    }

    /// Where a network to use in the place of a model's own is.
    ///
    /// # Errors
    /// None of that name, or several.
    fn part(&self, name: &Name) -> Result<Place, ResourceError> {
        self.models().part(name)
    }

    /// Where the LoRA of that name is.
    ///
    /// # Errors
    /// None of that name, or several.
    fn lora(&self, name: &Name) -> Result<Place, ResourceError> {
        self.models().lora(name)
    }

    /// Where the hypernetwork of that name is.
    ///
    /// # Errors
    /// None of that name, or several.
    fn hypernetwork(&self, name: &Name) -> Result<Place, ResourceError> {
        self.models().hypernetwork(name)
    }

    /// What the file beside the model's that has this ending in the place of its own is called, if there is one.
    fn beside(&self, model: &Name, ending: &str) -> Option<Name> {
        let entry = self.models().library.find(model).ok()?;
        let file = Path::new(entry.name.as_os_str()).with_extension(ending);
        let mut entries = self.models().library.entries().iter();
        let beside = entries.find(|other| Path::new(other.name.as_os_str()) == file)?;
        Some(beside.name.clone())
    }

    /// The SHA-256 of the file at `place`; `None` for a folder and for the built-in model. `progress` is called with the
    /// bytes read and their number.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn hash(
        &self,
        place: &Place,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<String>, ModelError> {
        let library = &self.models().library;
        match library.at(&place.path) {
            Some(entry) => library.hash(entry, progress),
            None if place.files == Files::Disk && place.path.is_file() => {
                Ok(Some(sha256(&place.path, progress)?))
            }
            None => Ok(None),
        }
    }

    /// Whether everything that a request names is there, without reading it.
    ///
    /// # Errors
    /// The first field whose name stands for nothing.
    fn check(&self, request: &Request) -> Result<()> {
        let models = request.models().map(|(field, name)| {
            let found = match field {
                "model" | "refiner" => self.model(Some(name)),
                _ => self.part(name),
            };
            (field, found.map(drop))
        });
        let files = request
            .files()
            .map(|(field, name)| (field, self.find(name)));
        for (field, found) in models.chain(files) {
            found.map_err(|source| Error::Given { field, source })?;
        }
        self.named_in_prompts(request)
    }

    /// Whether the LoRAs and hypernetworks of a request are there, those in its prompts among them.
    ///
    /// # Errors
    /// One that is not, a tag in the prompt that cannot be honoured.
    fn named_in_prompts(&self, request: &Request) -> Result<()> {
        self.adapters(request)?;
        self.hypernetworks(request).map(drop)
    }

    /// The hypernetworks of a request, those in its prompt among them, with where they are.
    ///
    /// # Errors
    /// One that is not there, a tag in the prompt that cannot be honoured.
    fn hypernetworks(&self, request: &Request) -> Result<Vec<(UsedHypernetwork, PathBuf)>> {
        let used = hypernetworks::asked(request)?.into_iter();
        let each = used.map(|used| {
            let place = self.hypernetwork(&used.name);
            let place = place.map_err(|source| Error::Given {
                field: "hypernetworks",
                source,
            });
            Ok((used, place?.path))
        });
        each.collect()
    }

    /// The adapters of a request, those in its prompt among them, with where they are.
    ///
    /// # Errors
    /// One that is not there, a tag in the prompt that cannot be honoured.
    fn adapters(&self, request: &Request) -> Result<Vec<AdapterUse>> {
        let loras = loras::asked(request)?;
        let each = loras.iter().map(|lora| {
            let place = self.lora(&lora.name).map_err(|source| Error::Given {
                field: "loras",
                source,
            });
            AdapterUse::of(lora, place?.path)
        });
        each.collect()
    }
}

/// Names are paths; those of models, where there is no such path, names of the library or of the built-in model.
#[derive(Debug, Default)]
pub struct Disk {
    /// The models that have names.
    pub models: Models,
}

impl Disk {
    fn there(name: &Name) -> Option<PathBuf> {
        let path = PathBuf::from(name.as_os_str());
        path.exists().then_some(path)
    }
}

impl Resources for Disk {
    fn models(&self) -> &Models {
        &self.models
    }

    fn find(&self, name: &Name) -> Result<(), ResourceError> {
        match Self::there(name) {
            Some(path) if path.is_dir() => Err(ResourceError::Folder { name: name.clone() }),
            Some(_) => Ok(()),
            None => Err(ResourceError::Missing { name: name.clone() }),
        }
    }

    fn bytes(&self, name: &Name) -> Result<Vec<u8>, ResourceError> {
        Ok(read_bytes(Path::new(name.as_os_str()))?)
    }

    fn model(&self, name: Option<&Name>) -> Result<Place, ResourceError> {
        match name.and_then(Self::there) {
            Some(path) => Ok(path.into()),
            None => self.models.find(name),
        }
    }

    fn part(&self, name: &Name) -> Result<Place, ResourceError> {
        match Self::there(name) {
            Some(path) => Ok(path.into()),
            None => self.models.part(name),
        }
    }

    fn lora(&self, name: &Name) -> Result<Place, ResourceError> {
        match Self::there(name) {
            Some(path) => Ok(path.into()),
            None => self.models.lora(name),
        }
    }

    fn hypernetwork(&self, name: &Name) -> Result<Place, ResourceError> {
        match Self::there(name) {
            Some(path) => Ok(path.into()),
            None => self.models.hypernetwork(name),
        }
    }

    fn beside(&self, model: &Name, ending: &str) -> Option<Name> {
        let there = Self::there(model);
        let entry = || self.models.library.find(model).ok();
        let path = there.or_else(|| Some(entry()?.path.clone()))?;
        let beside = path.is_file().then(|| path.with_extension(ending))?;
        beside.is_file().then(|| beside.into())
    }
}

/// What was handed over under names, and the models of a library: no other file is ever opened.
#[derive(Debug, Default)]
pub struct Memory {
    /// The models that have names.
    pub models: Models,
    /// Pictures and files, as the bytes of a file.
    pub files: BTreeMap<Name, Vec<u8>>,
}

impl Memory {
    fn file(&self, name: &Name) -> Result<&Vec<u8>, ResourceError> {
        self.files.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.files.keys().filter_map(Name::as_str).collect();
            let near = near(&name.to_string(), names.into_iter());
            let near = near.first().map(|near| format!("; did you mean {near}?"));
            ResourceError::Unknown {
                name: name.clone(),
                hint: near.unwrap_or_default(),
            }
        })
    }
}

impl Resources for Memory {
    fn models(&self) -> &Models {
        &self.models
    }

    fn find(&self, name: &Name) -> Result<(), ResourceError> {
        self.file(name).map(drop)
    }

    fn bytes(&self, name: &Name) -> Result<Vec<u8>, ResourceError> {
        self.file(name).cloned()
    }
}
