//! The model that is measured: what it draws, and what its autoencoder makes of a picture.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;

use burn::tensor::{DType, Device, Tensor};
use image::{ImageFormat, RgbImage};
use latent_diffusion::{NoisePath, Step};
use latent_models::{ConditionerConfig, Form};
use latent_pipeline::request::{GivenPicture, GuidanceOptions};
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

    /// What the autoencoder makes of pictures: both within −1..=1, `[batch, 3, size, size]` each. `None` where there is no
    /// autoencoder.
    fn encoded(&self, pictures: &[&RgbImage]) -> Result<Option<[Tensor<4>; 2]>, Error> {
        let Some(autoencoder) = self.model.compressor()? else {
            return Ok(None);
        };
        let given = crate::pictures::tensor(pictures, &self.device);
        let made = autoencoder.decode(autoencoder.encode(given.clone()).mean);
        Ok(Some([given, made.clamp(-1.0, 1.0)]))
    }

    /// Gives `each` some pictures within −1..=1 and what the autoencoder makes of them, cut to the same range:
    /// `[batch, 3, size, size]` each. Whether there is an autoencoder.
    pub fn reconstruct(
        &self,
        pictures: &[&RgbImage],
        observer: &mut dyn Observer,
        mut each: impl FnMut(Tensor<4>, Tensor<4>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if self.model.autoencoder.is_none() {
            return Ok(false);
        }
        observer.stage("reconstructing", pictures.len() as u64);
        for part in pictures.chunks(BATCH) {
            if let Some([given, made]) = self.encoded(part)? {
                each(given, made)?;
            }
            observe::advance(observer, part.len() as u64)?;
        }
        Ok(true)
    }

    /// What the autoencoder makes of pictures; none where there is no autoencoder.
    pub fn through(&self, pictures: &[&RgbImage]) -> Result<Vec<RgbImage>, Error> {
        let mut all = Vec::new();
        for part in pictures.chunks(BATCH) {
            let made = self.encoded(part)?;
            all.extend(
                made.into_iter()
                    .flat_map(|[_, made]| crate::pictures::of(made)),
            );
        }
        Ok(all)
    }

    /// Whether there is an autoencoder.
    pub fn has_autoencoder(&self) -> bool {
        self.model.autoencoder.is_some()
    }

    /// A picture for each caption; `what` is told of the work.
    pub fn draw(
        &self,
        what: &str,
        captions: &[&str],
        settings: DrawSettings,
        observer: &mut dyn Observer,
    ) -> Result<Vec<RgbImage>, Error> {
        observer.stage(what, captions.len() as u64);
        let request = |number: usize| Request {
            prompt: captions[number].to_owned(),
            steps: settings.steps,
            guidance: GuidanceOptions {
                scale: settings.guidance,
                ..GuidanceOptions::default()
            },
            ..self.request(settings.seed, number)
        };
        let requests = (0..captions.len()).map(|number| (request(number), Memory::default()));
        self.finished(requests, observer)
    }

    /// The share of noise `t`, above 0 and below 1, as the model counts it: σ of a flow, and of a discrete schedule that of time
    /// step t · (N − 1).
    ///
    /// # Errors
    /// A model whose levels have no end that is noise alone.
    pub fn level(&self, t: f64) -> Result<f64, Error> {
        let model = &self.model;
        let path = NoisePath::of(model.prediction, model.schedule.clone(), None)
            .map_err(latent_pipeline::Error::from)?;
        match &path {
            NoisePath::Flow(_) => Ok(t),
            NoisePath::Discrete(schedule) => Ok(path.sigma(t * (schedule.steps() - 1) as f64)),
            NoisePath::Edm(_) => Err(Error::option(
                "from-noise",
                t,
                "the model's noise levels have no highest one, and so no shares: it cannot be measured",
            )),
        }
    }

    /// What the model makes, without guidance, of each picture at the share of noise `t`, told its caption, in as many steps as a
    /// drawing has, evenly from `t` to 0.
    pub fn finish(
        &self,
        pictures: &[(&RgbImage, &str)],
        t: f64,
        settings: DrawSettings,
        observer: &mut dyn Observer,
    ) -> Result<Vec<RgbImage>, Error> {
        const GIVEN: &str = "given";
        observer.stage(&format!("finishing from noise {t}"), pictures.len() as u64);
        let left = |step: usize| t * (settings.steps - step) as f64 / settings.steps as f64;
        let mut sigmas = Vec::with_capacity(settings.steps + 1);
        for step in 0..settings.steps {
            sigmas.push(self.level(left(step))?);
        }
        sigmas.push(0.0);
        let request = |(number, (picture, caption)): (usize, &(&RgbImage, &str))| {
            let mut bytes = Cursor::new(Vec::new());
            // Into memory: this does not fail.
            let _ = picture.write_to(&mut bytes, ImageFormat::Png);
            let given = Memory {
                files: BTreeMap::from([(GIVEN.into(), bytes.into_inner())]),
                ..Memory::default()
            };
            let request = Request {
                prompt: (*caption).to_owned(),
                sigmas: Some(sigmas.clone()),
                start: GivenPicture {
                    image: Some(GIVEN.into()),
                    strength: 1.0,
                    ..GivenPicture::default()
                },
                guidance: GuidanceOptions {
                    scale: 1.0,
                    ..GuidanceOptions::default()
                },
                ..self.request(settings.seed, number)
            };
            (request, given)
        };
        self.finished(pictures.iter().enumerate().map(request), observer)
    }

    /// What all requests share: the size, and for the picture of that number the noise.
    fn request(&self, seed: u64, number: usize) -> Request {
        Request {
            width: self.size as usize,
            height: self.size as usize,
            seed: Some(seed.wrapping_add(number as u64)),
            ..Request::default()
        }
    }

    /// The picture of each request.
    fn finished(
        &self,
        requests: impl Iterator<Item = (Request, Memory)>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<RgbImage>, Error> {
        let mut drawn = Vec::new();
        for (request, given) in requests {
            let outputs = run(&request, &self.model, &given, None, &mut Stopper(observer))?;
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
