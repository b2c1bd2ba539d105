//! What changed, numbered, so that a listener can go on where it stopped.

use sqlx::any::AnyRow;

use crate::db::Columns;
use crate::{Cancel, Error, Result, State, Ulid};

/// One change. Numbers rise by one and are never used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number, from 1.
    pub number: i64,
    /// When it happened.
    pub at_ms: i64,
    /// The owner of what changed; empty for what concerns all.
    pub user: String,
    /// What changed.
    pub change: Change,
}

/// What changed. It says where to look, not what is there: the rows are the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A job came into a state (also when it is queued again).
    Job {
        /// The job.
        id: Ulid,
        /// The state it is in now.
        state: State,
    },
    /// A running job is to stop. Its worker answers with [`Queue::stopped`](crate::Queue::stopped).
    CancelAsked {
        /// The job.
        id: Ulid,
        /// What becomes of the picture being drawn.
        cancel: Cancel,
    },
    /// Waiting jobs were put into another order.
    Order,
    /// A picture came into the catalogue.
    Picture {
        /// The picture.
        id: Ulid,
        /// The job that made it; none for one that was imported.
        job: Option<Ulid>,
    },
    /// Star, tags or place in the bin of a picture changed.
    PictureChanged {
        /// The picture.
        id: Ulid,
    },
    /// A picture is gone for ever.
    PictureGone {
        /// The picture.
        id: Ulid,
    },
    /// The queue was paused or goes on; see [`Queue::counts`](crate::Queue::counts).
    Paused {
        /// Whether it is paused now.
        paused: bool,
    },
}

/// Events after a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// In order.
    pub events: Vec<Event>,
    /// Events after the number asked for are no longer kept: read everything anew, then go on from `newest`.
    pub gap: bool,
    /// The highest number given out so far; 0 before the first.
    pub newest: i64,
}

/// The columns `kind`, `job`, `picture`, `detail` of a change.
type ChangeColumns = (
    &'static str,
    Option<String>,
    Option<String>,
    Option<&'static str>,
);

impl Change {
    pub(crate) fn columns(&self) -> ChangeColumns {
        let text = |id: &Ulid| Some(id.to_string());
        match self {
            Self::Job { id, state } => ("job", text(id), None, Some(state.as_str())),
            Self::CancelAsked { id, cancel } => ("cancel", text(id), None, Some(cancel.as_str())),
            Self::Order => ("order", None, None, None),
            Self::Picture { id, job } => ("picture", job.as_ref().and_then(text), text(id), None),
            Self::PictureChanged { id } => ("picture-changed", None, text(id), None),
            Self::PictureGone { id } => ("picture-gone", None, text(id), None),
            Self::Paused { paused: true } => ("paused", None, None, None),
            Self::Paused { paused: false } => ("resumed", None, None, None),
        }
    }

    fn of(row: &AnyRow) -> Result<Self> {
        let kind = row.text("kind")?;
        Ok(match kind.as_str() {
            "job" => Self::Job {
                id: row.id("job")?,
                state: row.state("detail")?,
            },
            "cancel" => Self::CancelAsked {
                id: row.id("job")?,
                cancel: Cancel::parse(&row.text("detail")?)?,
            },
            "order" => Self::Order,
            "picture" => Self::Picture {
                id: row.id("picture")?,
                job: row.id_if("job")?,
            },
            "picture-changed" => Self::PictureChanged {
                id: row.id("picture")?,
            },
            "picture-gone" => Self::PictureGone {
                id: row.id("picture")?,
            },
            "paused" => Self::Paused { paused: true },
            "resumed" => Self::Paused { paused: false },
            _ => return Err(Error::Row(format!("{kind:?} as the kind of an event"))),
        })
    }
}

impl Event {
    pub(crate) fn of(row: &AnyRow) -> Result<Self> {
        Ok(Self {
            number: row.int("number")?,
            at_ms: row.int("at")?,
            user: row.text("owner")?,
            change: Change::of(row)?,
        })
    }
}
