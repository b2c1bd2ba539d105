//! Diffusion without a first stage and without a condition: a U-Net on pixels (Ho et al., 2006.11239).

use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use image::RgbImage;
use latent_checkpoint::file::write::{self, Existing};
use latent_data::Example;
use latent_diffusion::{
    Denoise, LadderOptions, NoiseSource, NoiseStreams, Prediction, Sampler, SamplerOptions,
    Scheduler, ladder, sample,
};
use latent_models::UNetConfig;
use latent_models::unet::UNet;
use serde::{Deserialize, Serialize};

use crate::objective::BANDS;
use crate::sheet::grid;
use crate::{
    Error, Ground, Learner, Objective, ObjectiveConfig, Report, StateReader, StateWriter, Step,
    Task, Update, initialise, torch_default,
};

/// A diffusion model of pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PixelsConfig {
    /// The network: three channels in, three out, no context.
    pub unet: UNetConfig,
    /// What it is asked for.
    #[serde(default)]
    pub objective: ObjectiveConfig,
    /// Height and width of the samples on a sheet.
    pub size: [usize; 2],
    /// Samples on a sheet.
    #[serde(default = "eight")]
    pub samples: usize,
    /// Steps of the sampler, Euler's.
    #[serde(default = "fifty")]
    pub sampler_steps: usize,
}

fn eight() -> usize {
    8
}

fn fifty() -> usize {
    50
}

impl PixelsConfig {
    /// # Errors
    /// A network that cannot be built or does not fit pixels, settings out of range.
    pub fn validate(&self) -> Result<(), Error> {
        self.unet.validate()?;
        let UNetConfig {
            in_channels,
            out_channels,
            context,
            ..
        } = self.unet;
        if (in_channels, out_channels, context) != (3, 3, None) {
            let value = format!("{in_channels} → {out_channels} channels, context {context:?}");
            return Err(Error::setting(
                "model.unet",
                value,
                "3 → 3 channels and no context",
            ));
        }
        if self.samples == 0 || self.sampler_steps == 0 || self.size.contains(&0) {
            let value = format!("{}, {}, {:?}", self.samples, self.sampler_steps, self.size);
            return Err(Error::setting(
                "model.samples, model.sampler_steps, model.size",
                value,
                "1 or more each",
            ));
        }
        if self.objective.prediction == Prediction::Flow {
            let expected = "epsilon, v_prediction or sample: flows are for latents";
            return Err(Error::setting(
                "model.objective.prediction",
                "flow",
                expected,
            ));
        }
        Objective::new(self.objective).map(drop)
    }
}

/// The task of [`PixelsConfig`].
#[derive(Debug)]
pub struct Pixels {
    config: PixelsConfig,
    objective: Objective,
    learner: Learner<UNet>,
    ground: Ground,
}

/// Layers that the published code sets to zero, so that a block begins as the identity.
const ZEROS: &[&str] = &[
    "conv2.weight",
    "conv2.bias",
    "proj_out.weight",
    "proj_out.bias",
    "conv_out.weight",
    "conv_out.bias",
];

impl Pixels {
    /// With first weights.
    ///
    /// # Errors
    /// As [`PixelsConfig::validate`].
    pub fn new(config: &PixelsConfig, ground: &Ground) -> Result<Self, Error> {
        config.validate()?;
        let unet = config.unet.init(&ground.device);
        let rule = torch_default(&unet, ZEROS);
        Ok(Self {
            objective: Objective::new(config.objective)?,
            learner: Learner::new(initialise(unet, ground.seed, &rule)?, ground.learner),
            config: config.clone(),
            ground: ground.clone(),
        })
    }

    /// The pictures within −1..=1: `[batch, 3, height, width]`.
    fn pictures(&self, batch: &[Example]) -> Result<Tensor<4>, Error> {
        let device = self.ground.device.clone().inner();
        let tensor = |example: &Example| {
            let (width, height) = example.picture.dimensions();
            let numbers = example
                .picture
                .as_raw()
                .iter()
                .map(|&v| f32::from(v) / 127.5 - 1.0);
            let shape = [1, height as usize, width as usize, 3];
            Tensor::<4>::from_data(
                TensorData::new(numbers.collect::<Vec<f32>>(), shape),
                &device,
            )
        };
        let first = batch.first().map(|example| example.picture.dimensions());
        if let Some(other) = batch.iter().find(|e| Some(e.picture.dimensions()) != first) {
            return Err(Error::Example {
                id: other.id.clone(),
                problem: "a batch has pictures of one size: set `data.size`".to_owned(),
            });
        }
        Ok(Tensor::cat(batch.iter().map(tensor).collect(), 0).permute([0, 3, 1, 2]))
    }
}

impl Task for Pixels {
    fn accumulate(&mut self, batch: &[Example], step: Step) -> Result<Report, Error> {
        let x = self.pictures(batch)?;
        let levels: Vec<_> = (0..batch.len())
            .map(|i| self.objective.draw(&mut step.random("time", i)))
            .collect();
        let noise = self
            .objective
            .noise(x.dims(), |i| step.random("noise", i), &x.device());
        let network = self.learner.network();
        let loss = self
            .objective
            .loss(x, noise, &levels, |x, t| network.forward(x, t, None, None))?;
        let mean = loss.mean.clone().into_scalar::<f32>();
        self.learner
            .accumulate(loss.mean.backward(), batch.len() as f64);
        Ok(Report::new().with("loss", f64::from(mean)))
    }

    fn apply(&mut self, update: &Update<'_>) -> Result<Report, Error> {
        self.learner.apply(update)
    }

    fn save(&self, out: &mut StateWriter) {
        self.learner.save("unet", out);
    }

    fn restore(&mut self, from: &mut StateReader) -> Result<(), Error> {
        self.learner.restore("unet", from)
    }

    fn validate(&self, batch: &[Example], step: Step) -> Result<Report, Error> {
        let x = self.pictures(batch)?;
        let network = self.learner.averaged();
        let noise = self
            .objective
            .noise(x.dims(), |i| step.random("noise", i), &x.device());
        let mut report = Report::new();
        let mut sum = 0.0;
        for band in 0..BANDS {
            let levels: Vec<_> = (0..batch.len())
                .map(|i| self.objective.draw_in(band, &mut step.random("time", i)))
                .collect();
            let loss = self
                .objective
                .loss(x.clone(), noise.clone(), &levels, |x, t| {
                    network.forward(x, t, None, None)
                })?;
            let mean = f64::from(loss.mean.into_scalar::<f32>());
            sum += mean;
            report = report.with(format!("loss/noise_{}_of_{BANDS}", band + 1), mean);
        }
        report.0.insert(0, ("loss".to_owned(), sum / BANDS as f64));
        Ok(report)
    }

    fn sheet(&self, step: Step) -> Result<Option<RgbImage>, Error> {
        let [height, width] = self.config.size;
        let seeds: Vec<_> = (0..self.config.samples as u64)
            .map(|i| (step.seed + i).into())
            .collect();
        let mut noise = NoiseStreams::new(NoiseSource::TorchCpu, &seeds)?;
        let device = self.ground.device.clone().inner();
        let network = self.learner.averaged();
        let prediction = self.config.objective.prediction;
        let options = LadderOptions::default();
        let sigmas = ladder(
            Scheduler::Normal,
            self.objective.schedule(),
            self.config.sampler_steps,
            &options,
        )?;
        let first = sigmas.values()[0];
        let x = noise.initial([3, height, width], &device) * prediction.noise_scale(first);
        let mut denoiser = Network {
            network: &network,
            prediction,
            objective: &self.objective,
        };
        let options = SamplerOptions::default();
        let go_on = &mut |_: latent_diffusion::Step<'_>| std::ops::ControlFlow::Continue(());
        let x = sample(
            Sampler::Euler,
            &options,
            &mut denoiser,
            x,
            &sigmas,
            &mut noise,
            go_on,
        )?;
        Ok(Some(grid(x)))
    }

    fn export(&self, folder: &Path) -> Result<(), Error> {
        let network = self.learner.averaged();
        let mut out = StateWriter::new();
        out.module(&network);
        out.write(&folder.join("unet.safetensors"))?;
        let about = serde_json::json!({ "model": self.config });
        Ok(write::json(
            &folder.join("model.json"),
            &about,
            Existing::Refuse,
        )?)
    }

    fn parameters(&self) -> Vec<(String, usize)> {
        vec![("unet".to_owned(), self.learner.parameter_count())]
    }
}

/// The network as samplers see it.
struct Network<'a> {
    network: &'a UNet,
    prediction: Prediction,
    objective: &'a Objective,
}

impl Denoise for Network<'_> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, latent_diffusion::Error> {
        let time = self.objective.schedule().timestep(sigma);
        let [batch, ..] = x.dims();
        let t = Tensor::from_data(
            TensorData::new(vec![time as f32; batch], [batch]),
            &x.device(),
        );
        let seen = x.clone() * self.prediction.c_in(sigma);
        let output = self.network.forward(seen, t, None, None);
        Ok(self.prediction.denoised(x, output, sigma))
    }
}
