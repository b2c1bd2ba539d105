//! Encoders of pictures that adapters were trained with: each from a file of its own, or from the folder beside the adapter.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::DType;
use latent_checkpoint::{Checkpoint, LoadOptions, Report, Role};
use latent_models::ClipVisionConfig;
use latent_models::clip::Sees;

use super::{ImageEncoder, Model, Part, Source};
use crate::error::{Error, Result};

/// Where published adapters have their encoder: beside them, under this name.
const ENCODER: &str = "image_encoder";

/// The files of a network beside the denoiser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFiles {
    /// The network's.
    pub network: PathBuf,
    /// That of the encoder of pictures; `None`: the folder `image_encoder` beside the network, where that needs one.
    pub encoder: Option<PathBuf>,
}

impl From<PathBuf> for NetworkFiles {
    fn from(network: PathBuf) -> Self {
        Self {
            network,
            encoder: None,
        }
    }
}

impl Model {
    /// Opens the encoder of an adapter that takes `sees` of it. `field` is the request's for its file.
    ///
    /// # Errors
    /// One that is not there, cannot be read, or gives something else.
    pub(super) fn open_encoder(
        &self,
        files: &NetworkFiles,
        (sees, field): (Sees, &'static str),
        dtype: DType,
    ) -> Result<(ImageEncoder, Report)> {
        let path = match &files.encoder {
            Some(encoder) => encoder.clone(),
            None => beside(&files.network, sees, field)?,
        };
        let source = Source {
            checkpoint: Arc::new(Checkpoint::open(&path)?),
            role: Role::IMAGE_ENCODER,
            options: LoadOptions::new(self.device.clone(), dtype),
            changes: None,
        };
        let (network, report) = Part::open(source)?;
        check_encoder(sees, network.config()).map_err(|reason| Error::Part {
            field,
            path,
            reason,
        })?;
        Ok((ImageEncoder::new(network, &self.device), report))
    }
}

/// The encoder beside an adapter.
fn beside(adapter: &Path, sees: Sees, field: &'static str) -> Result<PathBuf> {
    let encoder = adapter.with_file_name(ENCODER);
    match encoder.exists() {
        true => Ok(encoder),
        false => Err(Error::field(
            field,
            "not set",
            format!(
                "the encoder of pictures that {} was trained with ({}): none lies beside it as {ENCODER}",
                adapter.display(),
                wanted(sees)
            ),
        )),
    }
}

/// Whether an encoder gives what an adapter takes; why not, as a sentence.
pub(super) fn check_encoder(sees: Sees, encoder: &ClipVisionConfig) -> Result<(), String> {
    if encoder.gives(sees) {
        return Ok(());
    }
    Err(format!(
        "it gives embeddings of {} numbers and states of {} ({}), and the adapter was trained with {}",
        encoder.projection,
        encoder.width,
        called(encoder.width),
        wanted(sees)
    ))
}

/// What an adapter takes, in words.
fn wanted(sees: Sees) -> String {
    match sees {
        Sees::Embedding(width) => {
            let whose = match width {
                768 => called(1024),
                1024 => called(1280),
                1280 => called(1664),
                _ => "an encoder that is not published",
            };
            format!("embeddings of {width} numbers: {whose}")
        }
        Sees::States(width) | Sees::LastStates(width) => {
            format!("states of {width} numbers: {}", called(width))
        }
    }
}

/// What the encoder of that width is called.
fn called(width: usize) -> &'static str {
    match width {
        1024 => "CLIP's ViT-L/14",
        1280 => "OpenCLIP's ViT-H/14",
        1664 => "OpenCLIP's ViT-bigG/14",
        _ => "an encoder that is not published",
    }
}
