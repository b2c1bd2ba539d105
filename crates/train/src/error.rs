//! What can go wrong in a training run.

use std::path::PathBuf;

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A settings file that is not what is expected.
    #[error("{}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key, what it holds and what was expected.
        problem: String,
    },
    /// A setting that fits no run, or not this one.
    #[error("{name} = {value}: expected {expected}")]
    Setting {
        /// Its key in the settings file.
        name: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: String,
    },
    /// A file or a data set that a setting names.
    #[error("{name}: {source}")]
    Named {
        /// The setting's key.
        name: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// Too little memory for a step.
    #[error(
        "batch = {batch}: a step needs at least {needed} of memory ({pictures} for its pictures, {state} for gradients and \
         the optimiser), and {available} can be had: lower `batch`, and raise `accumulation`, which is {accumulation}, in its \
         place; precision = \"bf16\" needs less too"
    )]
    Memory {
        /// The settings' batch.
        batch: usize,
        /// The settings' accumulation.
        accumulation: u64,
        /// For pictures, with the unit.
        pictures: String,
        /// For gradients and the optimiser.
        state: String,
        /// The sum.
        needed: String,
        /// What is free.
        available: String,
    },
    /// A file in the place of a run's folder.
    #[error("{}: is a file: expected the folder of a run, or a name that nothing has yet (--out)", path.display())]
    NoFolder {
        /// The file.
        path: PathBuf,
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
    /// A saved state that does not fit what is trained.
    #[error("{}: {problem}", path.display())]
    State {
        /// The checkpoint.
        path: PathBuf,
        /// The name, what was found and what was expected.
        problem: String,
    },
    /// A loss or a gradient that is infinite or no number.
    #[error("step {step}: {what} is not finite")]
    NotFinite {
        /// The step.
        step: u64,
        /// The loss, or the first parameter whose gradient is not finite.
        what: String,
    },
    /// The run broke down.
    #[error(
        "step {step}: {what}; the last good checkpoint is {}: lower the rate, clip the gradients or warm up longer, and \
         train again, or go on from it with --resume",
        checkpoint.as_ref().map_or("none".to_owned(), |path| path.display().to_string())
    )]
    Diverged {
        /// The step.
        step: u64,
        /// What is not finite, or the loss and its limit.
        what: String,
        /// The checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// A run that is there already.
    #[error("{}: holds the checkpoints of a run: go on with --resume, or choose another folder", path.display())]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// A run that is going on.
    #[error("{}: another run is writing into it: wait for its end, or choose another folder with --out", path.display())]
    Locked {
        /// Its folder.
        path: PathBuf,
    },
    /// A checkpoint that another run made.
    #[error("{}: was made with other settings: {problem}", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// The settings that differ.
        problem: String,
    },
    /// A chart that cannot be drawn.
    #[error("{}: cannot draw the loss curve: {problem}", path.display())]
    Chart {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// An example that lacks what the task needs.
    #[error("{id}: {problem}")]
    Example {
        /// The example.
        id: String,
        /// What is missing or does not fit.
        problem: String,
    },
    /// The data.
    #[error(transparent)]
    Data(#[from] latent_data::Error),
    /// A checkpoint or model file.
    #[error(transparent)]
    Checkpoint(#[from] latent_checkpoint::Error),
    /// A model that would not load.
    #[error(transparent)]
    Model(#[from] latent_checkpoint::ModelError),
    /// A measure of pictures.
    #[error(transparent)]
    Metrics(#[from] latent_metrics::Error),
    /// A network's configuration.
    #[error(transparent)]
    Network(#[from] latent_models::ConfigError),
    /// A parameter.
    #[error(transparent)]
    Parameter(#[from] latent_models::ParameterError),
    /// A schedule, a prediction or a sampler.
    #[error(transparent)]
    Diffusion(#[from] latent_diffusion::Error),
}

impl Error {
    pub(crate) fn io(
        path: impl Into<PathBuf>,
        doing: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            path,
            doing,
            source,
        }
    }

    /// With the key that names the file; settings have their own.
    pub(crate) fn named<E: Into<Self>>(name: &str) -> impl FnOnce(E) -> Self {
        move |error| match error.into() {
            setting @ (Self::Setting { .. } | Self::Named { .. }) => setting,
            error => Self::Named {
                name: name.to_owned(),
                source: Box::new(error),
            },
        }
    }

    /// A setting of the data, by its key in a run's settings; `table` is the data's.
    pub(crate) fn of_data(table: &str) -> impl FnOnce(latent_data::Error) -> Self {
        move |error| match error {
            latent_data::Error::Setting {
                name,
                value,
                reason,
            } => Self::Setting {
                name: match name {
                    // The run's own.
                    "batch" => name.to_owned(),
                    _ => format!("{table}.{name}"),
                },
                value,
                expected: reason.trim_start_matches("expected ").to_owned(),
            },
            error => Self::named(&format!("{table}.path"))(error),
        }
    }

    /// Whether the run failed by the machine or by its numbers, not by what it was given: a disk that is full, a loss
    /// that is not finite.
    pub fn is_of_the_run(&self) -> bool {
        use latent_checkpoint::{Error as File, ModelError};
        const READS: &[&str] = &["open", "read", "list", "read its size", "map into memory"];
        match self {
            Self::Io { doing, .. }
            | Self::Checkpoint(File::Io { doing, .. })
            | Self::Model(ModelError::File(File::Io { doing, .. })) => !READS.contains(doing),
            Self::Named { source, .. } => source.is_of_the_run(),
            Self::Memory { .. }
            | Self::Data(latent_data::Error::Write { .. })
            | Self::Diverged { .. }
            | Self::NotFinite { .. }
            | Self::Chart { .. } => true,
            _ => false,
        }
    }

    /// A setting that is out of its range.
    pub fn setting(name: &str, value: impl std::fmt::Display, expected: &str) -> Self {
        Self::Setting {
            name: name.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use latent_checkpoint::{Error as File, ModelError};

    use super::*;

    #[test]
    fn a_full_disk_is_of_the_run_and_a_missing_file_is_not() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let file = |doing| File::Io {
            path: "x".into(),
            doing,
            source: full(),
        };
        let of_the_run = [
            Error::io("x", "write")(full()),
            Error::Checkpoint(file("write")),
            Error::Model(ModelError::File(file("write to the disk"))),
        ];
        assert!(of_the_run.iter().all(Error::is_of_the_run));
        let given = [
            Error::io("x", "read")(full()),
            Error::Checkpoint(file("open")),
            Error::setting("batch", 0, "1 or more"),
        ];
        assert!(!given.iter().any(Error::is_of_the_run));
    }
}
