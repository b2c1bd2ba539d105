//! A picture that one denoiser begins and another finishes: SDXL and its refiner, or any two models of one latent.
//!
//! Programs agree on what is handed over, the noisy latent as it is, and on nothing else: [`Handover`] says when, and whether
//! the sampler keeps its memory. What follows from it is a list of legs, each of them one walk. The network that has done its
//! work for good is given up before the next one is read ([`Refining::takes_over`]).

use burn::tensor::Tensor;
use latent_diffusion::{self as diffusion, Denoise, Mixing, NoisePath, Sigmas};
use latent_models::Denoiser;

use crate::conditioning::Prompts;
use crate::draw::Drawing;
use crate::error::Result;
use crate::family::{Beside, Family, VectorInput};
use crate::guided::Guided;
use crate::model::{Model, Stage};
use crate::profile::Handover;

/// Who finishes a picture.
#[derive(Clone, Copy)]
pub struct Refining<'a> {
    /// The model.
    pub model: &'a Model,
    /// What it is told.
    pub prompts: &'a Prompts,
    /// The denoiser of the model that began is not needed again: it is given up before this one's is read.
    pub takes_over: bool,
}

impl Refining<'_> {
    /// Its denoiser, read if it is not in memory, for a picture that `base` began.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub(crate) fn denoiser(&self, base: &Model) -> Result<Denoiser> {
        base.make_room(Stage::Refining);
        if self.takes_over {
            base.release(Stage::Denoising);
        }
        Ok(Denoiser::clone(&*self.model.denoiser.get()?))
    }
}

/// Why a model of `refiner` cannot finish a picture that one of `base` began, as a sentence; `None` for models that were trained
/// here.
pub fn pair(base: Option<&Family>, refiner: Option<&Family>) -> Result<(), String> {
    let (Some(base), Some(refiner)) = (base, refiner) else {
        return Err(
            "a model that was trained here works in latents of its own: a refiner and its model must share theirs"
                .to_owned(),
        );
    };
    let (theirs, ours) = (refiner.latent, base.latent);
    if theirs != ours {
        return Err(format!(
            "it is {}, which works in other latents ({} channels at 1/{} size, scale {}) than {} ({} channels at 1/{} size, \
             scale {}): give a refiner of the same latents",
            refiner.name,
            theirs.channels,
            theirs.downsample,
            theirs.scale,
            base.name,
            ours.channels,
            ours.downsample,
            ours.scale
        ));
    }
    if refiner.beside != Beside::Nothing && refiner.beside != base.beside {
        return Err(format!(
            "it is {}, which takes more than a latent, and {} does not take the same",
            refiner.name, base.name
        ));
    }
    match refiner.vector {
        VectorInput::None | VectorInput::Sizes | VectorInput::Score => Ok(()),
        VectorInput::Level | VectorInput::Picture => Err(format!(
            "it is {}, which is told more than a prompt: it cannot be a refiner",
            refiner.name
        )),
    }
}

/// One walk of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leg {
    pub sigmas: Sigmas,
    /// The refiner draws it.
    pub refined: bool,
    /// The refiner takes over on the way.
    pub hands_over: bool,
    /// Another leg goes on from where this one ends.
    pub goes_on: bool,
}

impl Leg {
    fn of(sigmas: Sigmas) -> Self {
        Self {
            sigmas,
            refined: false,
            hands_over: false,
            goes_on: false,
        }
    }
}

impl Drawing<'_> {
    /// The walks of a run over `whole`, the model's own ladder, which `refiner` finishes.
    ///
    /// # Errors
    /// As [`Drawing::ladder`]'s, of the refiner's.
    pub(crate) fn legs(
        &self,
        whole: &Sigmas,
        refiner: Option<&Model>,
        from_picture: bool,
    ) -> Result<Vec<Leg>> {
        let Some(refiner) = refiner else {
            return Ok(vec![Leg::of(whole.clone())]);
        };
        let switch = self.request.refiner_switch;
        if self.profile.handover == Handover::Within {
            return Ok(vec![Leg {
                hands_over: true,
                ..Leg::of(whole.clone())
            }]);
        }
        let by_refiner = Drawing {
            model: refiner,
            ..*self
        };
        let rest = by_refiner.ladder(from_picture)?.sigmas;
        let parted = |drawing: &Drawing<'_>, ladder: &Sigmas| match self.profile.handover {
            Handover::Time => drawing.steps_down_to(switch, ladder),
            _ => Ok((switch * ladder.steps() as f64).round() as usize),
        };
        let (first, second) = (parted(self, whole)?, parted(&by_refiner, &rest)?);
        let goes_on = second < rest.steps();
        let mut legs = Vec::new();
        if first > 0 {
            legs.push(Leg {
                goes_on,
                ..Leg::of(whole.head(first)?)
            });
        }
        if goes_on {
            legs.push(Leg {
                refined: true,
                ..Leg::of(rest.tail(second)?)
            });
        }
        Ok(legs)
    }

    /// How many steps start at or above the time step where `switch` of all is done, which diffusers rounds to a whole one.
    fn steps_down_to(&self, switch: f64, ladder: &Sigmas) -> Result<usize> {
        let path = self.path()?;
        let all = self.model.schedule.steps() as f64;
        let least = (all - switch * all).round_ties_even();
        let starts = ladder.values()[..ladder.steps()].iter();
        let times = starts.map(|s| ladder.timestep(*s).unwrap_or_else(|| path.timestep(*s)));
        Ok(times.take_while(|t| *t >= least).count())
    }
}

/// How much of the training time steps is done before a call at σ, as A1111 counts: by the level nearest to σ, or by the time
/// step that the ladder states.
pub(crate) fn done(path: &NoisePath, ladder: &Sigmas, sigma: f64) -> f64 {
    let levels = path.levels().sigmas();
    let all = levels.len() as f64;
    let distance = |level: &f64| (level - sigma).abs();
    let nearest = levels
        .iter()
        .enumerate()
        .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
    let index = nearest.map_or(0.0, |(index, _)| index as f64);
    let t = ladder.timestep(sigma).map_or(index, f64::floor);
    (all - 1.0 - t) / all
}

/// Makes the denoiser that goes on, when the one before it is gone.
pub(crate) type Next<'a> = Box<dyn FnOnce() -> Result<Guided<'a>> + 'a>;

/// A denoiser that hands over to another on its way.
pub(crate) struct Relay<'a> {
    /// The one that is at work.
    pub guided: Option<Guided<'a>>,
    /// The one that goes on.
    pub next: Option<Next<'a>>,
    /// Whether it does, before a call at this σ.
    pub due: Box<dyn Fn(f64) -> bool + 'a>,
    pub mixing: Mixing,
}

impl Denoise for Relay<'_> {
    fn denoise(&mut self, x: Tensor<4>, sigma: f64) -> Result<Tensor<4>, diffusion::Error> {
        let failed = |source: crate::Error| diffusion::Error::Network {
            sigma,
            source: Box::new(source),
        };
        if self.next.is_some() && (self.due)(sigma) {
            // Its network must be free before the next one is loaded.
            let calls = self.guided.take().map(|guided| guided.calls);
            let next = self.next.take().map(|next| next()).transpose();
            self.guided = next.map_err(failed)?.map(|next| Guided {
                calls: calls.unwrap_or(next.calls),
                ..next
            });
        }
        match &mut self.guided {
            Some(guided) => guided.denoise(x, sigma),
            None => Err(failed(crate::Error::field(
                "refiner",
                "not loaded",
                "a model that was opened with it",
            ))),
        }
    }

    fn unconditional(&self) -> Option<Tensor<4>> {
        self.guided.as_ref()?.unconditional()
    }

    fn mixing(&self) -> Mixing {
        self.mixing
    }
}

#[cfg(test)]
mod tests {
    use latent_diffusion::{BetaSchedule, NoiseSchedule};

    use super::*;

    #[test]
    fn what_is_done_is_counted_in_time_steps() {
        let beta = BetaSchedule::ScaledLinear;
        let schedule = NoiseSchedule::new(beta, 0.00085, 0.012, 1000, false).unwrap();
        let sigma = |t: f64| schedule.sigma(t);
        let path = NoisePath::Discrete(schedule.clone());
        let curve = Sigmas::new(vec![sigma(999.0), sigma(199.0), 0.0]).unwrap();
        assert_eq!(done(&path, &curve, sigma(999.0)), 0.0);
        assert_eq!(done(&path, &curve, sigma(199.0)), 0.8);
        assert_eq!(done(&path, &curve, sigma(199.4)), 0.8);
        assert_eq!(done(&path, &curve, 0.001), 0.999);
        // Of a time step that the ladder states, the whole part.
        let stated = curve.with_timesteps(vec![999.0, 198.9]).unwrap();
        assert_eq!(done(&path, &stated, sigma(199.0)), 0.801);
    }
}
