//! What can go wrong while measuring.

use std::path::{Path, PathBuf};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option that cannot be used.
    #[error("--{flag} {value}: {problem}")]
    Option {
        /// Its name on the command line.
        flag: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A file or folder that the system refused.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A picture or plot that cannot be written.
    #[error("{}: cannot be drawn: {problem}", path.display())]
    Drawing {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A file of a test by eye.
    #[error("{}: {problem}", path.display())]
    Words {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// A data set.
    #[error(transparent)]
    Data(#[from] latent_data::Error),
    /// The model, or the network of features.
    #[error(transparent)]
    Model(#[from] latent_checkpoint::ModelError),
    /// A picture that cannot be drawn by the model.
    #[error(transparent)]
    Pipeline(#[from] latent_pipeline::Error),
    /// A measure that cannot be taken.
    #[error(transparent)]
    Measure(#[from] latent_metrics::Error),
    /// The encoder's training.
    #[error(transparent)]
    Training(#[from] latent_train::Error),
    /// The observer asked to stop.
    #[error("stopped; what was learnt before is kept, and the same command goes on from there")]
    Stopped,
}

impl Error {
    pub(crate) fn option(
        flag: &'static str,
        value: impl ToString,
        problem: impl Into<String>,
    ) -> Self {
        Self::Option {
            flag,
            value: value.to_string(),
            problem: problem.into(),
        }
    }

    pub(crate) fn io(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    }
}
