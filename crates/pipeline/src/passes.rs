//! The network's passes at one level of noise: which prompts it sees, in which batch, with what made ready.
//!
//! The order of the network's batch is written down here and nowhere else: the contexts in the order in which they are
//! asked for, every picture of the batch within each.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::{Alter, Extras, guidance_sinusoid};
use latent_models::{Conditioned, Denoiser, Given, GivenStates, Input, Output};

use crate::conditioning::Prompts;
use crate::control::Styled;
use crate::extension::{Call, Extension};
use crate::guiders::{Ask, At, Prompt};
use crate::track::Context;

/// A network with its prompts and with what acts before its calls.
pub struct Passes<'a> {
    network: Denoiser,
    prompts: &'a Prompts,
    extensions: Vec<Box<dyn Extension + 'a>>,
    /// What stands behind the prompts' tokens.
    styles: Vec<Styled>,
    /// What a network that is told its guidance is told: w of s = 1 + w.
    told: Option<f64>,
    /// What the network made of the contexts of the latest calls.
    prepared: Made<GivenStates>,
    /// Networks that take its place from a call on, in order.
    later: Vec<(usize, Later<'a>)>,
}

/// Makes a network when it is due.
pub type Later<'a> = Box<dyn FnOnce() -> crate::error::Result<Denoiser> + 'a>;

/// What a network made of contexts, each time for a whole batch: of those of the latest calls.
#[derive(Debug)]
pub(crate) struct Made<S>(Vec<(Vec<Name>, S)>);

impl<S> Default for Made<S> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<S> Made<S> {
    /// What was made of contexts of these names, or is made now. A run has one batch size.
    pub(crate) fn of<E>(
        &mut self,
        names: Vec<Name>,
        make: impl FnOnce() -> Result<S, E>,
    ) -> Result<&S, E> {
        let place = match self.0.iter().position(|(known, _)| *known == names) {
            Some(place) => place,
            None => {
                let made = make()?;
                if self.0.len() == MOST_PREPARED {
                    self.0.remove(0);
                }
                self.0.push((names, made));
                self.0.len() - 1
            }
        };
        Ok(&self.0[place].1)
    }
}

/// A context of one pass.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which it is.
    pub name: Name,
    /// What is told.
    pub context: Context,
}

/// What tells a context from the others of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Whose it is.
    pub prompt: Prompt,
    /// Its place in the track.
    pub place: usize,
    /// The styles that act.
    styles: Vec<usize>,
}

/// What the network answers to one pass.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The raw output, `[batch, channels, h, w]`.
    pub output: Tensor<4>,
    /// How much each pixel of the network's middle is attended to, `[batch, 1, h, w]` of its size; where it was asked for,
    /// and the middle attends.
    pub attended: Option<Tensor<4>>,
}

/// More than the passes of one call with contexts of different lengths, so that none is made twice.
const MOST_PREPARED: usize = 8;
/// Pixels of a latent from which on a call sees one prompt: two at once are no faster there, and need twice the memory.
const ONE_BY_ONE: usize = 128 * 128;

/// Whether the prompts of guidance are seen as one batch, for a latent of so many pixels.
pub fn as_one_batch(pixels: usize) -> bool {
    pixels < ONE_BY_ONE
}

impl<'a> Passes<'a> {
    /// The passes of a run. `scale` is for networks that [are told it](latent_models::Interface::guidance), as the s of
    /// [`Cfg`](crate::guiders::Cfg); others do not read it.
    pub fn new(
        network: Denoiser,
        prompts: &'a Prompts,
        scale: f64,
        extensions: Vec<Box<dyn Extension + 'a>>,
    ) -> Self {
        Self {
            told: network.interface().guidance.map(|_| scale - 1.0),
            network,
            prompts,
            extensions,
            styles: Vec::new(),
            prepared: Made::default(),
            later: Vec::new(),
        }
    }

    /// The same with networks that take its place, each from a call on, in order.
    pub fn with_later(self, later: Vec<(usize, Later<'a>)>) -> Self {
        Self { later, ..self }
    }

    /// The same with tokens of pictures behind the prompts'.
    pub fn with_styles(self, styles: Vec<Styled>) -> Self {
        Self { styles, ..self }
    }

    /// Takes the network that is due.
    fn turn(&mut self, at: &At) -> Result<(), diffusion::Error> {
        let due = self.later.iter().take_while(|(call, _)| *call <= at.call);
        let due = due.count();
        let Some((_, next)) = self.later.drain(..due).next_back() else {
            return Ok(());
        };
        self.network = next().map_err(|source| diffusion::Error::Network {
            sigma: at.sigma,
            source: source.into(),
        })?;
        // Keys and values of the contexts are another network's.
        self.prepared = Made::default();
        Ok(())
    }

    /// The prompts that are seen.
    pub fn prompts(&self) -> &'a Prompts {
        self.prompts
    }

    fn seen(&self, prompt: Prompt, at: &At) -> Seen {
        let prompts = self.prompts;
        let track = match prompt {
            Prompt::Negative => &prompts.negative,
            Prompt::Positive(part) => &prompts.positive[part],
            Prompt::Empty => prompts.empty.as_ref().unwrap_or(&prompts.negative),
        };
        let (place, context) = track.at(at.call);
        let styles = self.styles.iter().enumerate();
        let acting = styles.filter(|(_, style)| style.acts(at));
        let (styles, tokens): (Vec<_>, Vec<_>) =
            acting.map(|(i, style)| (i, style.behind(prompt))).unzip();
        Seen {
            context: context.followed_by(tokens.into_iter().flatten()),
            name: Name {
                prompt,
                place,
                styles,
            },
        }
    }

    /// The network's answer to each of `asks`. Neighbours with the same alteration and contexts of one length run as one
    /// batch, but for large latents. `watch` asks for what is [attended](Answer::attended).
    ///
    /// # Shapes
    /// x `[batch, channels, h, w]`, as the network takes it.
    ///
    /// # Errors
    /// What is given is not what the network takes.
    pub fn run(
        &mut self,
        at: &At,
        x: &Tensor<4>,
        asks: &[Ask],
        watch: bool,
    ) -> Result<Vec<Answer>, diffusion::Error> {
        self.turn(at)?;
        let [_, _, height, width] = x.dims();
        let as_one_batch = as_one_batch(height * width);
        let mut answers = Vec::with_capacity(asks.len());
        for alike in asks.chunk_by(|a, b| a.alter == b.alter) {
            let alter = &alike[0].alter;
            let seen = alike.iter().map(|ask| self.seen(ask.prompt, at));
            let seen: Vec<_> = seen.collect();
            let tokens = seen[0].context.tokens();
            if as_one_batch && seen.iter().all(|one| one.context.tokens() == tokens) {
                answers.extend(self.together(at, x, &seen, (alter, watch))?);
                continue;
            }
            for one in seen.chunks(1) {
                answers.extend(self.together(at, x, one, (alter, watch))?);
            }
        }
        Ok(answers)
    }

    fn together(
        &mut self,
        at: &At,
        x: &Tensor<4>,
        contexts: &[Seen],
        (alter, watch): (&Alter, bool),
    ) -> Result<Vec<Answer>, diffusion::Error> {
        let (batch, n) = (x.dims()[0], contexts.len());
        let call = Call {
            at,
            batch,
            seen: contexts,
            network: &self.network,
        };
        let network = &self.network;
        let told = self.told.zip(network.interface().guidance);
        let prepared = self.prepared.of(call.names(), || {
            let device = network.device();
            let guidance =
                told.map(|(w, width)| guidance_sinusoid(&vec![w; batch * n], width, &device));
            network.prepare(Given {
                guidance,
                ..call.given()
            })
        });
        let prepared = prepared.map_err(|source| call.failed(source))?;
        let inputs = contexts.iter().map(|c| c.context.given.beside(x.clone()));
        let mut input = Input {
            x: Tensor::cat(inputs.collect(), 0),
            t: Tensor::from_floats(vec![at.timestep as f32; batch * n].as_slice(), &x.device()),
            given: prepared,
            alter,
            watch,
            states: None,
            extras: Extras::default(),
        };
        for extension in &mut self.extensions {
            extension.before(&call, &mut input)?;
        }
        let Output { x, attended, .. } = self.network.run(input);
        let mut attended = attended.map(|all| all.chunk(n, 0).into_iter());
        let outputs = x.chunk(n, 0).into_iter();
        Ok(outputs
            .map(|output| Answer {
                output,
                attended: attended.as_mut().and_then(Iterator::next),
            })
            .collect())
    }
}

/// What several contexts of one length give, each for the whole batch.
pub(crate) fn given(contexts: &[Seen], batch: usize) -> Given {
    let of_all = |one: &dyn Fn(&Conditioned) -> Option<Tensor<3>>| {
        let given = contexts.iter().filter_map(|c| {
            let given = one(&c.context.given)?;
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
