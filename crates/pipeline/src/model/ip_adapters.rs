//! Networks that show the denoiser pictures as prompts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::DType;
use latent_checkpoint::{Checkpoint, LoadOptions, Report, Role};
use latent_models::ip_adapter::Sees;
use latent_models::{ClipVision, ClipVisionConfig, Form, IpAdapter, IpAdapterConfig};

use super::open::stem;
use super::{Held, ImageEncoder, Model, Part, Source};
use crate::error::{Error, Result};
use crate::family;

/// Where published adapters have their encoder: beside them, under this name.
const ENCODER: &str = "image_encoder";

/// An IP-Adapter with the encoder that it was trained with.
#[derive(Debug)]
pub struct IpModel {
    /// What is written into pictures as its name: the file name without its ending.
    pub name: String,
    /// A1111's old hash of its file, eight digits, where the caller has computed it.
    pub hash: Option<String>,
    /// The adapter.
    pub adapter: Part<IpAdapter>,
    /// What looks at the pictures.
    pub encoder: ImageEncoder,
    /// The files of both.
    pub(super) files: IpFiles,
    /// The entries of [`Request::ip_adapter`](crate::Request::ip_adapter) that it is for.
    uses: Vec<usize>,
}

/// The files of an IP-Adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpFiles {
    /// The adapter's.
    pub adapter: PathBuf,
    /// That of the encoder of pictures; `None`: the folder `image_encoder` beside the adapter.
    pub encoder: Option<PathBuf>,
}

impl IpModel {
    pub(super) fn packed(self, form: Form, latent: [usize; 2]) -> Self {
        Self {
            adapter: self.adapter.packed(form, latent),
            encoder: self.encoder.packed(form, latent),
            ..self
        }
    }

    pub(super) fn parts(&self) -> [&dyn Held; 2] {
        [&self.adapter, self.encoder.network()]
    }
}

impl Model {
    /// The adapter for an entry of [`Request::ip_adapter`](crate::Request::ip_adapter).
    pub fn ip_adapter(&self, entry: usize) -> Option<&IpModel> {
        self.ip_adapters.iter().find(|ip| ip.uses.contains(&entry))
    }

    /// How many entries of a request it has adapters for.
    pub(crate) fn shows(&self) -> usize {
        self.ip_adapters.iter().map(|ip| ip.uses.len()).sum()
    }

    /// The model with one more adapter, which is for the next entry.
    ///
    /// # Errors
    /// A sentence that says why these networks do not go together.
    pub fn with_ip_adapter(
        mut self,
        name: &str,
        adapter: IpAdapter,
        encoder: ClipVision,
    ) -> Result<Self, String> {
        check(adapter.config(), &self)?;
        blind(adapter.config(), encoder.config()).map_or(Ok(()), Err)?;
        self.ip_adapters.push(IpModel {
            name: name.to_owned(),
            hash: None,
            adapter: adapter.into(),
            encoder: ImageEncoder::new(encoder.into(), &self.device),
            files: IpFiles {
                adapter: name.into(),
                encoder: None,
            },
            uses: vec![self.shows()],
        });
        Ok(self)
    }

    /// Opens adapters and their encoders, one for each entry of the request. Several entries may share one.
    ///
    /// # Errors
    /// One that cannot be read, or that does not go with the denoiser or its encoder.
    pub(super) fn open_ip_adapters(
        &mut self,
        all: &[IpFiles],
        dtype: DType,
    ) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for (entry, files) in all.iter().enumerate() {
            if let Some(known) = self.ip_adapters.iter_mut().find(|ip| ip.files == *files) {
                known.uses.push(entry);
                continue;
            }
            let open = |path: &Path| Ok::<_, Error>(Arc::new(Checkpoint::open(path)?));
            let source = |checkpoint, role| Source {
                checkpoint,
                role,
                options: LoadOptions::new(self.device.clone(), dtype),
                changes: None,
            };
            let wrong = |field, path: &Path, reason| Error::Part {
                field,
                path: path.to_owned(),
                reason,
            };
            let path = &files.adapter;
            let adapter = |reason| wrong("ip_adapter", path, reason);
            self.unet().map_err(adapter)?;
            let checkpoint = open(path)?;
            // What it is made for is told before names that it has or has not.
            let config = checkpoint.config::<IpAdapterConfig>(Role::IP_ADAPTER)?;
            check(config, self).map_err(adapter)?;
            let (adapter, report) = Part::<IpAdapter>::open(source(checkpoint, Role::IP_ADAPTER))?;
            reports.push(report);
            let encoder = match &files.encoder {
                Some(encoder) => encoder.clone(),
                None => beside(path, adapter.config())?,
            };
            let (network, report) =
                Part::<ClipVision>::open(source(open(&encoder)?, Role::IMAGE_ENCODER))?;
            reports.push(report);
            if let Some(reason) = blind(adapter.config(), network.config()) {
                return Err(wrong("ip_adapter.encoder", &encoder, reason));
            }
            self.ip_adapters.push(IpModel {
                name: stem(path),
                hash: None,
                adapter,
                encoder: ImageEncoder::new(network, &self.device),
                files: files.clone(),
                uses: vec![entry],
            });
        }
        Ok(reports)
    }
}

/// The encoder beside an adapter.
fn beside(adapter: &Path, config: &IpAdapterConfig) -> Result<PathBuf> {
    let encoder = adapter.with_file_name(ENCODER);
    match encoder.exists() {
        true => Ok(encoder),
        false => Err(Error::field(
            "ip_adapter.encoder",
            "not set",
            format!(
                "the encoder of pictures that {} was trained with ({}): none lies beside it as {ENCODER}",
                adapter.display(),
                wanted(config)
            ),
        )),
    }
}

/// Whether an adapter goes with a model's denoiser; why not, as a sentence.
fn check(config: &IpAdapterConfig, model: &Model) -> Result<(), String> {
    let Some([own, theirs]) = config.misfit(model.unet()?) else {
        return Ok(());
    };
    let made_for = family::of_context(config.context);
    let made_for = made_for.map_or_else(String::new, |family| format!(" for {}", family.name));
    Err(format!(
        "it is an IP-Adapter{made_for} ({own}), and the model is {} ({theirs}): give one that was made for it",
        model.family.name
    ))
}

/// Why an adapter does not go with an encoder, as a sentence.
fn blind(config: &IpAdapterConfig, encoder: &ClipVisionConfig) -> Option<String> {
    let sees = match config.projection.sees() {
        Sees::Embedding(width) => width == encoder.projection,
        Sees::States(width) => width == encoder.width,
    };
    (!sees).then(|| {
        format!(
            "it gives embeddings of {} numbers and states of {} ({}), and the adapter was trained with {}",
            encoder.projection,
            encoder.width,
            called(encoder.width),
            wanted(config)
        )
    })
}

/// What an adapter takes, in words.
fn wanted(config: &IpAdapterConfig) -> String {
    match config.projection.sees() {
        Sees::Embedding(width) => {
            let whose = match width {
                768 => called(1024),
                1024 => called(1280),
                1280 => called(1664),
                _ => "an encoder that is not published",
            };
            format!("embeddings of {width} numbers: {whose}")
        }
        Sees::States(width) => format!("states of {width} numbers: {}", called(width)),
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
