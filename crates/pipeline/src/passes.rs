//! The network's passes at one level of noise: which prompts it sees, in which batch, with what made ready.
//!
//! The order of the network's batch is written down here and nowhere else: the contexts in the order in which they are
//! asked for, every picture of the batch within each.

use burn::tensor::Tensor;
use latent_diffusion as diffusion;
use latent_models::unet::Input;
use latent_models::{Conditioned, Given, GivenError, GivenStates, UNet};

use crate::conditioning::Prompts;
use crate::extension::Extension;
use crate::guiders::{Ask, At};
use crate::track::Context;

/// A network with its prompts and with what acts before its calls.
pub struct Passes<'a> {
    unet: &'a UNet,
    prompts: &'a Prompts,
    extensions: Vec<Box<dyn Extension + 'a>>,
    /// What the network made of the contexts of the latest calls.
    prepared: Vec<Prepared>,
}

/// What the network made of some contexts for a whole batch.
struct Prepared {
    contexts: Vec<(Ask, usize)>,
    states: GivenStates,
}

/// A context of one pass.
#[derive(Clone, Copy)]
struct Seen<'a> {
    /// Whose context, and which.
    name: (Ask, usize),
    context: &'a Context,
}

/// More than the passes of one call with contexts of different lengths, so that none is made twice.
const MOST_PREPARED: usize = 8;

impl<'a> Passes<'a> {
    /// The passes of a run.
    pub fn new(
        unet: &'a UNet,
        prompts: &'a Prompts,
        extensions: Vec<Box<dyn Extension + 'a>>,
    ) -> Self {
        Self {
            unet,
            prompts,
            extensions,
            prepared: Vec::new(),
        }
    }

    /// The prompts that are seen.
    pub fn prompts(&self) -> &'a Prompts {
        self.prompts
    }

    fn seen(&self, ask: Ask, call: usize) -> Seen<'a> {
        let track = match ask {
            Ask::Negative => &self.prompts.negative,
            Ask::Positive(part) => &self.prompts.positive[part],
        };
        let (place, context) = track.at(call);
        Seen {
            name: (ask, place),
            context,
        }
    }

    /// The network's raw output for each of `asks`. Contexts of one length run as one batch, others by themselves.
    ///
    /// # Shapes
    /// x `[batch, channels, h, w]`, as the network takes it; so are the outputs.
    ///
    /// # Errors
    /// What is given is not what the network takes.
    pub fn run(
        &mut self,
        at: &At,
        x: &Tensor<4>,
        asks: &[Ask],
    ) -> Result<Vec<Tensor<4>>, diffusion::Error> {
        let seen: Vec<_> = asks.iter().map(|ask| self.seen(*ask, at.call)).collect();
        let Some(first) = seen.first() else {
            return Ok(Vec::new());
        };
        let tokens = first.context.tokens();
        if seen.iter().all(|one| one.context.tokens() == tokens) {
            return self.together(at, x, &seen);
        }
        let mut outputs = Vec::with_capacity(seen.len());
        for one in seen {
            outputs.extend(self.together(at, x, &[one])?);
        }
        Ok(outputs)
    }

    fn together(
        &mut self,
        at: &At,
        x: &Tensor<4>,
        contexts: &[Seen<'_>],
    ) -> Result<Vec<Tensor<4>>, diffusion::Error> {
        let (batch, n) = (x.dims()[0], contexts.len());
        let place = self.prepare(contexts, batch).map_err(|source| {
            let (sigma, source) = (at.sigma, source.into());
            diffusion::Error::Network { sigma, source }
        })?;
        let inputs = contexts.iter().map(|c| c.context.given.beside(x.clone()));
        let mut input = Input {
            x: Tensor::cat(inputs.collect(), 0),
            t: Tensor::from_floats(vec![at.timestep as f32; batch * n].as_slice(), &x.device()),
            given: &self.prepared[place].states,
        };
        for extension in &mut self.extensions {
            extension.before(at, &mut input)?;
        }
        Ok(self.unet.run(input).chunk(n, 0))
    }

    /// The place of the states of contexts of one length, made at their first call. A run has one batch size.
    fn prepare(&mut self, contexts: &[Seen<'_>], batch: usize) -> Result<usize, GivenError> {
        let names: Vec<_> = contexts.iter().map(|c| c.name).collect();
        if let Some(place) = self.prepared.iter().position(|p| p.contexts == names) {
            return Ok(place);
        }
        let states = self.unet.prepare(given(contexts, batch))?;
        if self.prepared.len() == MOST_PREPARED {
            self.prepared.remove(0);
        }
        self.prepared.push(Prepared {
            contexts: names,
            states,
        });
        Ok(self.prepared.len() - 1)
    }
}

/// What several contexts of one length give, each for the whole batch.
fn given(contexts: &[Seen<'_>], batch: usize) -> Given {
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
