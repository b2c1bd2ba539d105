//! What a file or folder is: which networks it has, how they are built, what they predict.
//!
//! A folder says so in JSON. A single file says nothing, so its configuration is read off the names and shapes of its
//! tensors. What those leave open (how channels divide into heads, which activation) is decided by small tables of the
//! published models; the tables stand with each [kind](crate::networks), and a caller with better knowledge can overwrite a configuration
//! before loading ([`Checkpoint::parts_mut`]).

mod carried;
mod clues;
mod folder;
mod halves;
mod open;
mod scheduler;
mod sidecar;

pub use carried::Carried;
pub(crate) use folder::ZEROS;
pub(crate) use open::SIDE;
pub use open::{Checkpoint, DetectedPart, Form, Missing, OpenOptions};
pub use scheduler::SchedulerConfig;
