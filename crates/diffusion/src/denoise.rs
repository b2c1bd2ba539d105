//! The seams: a denoiser, a σ ladder, a step.

use burn::tensor::Tensor;

use crate::Mixing;

/// What can go wrong while sampling.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network behind [`Denoise`] failed.
    #[error("the denoiser failed at σ = {sigma}: {source}")]
    Network {
        /// The noise level it was called with.
        sigma: f64,
        /// Its own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A CFG++ sampler was given a denoiser without an unconditional prediction.
    #[error(
        "`{sampler}` needs classifier-free guidance: raise --cfg-scale above 1 or choose the sampler without CFG++"
    )]
    NoUnconditional {
        /// The sampler's name.
        sampler: &'static str,
    },
    /// A ladder that cannot be walked.
    #[error("the σ ladder is not usable: {reason}")]
    Ladder {
        /// Which rule it breaks.
        reason: String,
    },
    /// A setting outside its range.
    #[error("`{name}` is {value}, which is out of range: expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
}

/// A network wrapped into `D(x, σ) = x̂₀`, guidance included. Its latents have `D` axes: 4 for pictures, 5 for video,
/// 3 for sound; nothing here reads more than the first, the batch.
pub trait Denoise<const D: usize = 4> {
    /// The predicted clean latent.
    ///
    /// # Shapes
    /// `x` and the result: `[batch, channels, height, width]` or another rank, f32. `sigma` is one number for the whole batch, ≥ 0.
    fn denoise(&mut self, x: Tensor<D>, sigma: f64) -> Result<Tensor<D>, Error>;

    /// The unconditional x̂₀ of the latest call, before guidance; `None` where guidance did not run. CFG++ uses it.
    fn unconditional(&self) -> Option<Tensor<D>> {
        None
    }

    /// How x is made of a clean latent and noise.
    fn mixing(&self) -> Mixing {
        Mixing::Added
    }
}

/// A σ ladder: finite, descending, ending in 0 or (diffusers' `set_alpha_to_one = false`) at the σ of t = 0. `n` steps
/// have `n + 1` values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sigmas {
    values: Vec<f64>,
    timesteps: Option<Vec<f64>>,
    landings: Option<Vec<f64>>,
}

impl Sigmas {
    /// A ladder whose time steps are found by interpolation.
    pub fn new(values: Vec<f64>) -> Result<Self, Error> {
        let reason = if values.len() < 2 {
            Some("it needs at least two values".to_owned())
        } else if let Some(bad) = values.iter().find(|v| !v.is_finite() || **v < 0.0) {
            Some(format!("{bad} is not a finite number ≥ 0"))
        } else {
            values
                .windows(2)
                .find(|w| w[0] <= w[1])
                .map(|w| format!("{} is followed by {}: it must descend", w[0], w[1]))
        };
        match reason {
            Some(reason) => Err(Error::Ladder { reason }),
            None => Ok(Self {
                values,
                timesteps: None,
                landings: None,
            }),
        }
    }

    /// The same ladder with the training time step that belongs to each σ but the last (`n` of them).
    pub fn with_timesteps(mut self, timesteps: Vec<f64>) -> Result<Self, Error> {
        if timesteps.len() + 1 != self.values.len() {
            return Err(Error::Ladder {
                reason: format!("{} time steps for {} steps", timesteps.len(), self.steps()),
            });
        }
        self.timesteps = Some(timesteps);
        Ok(self)
    }

    /// The same ladder of which step i arrives at level `landings[i]`, and the next one takes the (variance-preserving)
    /// latent for one of its own level: diffusers' schedulers of whole time steps go to t − ⌊N/n⌋, which is not always the
    /// next of their list.
    ///
    /// # Errors
    /// Not one level for each step.
    pub fn with_landings(mut self, landings: Vec<f64>) -> Result<Self, Error> {
        if landings.len() != self.steps() {
            return Err(Error::Ladder {
                reason: format!("{} landings for {} steps", landings.len(), self.steps()),
            });
        }
        self.landings = (landings != self.values[1..]).then_some(landings);
        Ok(self)
    }

    /// The level that step `i` arrives at.
    pub fn landing(&self, i: usize) -> f64 {
        match &self.landings {
            Some(landings) => landings[i],
            None => self.values[i + 1],
        }
    }

    /// Every σ, the last included.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The number of steps.
    pub fn steps(&self) -> usize {
        self.values.len() - 1
    }

    /// The time step fixed for exactly this σ, where the ladder carries them.
    pub fn timestep(&self, sigma: f64) -> Option<f64> {
        let timesteps = self.timesteps.as_ref()?;
        let at = self.values.iter().position(|v| *v == sigma)?;
        timesteps.get(at).copied()
    }

    /// The first `end` steps of the ladder, which ends at the level that the next one would start from.
    ///
    /// # Errors
    /// No step at all.
    pub fn head(&self, end: usize) -> Result<Self, Error> {
        let end = end.min(self.steps());
        let first = |steps: &Vec<f64>| steps[..end].to_vec();
        Ok(Self {
            timesteps: self.timesteps.as_ref().map(first),
            landings: self.landings.as_ref().map(first),
            ..Self::new(self.values[..=end].to_vec())?
        })
    }

    /// The ladder from step `start` on, as img2img walks it.
    pub fn tail(&self, start: usize) -> Result<Self, Error> {
        let values = self.values.get(start..).unwrap_or_default().to_vec();
        let timesteps = self
            .timesteps
            .as_ref()
            .map(|t| t.get(start..).unwrap_or_default().to_vec());
        let mut ladder = Self::new(values)?;
        ladder.landings = self
            .landings
            .as_ref()
            .map(|l| l.get(start..).unwrap_or_default().to_vec());
        match timesteps {
            Some(t) => ladder.with_timesteps(t),
            None => Ok(ladder),
        }
    }
}

/// What a sampler shows after each step.
pub struct Step<'a, const D: usize = 4> {
    /// 0-based.
    pub index: usize,
    /// How many steps the ladder has.
    pub total: usize,
    /// The σ this step started from.
    pub sigma: f64,
    /// The σ it arrived at.
    pub sigma_next: f64,
    /// The latent it arrived at, `[batch, channels, height, width]`.
    pub x: &'a Tensor<D>,
    /// The latest x̂₀, of the same shape: what a preview shows.
    pub denoised: &'a Tensor<D>,
}

/// Where a sampler's noise comes from. `NoiseStreams` is the real one; tests inject their own.
pub trait Noise<const D: usize = 4> {
    /// The noise of unit variance between two levels, of the shape of `like`. An ancestral sampler calls it once a step
    /// and the levels do not matter; a Brownian source answers the same for the same interval however it was split.
    fn between(&mut self, like: &Tensor<D>, sigma: f64, sigma_next: f64) -> Tensor<D>;
}
