//! The model that is measured: what it draws, and what its autoencoder makes of a picture.

use latent_pipeline::request::GuidanceOptions;
use std::ops::ControlFlow;

use burn::tensor::{DType, Device, Tensor};
use image::RgbImage;
use latent_diffusion::Step;
use latent_models::{ConditionerConfig, Form};
use latent_pipeline::resources::Memory;
use latent_pipeline::{Hooks, Model, ModelFiles, Request, run};

use crate::{Error, Observer, observe};

/// Pictures that the autoencoder works on together.
const BATCH: usize = 8;

/// A trained model, and the side of its pictures in pixels.
pub(crate) struct Subject {
    model: Model,
    device: Device,
    /// Pixels.
    pub size: u32,
}

/// How pictures are drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrawSettings {
    pub steps: usize,
    pub guidance: f64,
    /// Picture i begins from the noise of seed + i.
    pub seed: u64,
}

impl Subject {
    /// Opens a model that reads text; `size` overrides the size that it was trained at.
    pub fn open(
        files: &ModelFiles,
        size: Option<u32>,
        device: &Device,
        observer: &mut dyn Observer,
    ) -> Result<Self, Error> {
        observer.stage("opening the model", 0);
        let (model, _) = Model::open(files, device, DType::F32, &mut |_, _, _| {})?;
        let reads = match model.conditioner() {
            Some(condition) => matches!(
                condition,
                ConditionerConfig::Text { .. } | ConditionerConfig::FrozenText { .. }
            ),
            None => !model.texts.is_empty(),
        };
        if !reads {
            return Err(Error::option(
                "model",
                files.model.display(),
                "it reads no text: name a model that was trained with captions",
            ));
        }
        let size = size.unwrap_or(model.family.size as u32);
        Ok(Self {
            model: model.packed(Form::Plain),
            device: device.clone(),
            size,
        })
    }

    /// The guidance that the model's maker draws with.
    pub fn guidance(&self) -> f64 {
        self.model.guidance.unwrap_or(1.0)
    }

    /// The steps that the model's maker draws in, or 20.
    pub fn steps(&self) -> usize {
        self.model.steps.unwrap_or(20)
    }

    /// Gives `each` some pictures within −1..=1 and what the autoencoder makes of them, cut to the same range:
    /// `[batch, 3, size, size]` each. Whether there is an autoencoder.
    pub fn reconstruct(
        &self,
        pictures: &[&RgbImage],
        observer: &mut dyn Observer,
        mut each: impl FnMut(Tensor<4>, Tensor<4>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let Some(autoencoder) = self.model.compressor()? else {
            return Ok(false);
        };
        observer.stage("reconstructing", pictures.len() as u64);
        for part in pictures.chunks(BATCH) {
            let given = crate::pictures::tensor(part, &self.device);
            let made = autoencoder.decode(autoencoder.encode(given.clone()).mean);
            each(given, made.clamp(-1.0, 1.0))?;
            observe::advance(observer, part.len() as u64)?;
        }
        Ok(true)
    }

    /// A picture for each caption.
    pub fn draw(
        &self,
        captions: &[&str],
        settings: DrawSettings,
        observer: &mut dyn Observer,
    ) -> Result<Vec<RgbImage>, Error> {
        let what = format!("drawing with guidance {}", settings.guidance);
        observer.stage(&what, captions.len() as u64);
        let mut drawn = Vec::with_capacity(captions.len());
        for (number, caption) in captions.iter().enumerate() {
            let request = Request {
                prompt: (*caption).to_owned(),
                width: self.size as usize,
                height: self.size as usize,
                steps: settings.steps,
                seed: Some(settings.seed.wrapping_add(number as u64)),
                guidance: GuidanceOptions {
                    scale: settings.guidance,
                    ..GuidanceOptions::default()
                },
                ..Request::default()
            };
            let outputs = run(
                &request,
                &self.model,
                &Memory::default(),
                None,
                &mut Stopper(observer),
            )?;
            let finished = outputs.into_iter().find(|output| output.stopped.is_none());
            let picture = finished.ok_or(Error::Stopped)?.picture;
            let (width, height) = (picture.width() as u32, picture.height() as u32);
            let pixels = Vec::from(picture.rgb());
            drawn.extend(RgbImage::from_raw(width, height, pixels));
            observe::advance(observer, 1)?;
        }
        Ok(drawn)
    }
}

/// Ends sampling where the observer wants to.
struct Stopper<'a>(&'a mut dyn Observer);

impl Hooks for Stopper<'_> {
    fn step(&mut self, _: &Step<'_>) -> ControlFlow<()> {
        match self.0.stop() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
