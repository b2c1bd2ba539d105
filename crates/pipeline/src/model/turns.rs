//! Which networks of a model are in memory. A job goes through stages, and each needs some of them: a model that draws one
//! picture gives up the networks of one stage before it reads those of the next, so that the largest and not the sum bounds
//! memory.

use std::sync::Arc;

use latent_models::UNet;

use super::{Compressor, Model};
use crate::error::Result;
use crate::hooks::Hooks;

/// What networks are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Prompts and conditions.
    Conditioning,
    /// Sampling.
    Denoising,
    /// Latents of pictures, and pictures of latents.
    Compressing,
}

impl Stage {
    /// Every one, in the order of a job.
    pub const ALL: [Self; 3] = [Self::Conditioning, Self::Denoising, Self::Compressing];

    /// What is said while its networks are read.
    fn loading(self) -> &'static str {
        match self {
            Self::Conditioning => "loading the text encoder",
            Self::Denoising => "loading the denoiser",
            Self::Compressing => "loading the autoencoder",
        }
    }
}

impl Model {
    /// The denoiser, read if it is not in memory.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn denoiser(&self) -> Result<Arc<UNet>> {
        self.make_room(Stage::Denoising);
        Ok(self.unet.get()?)
    }

    /// Pictures ↔ latents, read if it is not in memory; `None` where the denoiser draws pixels.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn compressor(&self) -> Result<Option<Arc<Compressor>>> {
        self.make_room(Stage::Compressing);
        let part = self.autoencoder.as_ref();
        Ok(part.map(|part| part.get()).transpose()?)
    }

    /// Reads what `stage` needs, and says so where that takes a while.
    pub(crate) fn load(&self, stage: Stage, hooks: &mut dyn Hooks) -> Result<()> {
        if self.held(stage) < self.bytes(stage) {
            hooks.stage(stage.loading(), 0, 0);
        }
        match stage {
            Stage::Conditioning => {
                for text in &self.texts {
                    text.network.get()?;
                }
                if let Some(encoder) = &self.image_encoder {
                    encoder.network().get()?;
                }
                if let Some(reader) = &self.condition {
                    reader.network().get()?;
                }
            }
            Stage::Denoising => {
                self.denoiser()?;
            }
            Stage::Compressing => {
                self.compressor()?;
            }
        }
        Ok(())
    }

    /// Gives up the networks of a stage; they are read again when they are needed. Those that came from no file stay.
    pub fn release(&self, stage: Stage) {
        match stage {
            Stage::Conditioning => {
                self.texts.iter().for_each(|text| text.network.release());
                let encoder = self.image_encoder.iter();
                encoder.for_each(|encoder| encoder.network().release());
                self.condition.iter().for_each(|c| c.network().release());
            }
            Stage::Denoising => self.unet.release(),
            Stage::Compressing => self.autoencoder.iter().for_each(super::Part::release),
        }
    }

    /// Bytes of the weights that `stage` needs.
    pub fn bytes(&self, stage: Stage) -> u64 {
        self.weights(stage).map(|(bytes, _)| bytes).sum()
    }

    /// Bytes of those that are in memory.
    pub fn held(&self, stage: Stage) -> u64 {
        let held = self.weights(stage).filter(|(_, held)| *held);
        held.map(|(bytes, _)| bytes).sum()
    }

    /// Bytes of each network of a stage, and whether they are in memory.
    fn weights(&self, stage: Stage) -> impl Iterator<Item = (u64, bool)> {
        let mut weights = Vec::new();
        match stage {
            Stage::Conditioning => {
                let texts = self.texts.iter().map(|text| &text.network);
                weights.extend(texts.map(|part| (part.bytes(), part.is_held())));
                let encoder = self.image_encoder.iter().map(|e| e.network());
                weights.extend(encoder.map(|part| (part.bytes(), part.is_held())));
                let condition = self.condition.iter().map(|reader| reader.network());
                weights.extend(condition.map(|part| (part.bytes(), part.is_held())));
            }
            Stage::Denoising => weights.push((self.unet.bytes(), self.unet.is_held())),
            Stage::Compressing => {
                let part = self.autoencoder.iter();
                weights.extend(part.map(|part| (part.bytes(), part.is_held())));
            }
        }
        weights.into_iter()
    }

    /// Gives up the networks of other stages where only one stage's may be in memory.
    fn make_room(&self, stage: Stage) {
        if self.in_turn {
            let others = Stage::ALL.into_iter().filter(|other| *other != stage);
            others.for_each(|other| self.release(other));
        }
    }
}
