//! How the program ends when it does not end well.

use std::{fmt::Display, io::ErrorKind};

use latent_checkpoint::ModelError;
use latent_pipeline::{
    Code, Error, RequestError, library::LibraryError, picture::files::PictureError,
    resources::ResourceError,
};

use crate::job::typed::flag_of;

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
    /// The error's stable name, for programs: `docs/errors.md` lists them.
    pub name: &'static str,
    /// What went wrong, and what to do, in one text.
    pub message: String,
}

impl Failure {
    /// Bad input.
    pub fn input(message: impl Display) -> Self {
        Self {
            code: INPUT,
            name: "invalid_input",
            message: message.to_string(),
        }
    }

    /// A failure while running.
    pub fn run(message: impl Display) -> Self {
        Self {
            code: RUN,
            name: "run_failed",
            message: message.to_string(),
        }
    }

    /// What `println!` panics with where standard output takes no more.
    ///
    /// A pipe that nobody reads is no failure: it ends the program as SIGPIPE would.
    pub fn of_panic(panic: &str) -> Self {
        let output = panic.split_once("failed printing to stdout: ");
        match output {
            Some((_, reason)) if reason.starts_with("Broken pipe") => Self {
                code: PIPE,
                name: "output_closed",
                message: String::new(),
            },
            Some((_, reason)) => Self {
                name: "output_failed",
                ..Self::run(format!("cannot write to standard output: {reason}"))
            },
            None => Self {
                name: "defect",
                ..Self::run(format!(
                    "a defect in latent stopped the run: {panic}\nPlease report it with the command line at {}/issues",
                    env!("CARGO_PKG_REPOSITORY")
                ))
            },
        }
    }

    /// The same, said of a flag or a file that the message does not name.
    pub fn said_of(self, what: impl Display) -> Self {
        Self {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }

    /// The message as a report for a terminal.
    pub fn report(&self) -> miette::Report {
        miette::Report::new(miette::MietteDiagnostic::new(self.message.clone()))
    }
}

/// A file that cannot be read is bad input; one that cannot be written, and memory that is short, are failures of the run.
fn happened_while_running(error: &Error) -> bool {
    if let Error::Checkpoint(ModelError::File(file @ latent_checkpoint::Error::Io { source, .. })) =
        error
    {
        return file.is_of_output() || source.kind() == ErrorKind::OutOfMemory;
    }
    matches!(
        error,
        Error::Memory { .. }
            | Error::NotFinite { .. }
            | Error::Diffusion(latent_diffusion::Error::Network { .. })
            | Error::Picture(PictureError::Write { .. } | PictureError::Encode { .. })
    )
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let failure = match happened_while_running(&error) {
            true => Self::run(&error),
            false => Self::input(&error),
        };
        Self {
            name: error.code(),
            message: with_flags(&error),
            ..failure
        }
    }
}

/// The message, each field of a request followed by the flag that sets it where that has another name. A name that was not found,
/// or whose networks do not fit, stands behind its flag alone.
fn with_flags(error: &Error) -> String {
    if let Error::Given { field, source } = error {
        return format!("{}: {source}", flag_of(field));
    }
    if let Error::Part {
        field,
        path,
        reason,
    } = error
    {
        return format!("{} {}: {reason}", flag_of(field), path.display());
    }
    let fields = error.fields().into_iter();
    fields.fold(error.to_string(), |message, field| {
        // `guidance.interval (from)` is one of the two numbers of a field.
        let whole = field.split(" (").next().unwrap_or(field);
        let flag = flag_of(whole);
        match flag == format!("--{}", whole.replace('_', "-")) {
            true => message,
            false => message.replacen(&format!("`{field}`"), &format!("`{field}` ({flag})"), 1),
        }
    })
}

impl From<ResourceError> for Failure {
    fn from(error: ResourceError) -> Self {
        Error::from(error).into()
    }
}

impl From<LibraryError> for Failure {
    fn from(error: LibraryError) -> Self {
        Error::from(error).into()
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        Error::from(error).into()
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Error::from(error).into()
    }
}

impl From<PictureError> for Failure {
    fn from(error: PictureError) -> Self {
        Error::from(error).into()
    }
}
