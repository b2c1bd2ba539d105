//! A second stage that is done, as the first stage learns from it.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use latent_checkpoint::{Checkpoint, Kind, Role};
use latent_conditions::{NEIGHBOURS, VOCABULARY};
use latent_models::condition::{Entry, Tokenizer};
use latent_models::{ClipTextConfig, ConditionerConfig, DenoiserConfig, cast};

use super::conditions::Conditions;
use super::export::objective;
use super::first_stage::FirstStage;
use super::{LatentModel, Stage2Config};
use crate::{Error, Example, Needs, Objective, Precision, Step};

/// The setting that names it.
const NAME: &str = "model.denoiser";

/// A model that was trained here, its networks frozen.
#[derive(Debug)]
pub(crate) struct SecondStage {
    network: LatentModel,
    objective: Objective,
    conditions: Option<Conditions>,
    first: FirstStage,
}

impl SecondStage {
    /// The model at `path`, to be computed in a type on a device that records no gradients.
    ///
    /// # Errors
    /// Files that cannot be read, that hold no such model, or that do not say what it predicts.
    pub fn open(path: &Path, precision: Precision, device: &Device) -> Result<Self, Error> {
        Self::of(path, precision, device).map_err(|error| match error {
            Error::Setting { ref name, .. } if name == NAME => error,
            error => Error::Named {
                name: NAME.to_owned(),
                source: Box::new(error),
            },
        })
    }

    fn of(path: &Path, precision: Precision, device: &Device) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(path)?;
        let refused = |expected: &str| Error::setting(NAME, path.display(), expected);
        if !checkpoint.states_prediction() {
            let expected = "a model that says what it predicts: the folder that its training wrote, not one file of it";
            return Err(refused(expected));
        }
        if checkpoint.find(Role::AUTOENCODER).is_none() {
            let expected =
                "a model with an autoencoder: this one's latents are pixels, which need no decoder";
            return Err(refused(expected));
        }
        let config = settings(&checkpoint, path)?.ok_or_else(|| {
            refused("a model whose condition is read as `latent train` reads it: this one was not trained here")
        })?;
        config.validate()?;
        let first = FirstStage::open(path, None, device)?;
        let ours = config.denoiser()?.interface().out_channels;
        let theirs = first.channels();
        if ours != theirs {
            let expected =
                format!("a denoiser of {theirs} channels, its autoencoder's; it has {ours}");
            return Err(refused(&expected));
        }
        let conditions = Conditions::open(&config, device)?;
        let conditioner = config.conditioner.as_ref().map(|c| c.init(device));
        let network = LatentModel::load(&checkpoint, conditioner.as_ref(), device.clone())?;
        Ok(Self {
            network: match precision {
                Precision::F32 => network,
                Precision::Bf16 => cast(network, DType::BF16),
            },
            objective: Objective::new(config.objective)?,
            conditions,
            first,
        })
    }

    /// Its autoencoder and scale.
    pub fn first(&self) -> &FirstStage {
        &self.first
    }

    /// What the data must have.
    pub fn needs(&self) -> Needs {
        let conditions = self.conditions.as_ref();
        conditions.map_or(Needs::Nothing, |conditions| conditions.needs(false))
    }

    /// What it takes latents for that are noised to a time of its own for each picture, between two shares of all time: x̂₀ of
    /// one step. Nothing is recorded.
    ///
    /// # Errors
    /// Examples without what its condition is made of.
    ///
    /// # Shapes
    ///
    /// latents and output `[batch, channels, height, width]`, not scaled
    pub fn guess(
        &self,
        latents: Tensor<4>,
        batch: &[Example],
        times: [f64; 2],
        step: Step,
    ) -> Result<Tensor<4>, Error> {
        self.network.fits(batch, &self.first)?;
        let latents = latents * self.first.scale();
        let level = |index| {
            let random = &mut step.random("denoiser time", index);
            self.objective.draw_between(times, random)
        };
        let levels: Vec<_> = (0..batch.len()).map(level).collect();
        let random = |index| step.random("denoiser noise", index);
        let noise = self
            .objective
            .noise(latents.dims(), random, &latents.device());
        let condition = self.conditions.as_ref().map(|conditions| {
            let left_out = vec![false; batch.len()];
            conditions.read(batch, &left_out, step, &self.first)
        });
        let given = self.network.given(condition.transpose()?);
        let network = |x, t| self.network.denoise(x, t, &given);
        let guess = self.objective.guess(latents, noise, &levels, network)?;
        Ok(guess / self.first.scale())
    }
}

/// What the model was trained with, as far as its answers depend on it; `None` where its text is read in another way.
fn settings(checkpoint: &Checkpoint, path: &Path) -> Result<Option<Stage2Config>, Error> {
    let denoiser = checkpoint.denoiser(Role::DENOISER)?;
    let context = denoiser.interface().context;
    let own = checkpoint.find(Role::CONDITIONER);
    let own = own.and_then(|part| ConditionerConfig::of(&part.config).cloned());
    let text = checkpoint.find(Role::TEXT_ENCODER);
    let text = text.and_then(|part| ClipTextConfig::of(&part.config));
    // States of a frozen encoder that go to the denoiser as they are have no network of their own.
    let frozen = || {
        let text = text.filter(|_| checkpoint.scheduler().trained_here().is_some())?;
        Some(ConditionerConfig::FrozenText {
            width: text.width,
            tokens: text.positions,
            entry: Entry::CrossAttention,
        })
    };
    let conditioner = own.or_else(|| context.and_then(|_| frozen()));
    if context.is_some() && conditioner.is_none() {
        return Ok(None);
    }
    let (unet, transformer) = match denoiser {
        DenoiserConfig::Unet(config) => (Some(config), None),
        DenoiserConfig::Transformer(config) => (None, Some(config)),
    };
    let pieces = matches!(
        conditioner,
        Some(ConditionerConfig::Text {
            tokenizer: Tokenizer::WordPiece,
            ..
        })
    );
    let states = matches!(conditioner, Some(ConditionerConfig::FrozenText { .. }));
    let near = matches!(conditioner, Some(ConditionerConfig::Neighbours { .. }));
    Ok(Some(Stage2Config {
        first_stage: Some(path.to_owned()),
        scale: None,
        unet,
        transformer,
        conditioner,
        objective: objective(checkpoint.scheduler())?,
        align: None,
        contrast: None,
        perceptual: None,
        vocabulary: pieces.then(|| path.join(VOCABULARY)),
        text_encoder: states.then(|| path.to_owned()),
        neighbours: near.then(|| path.join(NEIGHBOURS)),
        cache: None,
        samples: Default::default(),
    }))
}
