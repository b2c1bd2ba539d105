//! Guidance: values that ask for passes of the network and combine its answers, one file each.
//!
//! A call of the network begins with the answer for the first part of the prompt. Each guider of the list makes
//! something of it and of other answers, the next goes on with that; [`combine`](Guider::combine) on the network's raw
//! output, then [`finish`](Guider::finish) on x̂₀. A new guider is a file here and a line in [`Guidance::of`].

mod cfg;
mod check;
mod pag;
mod perp_neg;
mod rescale;
mod sag;
mod skip_layers;
mod threshold;

use burn::tensor::Tensor;
use latent_diffusion::{self as diffusion, NoisePath, Prediction};
use latent_models::Interface;
use latent_models::unet::Alter;

pub use cfg::Cfg;
pub(crate) use check::check;
pub use pag::Pag;
pub use perp_neg::PerpNeg;
pub use rescale::Rescale;
pub use sag::Sag;
pub use skip_layers::SkipLayers;
pub use threshold::Threshold;

use crate::passes::{Answer, Passes};
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

impl At {
    /// How much of the run's calls has been made, 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.call as f64 / self.calls.max(1) as f64
    }
}

/// What a pass of the network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Prompt {
    /// The negative prompt.
    Negative,
    /// A part of the prompt, of those joined by `AND`.
    Positive(usize),
    /// The empty prompt, where it is [encoded](crate::conditioning::Prompts::empty).
    Empty,
}

/// A pass of the network. They run in this order, those with the same alteration in one batch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// What the network's attention does in it.
    pub alter: Alter,
    /// What it sees.
    pub prompt: Prompt,
}

impl Ask {
    /// A pass without alteration.
    pub fn of(prompt: Prompt) -> Self {
        Self {
            alter: Alter::Nothing,
            prompt,
        }
    }
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
    watch: bool,
    known: Vec<(Ask, Answer)>,
}

impl<'r, 'a> Answers<'r, 'a> {
    /// None yet. `watch` asks for what is [attended](Answer::attended).
    pub fn new(passes: &'r mut Passes<'a>, level: &'r Level<'r>, watch: bool) -> Self {
        Self {
            level,
            passes,
            watch,
            known: Vec::new(),
        }
    }

    /// Runs these passes together.
    ///
    /// # Errors
    /// What the network reports.
    pub fn run(&mut self, asks: &[Ask]) -> Result<(), diffusion::Error> {
        let answers = self.of(self.level.x.clone(), asks, self.watch)?;
        self.known.extend(asks.iter().cloned().zip(answers));
        Ok(())
    }

    /// The answers for another latent of the same level.
    fn of(
        &mut self,
        x: Tensor<4>,
        asks: &[Ask],
        watch: bool,
    ) -> Result<Vec<Answer>, diffusion::Error> {
        let Level { at, path, .. } = self.level;
        let input = x * path.c_in(at.sigma);
        self.passes.run(at, &input, asks, watch)
    }

    /// The raw output of a pass over another latent of the same level, both `[batch, channels, h, w]`.
    ///
    /// # Errors
    /// What the network reports.
    pub fn elsewhere(&mut self, x: Tensor<4>, ask: Ask) -> Result<Tensor<4>, diffusion::Error> {
        let mut answers = self.of(x, &[ask], false)?;
        Ok(answers.remove(0).output)
    }

    /// The answer of a pass. One that was not run yet is run now, by itself.
    ///
    /// # Errors
    /// What the network reports.
    pub fn get(&mut self, ask: &Ask) -> Result<Answer, diffusion::Error> {
        loop {
            if let Some((_, answer)) = self.known.iter().find(|(known, _)| known == ask) {
                return Ok(answer.clone());
            }
            self.run(std::slice::from_ref(ask))?;
        }
    }

    /// Its raw output, `[batch, channels, h, w]`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn output(&mut self, ask: &Ask) -> Result<Tensor<4>, diffusion::Error> {
        Ok(self.get(ask)?.output)
    }

    /// The raw output and the weight of each part of the prompt.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn parts(&mut self, alter: &Alter) -> Result<Vec<(Tensor<4>, f64)>, diffusion::Error> {
        let parts = self.passes.prompts().positive.iter().enumerate();
        parts
            .map(|(i, part)| {
                let ask = Ask {
                    alter: alter.clone(),
                    prompt: Prompt::Positive(i),
                };
                Ok((self.output(&ask)?, part.weight))
            })
            .collect()
    }

    /// `output` moved by `scale` away from what the network answers when it is altered: Σ wᵢ·(cᵢ − cᵢ′) of the prompt's parts.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn away(
        &mut self,
        output: Tensor<4>,
        alter: &Alter,
        scale: f64,
    ) -> Result<Tensor<4>, diffusion::Error> {
        let (plain, altered) = (self.parts(&Alter::Nothing)?, self.parts(alter)?);
        let pairs = plain.into_iter().zip(altered);
        Ok(pairs.fold(output, |sum, ((plain, weight), (altered, _))| {
            sum + (plain - altered) * (weight * scale)
        }))
    }
}

/// Each of so many parts of the prompt, with an alteration.
fn parts_with(alter: &Alter, parts: usize) -> Vec<Ask> {
    let ask = |part| Ask {
        alter: alter.clone(),
        prompt: Prompt::Positive(part),
    };
    (0..parts).map(ask).collect()
}

/// A kind of guidance.
pub trait Guider {
    /// The passes that it reads at every call. They run as one batch.
    fn asks(&self) -> Vec<Ask> {
        Vec::new()
    }

    /// Whether it reads what is [attended](Answer::attended).
    fn watches(&self) -> bool {
        false
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
    /// What a request asks for, with a prompt of so many parts. Scale 1 follows the prompt alone, and so does a network
    /// that is told the scale.
    pub fn of(request: &Request, network: &Interface, parts: usize) -> Self {
        let asked = &request.guidance;
        let scaled = |scale| -> Box<dyn Guider> {
            match asked.perp_neg {
                Some(weight) => Box::new(PerpNeg {
                    scale,
                    weight,
                    parts,
                }),
                None => Box::new(Cfg { scale, parts }),
            }
        };
        let told = network.guidance.is_some();
        let guided =
            !told && (request.guidance_scale() != 1.0 || parts > 1 || asked.perp_neg.is_some());
        let mut guiders: Vec<Box<dyn Guider>> = Vec::new();
        guiders.extend(guided.then(|| scaled(request.guidance_scale())));
        if let Some(asked) = &asked.pag {
            guiders.push(Box::new(Pag::of(asked, parts)));
        }
        if let Some(asked) = &asked.skip_layers {
            guiders.push(Box::new(SkipLayers::of(asked)));
        }
        if let Some(asked) = asked.sag {
            guiders.push(Box::new(Sag {
                scale: asked.scale,
                blur: asked.blur,
                prompt: match guided {
                    true => Prompt::Negative,
                    false => Prompt::Positive(0),
                },
            }));
        }
        if request.guidance.rescale > 0.0 && !guiders.is_empty() {
            guiders.push(Box::new(Rescale(request.guidance.rescale)));
        }
        if let Some(threshold) = request.guidance.threshold.filter(|_| guided) {
            guiders.push(Box::new(Threshold {
                percentile: threshold.percentile,
                mimic: scaled(threshold.mimic),
            }));
        }
        Self {
            guiders,
            interval: request.guidance.interval,
        }
    }

    /// The guiders that act at this call, in their order.
    pub fn at(&self, at: &At) -> &[Box<dyn Guider>] {
        let inside = |[from, to]: [f64; 2]| (from..=to).contains(&at.fraction());
        match self.interval.is_none_or(inside) {
            true => &self.guiders,
            false => &[],
        }
    }
}
