//! Files to modules and back.
//!
//! Weights of one model are published as a diffusers folder, as a single safetensors file and as a `.ckpt` of two
//! generations. [`open`] reads each of them as data and hands out the same thing: names, types, shapes, and the values of
//! one tensor at a time, straight from the mapped file. Nothing in a file is executed ([`file::pickle`]) and nothing in a
//! file is trusted: every length, offset and count is checked against the file before memory is set aside for it.
//!
//! Rejected: a pickle library that builds Python objects (its allow-lists answer "may this be called?", while nothing
//! here can call); reading a whole file into memory (it doubles what loading needs); and repairing damaged files (a
//! model that is half there gives pictures that are half right).

pub mod adapter;
pub mod convert;
pub mod detect;
mod error;
pub mod file;
pub mod hypernetwork;
pub mod info;
pub mod inversion;
pub mod load;
pub mod mix;
pub mod names;
pub mod networks;
pub mod patch;
mod perceptual;
pub mod report;
pub mod tiny;

pub use adapter::{Adapter, AdapterFile};
pub use convert::{ConvertOptions, Converted, Target, convert, merge};
pub use detect::{Carried, Checkpoint, DetectedPart, Form, Missing, SchedulerConfig};
pub use error::Error;
pub use file::{
    Component, Dtype, FileFormat, Files, Folder, Source, TensorFile, TensorInfo, Variant, Weights,
    open,
};
pub use hypernetwork::HypernetworkFile;
pub use info::{Info, InfoOptions, inspect};
pub use inversion::Inversion;
pub use load::{ControlChanges, LoadOptions};
pub use networks::{Kind, Network, Role, Scheme, StoredAutoencoder};
pub use patch::Patch;
pub use perceptual::{load_hed, load_perceptual};
pub use report::{Mismatch, ModelError, Report};
