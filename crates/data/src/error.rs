use std::path::PathBuf;

/// What can go wrong with a data set. Each message names the file, what was found and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be opened, read or listed.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What should be made is there already.
    #[error("{} exists already: give another name, or remove it", path.display())]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A picture does not decode.
    #[error("{name} is no picture that can be read: {reason}")]
    Picture {
        /// The file or shard member.
        name: String,
        /// What the decoder found.
        reason: String,
    },
    /// A picture is larger than the limits.
    #[error("{name} is too large: {reason}; the limits are 16384 pixels a side and 512 MiB")]
    TooLarge {
        /// The file or shard member.
        name: String,
        /// Which limit.
        reason: String,
    },
    /// A table, shard, IDX file or box list breaks its format's rules.
    #[error("{name} is damaged: {reason}")]
    Damaged {
        /// The file, with the line or row where there is one.
        name: String,
        /// What was found, and what was expected.
        reason: String,
    },
    /// What belongs to one picture does not fit together.
    #[error("{name}: {reason}")]
    Mismatch {
        /// The picture.
        name: String,
        /// What does not fit what.
        reason: String,
    },
    /// A table has no such column.
    #[error(
        "{name} has no column {wanted}: it has {found}; name the column under [columns], or say format = \"folder\" \
         where this is no table of the pictures"
    )]
    Column {
        /// The table.
        name: String,
        /// The column, or the names that were tried.
        wanted: String,
        /// The columns there are.
        found: String,
    },
    /// The place holds nothing of the format.
    #[error("{path} holds no pictures: {reason}")]
    Empty {
        /// The data set.
        path: String,
        /// What was looked for.
        reason: String,
    },
    /// A setting is out of range or contradicts another.
    #[error("{name} = {value}: {reason}")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        reason: String,
    },
    /// A configuration file is not understood.
    #[error("{path} is no data configuration: {reason}")]
    Config {
        /// The file.
        path: String,
        /// Where and why.
        reason: String,
    },
    /// Every picture of a bucket is broken.
    #[error(
        "no picture of this size group can be read ({count} tried; the first: {first}): run `latent data check`"
    )]
    AllBroken {
        /// How many were tried.
        count: usize,
        /// What was wrong with the first.
        first: String,
    },
    /// The URL needs a build with object stores.
    #[error(
        "{url} lies in an object store: build with `--features object-store`, or copy the data to a folder"
    )]
    NoObjectStore {
        /// The address.
        url: String,
    },
    /// A program that fetches or unpacks could not be run, or failed.
    #[error("`{command}` failed: {reason}")]
    Program {
        /// The command line.
        command: String,
        /// What it said, and what to do instead.
        reason: String,
    },
    /// A download is not what was expected.
    #[error("{name} has SHA-256 {found}, expected {expected}: delete it and fetch it again")]
    Hash {
        /// The file.
        name: String,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
    /// Art from which scenes should be composed does not suffice.
    #[error("scenes cannot be composed: {reason}")]
    Art {
        /// What is missing.
        reason: String,
    },
}

impl Error {
    pub(crate) fn read(path: impl Into<String>, reason: impl ToString) -> Self {
        Self::Read {
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn damaged(name: impl Into<String>, reason: impl ToString) -> Self {
        Self::Damaged {
            name: name.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn mismatch(name: impl Into<String>, reason: impl ToString) -> Self {
        Self::Mismatch {
            name: name.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn setting(name: &'static str, value: impl ToString, reason: impl ToString) -> Self {
        Self::Setting {
            name,
            value: value.to_string(),
            reason: reason.to_string(),
        }
    }
}
