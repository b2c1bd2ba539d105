//! What can go wrong, each with what to do.

use std::io;
use std::path::PathBuf;

use crate::State;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The idempotency key came before, within 24 hours, with another body.
    #[error(
        "the idempotency key {key:?} was used for another request in the last 24 hours; send a new key"
    )]
    KeyReused {
        /// The key.
        key: String,
    },
    /// The user has as many jobs waiting as one user may have.
    #[error("{waiting} of your jobs are waiting, and {most} may; try again in {} s", .retry_after_ms.div_ceil(1000))]
    UserFull {
        /// Jobs of the user that wait.
        waiting: u64,
        /// How many may.
        most: u64,
        /// When a place is likely to be free, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// The queue is full.
    #[error("{waiting} jobs are waiting, and {most} may; try again in {} s", .retry_after_ms.div_ceil(1000))]
    QueueFull {
        /// Jobs that wait.
        waiting: u64,
        /// How many may.
        most: u64,
        /// When a place is likely to be free, in milliseconds from now.
        retry_after_ms: u64,
    },
    /// The disk has less room than the reserve or the job's own estimate asks for, so the job was not accepted.
    #[error("the disk of {} has {free} bytes left and the job needs {needed}; make room", .folder.display())]
    NoRoom {
        /// The folder of pictures.
        folder: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that were asked for.
        needed: u64,
    },
    /// The disk was full while something was written, and nothing of it was kept. If it was a picture, the queue is now
    /// paused with this reason.
    #[error("the disk of {} is full; make room, and what was to be written can be written", .folder.display())]
    DiskFull {
        /// The folder of pictures.
        folder: PathBuf,
    },
    /// The lease ran out or the job was taken by another worker. Drop the work.
    #[error("the lease of the job is no longer held; drop the work")]
    LeaseLost,
    /// There is no such job, or it is another user's.
    #[error("there is no such job")]
    NoJob,
    /// There is no such picture, or it is another user's.
    #[error("there is no such picture")]
    NoPicture,
    /// There is no such uploaded input.
    #[error("there is no uploaded file with the hash {sha256}; upload it first")]
    NoInput {
        /// The hash that was named.
        sha256: String,
    },
    /// The job is in a state in which it cannot be asked this.
    #[error("the job is {}; this wants one that is {wanted}", .state.as_str())]
    WrongState {
        /// The state it is in.
        state: State,
        /// Those that would do, in words.
        wanted: &'static str,
    },
    /// A job was to be finished whose pictures are not all there.
    #[error("{done} of {total} pictures are committed; the job is not done")]
    Incomplete {
        /// Pictures committed.
        done: u32,
        /// Pictures promised.
        total: u32,
    },
    /// An argument is out of its range.
    #[error("{field}: {why}")]
    Argument {
        /// The field.
        field: &'static str,
        /// What it is, and what was expected.
        why: String,
    },
    /// The database was written by a later version of the program.
    #[error("the database has schema {found} and this program knows {known}; use a later version")]
    Schema {
        /// The version found.
        found: i64,
        /// The latest version known.
        known: i64,
    },
    /// The database could not be read or written.
    #[error("the database of the queue: {0}")]
    Database(#[from] sqlx::Error),
    /// A row of the database does not have the form that this program writes.
    #[error("the database of the queue has a row that cannot be read: {0}")]
    Row(String),
    /// A file could not be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// The stable name of the error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::KeyReused { .. } => "idempotency-key-reused",
            Self::UserFull { .. } => "user-queue-full",
            Self::QueueFull { .. } => "queue-full",
            Self::NoRoom { .. } => "no-room",
            Self::DiskFull { .. } => "disk-full",
            Self::LeaseLost => "lease-lost",
            Self::NoJob => "no-job",
            Self::NoPicture => "no-picture",
            Self::NoInput { .. } => "no-input",
            Self::WrongState { .. } => "wrong-state",
            Self::Incomplete { .. } => "incomplete",
            Self::Argument { .. } => "argument",
            Self::Schema { .. } => "queue-schema",
            Self::Database(_) => "queue-database",
            Self::Row(_) => "queue-row",
            Self::File { .. } => "queue-file",
        }
    }
}
