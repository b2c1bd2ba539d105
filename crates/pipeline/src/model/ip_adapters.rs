//! Networks that show the denoiser pictures as prompts.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::DType;
use latent_checkpoint::{Checkpoint, LoadOptions, Report, Role};
use latent_models::{ClipVision, Form, IpAdapter, IpAdapterConfig};

use super::encoders::check_encoder;
use super::open::stem;
use super::{Held, ImageEncoder, Model, NetworkFiles, Part, Source};
use crate::error::{Error, Result};
use crate::family;

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
    pub(super) files: NetworkFiles,
    /// The entries of [`Request::ip_adapter`](crate::Request::ip_adapter) that it is for.
    uses: Vec<usize>,
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
        check_encoder(adapter.config().projection.sees(), encoder.config())?;
        self.ip_adapters.push(IpModel {
            name: name.to_owned(),
            hash: None,
            adapter: adapter.into(),
            encoder: ImageEncoder::new(encoder.into(), &self.device),
            files: NetworkFiles::from(PathBuf::from(name)),
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
        all: &[NetworkFiles],
        dtype: DType,
    ) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for (entry, files) in all.iter().enumerate() {
            if let Some(known) = self.ip_adapters.iter_mut().find(|ip| ip.files == *files) {
                known.uses.push(entry);
                continue;
            }
            let path = &files.network;
            let wrong = |reason| Error::Part {
                field: "ip_adapter",
                path: path.clone(),
                reason,
            };
            self.unet().map_err(wrong)?;
            let checkpoint = Arc::new(Checkpoint::open(path)?);
            // What it is made for is told before names that it has or has not.
            let config = checkpoint.config::<IpAdapterConfig>(Role::IP_ADAPTER)?;
            check(config, self).map_err(wrong)?;
            let sees = config.projection.sees();
            let (adapter, report) = Part::<IpAdapter>::open(Source {
                checkpoint,
                role: Role::IP_ADAPTER,
                options: LoadOptions::new(self.device.clone(), dtype),
                changes: None,
            })?;
            reports.push(report);
            let (encoder, report) =
                self.open_encoder(files, (sees, "ip_adapter.encoder"), dtype)?;
            reports.push(report);
            self.ip_adapters.push(IpModel {
                name: stem(path),
                hash: None,
                adapter,
                encoder,
                files: files.clone(),
                uses: vec![entry],
            });
        }
        Ok(reports)
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
