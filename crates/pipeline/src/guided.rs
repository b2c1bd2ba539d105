//! A network and its guidance as one denoiser, `D(x, σ)`.

use burn::tensor::Tensor;
use latent_diffusion::{self as diffusion, Denoise, Mixing, NoisePath, Prediction, Sigmas};

use crate::guiders::{Answers, Ask, At, Guidance, Level, Prompt};
use crate::passes::Passes;

/// The network behind [`Denoise`]: scaling, time steps, guidance.
pub struct Guided<'a> {
    /// The network with what it is told.
    pub passes: Passes<'a>,
    /// What its output means.
    pub prediction: Prediction,
    /// How its latents are noised, and the time steps of σ that the ladder does not fix.
    pub path: &'a NoisePath,
    /// The ladder in use.
    pub sigmas: &'a Sigmas,
    /// Round time steps of a discrete schedule that the ladder does not fix to whole ones.
    pub whole_timesteps: bool,
    /// How to guide.
    pub guidance: Guidance,
    /// Run the unconditional pass even without guidance, because the sampler reads it.
    pub needs_unconditional: bool,
    /// Network calls made so far, and how many the run makes.
    pub calls: (usize, usize),
    /// The unconditional x̂₀ of the latest call.
    pub unconditional: Option<Tensor<4>>,
}

impl Guided<'_> {
    fn timestep(&self, sigma: f64) -> f64 {
        self.sigmas.timestep(sigma).unwrap_or_else(|| {
            let t = self.path.timestep(sigma);
            // A flow's N·σ and EDM's c_noise are no steps of a schedule.
            let whole = self.whole_timesteps && matches!(self.path, NoisePath::Discrete(_));
            if whole { t.round() } else { t }
        })
    }
}

impl Denoise for Guided<'_> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, diffusion::Error> {
        let at = At {
            call: self.calls.0,
            calls: self.calls.1,
            sigma,
            timestep: self.timestep(sigma),
        };
        let guiders = self.guidance.at(&at);
        let first = Ask::of(Prompt::Positive(0));
        let negative = Ask::of(Prompt::Negative);
        let mut asks = vec![first.clone()];
        asks.extend(self.needs_unconditional.then(|| negative.clone()));
        asks.extend(guiders.iter().flat_map(|guider| guider.asks()));
        asks.sort_unstable();
        asks.dedup();
        let level = Level {
            at,
            x,
            path: self.path,
            prediction: self.prediction,
        };
        let watch = guiders.iter().any(|guider| guider.watches());
        let mut answers = Answers::new(&mut self.passes, &level, watch);
        answers.run(&asks)?;
        let mut output = answers.output(&first)?;
        for guider in guiders {
            output = guider.combine(output, &mut answers)?;
        }
        let mut clean = level.clean(output);
        for guider in guiders {
            clean = guider.finish(clean, &mut answers)?;
        }
        self.unconditional = match asks.contains(&negative) {
            true => Some(level.clean(answers.output(&negative)?)),
            false => None,
        };
        self.calls.0 += 1;
        Ok(clean)
    }

    fn unconditional(&self) -> Option<Tensor<4>> {
        self.unconditional.clone()
    }

    fn mixing(&self) -> Mixing {
        self.path.mixing()
    }
}
