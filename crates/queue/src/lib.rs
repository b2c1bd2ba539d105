//! One durable queue of jobs, and the catalogue of the pictures that they made.
//!
//! The crate knows nothing of drawing or of HTTP: what a job asks is JSON text that only its worker reads, and a picture
//! is rows in tables and bytes in a [`Store`]. A server enqueues ([`Queue::submit`]) and reads; a worker claims, commits
//! picture by picture and finishes. Every change of a state is one transaction that names the old state, so a process
//! may die at any instruction: what was committed stays, and what was running is [queued again](Queue::recover).
//!
//! A claim is a [`Lease`] of 30 seconds that its holder renews. Its token rises with each claim of the job and never
//! falls, and every write of a worker names it: a worker that was taken for dead cannot change what another now owns.
//! `attempt` is kept apart from it, because it starts anew with each picture. Since a job is decided when it is accepted
//! (seeds are drawn, the names of its pictures are allocated), a job that runs twice makes the same pictures under
//! the same names, and committing one twice is committing it once.
//!
//! SQLite has one connection that writes and several that read. PostgreSQL (feature `postgres`) lets many machines claim
//! at once. Where the two differ stands in `db/dialect.rs`. Rejected: a job crate (none had fencing, affinity or a
//! commit for each picture), and one table of JSON (no index ends in the row number, by which a gallery is read).
//!
//! Clock, randomness and the free space of a disk come in from [`Outside`]. Times are milliseconds since 1970, UTC.

mod db;
mod error;
mod event;
mod job;
mod memory;
mod outside;
mod picture;
mod queue;
mod store;

pub use error::{Error, Result};
pub use event::{Change, Event, Events};
pub use job::{
    Able, Accepted, Asked, Cancel, Cancelled, Claimed, Counts, Failure, Idempotency, Job,
    JobFilter, Lease, Move, NewJob, Pause, State, Waiting,
};
pub use outside::{FreeSpace, Outside};
pub use picture::{Committed, Format, Input, NewPicture, Page, Picture, Search, Swept};
pub use queue::{Database, Limits, Queue};
pub use store::Store;
pub use ulid::Ulid;
