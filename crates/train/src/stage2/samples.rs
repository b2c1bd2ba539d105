//! Samples on the way, with guidance.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use image::RgbImage;
use latent_diffusion::guidance::cfg;
use latent_diffusion::{
    Denoise, FlowSchedule, LadderOptions, Mixing, NoiseSource, NoiseStreams, Prediction, Sampler,
    SamplerOptions, Scheduler, Sigmas, ladder, sample,
};
use latent_models::Conditioned;

use super::{LatentModel, SamplesConfig, Stage2};
use crate::pictures::stack;
use crate::sheet::halves;
use crate::{Error, Example, Objective, Step};

/// The pictures of `shown`, and below them what is drawn for their conditions with the averaged weights.
pub(super) fn sheet(task: &Stage2, shown: &[Example], step: Step) -> Result<RgbImage, Error> {
    let network = task.learner.averaged();
    let guidance = task.config.samples.guidance;
    let keep = vec![false; shown.len()];
    let given = network.given(task.condition(shown, &keep, step)?);
    let nothing = match &task.conditions {
        Some(conditions) if guidance != 1.0 => {
            let nothing = conditions.nothing(shown, step, &task.first)?;
            Some(network.given(Some(nothing)))
        }
        _ => None,
    };
    let by = task.first.downsampling();
    let [width, height] = shown
        .first()
        .map(|e| [e.picture.width(), e.picture.height()].map(|v| v as usize / by))
        .unwrap_or_default();
    let sigmas = sigmas(&task.objective, &task.config.samples)?;
    let seeds: Vec<_> = (0..shown.len() as u64)
        .map(|i| (step.seed + i).into())
        .collect();
    let mut noise = NoiseStreams::new(NoiseSource::TorchCpu, &seeds)?;
    let first = sigmas.values().first().copied().unwrap_or_default();
    let x = noise.initial([task.first.channels(), height, width], &task.device);
    let mut denoiser = Guided {
        network: &network,
        objective: &task.objective,
        given,
        nothing,
        guidance,
    };
    let latents = sample(
        Sampler::Euler,
        &SamplerOptions::default(),
        &mut denoiser,
        x * first,
        &sigmas,
        &mut noise,
        &mut |_| ControlFlow::Continue(()),
    )?;
    let drawn = task.first.decode(latents);
    let originals: Vec<&RgbImage> = shown.iter().map(|e| &e.picture).collect();
    let originals = stack(&originals, &task.device);
    Ok(halves(originals, drawn))
}

/// The noise levels to walk.
fn sigmas(objective: &Objective, samples: &SamplesConfig) -> Result<Sigmas, Error> {
    let (trained, steps) = (objective.schedule(), samples.steps);
    Ok(match objective.config().prediction {
        Prediction::Flow => FlowSchedule::new(samples.shift, trained.steps())?.ladder(steps)?,
        _ => ladder(Scheduler::Normal, trained, steps, &LadderOptions::default())?,
    })
}

/// The networks as samplers see them.
struct Guided<'a> {
    network: &'a LatentModel,
    objective: &'a Objective,
    given: Conditioned,
    nothing: Option<Conditioned>,
    guidance: f64,
}

impl Denoise for Guided<'_> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, latent_diffusion::Error> {
        let path = self.objective.path();
        let time = path.timestep(sigma);
        let [batch, ..] = x.dims();
        let times = TensorData::new(vec![time as f32; batch], [batch]);
        let times = Tensor::<1>::from_data(times, &x.device());
        let seen = x.clone() * path.c_in(sigma);
        let answer = |given| self.network.denoise(seen.clone(), times.clone(), given);
        let output = match &self.nothing {
            Some(nothing) => cfg(answer(nothing), answer(&self.given), self.guidance),
            None => answer(&self.given),
        };
        let prediction = self.objective.config().prediction;
        Ok(path.denoised(prediction, x, output, sigma))
    }

    fn mixing(&self) -> Mixing {
        self.objective.path().mixing()
    }
}
