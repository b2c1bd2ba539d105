//! A second stage, as data.

use std::path::{Path, PathBuf};

use latent_models::condition::Tokenizer;
use latent_models::{ConditionerConfig, DenoiserConfig, Interface, TransformerConfig, UNetConfig};
use serde::{Deserialize, Serialize};

use super::align::AlignConfig;
use super::contrast::ContrastConfig;
use super::perceptual::PerceptualConfig;
use crate::{Error, Objective, ObjectiveConfig};

/// A denoiser with its condition, learnt in the latents of a first stage that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage2Config {
    /// The model whose autoencoder makes the latents. Left out, pixels are the latents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_stage: Option<PathBuf>,
    /// The factor that brings its latents to unit variance, where it does not state one itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The denoiser, where it is a U-Net.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unet: Option<UNetConfig>,
    /// The denoiser, where it is a transformer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transformer: Option<TransformerConfig>,
    /// What it is told about the picture, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditioner: Option<ConditionerConfig>,
    /// What the denoiser is asked for.
    #[serde(default)]
    pub objective: ObjectiveConfig,
    /// The features that its states are drawn to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub align: Option<AlignConfig>,
    /// How answers are kept from those of other rows, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contrast: Option<ContrastConfig>,
    /// How its clean latents look to the first stage's decoder, if that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<PerceptualConfig>,
    /// The vocabulary of a `word_piece` tokenizer, one token a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<PathBuf>,
    /// The model whose text encoder reads captions, for a `frozen_text` condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<PathBuf>,
    /// The vectors of all pictures, for a `neighbours` condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<PathBuf>,
    /// Where encoded pictures, texts and features are kept. Left out, they are made again each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<PathBuf>,
    /// The samples of a sheet.
    #[serde(default)]
    pub samples: SamplesConfig,
}

/// `[model.samples]`: how the pictures of a sheet are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplesConfig {
    /// How many.
    pub count: usize,
    /// Steps of the sampler, Euler's (which is DDIM).
    pub steps: usize,
    /// s of `e_u + s·(e_c − e_u)`; 1 for none.
    pub guidance: f64,
    /// How far the steps of a flow are moved towards noise, where it is decided what is drawn: `s·t/(1 + (s − 1)·t)`; above 0, 1 for evenly.
    pub shift: f64,
}

impl Default for SamplesConfig {
    fn default() -> Self {
        Self {
            count: 8,
            steps: 25,
            guidance: 1.0,
            shift: 1.0,
        }
    }
}

impl Stage2Config {
    /// What the denoiser is made of.
    ///
    /// # Errors
    /// None, or two.
    pub fn denoiser(&self) -> Result<DenoiserConfig, Error> {
        match (&self.unet, &self.transformer) {
            (Some(unet), None) => Ok(unet.clone().into()),
            (None, Some(transformer)) => Ok(transformer.clone().into()),
            (unet, _) => {
                let found = unet.as_ref().map_or("neither", |_| "both");
                let expected = "one of them, the denoiser";
                Err(Error::setting(
                    "model.unet, model.transformer",
                    found,
                    expected,
                ))
            }
        }
    }

    /// # Errors
    /// A network that cannot be built, networks that do not fit each other, settings out of range.
    pub fn validate(&self) -> Result<(), Error> {
        let denoiser = self.denoiser()?;
        denoiser.validate()?;
        let dropout = self.objective.dropout;
        match &self.conditioner {
            Some(conditioner) => conditioner.validate(&denoiser)?,
            None => {
                let Interface {
                    in_channels,
                    out_channels,
                    context,
                    labels,
                    guidance,
                } = denoiser.interface();
                let reads = context.or(labels.width()).or(guidance);
                if in_channels != out_channels || reads.is_some() {
                    let read = |name: &str, width: Option<usize>| {
                        width.map_or(String::new(), |width| format!(", {name} = {width}"))
                    };
                    let value = format!(
                        "{in_channels} → {out_channels} channels{}{}{}",
                        read("context", context),
                        read("labels", labels.width()),
                        read("guidance", guidance)
                    );
                    let expected = "as many channels in as out and no context, labels or guidance where there is no model.conditioner";
                    let field = format!("model.{}", denoiser.name());
                    return Err(Error::setting(&field, value, expected));
                }
            }
        }
        let keeps = matches!(
            self.conditioner,
            None | Some(ConditionerConfig::Inpainting { .. })
        );
        if keeps && dropout > 0.0 {
            let expected = "0 where there is no condition that could be left out";
            return Err(Error::setting("model.objective.dropout", dropout, expected));
        }
        if let Some(align) = &self.align {
            align.validate(denoiser.blocks().len())?;
        }
        if let Some(contrast) = &self.contrast {
            contrast.validate(&self.objective, self.conditioner.is_some())?;
        }
        if let Some(perceptual) = &self.perceptual {
            perceptual.validate()?;
        }
        let samples = self.samples;
        let shifts = samples.shift > 0.0 && samples.shift.is_finite();
        if samples.steps == 0 || !samples.guidance.is_finite() || !shifts {
            let value = format!(
                "{} steps, guidance {}, shift {}",
                samples.steps, samples.guidance, samples.shift
            );
            return Err(Error::setting(
                "model.samples",
                value,
                "1 step or more, a finite guidance and a shift above 0",
            ));
        }
        let needed = |name: &str, file: &Option<PathBuf>, needed: bool| match (needed, file) {
            (true, None) => Err(Error::setting(
                name,
                "nothing",
                "a file, for this conditioner",
            )),
            (false, Some(path)) => {
                let expected = "nothing: this conditioner does not read it";
                Err(Error::setting(name, path.display(), expected))
            }
            _ => Ok(()),
        };
        let pieces = |c: &ConditionerConfig| {
            matches!(
                c,
                ConditionerConfig::Text {
                    tokenizer: Tokenizer::WordPiece,
                    ..
                }
            )
        };
        let is =
            |kind: &dyn Fn(&ConditionerConfig) -> bool| self.conditioner.as_ref().is_some_and(kind);
        needed("model.vocabulary", &self.vocabulary, is(&pieces))?;
        let frozen = |c: &ConditionerConfig| matches!(c, ConditionerConfig::FrozenText { .. });
        needed("model.text_encoder", &self.text_encoder, is(&frozen))?;
        let near = |c: &ConditionerConfig| matches!(c, ConditionerConfig::Neighbours { .. });
        needed("model.neighbours", &self.neighbours, is(&near))?;
        Objective::new(self.objective).map(drop)
    }

    /// Puts `folder` before relative paths.
    pub fn relative_to(&mut self, folder: &Path) {
        let paths = [
            &mut self.first_stage,
            &mut self.vocabulary,
            &mut self.text_encoder,
            &mut self.neighbours,
            &mut self.cache,
        ];
        let features = self.align.as_mut().map(|align| &mut align.features);
        for path in paths.into_iter().flatten().chain(features) {
            *path = folder.join(&*path);
        }
    }
}
