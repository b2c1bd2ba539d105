//! What can go wrong between a request and a picture.

use std::path::PathBuf;

use latent_diffusion::names::NameError;

/// An error of this crate. Each text names the field, file or value, what was expected, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of the request is out of range or does not go with another.
    #[error("`{field}` is {value}: expected {expected}")]
    Field {
        /// The request's field, by its name in a request file.
        field: &'static str,
        /// What was given.
        value: String,
        /// What is allowed, as a noun phrase that may go on with what to do.
        expected: String,
    },
    /// A model that this program can read but not run.
    #[error("{path}: {reason}")]
    Model {
        /// The file or folder.
        path: PathBuf,
        /// Which part is missing or unknown, and what to do.
        reason: String,
    },
    /// Not enough memory for what was asked.
    #[error("this needs about {needed} of memory and {available} can be had: {advice}")]
    Memory {
        /// The plan's peak.
        needed: String,
        /// What the caller said is free.
        available: String,
        /// What would make it fit.
        advice: String,
    },
    /// The result is not a number somewhere.
    #[error("the {stage} gave values that are not finite{hint}")]
    NotFinite {
        /// `latent` or `picture`.
        stage: &'static str,
        /// What often helps.
        hint: &'static str,
    },
    /// The prompt could not be understood.
    #[error("in the {which}: {source}")]
    Prompt {
        /// `prompt` or `negative_prompt`.
        which: &'static str,
        /// The parser's error.
        source: latent_text::PromptError,
    },
    /// A checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] latent_checkpoint::ModelError),
    /// Sampling failed.
    #[error(transparent)]
    Diffusion(#[from] latent_diffusion::Error),
    /// A name of a sampler or scheduler is not known.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The model's own scheduler is not implemented.
    #[error(
        "the model's model_index.json or scheduler_config.json: {source}; --sampler chooses another"
    )]
    Scheduler {
        /// What its class lacks.
        source: NameError,
    },
    /// Something of the second pass.
    #[error("in the second pass: {source}")]
    SecondPass {
        /// What is wrong.
        source: Box<Error>,
    },
    /// A picture, mask or request file could not be read or written.
    #[error(transparent)]
    Picture(#[from] crate::picture::files::PictureError),
    /// A field of the request names something that is not there.
    #[error("`{field}`: {source}")]
    Given {
        /// The request's field.
        field: &'static str,
        /// What is wrong with the name.
        source: crate::resources::ResourceError,
    },
    /// A network that a field of the request names does not go with the model.
    #[error("`{field}`: {}: {reason}", path.display())]
    Part {
        /// The request's field.
        field: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// An embedding that a prompt names cannot be drawn with.
    #[error("the embedding {}: {reason}", path.display())]
    Embedding {
        /// Its file.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// Something that a request names is not there, or cannot be read.
    #[error(transparent)]
    Resource(#[from] crate::resources::ResourceError),
    /// A folder of models cannot be looked through.
    #[error(transparent)]
    Library(#[from] crate::library::LibraryError),
    /// A picture from which nothing can be repeated.
    #[error("{name} {reason}")]
    NoSettings {
        /// The picture.
        name: String,
        /// What it holds in their place.
        reason: String,
    },
    /// A picture that was drawn with another model than can be had.
    #[error("the picture was drawn with {model}: give that checkpoint with --model FILE{hint}")]
    OtherModel {
        /// Its name and its hash, as far as they are told.
        model: String,
        /// What else would help, as a half sentence.
        hint: &'static str,
    },
    /// The [hooks](crate::Hooks::dropped) gave the job up.
    #[error("the job was given up")]
    Dropped,
    /// A request that is wrong in itself.
    #[error(transparent)]
    Request(#[from] crate::request::RequestError),
}

impl Error {
    /// The fields of a request that the message names in `` ` ``, the faulty one first.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Self::Field { field, .. } | Self::Given { field, .. } | Self::Part { field, .. } => {
                vec![field]
            }
            Self::Request(error) => error.fields(),
            Self::Name(NameError::Unknown { kind, .. } | NameError::Elsewhere { kind, .. }) => {
                vec![kind]
            }
            Self::SecondPass { source } => source.fields(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn in_second_pass(self) -> Self {
        Self::SecondPass {
            source: Box::new(self),
        }
    }

    /// A field of the request that cannot be honoured.
    pub fn field(field: &'static str, value: impl ToString, expected: impl Into<String>) -> Self {
        Self::Field {
            field,
            value: value.to_string(),
            expected: expected.into(),
        }
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
