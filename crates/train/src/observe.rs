//! Who follows a run.

use std::path::Path;

use crate::{Plan, Report};

/// Something that happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The run is about to begin, or to go on.
    Plan(&'a Plan),
    /// A checkpoint is no good and an older one is looked for; or lines of a log are.
    PassedOver {
        /// The checkpoint, or the log.
        path: &'a Path,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no checkpoint to go on from, and the run begins.
    NothingToResume {
        /// The run's folder.
        folder: &'a Path,
    },
    /// The run goes on from here.
    Resumed {
        /// The checkpoint.
        path: &'a Path,
        /// Steps that are done.
        step: u64,
    },
    /// A step was taken.
    Step {
        /// Steps that are done.
        step: u64,
        /// Of so many.
        steps: u64,
        /// Its losses, the norm of its gradients, its rate.
        report: &'a Report,
        /// Seconds of a step, lately; `None` until there is a measure.
        seconds: Option<f64>,
        /// Pictures of a step.
        pictures: u64,
    },
    /// Losses on the pictures that are not learnt from.
    Validated {
        /// Steps that are done.
        step: u64,
        /// The losses.
        report: &'a Report,
    },
    /// A sheet was written.
    Sheet {
        /// The file.
        path: &'a Path,
        /// What it shows where.
        shows: &'a str,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// The folder.
        path: &'a Path,
        /// Steps that are done.
        step: u64,
    },
    /// A picture cannot be read, and another takes its place.
    Skipped {
        /// Path or member of a shard.
        id: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// The model was written.
    Exported {
        /// The folder.
        path: &'a Path,
    },
}

/// Follows a run and may stop it.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event<'_>);

    /// Whether to write a checkpoint and end, asked after every step.
    fn stop(&mut self) -> bool {
        false
    }

    /// Seconds since 1970. The trainer has no clock of its own: it is for rates and for TensorBoard, and
    /// nothing that is computed depends on it.
    fn seconds(&mut self) -> f64;
}
