//! A prompt as the network sees it over a run.

use burn::tensor::Tensor;
use latent_models::Conditioned;

/// What the network is told about one step, the same for every picture of a batch.
#[derive(Debug, Clone)]
pub struct Context {
    /// How many network calls of the run have been made when this one no longer holds.
    pub until: usize,
    /// Text states, `[1, tokens, width]`; or a vector, or channels, each of one picture.
    pub given: Conditioned,
}

impl Context {
    /// How many tokens there are to look at.
    pub fn tokens(&self) -> usize {
        self.given.context.as_ref().map_or(0, |c| c.dims()[1])
    }

    /// The same with further tokens behind its own, `[1, tokens, width]` each.
    pub fn followed_by(&self, tokens: impl Iterator<Item = Tensor<3>>) -> Self {
        let mut context = self.clone();
        for more in tokens {
            let own = context.given.context.take().into_iter();
            context.given.context = Some(Tensor::cat(own.chain([more]).collect(), 1));
        }
        context
    }
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
    /// The context in force at a network call, and its place in the track.
    pub fn at(&self, call: usize) -> (usize, &Context) {
        let last = self.contexts.len() - 1;
        let held = self.contexts.iter().position(|c| call < c.until);
        let place = held.unwrap_or(last);
        (place, &self.contexts[place])
    }
}
