//! The second stage: a denoiser in the latents of a frozen first stage, and what reads its condition, learnt together.
//!
//! Latents and the states of a frozen text encoder are made once and kept on disk by the hash of what made them
//! ([`cache`]). What is drawn at random for a picture (time, noise, whether its condition is left out, the hole that is to
//! be filled, how its small version is degraded) is a function of the step and its place alone.

mod align;
mod cache;
mod conditions;
mod config;
mod contrast;
mod degrade;
mod export;
mod features;
mod first_stage;
mod frozen;
mod holes;
mod initial;
mod perceptual;
mod samples;
mod second_stage;
mod step;

use std::path::Path;
use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use image::RgbImage;
use latent_checkpoint::{Checkpoint, LoadOptions, ModelError, Role};
use latent_conditions::{NEIGHBOURS, VOCABULARY};
use latent_models::{Condition, Conditioned, Conditioner, ConditionerConfig, Denoiser};

pub use align::AlignConfig;
pub use config::{SamplesConfig, Stage2Config};
pub use contrast::ContrastConfig;
pub use degrade::degrade;
pub use first_stage::FirstStage;
pub use holes::hole;
pub use perceptual::PerceptualConfig;
pub(crate) use second_stage::SecondStage;

use align::{ALIGN, Align};
use conditions::Conditions;
use export::Export;

use crate::objective::BANDS;
use crate::teams::Teams;
use crate::{
    Error, Example, Learner, Level, Needs, Objective, Precision, Report, StateReader, StateWriter,
    Step, Task, TaskContext, Update,
};

/// The networks that learn.
#[derive(Module, Debug)]
pub struct LatentModel {
    /// The denoiser. Its weights have this name in the checkpoints of runs, whatever it is.
    pub unet: Denoiser,
    /// What reads the condition.
    pub conditioner: Option<Conditioner>,
}

impl LatentModel {
    /// The networks of a configuration, without values.
    ///
    /// # Errors
    /// Settings without a denoiser, or with two.
    pub fn new(config: &Stage2Config, device: &Device) -> Result<Self, Error> {
        Ok(Self {
            unet: config.denoiser()?.init(device),
            conditioner: config.conditioner.as_ref().map(|c| c.init(device)),
        })
    }

    /// The networks of a model's files, in f32. `conditioner` is one like the model's own, if it has any.
    ///
    /// # Errors
    /// Files without such networks, or that cannot be read.
    fn load(
        model: &Checkpoint,
        conditioner: Option<&Conditioner>,
        device: Device,
    ) -> Result<Self, ModelError> {
        let options = LoadOptions::new(device, DType::F32);
        let progress = &mut |_, _| {};
        let (unet, _) = model.load_denoiser(Role::DENOISER, &options, progress)?;
        let conditioner = match conditioner {
            // Text states that go to the denoiser as they are: nothing is learnt, and files have no such part.
            Some(own) if latent_models::parameter_count(own) == 0 => Some(own.clone()),
            Some(_) => {
                let loaded =
                    model.load::<ConditionerConfig>(Role::CONDITIONER, &options, progress)?;
                Some(loaded.0)
            }
            None => None,
        };
        Ok(Self { unet, conditioner })
    }

    /// Whether the denoiser takes the latents of pictures of these sizes.
    ///
    /// # Errors
    /// The first picture whose sides do not fit.
    fn fits(&self, batch: &[Example], first: &FirstStage) -> Result<(), Error> {
        let by = first.downsampling() * self.unet.config().multiple();
        let sides = |e: &Example| <[u32; 2]>::from(e.picture.dimensions());
        let fits = |e: &&Example| sides(e).iter().all(|s| s.is_multiple_of(by as u32));
        let Some(example) = batch.iter().find(|e| !fits(e)) else {
            return Ok(());
        };
        let [width, height] = sides(example);
        Err(Error::Example {
            id: example.id.clone(),
            problem: format!(
                "it is {width}×{height}, and this denoiser needs sides that are multiples of {by}"
            ),
        })
    }

    /// What the denoiser is given for a condition.
    pub fn given(&self, condition: Option<Condition>) -> Conditioned {
        match (&self.conditioner, condition) {
            (Some(conditioner), Some(condition)) => conditioner.forward(condition),
            _ => Conditioned::default(),
        }
    }

    /// The denoiser's answer.
    ///
    /// # Shapes
    ///
    /// x and output `[batch, channels, height, width]`, t `[batch]`
    pub fn denoise(&self, x: Tensor<4>, t: Tensor<1>, given: &Conditioned) -> Tensor<4> {
        self.unet
            .forward(given.beside(x), t, given.given())
            .expect(FITS)
    }
}

/// [`Stage2Config::validate`] sees to it.
const FITS: &str = "the condition gives what the denoiser takes";

/// The task of [`Stage2Config`].
#[derive(Debug)]
pub struct Stage2 {
    config: Stage2Config,
    objective: Objective,
    first: FirstStage,
    conditions: Option<Conditions>,
    learner: Learner<LatentModel>,
    align: Option<Align>,
    teams: Teams,
    /// Records no gradients.
    device: Device,
    /// That one and others for other parts of a step.
    devices: Vec<Device>,
    /// Whose conditions a sheet shows: of the first pictures that are validated, else learnt from.
    shown: OnceLock<Vec<Example>>,
    latest: Vec<Example>,
    /// The larger side of the pictures, where no picture was seen yet.
    side: Option<usize>,
}

impl Stage2 {
    /// With first weights; opens what the settings name.
    ///
    /// # Errors
    /// As [`Stage2Config::validate`], and files that cannot be read.
    pub fn new(config: &Stage2Config, context: &TaskContext) -> Result<Self, Error> {
        let plain = context.device.clone().inner();
        let first = match &config.first_stage {
            Some(path) => FirstStage::open(path, config.scale, &plain)
                .map_err(Error::named("model.first_stage"))?,
            None => FirstStage::pixels(&plain),
        };
        Self::on(config, first, context)
    }

    /// [`new`](Self::new) with a first stage that is there already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn on(
        config: &Stage2Config,
        first: FirstStage,
        context: &TaskContext,
    ) -> Result<Self, Error> {
        config.validate()?;
        let denoiser = config.denoiser()?;
        let name = denoiser.name();
        let channels = denoiser.interface().out_channels;
        if channels != first.channels() {
            let expected = format!(
                "{}, the channels of the first stage's latents",
                first.channels()
            );
            let field = format!("model.{name}.out_channels");
            return Err(Error::setting(&field, channels, &expected));
        }
        if context.learner.activation_checkpointing && denoiser.unet().is_none() {
            let expected = "false for a transformer: only the blocks of a U-Net are computed again";
            return Err(Error::setting("activation_checkpointing", true, expected));
        }
        if let Some(perceptual) = &config.perceptual {
            perceptual.fits(first.autoencoder().map(|a| a.config()))?;
        }
        let plain = context.device.clone().inner();
        let first = match &config.cache {
            Some(folder) => first.cached(folder),
            None => first,
        };
        let first = match context.learner.precision {
            Precision::F32 => first,
            Precision::Bf16 => first.encoding_in(DType::BF16),
        };
        let model = LatentModel::new(config, &context.device)?.initialised(context.seed)?;
        Ok(Self {
            objective: Objective::new(config.objective)?,
            conditions: Conditions::open(config, &plain)?,
            learner: Learner::new(model, context.learner),
            align: Align::open(config, context)?,
            teams: Teams::default(),
            config: config.clone(),
            first,
            devices: [&context.device]
                .into_iter()
                .chain(&context.more_devices)
                .map(|device| device.clone().inner())
                .collect(),
            device: plain,
            side: context.side,
            shown: OnceLock::new(),
            latest: Vec::new(),
        })
    }

    /// The networks and their optimiser.
    pub fn learner(&self) -> &Learner<LatentModel> {
        &self.learner
    }

    /// What it is asked for.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// The scaled latents of a batch, each drawn from its distribution: `[batch, channels, height, width]`.
    fn latents(&self, batch: &[Example], step: Step) -> Result<Tensor<4>, Error> {
        self.learner.module().fits(batch, &self.first)?;
        let pictures: Vec<_> = batch.iter().map(|e| (e.id.as_str(), &e.picture)).collect();
        let keep: Vec<bool> = batch.iter().map(Example::is_centred).collect();
        let moments = self.first.encode(&pictures, &keep)?;
        let varies = self
            .first
            .autoencoder()
            .is_some_and(|a| a.config().double_z);
        Ok(match varies {
            true => moments.sample(step.noise("latent", moments.mean.dims(), &self.device)),
            false => moments.mean,
        })
    }

    fn condition(
        &self,
        batch: &[Example],
        left_out: &[bool],
        step: Step,
    ) -> Result<Option<Condition>, Error> {
        let read = |conditions: &Conditions| conditions.read(batch, left_out, step, &self.first);
        self.conditions.as_ref().map(read).transpose()
    }

    fn noise(&self, latents: &Tensor<4>, step: Step) -> Tensor<4> {
        let random = |i| step.random("noise", i);
        self.objective.noise(latents.dims(), random, &self.device)
    }
}

fn mean(numbers: Tensor<1>) -> f64 {
    let data = numbers.into_data();
    let sum: f64 = data.iter::<f32>().map(f64::from).sum();
    sum / data.num_elements().max(1) as f64
}

impl Task for Stage2 {
    fn accumulate(&mut self, batch: &[Example], step: Step) -> Result<Report, Error> {
        let part = (batch.to_vec(), step);
        let mut reports = self.accumulate_all(&[part])?;
        Ok(reports.remove(0))
    }

    fn accumulate_all(&mut self, parts: &[(Vec<Example>, Step)]) -> Result<Vec<Report>, Error> {
        if let (true, Some((batch, _))) = (self.latest.is_empty(), parts.first()) {
            let shown = self.config.samples.count;
            self.latest = batch.iter().take(shown).cloned().collect();
        }
        let this = &*self;
        let devices = self.devices.iter().cycle();
        let jobs: Vec<_> = parts.iter().zip(devices).collect();
        let done = self.teams.run(&jobs, |((batch, step), device)| {
            this.gradients(batch, *step, device)
        });
        let mut reports = Vec::with_capacity(parts.len());
        for (done, (batch, _)) in done.into_iter().zip(parts) {
            let done = done?;
            let weight = batch.len() as f64;
            self.learner.accumulate_list(done.gradients, weight);
            if let (Some(align), Some(gradients)) = (&mut self.align, done.projection) {
                align.learner.accumulate_list(gradients, weight);
            }
            reports.push(done.report);
        }
        Ok(reports)
    }

    fn apply(&mut self, update: &Update<'_>) -> Result<Report, Error> {
        let report = self.learner.apply(update)?;
        if let Some(align) = &mut self.align {
            align.learner.apply(update)?;
        }
        Ok(report)
    }

    fn save(&self, out: &mut StateWriter) {
        self.learner.save("model", out);
        if let Some(align) = &self.align {
            align.learner.save(ALIGN, out);
        }
    }

    fn restore(&mut self, from: &mut StateReader) -> Result<(), Error> {
        self.learner.restore("model", from)?;
        let align = self.align.as_mut();
        align.map_or(Ok(()), |align| align.learner.restore(ALIGN, from))
    }

    fn begin_from(&mut self, from: &mut StateReader) -> Result<(), Error> {
        self.learner.begin_from("model", from)?;
        let align = self.align.as_mut();
        align.map_or(Ok(()), |align| align.begin_from(from))
    }

    fn begin_with(&mut self, model: &Checkpoint) -> Result<(), Error> {
        let own = self.learner.module().conditioner.as_ref();
        let model = LatentModel::load(model, own, self.device.clone().autodiff())?;
        self.learner.begin_with(model)
    }

    fn validate(&self, batch: &[Example], step: Step) -> Result<Report, Error> {
        self.shown.get_or_init(|| {
            batch
                .iter()
                .take(self.config.samples.count)
                .cloned()
                .collect()
        });
        let latents = self.latents(batch, step)?;
        let noise = self.noise(&latents, step);
        let network = self.learner.averaged();
        let given = network.given(self.condition(batch, &vec![false; batch.len()], step)?);
        let mut losses = Vec::with_capacity(BANDS);
        for band in 0..BANDS {
            let level = |i| self.objective.draw_in(band, &mut step.random("time", i));
            let levels: Vec<Level> = (0..batch.len()).map(level).collect();
            let answer = |x, t| network.denoise(x, t, &given);
            let loss = self
                .objective
                .loss(latents.clone(), noise.clone(), &levels, answer)?;
            losses.push(mean(loss.each));
        }
        let whole = losses.iter().sum::<f64>() / BANDS as f64;
        let report = Report::new().with("loss", whole);
        let bands = losses.into_iter().enumerate();
        Ok(bands.fold(report, |report, (band, loss)| {
            report.with(format!("loss/noise_{}_of_{BANDS}", band + 1), loss)
        }))
    }

    fn sheet(&self, step: Step) -> Result<Option<RgbImage>, Error> {
        let shown = self.shown.get().unwrap_or(&self.latest);
        if shown.is_empty() {
            return Ok(None);
        }
        samples::sheet(self, shown, step).map(Some)
    }

    fn sheet_shows(&self) -> &'static str {
        "above the line pictures of the data, below it what is drawn, for the same conditions where there are some"
    }

    /// The latent, its noise and the mixture of both, and what the first layer makes of it.
    fn numbers_of_a_picture(&self, sides: [u64; 2]) -> u64 {
        let [height, width] = sides.map(|side| side / self.first.downsampling() as u64);
        let (channels, patch) = self.learner.module().unet.config().first_layer();
        let places = height * width / (patch * patch) as u64;
        3 * height * width * self.first.channels() as u64 + places * channels as u64
    }

    fn needs(&self) -> Needs {
        let config = &self.config;
        let asked = config.objective.dropout > 0.0 || config.samples.guidance != 1.0;
        match &self.conditions {
            Some(conditions) => conditions.needs(asked),
            None => Needs::Nothing,
        }
    }

    fn export(&self, folder: &Path) -> Result<(), Error> {
        let shown = self.shown.get().unwrap_or(&self.latest);
        let side = shown
            .first()
            .map(|e| e.picture.width().max(e.picture.height()) as usize)
            .or(self.side);
        let mut files = Vec::new();
        if let Some(path) = &self.config.vocabulary {
            let text = std::fs::read(path).map_err(Error::io(path, "read"))?;
            files.push((VOCABULARY.to_owned(), text));
        }
        if let Some(path) = &self.config.neighbours {
            let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
            files.push((NEIGHBOURS.to_owned(), bytes));
        }
        let export = Export {
            model: &self.learner.averaged(),
            first: &self.first,
            text_encoder: self.conditions.as_ref().and_then(Conditions::text_encoder),
            objective: self.objective.config(),
            size: side,
            samples: self.config.samples,
            files,
        };
        export.write(folder)
    }

    fn parameters(&self) -> Vec<(String, usize)> {
        let network = self.learner.module();
        let mut counts = vec![(
            network.unet.config().name().to_owned(),
            latent_models::parameter_count(&network.unet),
        )];
        if let Some(conditioner) = &network.conditioner {
            counts.push((
                "conditioner".to_owned(),
                latent_models::parameter_count(conditioner),
            ));
        }
        if let Some(align) = &self.align {
            counts.push((ALIGN.to_owned(), align.learner.parameter_count()));
        }
        counts
    }
}
