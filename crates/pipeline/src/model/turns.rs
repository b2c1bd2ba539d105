//! Which networks of a model are in memory. A job goes through stages, and each needs some of them: a model that draws one
//! picture gives up the networks of one stage before it reads those of the next, so that the largest and not the sum bounds
//! memory.

use std::sync::Arc;

use latent_models::Denoiser;

use super::{Compressor, Held, IpModel, Model, Part, TextEncoder};
use crate::error::Result;
use crate::hooks::{self, Hooks};

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
    pub fn denoiser(&self) -> Result<Arc<Denoiser>> {
        self.make_room(Stage::Denoising);
        Ok(self.denoiser.get()?)
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
        let needed = match stage {
            // The refiner's is not read by this.
            Stage::Compressing => {
                let own = self.autoencoder.iter();
                own.map(|part| part as &dyn Held).collect()
            }
            _ => self.networks(stage),
        };
        if needed.iter().any(|part| !part.is_held()) {
            hooks::stage(hooks, stage.loading(), 0, 0)?;
        }
        self.make_room(stage);
        for part in needed {
            part.read(&mut |_, _| {})?;
        }
        Ok(())
    }

    /// Gives up the networks of a stage; they are read again when they are needed. Those that came from no file stay.
    pub fn release(&self, stage: Stage) {
        self.networks(stage).iter().for_each(|part| part.release());
    }

    /// Bytes of the weights that `stage` needs.
    pub fn bytes(&self, stage: Stage) -> u64 {
        self.networks(stage).iter().map(|part| part.bytes()).sum()
    }

    /// Bytes of those that are in memory.
    pub fn held(&self, stage: Stage) -> u64 {
        let networks = self.networks(stage);
        let held = networks.iter().filter(|part| part.is_held());
        held.map(|part| part.bytes()).sum()
    }

    /// The networks of a stage, the refiner's among them.
    pub(super) fn networks(&self, stage: Stage) -> Vec<&dyn Held> {
        match stage {
            Stage::Conditioning => {
                let mut networks: Vec<&dyn Held> = Vec::new();
                networks.extend(self.all_texts().map(|text| &text.network as &dyn Held));
                let encoder = self.image_encoder.iter();
                networks.extend(encoder.map(|encoder| encoder.network() as &dyn Held));
                networks.extend(self.ip_adapters.iter().flat_map(IpModel::parts));
                networks.extend(self.control_parts(stage));
                let condition = self.condition.iter();
                networks.extend(condition.map(|reader| reader.network() as &dyn Held));
                networks
            }
            Stage::Denoising => {
                let mut networks: Vec<&dyn Held> = vec![&self.denoiser];
                networks.extend(self.control_parts(stage));
                networks
            }
            Stage::Refining => {
                let refiner = self.refiner.iter();
                refiner.map(|r| &r.denoiser as &dyn Held).collect()
            }
            Stage::Compressing => {
                let parts = self.all_autoencoders();
                parts.map(|part| part as &dyn Held).collect()
            }
        }
    }

    /// The networks of a stage that hold drawings to pictures.
    fn control_parts(&self, stage: Stage) -> impl Iterator<Item = &dyn Held> {
        let controls = self.controls.iter().map(|control| control.network.parts());
        let needed = controls.filter(move |(needed, _)| *needed == stage);
        needed.flat_map(|(_, parts)| parts)
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
