//! What happens while a job runs, and what comes of it.

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use latent_diffusion::Step;

use crate::error::{Error, Result};
use crate::picture::Picture;
use crate::request::Request;

/// One finished picture.
#[derive(Debug)]
pub struct Output {
    /// Its number in the job, from 0.
    pub index: usize,
    /// The pixels.
    pub picture: Picture,
    /// The clean latent it was decoded from, `[1, channels, height / 8, width / 8]`, in the denoiser's scale.
    pub latent: Tensor<4>,
    /// The request that draws this picture alone: everything resolved, its own seed, one picture.
    pub request: Request,
    /// A1111's `parameters` text.
    pub infotext: String,
    /// Where sampling was stopped early, such as `step 12 of 300`: this is the best guess so far.
    pub stopped: Option<String>,
}

/// What happens while a job runs. Every method has a default that does nothing.
pub trait Hooks {
    /// A stretch of work begins: `loading the denoiser`, `encoding the prompt`, `sampling`, `second pass`, `decoding` and the
    /// like, with its steps (0 where they are not counted) and the first picture of the batch.
    fn stage(&mut self, name: &'static str, steps: usize, picture: usize) {
        let _ = (name, steps, picture);
    }

    /// Sampling is about to begin. What the last picture of the job will carry if all goes well: its request, and A1111's text.
    ///
    /// # Errors
    /// Whatever keeps the pictures from being saved; it ends the job.
    fn begin(&mut self, request: &Request, infotext: &str) -> Result<()> {
        let _ = (request, infotext);
        Ok(())
    }

    /// A sampling step is done. `Break` stops the job: what there is is decoded and returned.
    fn step(&mut self, step: &Step<'_>) -> ControlFlow<()> {
        let _ = step;
        ControlFlow::Continue(())
    }

    /// Whether the job is to be dropped. Asked after each pass, before each stretch of work and within long ones: nothing is
    /// decoded any more, and the run ends with [`Error::Dropped`].
    fn dropped(&mut self) -> bool {
        false
    }

    /// A picture is finished.
    fn picture(&mut self, output: &Output) {
        let _ = output;
    }

    /// Something the person should know that is not an error.
    fn note(&mut self, text: String) {
        let _ = text;
    }
}

/// A stretch of work begins, unless the job is [dropped](Hooks::dropped).
pub(crate) fn stage(
    hooks: &mut dyn Hooks,
    name: &'static str,
    steps: usize,
    picture: usize,
) -> Result<()> {
    go_on(hooks)?;
    hooks.stage(name, steps, picture);
    Ok(())
}

/// An error where the job is [dropped](Hooks::dropped).
pub(crate) fn go_on(hooks: &mut dyn Hooks) -> Result<()> {
    match hooks.dropped() {
        true => Err(Error::Dropped),
        false => Ok(()),
    }
}

/// Hooks that do nothing.
#[derive(Debug, Default)]
pub struct Quiet;

impl Hooks for Quiet {}
