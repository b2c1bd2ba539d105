//! A network and its conditioning as one denoiser: `D(x, σ)` with guidance, and what wraps around it for masks.
//!
//! The order of the network's batch is written down here and nowhere else: unconditional first, then each conditional
//! part, every picture of the batch within each.

use burn::tensor::Tensor;
use latent_diffusion::guidance::{cfg_many, dynamic_threshold, rescale};
use latent_diffusion::{self as diffusion, Denoise, Mixing, NoisePath, Prediction, Sigmas};
use latent_models::{Conditioned, Given, GivenError, GivenStates, UNet};

/// What the network is told about one step, the same for every picture of a batch.
#[derive(Debug, Clone)]
pub struct Context {
    /// How many network calls of the run have been made when this one no longer holds.
    pub until: usize,
    /// Text states, `[1, tokens, width]`; or a vector, or channels, each of one picture.
    pub given: Conditioned,
}

/// A prompt as the network sees it over a run: one context after another.
#[derive(Debug, Clone)]
pub struct Track {
    /// The part's weight among the parts joined by `AND`.
    pub weight: f64,
    /// In the order of their `until`; the last one holds to the end.
    pub contexts: Vec<Context>,
}

impl Track {
    /// The context in force, numbered within all tracks; this is track number `track`.
    fn at(&self, track: usize, call: usize) -> Seen<'_> {
        let last = self.contexts.len() - 1;
        let held = self.contexts.iter().position(|c| call < c.until);
        let place = held.unwrap_or(last);
        Seen {
            name: (track, place),
            given: &self.contexts[place].given,
        }
    }
}

/// A context of one network call.
#[derive(Clone, Copy)]
struct Seen<'a> {
    /// Which track, and which of its contexts.
    name: (usize, usize),
    given: &'a Conditioned,
}

impl Seen<'_> {
    /// How many tokens there are to look at.
    fn tokens(&self) -> usize {
        self.given.context.as_ref().map_or(0, |c| c.dims()[1])
    }
}

/// How far, when and how the conditional prediction is followed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guidance {
    /// s of `e_u + s·(e_c − e_u)`; 1 follows the condition alone and runs the network once.
    pub scale: f64,
    /// φ of "CFG rescale" (Lin et al., arXiv 2305.08891), 0 for none.
    pub rescale: f64,
    /// The part of the run, as fractions of its network calls, in which guidance acts (Kynkäänniemi et al., 2404.07724).
    pub interval: Option<[f64; 2]>,
    /// Bounds on the guided prediction.
    pub threshold: Option<Threshold>,
}

/// Dynamic thresholding (Imagen, 2205.11487) with the range of a weaker guidance as its limit, since a latent has no
/// range of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The share of values that stay unclamped, in (0, 1].
    pub percentile: f64,
    /// The guidance scale whose largest value is the limit.
    pub mimic: f64,
}

impl Threshold {
    /// `guided` with each picture's values held within the range of `mimicked`. Both `[batch, channels, h, w]`.
    fn apply(self, guided: Tensor<4>, mimicked: Tensor<4>) -> Result<Tensor<4>, diffusion::Error> {
        let batch = guided.dims()[0];
        let pictures = guided.chunk(batch, 0).into_iter();
        let held = pictures
            .zip(mimicked.chunk(batch, 0))
            .map(|(picture, mimic)| {
                let values = mimic.into_data().convert::<f32>();
                let limit = values
                    .iter::<f32>()
                    .fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
                dynamic_threshold(picture, self.percentile, f64::from(limit), None)
            });
        Ok(Tensor::cat(held.collect::<Result<_, _>>()?, 0))
    }
}

/// The network behind [`Denoise`]: scaling, conditioning, guidance.
pub struct Guided<'a> {
    /// The network.
    pub unet: &'a UNet,
    /// What its output means.
    pub prediction: Prediction,
    /// How its latents are noised, and the time steps of σ that the ladder does not fix.
    pub path: &'a NoisePath,
    /// The ladder in use.
    pub sigmas: &'a Sigmas,
    /// Round time steps that the ladder does not fix to whole ones.
    pub whole_timesteps: bool,
    /// The prompt's parts.
    pub positive: &'a [Track],
    /// The negative prompt.
    pub negative: &'a Track,
    /// Channels beside the latent's: mask and masked picture of an inpainting network, `[1, c, h, w]`.
    pub concat: Option<Tensor<4>>,
    /// How to guide.
    pub guidance: Guidance,
    /// Run the unconditional pass even at scale 1, because the sampler reads it.
    pub needs_unconditional: bool,
    /// Network calls made so far, and how many the run makes.
    pub calls: (usize, usize),
    /// The unconditional x̂₀ of the latest call.
    pub unconditional: Option<Tensor<4>>,
    /// What the network made of the contexts of the latest calls.
    pub prepared: Vec<Prepared>,
}

/// What the network made of some contexts for a whole batch.
pub struct Prepared {
    contexts: Vec<(usize, usize)>,
    states: GivenStates,
}

/// More than the passes of one call with contexts of different lengths, so that none is made twice.
const MOST_PREPARED: usize = 8;

impl Guided<'_> {
    fn timestep(&self, sigma: f64) -> f64 {
        self.sigmas.timestep(sigma).unwrap_or_else(|| {
            let t = self.path.timestep(sigma);
            // EDM's c_noise is no time step.
            let whole = self.whole_timesteps && !matches!(self.path, NoisePath::Edm(_));
            if whole { t.round() } else { t }
        })
    }

    /// The network's raw output for each context. Contexts of one length run as one batch, others by themselves.
    fn predict(
        &mut self,
        x: &Tensor<4>,
        t: f64,
        contexts: &[Seen<'_>],
    ) -> Result<Vec<Tensor<4>>, GivenError> {
        let batch = x.dims()[0];
        let input = match &self.concat {
            Some(extra) => {
                let [_, c, h, w] = extra.dims();
                Tensor::cat(vec![x.clone(), extra.clone().expand([batch, c, h, w])], 1)
            }
            None => x.clone(),
        };
        let tokens = contexts[0].tokens();
        if contexts.iter().any(|c| c.tokens() != tokens) {
            let mut outputs = Vec::with_capacity(contexts.len());
            for &context in contexts {
                outputs.extend(self.predict(x, t, &[context])?);
            }
            return Ok(outputs);
        }
        let n = contexts.len();
        let time = Tensor::from_floats(vec![t as f32; batch * n].as_slice(), &x.device());
        let unet = self.unet;
        let inputs = contexts.iter().map(|c| c.given.beside(input.clone()));
        let input = Tensor::cat(inputs.collect(), 0);
        let states = self.prepare(contexts, batch)?;
        Ok(unet.forward_with(input, time, states).chunk(n, 0))
    }

    /// The states of contexts of one length, made at their first call. A run has one batch size.
    fn prepare(&mut self, contexts: &[Seen<'_>], batch: usize) -> Result<&GivenStates, GivenError> {
        let names: Vec<_> = contexts.iter().map(|c| c.name).collect();
        let known = self.prepared.iter().position(|p| p.contexts == names);
        let place = match known {
            Some(place) => place,
            None => {
                let states = self.unet.prepare(together(contexts, batch))?;
                if self.prepared.len() == MOST_PREPARED {
                    self.prepared.remove(0);
                }
                self.prepared.push(Prepared {
                    contexts: names,
                    states,
                });
                self.prepared.len() - 1
            }
        };
        Ok(&self.prepared[place].states)
    }

    fn guided(&self) -> bool {
        let at = self.calls.0 as f64 / self.calls.1.max(1) as f64;
        let inside = self
            .guidance
            .interval
            .is_none_or(|[from, to]| (from..=to).contains(&at));
        inside && (self.guidance.scale != 1.0 || self.positive.len() > 1)
    }
}

/// What several contexts of one length give, each for the whole batch.
fn together(contexts: &[Seen<'_>], batch: usize) -> Given {
    let of_all = |one: &dyn Fn(&Conditioned) -> Option<Tensor<3>>| {
        let given = contexts.iter().filter_map(|c| {
            let given = one(c.given)?;
            let [_, tokens, width] = given.dims();
            Some(given.expand([batch, tokens, width]))
        });
        let given: Vec<_> = given.collect();
        (!given.is_empty()).then(|| Tensor::cat(given, 0))
    };
    Given {
        context: of_all(&|given| given.context.clone()),
        vector: of_all(&|given| Some(given.vector.clone()?.unsqueeze_dim(1)))
            .map(|vectors| vectors.squeeze_dim(1)),
        guidance: None,
    }
}

impl Denoise for Guided<'_> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, diffusion::Error> {
        let call = self.calls.0;
        let guided = self.guided();
        let with_negative = guided || self.needs_unconditional;
        let mut contexts = Vec::with_capacity(1 + self.positive.len());
        let (negative, positive) = (self.negative, self.positive);
        contexts.extend(with_negative.then(|| negative.at(0, call)));
        contexts.extend(positive.iter().enumerate().map(|(i, p)| p.at(1 + i, call)));

        let input = x.clone() * self.path.c_in(sigma);
        let t = self.timestep(sigma);
        let outputs = self.predict(&input, t, &contexts).map_err(|source| {
            let source = source.into();
            diffusion::Error::Network { sigma, source }
        })?;
        let mut outputs = outputs.into_iter();
        let unconditional = if with_negative { outputs.next() } else { None };
        let parts: Vec<_> = outputs
            .zip(self.positive.iter().map(|p| p.weight))
            .collect();
        let clean = |f: Tensor<4>| self.path.denoised(self.prediction, x.clone(), f, sigma);
        let result = match (&unconditional, parts.first()) {
            (Some(base), Some((conditional, _))) if guided => {
                let follow = |scale| cfg_many(base.clone(), &parts, scale);
                let mut output = follow(self.guidance.scale);
                if self.guidance.rescale > 0.0 {
                    output = rescale(output, conditional.clone(), self.guidance.rescale);
                }
                match self.guidance.threshold {
                    Some(threshold) => {
                        threshold.apply(clean(output), clean(follow(threshold.mimic)))?
                    }
                    None => clean(output),
                }
            }
            (_, Some((conditional, _))) => clean(conditional.clone()),
            (_, None) => x.clone(),
        };
        self.unconditional = unconditional.map(clean);
        self.calls.0 += 1;
        Ok(result)
    }

    fn unconditional(&self) -> Option<Tensor<4>> {
        self.unconditional.clone()
    }

    fn mixing(&self) -> Mixing {
        self.path.mixing()
    }
}

/// What the network sees outside a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// What the sampler made of it.
    Sampled,
    /// The picture with noise of the same level.
    Noised,
    /// The picture without noise, at the scale of the network's input: A1111's samplers on time steps. Only the
    /// network's output changes; the sampler goes on from its own latent.
    Clean,
}

/// When a mask's outside is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskRule {
    /// Into the latent, before the network sees it.
    pub before: Outside,
    /// Not before the first call, when the run starts from pure noise.
    pub spare_first: bool,
    /// Into the prediction.
    pub after: bool,
    /// Into the finished latent. A soft mask must not be applied twice.
    pub at_end: bool,
}

/// A denoiser that repaints only where the mask is 1.
///
/// Samplers act on each number alone, so keeping the outside right for the network and right at the end is the same as
/// overwriting it after every step.
pub struct Masked<'a> {
    /// The denoiser inside.
    pub inner: &'a mut dyn Denoise,
    /// 1 where the picture is repainted, `[1, 1, h, w]`.
    pub mask: Tensor<4>,
    /// The clean latent of the picture.
    pub original: Tensor<4>,
    /// The noise that the run started from, of unit variance.
    pub noise: Tensor<4>,
    /// How a latent is noised.
    pub path: &'a NoisePath,
    /// When to put the outside back.
    pub rule: MaskRule,
    /// No call has been made yet.
    pub first: bool,
}

impl Masked<'_> {
    /// `inside` where the mask is 1, `outside` where it is 0.
    pub fn blend(mask: &Tensor<4>, inside: Tensor<4>, outside: Tensor<4>) -> Tensor<4> {
        let mask = mask.clone().expand(inside.shape());
        outside.clone() + mask * (inside - outside)
    }
}

impl Denoise for Masked<'_> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, diffusion::Error> {
        let spare = self.first && self.rule.spare_first;
        self.first = false;
        let seen = match self.rule.before {
            Outside::Noised if !spare => {
                let (original, noise) = (self.original.clone(), self.noise.clone());
                let outside = self.path.add_noise(original, noise, sigma);
                Self::blend(&self.mask, x.clone(), outside)
            }
            Outside::Clean => {
                let outside = self.original.clone() / self.path.c_in(sigma);
                Self::blend(&self.mask, x.clone(), outside)
            }
            _ => x.clone(),
        };
        let clean = self.inner.denoise(seen.clone(), sigma)?;
        Ok(match self.rule {
            MaskRule { after: true, .. } => Self::blend(&self.mask, clean, self.original.clone()),
            // The network's ε is kept, so x̂₀ moves with the latent it is taken from.
            MaskRule {
                before: Outside::Clean,
                ..
            } => clean + x - seen,
            _ => clean,
        })
    }

    fn unconditional(&self) -> Option<Tensor<4>> {
        self.inner.unconditional()
    }

    fn mixing(&self) -> Mixing {
        self.inner.mixing()
    }
}
