//! Guidance: values that ask for passes of the network and combine its answers, one file each.
//!
//! A call of the network begins with the answer for the first part of the prompt. Each guider of the list makes
//! something of it and of other answers, the next goes on with that; [`combine`](Guider::combine) on the network's raw
//! output, then [`finish`](Guider::finish) on x̂₀. A new guider is a file here and a line in [`Guidance::of`].

mod cfg;
mod rescale;
mod threshold;

use burn::tensor::Tensor;
use latent_diffusion::{self as diffusion, NoisePath, Prediction};

pub use cfg::Cfg;
pub use rescale::Rescale;
pub use threshold::Threshold;

use crate::passes::Passes;
use crate::request::Request;

/// One call of the network within a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At {
    /// Its number, from 0.
    pub call: usize,
    /// How many the run makes.
    pub calls: usize,
    /// The level of noise.
    pub sigma: f64,
    /// What the network is told of it.
    pub timestep: f64,
}

/// A pass of the network: the prompt that it sees. They run in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// The negative prompt.
    Negative,
    /// A part of the prompt, of those joined by `AND`.
    Positive(usize),
}

/// What is denoised, and how the network's output is read.
pub struct Level<'a> {
    /// Which call it is.
    pub at: At,
    /// The noisy latent, `[batch, channels, h, w]`.
    pub x: Tensor<4>,
    /// How it was noised.
    pub path: &'a NoisePath,
    /// What the network's output means.
    pub prediction: Prediction,
}

impl Level<'_> {
    /// x̂₀ of a raw output.
    pub fn clean(&self, output: Tensor<4>) -> Tensor<4> {
        let (x, sigma) = (self.x.clone(), self.at.sigma);
        self.path.denoised(self.prediction, x, output, sigma)
    }
}

/// The network's answers at one level of noise.
pub struct Answers<'r, 'a> {
    /// What is denoised.
    pub level: &'r Level<'r>,
    passes: &'r mut Passes<'a>,
    known: Vec<(Ask, Tensor<4>)>,
}

impl<'r, 'a> Answers<'r, 'a> {
    /// None yet.
    pub fn new(passes: &'r mut Passes<'a>, level: &'r Level<'r>) -> Self {
        Self {
            level,
            passes,
            known: Vec::new(),
        }
    }

    /// Runs these passes together.
    ///
    /// # Errors
    /// What the network reports.
    pub fn run(&mut self, asks: &[Ask]) -> Result<(), diffusion::Error> {
        let Level { at, x, path, .. } = self.level;
        let input = x.clone() * path.c_in(at.sigma);
        let outputs = self.passes.run(at, &input, asks)?;
        self.known.extend(asks.iter().copied().zip(outputs));
        Ok(())
    }

    /// The raw output of a pass, `[batch, channels, h, w]`. One that was not run yet is run now, by itself.
    ///
    /// # Errors
    /// What the network reports.
    pub fn get(&mut self, ask: Ask) -> Result<Tensor<4>, diffusion::Error> {
        loop {
            if let Some((_, output)) = self.known.iter().find(|(known, _)| *known == ask) {
                return Ok(output.clone());
            }
            self.run(&[ask])?;
        }
    }

    /// The raw output and the weight of each part of the prompt.
    ///
    /// # Errors
    /// What the network reports.
    pub fn parts(&mut self) -> Result<Vec<(Tensor<4>, f64)>, diffusion::Error> {
        let parts = self.passes.prompts().positive.iter().enumerate();
        parts
            .map(|(i, part)| Ok((self.get(Ask::Positive(i))?, part.weight)))
            .collect()
    }
}

/// A kind of guidance.
pub trait Guider {
    /// The passes that it reads at every call. They run as one batch.
    fn asks(&self) -> Vec<Ask> {
        Vec::new()
    }

    /// What it makes of the raw output so far, `[batch, channels, h, w]`.
    ///
    /// # Errors
    /// What the network or a formula reports.
    fn combine(
        &self,
        output: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        let _ = answers;
        Ok(output)
    }

    /// What it makes of x̂₀, `[batch, channels, h, w]`, when every guider has combined.
    ///
    /// # Errors
    /// As [`combine`](Self::combine).
    fn finish(
        &self,
        clean: Tensor<4>,
        answers: &mut Answers<'_, '_>,
    ) -> Result<Tensor<4>, diffusion::Error> {
        let _ = answers;
        Ok(clean)
    }
}

/// How far, when and how a run is guided.
#[derive(Default)]
pub struct Guidance {
    guiders: Vec<Box<dyn Guider>>,
    /// The part of the run, as fractions of its network calls, in which guidance acts (Kynkäänniemi et al., 2404.07724).
    interval: Option<[f64; 2]>,
}

impl Guidance {
    /// What a request asks for, with a prompt of so many parts. Scale 1 follows the prompt alone.
    pub fn of(request: &Request, parts: usize) -> Self {
        let mut guiders: Vec<Box<dyn Guider>> = Vec::new();
        if request.guidance_scale() != 1.0 || parts > 1 {
            let scaled = |scale| Cfg { scale, parts };
            guiders.push(Box::new(scaled(request.guidance_scale())));
            if request.cfg_rescale > 0.0 {
                guiders.push(Box::new(Rescale(request.cfg_rescale)));
            }
            if let Some(threshold) = request.dynamic_thresholding {
                guiders.push(Box::new(Threshold {
                    percentile: threshold.percentile,
                    mimic: Box::new(scaled(threshold.mimic)),
                }));
            }
        }
        Self {
            guiders,
            interval: request.guidance_interval,
        }
    }

    /// The guiders that act at this call, in their order.
    pub fn at(&self, at: &At) -> &[Box<dyn Guider>] {
        let fraction = at.call as f64 / at.calls.max(1) as f64;
        let inside = |[from, to]: [f64; 2]| (from..=to).contains(&fraction);
        match self.interval.is_none_or(inside) {
            true => &self.guiders,
            false => &[],
        }
    }
}
