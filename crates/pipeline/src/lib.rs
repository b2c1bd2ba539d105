//! From a request to pictures: model families, the tasks they do, and what makes a picture repeatable.
//!
//! A [`Request`] says what is asked, a [`Model`] holds the networks of a checkpoint, [`run()`] draws. In between, a
//! [`Profile`] settles everything in which programs differ for the same settings, and a [`Family`] everything in which
//! models do; both are values that are read, so that a new program or a new model is a new value and not a new branch.
//! The denoise loop itself is `latent-diffusion`'s: this crate hands it a denoiser ([`guided`]) and listens to its steps
//! ([`Hooks`]). Text to picture, picture to picture, inpainting, outpainting and the second pass at a larger size are one
//! function ([`draw`]) with more or less to start from.
//!
//! Rejected: one pipeline object per task with a call of dozens of parameters (each copies the loop and drifts), and
//! flags that are looked at in the depths (a request is validated and settled once, at the top).

pub mod asked;
pub mod beside;
pub mod canvas;
mod code;
pub mod condition;
pub mod conditioning;
pub mod control;
pub mod decode;
pub mod draw;
pub mod effect;
pub mod embeddings;
mod error;
pub mod extension;
pub mod family;
pub mod guided;
pub mod guiders;
pub mod hooks;
pub mod hypernetworks;
pub mod infotext;
mod job;
mod level;
pub mod library;
pub mod loras;
mod marks;
pub mod masked;
pub mod memory;
pub mod model;
pub mod passes;
pub mod picture;
pub mod preprocess;
pub mod profile;
mod ready;
pub mod reference;
pub mod refiner;
pub mod request;
pub mod resources;
pub mod run;
pub mod seen;
pub mod shown;
pub mod track;

pub use code::Code;
pub use decode::Decoding;
pub use error::{Error, Result};
pub use family::{FAMILIES, Family, LatentFormat};
pub use hooks::{Hooks, Output, Quiet};
pub use memory::MemoryPlan;
pub use model::{Defaults, Model, ModelFiles};
pub use profile::Profile;
pub use ready::{Resolved, check};
pub use request::{Request, RequestError};
pub use resources::Resources;
pub use run::{run, run_once};
