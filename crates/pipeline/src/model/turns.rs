//! Which networks of a model are in memory. A job goes through stages, and each needs some of them: a model that draws one
//! picture gives up the networks of one stage before it reads those of the next, so that the largest and not the sum bounds
//! memory.

use std::sync::Arc;

use latent_models::UNet;

use super::{Compressor, Model, Part, TextEncoder};
use crate::error::Result;
use crate::hooks::Hooks;

/// What networks are read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Prompts and conditions.
    Conditioning,
    /// Sampling.
    Denoising,
    /// Sampling by the refiner, which finishes what the denoiser began.
    Refining,
    /// Latents of pictures, and pictures of latents.
    Compressing,
}

impl Stage {
    /// Every one, in the order of a job.
    pub const ALL: [Self; 4] = [
        Self::Conditioning,
        Self::Denoising,
        Self::Refining,
        Self::Compressing,
    ];

    /// What is said while its networks are read.
    fn loading(self) -> &'static str {
        match self {
            Self::Conditioning => "loading the text encoder",
            Self::Denoising => "loading the denoiser",
            Self::Refining => "loading the refiner",
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
        let waits = match stage {
            // The refiner's is not read by this.
            Stage::Compressing => self.autoencoder.iter().any(|part| !part.is_held()),
            _ => self.held(stage) < self.bytes(stage),
        };
        if waits {
            hooks.stage(stage.loading(), 0, 0);
        }
        match stage {
            Stage::Conditioning => {
                for text in self.all_texts() {
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
            Stage::Refining => {
                self.make_room(stage);
                if let Some(refiner) = &self.refiner {
                    refiner.unet.get()?;
                }
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
                self.all_texts().for_each(|text| text.network.release());
                let encoder = self.image_encoder.iter();
                encoder.for_each(|encoder| encoder.network().release());
                self.condition.iter().for_each(|c| c.network().release());
            }
            Stage::Denoising => self.unet.release(),
            Stage::Refining => self.refiner.iter().for_each(|r| r.unet.release()),
            Stage::Compressing => self.all_autoencoders().for_each(Part::release),
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
                let texts = self.all_texts().map(|text| &text.network);
                weights.extend(texts.map(|part| (part.bytes(), part.is_held())));
                let encoder = self.image_encoder.iter().map(|e| e.network());
                weights.extend(encoder.map(|part| (part.bytes(), part.is_held())));
                let condition = self.condition.iter().map(|reader| reader.network());
                weights.extend(condition.map(|part| (part.bytes(), part.is_held())));
            }
            Stage::Denoising => weights.push((self.unet.bytes(), self.unet.is_held())),
            Stage::Refining => {
                let part = self.refiner.iter().map(|refiner| &refiner.unet);
                weights.extend(part.map(|part| (part.bytes(), part.is_held())));
            }
            Stage::Compressing => {
                let parts = self.all_autoencoders();
                weights.extend(parts.map(|part| (part.bytes(), part.is_held())));
            }
        }
        weights.into_iter()
    }

    /// The text encoders, the refiner's among them.
    fn all_texts(&self) -> impl Iterator<Item = &TextEncoder> {
        let refiner = self.refiner.iter();
        let further = refiner.flat_map(|refiner| &refiner.texts);
        self.texts.iter().chain(further)
    }

    /// The autoencoder, and the refiner's where that decodes.
    pub(crate) fn all_autoencoders(&self) -> impl Iterator<Item = &Part<Compressor>> {
        let refiner = self.refiner.iter();
        let further = refiner.filter_map(|refiner| refiner.autoencoder.as_ref());
        self.autoencoder.iter().chain(further)
    }

    /// Gives up the networks of other stages where only one stage's may be in memory.
    pub(crate) fn make_room(&self, stage: Stage) {
        if self.in_turn {
            let others = Stage::ALL.into_iter().filter(|other| *other != stage);
            others.for_each(|other| self.release(other));
        }
    }
}
