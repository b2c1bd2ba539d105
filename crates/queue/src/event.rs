//! What changed, numbered, so that a listener can go on where it stopped.

use crate::{Cancel, State, Ulid};

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
