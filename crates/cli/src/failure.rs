//! How the program ends when it does not end well.

use std::fmt::Display;

use latent_pipeline::Error;

/// The whole run was done.
pub const OK: u8 = 0;
/// Something failed while running: memory, disk, numbers.
pub const RUN: u8 = 1;
/// What was asked cannot be done: flags, request files, checkpoints, pictures.
pub const INPUT: u8 = 2;
/// The reader of the output went away: what a shell says of a program that SIGPIPE ended.
pub const PIPE: u8 = 141;
/// Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// A message and the exit code it ends with.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What went wrong, and what to do, in one text.
    pub message: String,
}

impl Failure {
    /// Bad input.
    pub fn input(message: impl Display) -> Self {
        Self {
            code: INPUT,
            message: message.to_string(),
        }
    }

    /// A failure while running.
    pub fn run(message: impl Display) -> Self {
        Self {
            code: RUN,
            message: message.to_string(),
        }
    }

    /// The message as a report for a terminal.
    pub fn report(&self) -> miette::Report {
        miette::Report::new(miette::MietteDiagnostic::new(self.message.clone()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Memory { .. } | Error::NotFinite { .. } => Self::run(error),
            Error::Diffusion(latent_diffusion::Error::Network { .. }) => Self::run(error),
            _ => Self::input(error),
        }
    }
}

impl From<latent_pipeline::RequestError> for Failure {
    fn from(error: latent_pipeline::RequestError) -> Self {
        Self::input(error)
    }
}

impl From<latent_checkpoint::ModelError> for Failure {
    fn from(error: latent_checkpoint::ModelError) -> Self {
        Self::input(error)
    }
}

/// A picture that cannot be read is bad input; one that cannot be written is a failure of the run.
impl From<latent_pipeline::picture::files::PictureError> for Failure {
    fn from(error: latent_pipeline::picture::files::PictureError) -> Self {
        use latent_pipeline::picture::files::PictureError;
        match error {
            PictureError::Write { .. } | PictureError::Encode { .. } => Self::run(error),
            _ => Self::input(error),
        }
    }
}
