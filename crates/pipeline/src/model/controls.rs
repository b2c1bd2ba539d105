//! Networks beside the denoiser that hold a drawing to pictures.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use latent_checkpoint::{
    Checkpoint, ControlChanges, Form as FileForm, LoadOptions, Network, Report, Role,
};
use latent_models::{
    ClipVision, ControlNet, ControlNetConfig, Form, StyleAdapter, StyleAdapterConfig, T2iAdapter,
    UNetConfig,
};

use super::encoders::check_encoder;
use super::open::stem;
use super::{Held, ImageEncoder, Model, NetworkFiles, Part, Source, Stage};
use crate::error::{Error, Result};
use crate::family;
use crate::picture::Picture;

/// The request's field for an encoder of pictures.
const ENCODER: &str = "control.encoder";

/// A network that reads pictures which a drawing is held to.
#[derive(Debug)]
pub struct ControlModel {
    /// What is written into pictures as its name: the file name without its ending.
    pub name: String,
    /// A1111's old hash of its file, eight digits, where the caller has computed it.
    pub hash: Option<String>,
    /// The network.
    pub network: ControlNetwork,
    /// Its file or folder, and its encoder's.
    pub(super) files: NetworkFiles,
    /// The entries of [`Request::control`](crate::Request::control) that it is for.
    uses: Vec<usize>,
}

/// The kinds of such networks.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub enum ControlNetwork {
    /// It is asked before each call of the denoiser.
    ControlNet(Part<ControlNet>),
    /// It is asked once.
    T2iAdapter(Part<T2iAdapter>),
    /// What it makes of a picture stands behind the prompt.
    Style(StyleModel),
}

/// A T2I-Adapter of style with the encoder that it was trained with.
#[derive(Debug)]
pub struct StyleModel {
    /// The adapter.
    pub adapter: Part<StyleAdapter>,
    /// What looks at the pictures.
    pub encoder: ImageEncoder,
}

impl StyleModel {
    /// What it makes of the middle of a picture: `[1, tokens, context]`, f32.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn tokens(&self, picture: &Picture) -> Result<Tensor<3>> {
        let adapter = self.adapter.get()?;
        let seen = self.encoder.seen(picture, adapter.config().sees())?;
        Ok(adapter.tokens(seen))
    }
}

impl From<ControlNet> for ControlNetwork {
    fn from(network: ControlNet) -> Self {
        Self::ControlNet(network.into())
    }
}

impl From<T2iAdapter> for ControlNetwork {
    fn from(network: T2iAdapter) -> Self {
        Self::T2iAdapter(network.into())
    }
}

impl ControlNetwork {
    /// What it is made of, and when that is needed.
    pub(super) fn parts(&self) -> (Stage, Vec<&dyn Held>) {
        match self {
            Self::ControlNet(part) => (Stage::Denoising, vec![part]),
            Self::T2iAdapter(part) => (Stage::Denoising, vec![part]),
            Self::Style(style) => {
                let parts: Vec<&dyn Held> = vec![&style.adapter, style.encoder.network()];
                (Stage::Conditioning, parts)
            }
        }
    }

    fn packed(self, form: Form, latent: [usize; 2]) -> Self {
        match self {
            Self::ControlNet(part) => Self::ControlNet(part.packed(form, latent)),
            Self::T2iAdapter(part) => Self::T2iAdapter(part.packed(form, latent)),
            Self::Style(style) => Self::Style(StyleModel {
                adapter: style.adapter.packed(form, latent),
                encoder: style.encoder.packed(form, latent),
            }),
        }
    }

    /// Whether it goes with a model's denoiser.
    ///
    /// # Errors
    /// Why it does not, as a sentence.
    fn check(&self, model: &Model) -> Result<(), String> {
        let part = match self {
            Self::ControlNet(part) => return check(part.config(), model),
            Self::T2iAdapter(part) => part,
            Self::Style(style) => return check_style(style.adapter.config(), model),
        };
        let Some([own, theirs]) = part.config().misfit(model.unet()?) else {
            return Ok(());
        };
        let name = model.family.name;
        Err(format!(
            "it is a T2I-Adapter for a U-Net with {own}, and the model is {name} ({theirs}): give one that was made for it"
        ))
    }

    /// What the sides of a drawing must be multiples of.
    pub(crate) fn multiple(&self) -> usize {
        match self {
            Self::ControlNet(_) | Self::Style(_) => 1,
            Self::T2iAdapter(part) => part.config().multiple(),
        }
    }
}

impl ControlModel {
    pub(super) fn packed(self, form: Form, latent: [usize; 2]) -> Self {
        Self {
            network: self.network.packed(form, latent),
            ..self
        }
    }
}

impl Model {
    /// The network for an entry of [`Request::control`](crate::Request::control).
    pub fn control(&self, entry: usize) -> Option<&ControlModel> {
        self.controls.iter().find(|c| c.uses.contains(&entry))
    }

    /// How many entries of a request it has networks for.
    pub(crate) fn controlled(&self) -> usize {
        self.controls.iter().map(|control| control.uses.len()).sum()
    }

    /// The model with one more such network, which is for the next entry.
    ///
    /// # Errors
    /// A sentence that says why it does not fit the denoiser.
    pub fn with_control(
        mut self,
        name: &str,
        network: impl Into<ControlNetwork>,
    ) -> Result<Self, String> {
        let control = ControlModel {
            name: name.to_owned(),
            hash: None,
            network: network.into(),
            files: NetworkFiles::from(PathBuf::from(name)),
            uses: vec![self.controlled()],
        };
        control.network.check(&self)?;
        self.controls.push(control);
        Ok(self)
    }

    /// The same with a T2I-Adapter of style and its encoder.
    ///
    /// # Errors
    /// A sentence that says why these networks do not go together.
    pub fn with_style(
        self,
        name: &str,
        adapter: StyleAdapter,
        encoder: ClipVision,
    ) -> Result<Self, String> {
        check_encoder(adapter.config().sees(), encoder.config())?;
        let style = StyleModel {
            adapter: adapter.into(),
            encoder: ImageEncoder::new(encoder.into(), &self.device),
        };
        self.with_control(name, ControlNetwork::Style(style))
    }

    /// Opens the networks of these files, one for each entry of the request. Several entries may share one.
    ///
    /// # Errors
    /// One that cannot be read, that is of no such kind, or that does not go with the denoiser.
    pub(super) fn open_controls(
        &mut self,
        all: &[NetworkFiles],
        main: &Arc<Checkpoint>,
        dtype: DType,
    ) -> Result<Vec<Report>> {
        let mut reports = Vec::new();
        for (entry, files) in all.iter().enumerate() {
            let path = &files.network;
            if let Some(known) = self.controls.iter_mut().find(|c| c.files == *files) {
                known.uses.push(entry);
                continue;
            }
            self.unet().map_err(|reason| wrong(path, reason))?;
            let options = LoadOptions::new(self.device.clone(), dtype);
            let network = match ControlChanges::open(path, main)? {
                Some(changes) => {
                    let (network, report) = changed(changes, main, options);
                    reports.push(report);
                    network
                }
                None => self.whole(files, options, &mut reports)?,
            };
            if let (Some(encoder), Stage::Denoising) = (&files.encoder, network.parts().0) {
                let expected = format!(
                    "nothing: {} reads its picture by itself; a T2I-Adapter of style has an encoder",
                    path.display()
                );
                return Err(Error::field(ENCODER, encoder.display(), expected));
            }
            let fits = network.check(self);
            fits.map_err(|reason| wrong(path, reason))?;
            self.controls.push(ControlModel {
                name: stem(path),
                hash: None,
                network,
                files: files.clone(),
                uses: vec![entry],
            });
        }
        Ok(reports)
    }
}

impl Model {
    /// A network that is in its file as a whole.
    fn whole(
        &self,
        files: &NetworkFiles,
        options: LoadOptions,
        reports: &mut Vec<Report>,
    ) -> Result<ControlNetwork> {
        let path = &files.network;
        let checkpoint = Arc::new(opened(path)?);
        // What it is made for is told before names that it has or has not.
        if let Ok(config) = checkpoint.config::<ControlNetConfig>(Role::CONTROLNET) {
            check(config, self).map_err(|reason| wrong(path, reason))?;
        }
        let [adapter, style] =
            [Role::T2I_ADAPTER, Role::STYLE_ADAPTER].map(|role| checkpoint.find(role).is_some());
        let dtype = options.dtype;
        let source = |role| Source {
            checkpoint,
            role,
            options,
            changes: None,
        };
        if style {
            let (adapter, report) = Part::<StyleAdapter>::open(source(Role::STYLE_ADAPTER))?;
            let config = adapter.config();
            check_style(config, self).map_err(|reason| wrong(path, reason))?;
            let (encoder, of_encoder) =
                self.open_encoder(files, (config.sees(), ENCODER), dtype)?;
            reports.extend([report, of_encoder]);
            return Ok(ControlNetwork::Style(StyleModel { adapter, encoder }));
        }
        let (network, report) = match adapter {
            true => {
                let (part, report) = Part::open(source(Role::T2I_ADAPTER))?;
                (ControlNetwork::T2iAdapter(part), report)
            }
            false => {
                let (part, report) = Part::open(source(Role::CONTROLNET))?;
                (ControlNetwork::ControlNet(part), report)
            }
        };
        reports.push(report);
        Ok(network)
    }
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Part {
        field: "control",
        path: path.to_owned(),
        reason,
    }
}

/// A ControlNet that is changes of the denoiser of `main`.
fn changed(
    changes: ControlChanges,
    main: &Arc<Checkpoint>,
    options: LoadOptions,
) -> (ControlNetwork, Report) {
    let (config, report) = (changes.config().clone(), changes.report());
    let numbers = Network::ControlNet(config.clone()).parameters();
    let numbers = numbers
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>());
    let source = Source {
        checkpoint: Arc::clone(main),
        role: Role::DENOISER,
        options,
        changes: Some(Arc::new(changes)),
    };
    let part = Part::declared(config, numbers.sum(), source);
    (ControlNetwork::ControlNet(part), report)
}

/// The checkpoint of such a network. Of a single file no tensor says that what a ControlNet adds is the same at every pixel;
/// the published ones that were taught so have a word in their names, by which A1111's extension goes too.
fn opened(path: &Path) -> Result<Checkpoint> {
    let mut checkpoint = Checkpoint::open(path)?;
    let pooled = checkpoint.form() == FileForm::SingleFile && stem(path).contains("shuffle");
    for part in checkpoint.parts_mut() {
        if let Network::ControlNet(config) = &mut part.config {
            config.pooled |= pooled;
        }
    }
    Ok(checkpoint)
}

/// Whether a T2I-Adapter of style goes with a model's denoiser; why not, as a sentence.
fn check_style(config: &StyleAdapterConfig, model: &Model) -> Result<(), String> {
    let Some([own, theirs]) = config.misfit(model.unet()?) else {
        return Ok(());
    };
    let made_for = family::of_context(config.context);
    let made_for = made_for.map_or_else(String::new, |family| format!(" for {}", family.name));
    Err(format!(
        "it is a T2I-Adapter of style{made_for} ({own}), and the model is {} ({theirs}): give one that was made for it",
        model.family.name
    ))
}

/// Whether a ControlNet goes with a model's denoiser; why not, as a sentence.
fn check(config: &ControlNetConfig, model: &Model) -> Result<(), String> {
    let unet = model.unet()?;
    let down = model.latent.downsample;
    if config.downsampling() != down {
        return Err(format!(
            "it reads pictures at {} times the size of its latents, and the model's are at 1/{down} size",
            config.downsampling()
        ));
    }
    if config.hint_channels != 3 {
        return Err(format!(
            "it reads pictures of {} channels; expected 3: red, green, blue",
            config.hint_channels
        ));
    }
    let Some([own, theirs]) = config.misfit(unet) else {
        return Ok(());
    };
    Err(format!(
        "it is a ControlNet{} ({own}), and the model is {} ({theirs}): give one that was made for it",
        made_for(&config.unet),
        model.family.name
    ))
}

/// The family that a U-Net's way down is of, as the end of a phrase.
fn made_for(config: &UNetConfig) -> String {
    let family = family::of_interface(config.context, config.labels);
    family.map_or_else(String::new, |family| format!(" for {}", family.name))
}
