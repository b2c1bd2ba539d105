//! A denoiser whose weights are loaded when they are needed: the text encoders are freed before, so that the largest network
//! and not the sum of all bounds memory.

use latent_checkpoint::{Checkpoint, LoadOptions, Role};
use latent_models::{Form, UNetConfig, parameter_count};

use super::Model;
use crate::error::Result;

/// What loads it.
#[derive(Debug)]
pub(super) struct Pending {
    pub checkpoint: Checkpoint,
    pub options: LoadOptions,
    /// How it is packed then.
    pub form: Option<Form>,
}

impl Model {
    /// Bytes of weights that are still to be loaded.
    pub(crate) fn pending_bytes(&self) -> u64 {
        let size = self.denoiser_dtype().size() as u64;
        self.pending
            .as_ref()
            .map_or(0, |_| parameter_count(&self.unet) as u64 * size)
    }

    /// The type that the denoiser computes in.
    pub(crate) fn denoiser_dtype(&self) -> burn::tensor::DType {
        match &self.pending {
            Some(pending) => pending.options.dtype,
            None => self.unet.dtype(),
        }
    }

    /// Loads the denoiser where its weights are still on disk.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub(crate) fn load_denoiser(&mut self) -> Result<()> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let (unet, _) = pending.checkpoint.load::<UNetConfig>(
            Role::DENOISER,
            &pending.options,
            &mut |_, _| {},
        )?;
        self.unet = match pending.form {
            Some(form) => unet.packed(form, self.nominal_latent()),
            None => unet,
        };
        Ok(())
    }
}
