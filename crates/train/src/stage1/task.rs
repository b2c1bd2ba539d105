//! The first stage as a task.

mod measure;

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use image::RgbImage;
use latent_checkpoint::convert::{Model, write_folder};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::{
    Checkpoint, Kind, LoadOptions, Role, SchedulerConfig, StoredAutoencoder, load_perceptual,
};
use latent_models::{Autoencoder, Discriminator, Perceptual, parameter_count};

use super::altered;
use super::codebook::{CodeUse, Revival};
use super::config::{Freeze, Stage1Config};
use super::latents::LatentStatistics;
use super::loss::Loss;
use super::same::{same_kind, same_latents};
use crate::pictures::batch_of;
use crate::sheet::grid;
use crate::stage2::SecondStage;
use crate::{
    Error, Example, Fill, Learner, LearnerSettings, Needs, Report, StateReader, StateWriter, Step,
    Task, TaskContext, Update, export, initialise, torch_default,
};

/// The task of [`Stage1Config`].
#[derive(Debug)]
pub struct Stage1 {
    config: Stage1Config,
    device: Device,
    autoencoder: Learner<Autoencoder>,
    discriminator: Learner<Discriminator>,
    perceptual: Option<Perceptual>,
    /// Of this step, and since the last revival.
    codes: Option<[CodeUse; 2]>,
    latents: LatentStatistics,
    /// Of this step's last batch, before rounding.
    latent: Option<Tensor<4>>,
    /// The factor on latents that a frozen encoder's model states.
    scale: Option<f64>,
    /// Whose guesses are decoded.
    denoiser: Option<SecondStage>,
    /// What sheets show, `[1, 3, height, width]` each.
    shown: Vec<Tensor<4>>,
}

impl Stage1 {
    /// With first weights, as the published code begins: torch's for the autoencoder, ±1/entries for the
    /// codebook, deviation 0.02 for the discriminator, which is trained without an average: it has no use of one.
    ///
    /// # Errors
    /// As [`Stage1Config::validate`]; a perceptual network that cannot be read.
    pub fn new(config: &Stage1Config, context: &TaskContext) -> Result<Self, Error> {
        config.validate()?;
        let TaskContext {
            device,
            learner,
            seed,
            ..
        } = context;
        let perceptual = config.perceptual.as_deref();
        let perceptual = perceptual
            .map(|path| load_perceptual(path, device))
            .transpose()
            .map_err(Error::named("model.perceptual"))?;
        let net = config.autoencoder.init(device);
        let usual = torch_default(&net, &[]);
        let entries = config.autoencoder.codebook;
        let rule = |name: &str, shape: &[usize]| match entries {
            Some(entries) if name == "quantize.embedding.weight" => {
                Fill::Uniform(1.0 / entries as f64)
            }
            _ => usual(name, shape),
        };
        let discriminator = config.discriminator.init(device);
        let discriminator_settings = LearnerSettings {
            ema: None,
            ..*learner
        };
        let autoencoder = initialise(net, *seed, &rule)?;
        let plain = device.clone().inner();
        let denoiser = match &config.denoiser {
            Some(path) => {
                let denoiser = SecondStage::open(path, learner.precision, &plain)?;
                same_kind(&autoencoder, denoiser.first(), path)?;
                Some(denoiser)
            }
            None => None,
        };
        Ok(Self {
            autoencoder: Learner::new(learning(autoencoder, config), *learner),
            discriminator: Learner::new(
                first_discriminator(discriminator, *seed)?,
                discriminator_settings,
            ),
            perceptual,
            codes: entries.map(|entries| [CodeUse::new(entries), CodeUse::new(entries)]),
            latents: LatentStatistics::default(),
            latent: None,
            scale: None,
            denoiser,
            shown: Vec::new(),
            device: plain,
            config: config.clone(),
        })
    }

    /// The autoencoder as it stands.
    pub fn autoencoder(&self) -> &Autoencoder {
        self.autoencoder.module()
    }

    /// Whether the denoiser knows what the encoder makes now.
    fn check_denoiser(&self) -> Result<(), Error> {
        match (&self.denoiser, &self.config.denoiser) {
            (Some(denoiser), Some(path)) => {
                let own = self.autoencoder.module();
                same_latents(own, self.scale, denoiser.first(), path)
            }
            _ => Ok(()),
        }
    }

    /// The factor that brings latents to unit variance: what is stated of a frozen encoder's, else what was measured.
    fn scale(&self) -> Option<f64> {
        let known = self
            .denoiser
            .as_ref()
            .map(|denoiser| denoiser.first().scale());
        known.or(self.scale).or(self.latents.scale_factor())
    }

    /// What the latents of the last batches were like.
    pub fn latents(&self) -> &LatentStatistics {
        &self.latents
    }

    /// The pictures of a batch, which may be shrunk by that factor before the networks see them.
    fn pictures(&self, batch: &[Example], factor: f64) -> Result<Tensor<4>, Error> {
        let multiple = self.config.multiple();
        let pictures = batch_of(batch, multiple, &self.device)?;
        let [_, _, height, width] = pictures.dims();
        let judged = if self.config.loss.discriminator_weight > 0.0 {
            self.config.discriminator.smallest()
        } else {
            1
        };
        let seen = self.perceptual.as_ref().map_or(1, Perceptual::smallest);
        let least = judged.max(seen);
        let sides = altered::shrunk([height, width].map(|side| side / multiple), factor);
        let [low, narrow] = sides.map(|side| side * multiple);
        match batch.first() {
            Some(example) if low.min(narrow) < least => {
                let becomes = match factor < 1.0 {
                    true => format!(", which model.equivariance makes {narrow}×{low}"),
                    false => String::new(),
                };
                Err(Error::Example {
                    id: example.id.clone(),
                    problem: format!(
                        "{width}×{height} pixels{becomes}: the discriminator and the perceptual network need {least}; set \
                         `data.size`"
                    ),
                })
            }
            _ => Ok(pictures),
        }
    }
}

/// The autoencoder, of which only that records gradients which learns.
fn learning(autoencoder: Autoencoder, config: &Stage1Config) -> Autoencoder {
    match config.freeze {
        Some(Freeze::Encoder) => autoencoder.with_frozen_encoder(),
        None => autoencoder,
    }
}

/// `weights_init` of the published code: 0 ± 0.02 for kernels, 1 for the scale of normalisations, torch's own
/// for the two biases of convolutions.
fn first_discriminator(discriminator: Discriminator, seed: u64) -> Result<Discriminator, Error> {
    let usual = torch_default(&discriminator, &[]);
    let rule = |name: &str, shape: &[usize]| match (name.rsplit('.').next(), shape.len()) {
        (Some("weight"), 4) => Fill::Normal(0.02),
        (Some("weight"), _) => Fill::NormalAround(1.0, 0.02),
        (Some("running_mean"), _) => Fill::Constant(0.0),
        (Some("running_var"), _) => Fill::Constant(1.0),
        _ => usual(name, shape),
    };
    Ok(initialise(discriminator, seed, &rule)?)
}

impl Task for Stage1 {
    fn accumulate(&mut self, batch: &[Example], step: Step) -> Result<Report, Error> {
        let least = match self.config.equivariance > 0.0 {
            true => altered::LEAST,
            false => 1.0,
        };
        let mut picture = self.pictures(batch, least)?;
        let missing = self.config.shown.saturating_sub(self.shown.len());
        self.shown
            .extend(picture.clone().split(1, 0).into_iter().take(missing));
        let net = self.autoencoder.network();
        let discriminator = self
            .config
            .loss
            .adversarial(step.number)
            .then(|| self.discriminator.network());
        let loss = Loss {
            autoencoder: &net,
            discriminator: discriminator.as_ref(),
            perceptual: self.perceptual.as_ref(),
            config: &self.config.loss,
        };
        let noise = |shape| step.noise("posterior", shape, &self.device);
        let mut encoded = loss.encode(picture.clone(), noise);
        if self.config.freeze.is_some() {
            encoded.penalty = None;
        }
        if let Some(denoiser) = &self.denoiser {
            let latents = encoded.latent.clone().inner();
            let times = self.config.denoiser_times();
            encoded.z = net.quantize(denoiser.guess(latents, batch, times, step)?);
        }
        if let Some(factor) = altered::factor(self.config.equivariance, step) {
            let [_, _, height, width] = encoded.z.dims();
            let sides = altered::shrunk([height, width], factor);
            let multiple = self.config.multiple();
            [encoded.z, picture] = altered::shrink([encoded.z, picture], sides, multiple);
        }
        let most = self.config.latent_noise;
        if most > 0.0 {
            encoded.z = altered::noised(encoded.z, most, &self.latents, step);
        }
        let pass = loss.decode(encoded, picture.clone());
        let mut report = pass.report;
        self.autoencoder
            .accumulate(pass.gradients, batch.len() as f64);
        if let Some(discriminator) = &discriminator {
            let judgement = Loss::discriminator(discriminator, picture, pass.reconstruction);
            report.extend(judgement.report);
            self.discriminator
                .accumulate(judgement.gradients, batch.len() as f64);
            let [real, made] = judgement.seen;
            for seen in [pass.seen, real, made] {
                self.discriminator.module_mut().track(seen);
            }
        }
        if let (Some(codes), Some(ids)) = (&mut self.codes, pass.ids) {
            codes.iter_mut().for_each(|codes| codes.add(ids.clone()));
        }
        self.latents.see(&pass.latent);
        self.latent = Some(pass.latent);
        Ok(report)
    }

    fn apply(&mut self, update: &Update<'_>) -> Result<Report, Error> {
        let mut report = self.autoencoder.apply(update)?;
        let other = self.discriminator.apply(update)?;
        self.latents.end_step(update.peers);
        if let Some(norm) = other.get("gradient_norm") {
            report = report.with("discriminator_gradient_norm", norm);
        }
        if let Some([now, since]) = &mut self.codes {
            report = report
                .with("codes_used", now.share())
                .with("perplexity", now.perplexity());
            now.0.fill(0.0);
            let due = |revive: &Revival| (update.step.number + 1).is_multiple_of(revive.every);
            if let (true, Some(latent)) =
                (self.config.revive.as_ref().is_some_and(due), &self.latent)
            {
                let net = self.autoencoder.module_mut();
                let revived = since.revive(net, latent, update.step, update.peers);
                report = report.with("codes_revived", revived as f64);
            }
        }
        self.latent = None;
        if let Some(scale) = self.scale() {
            report = report.with("scale_factor", scale);
        }
        Ok(report)
    }

    fn save(&self, out: &mut StateWriter) {
        self.autoencoder.save("autoencoder", out);
        self.discriminator.save("discriminator", out);
        out.number("latents", &self.latents);
        if self.config.freeze.is_some() {
            out.number("scale", &self.scale);
        }
        if let Some([_, since]) = &self.codes {
            out.number("codes", &since.0);
        }
        let sizes: Vec<[usize; 4]> = self.shown.iter().map(Tensor::dims).collect();
        out.number("shown", &sizes);
        for (i, picture) in self.shown.iter().enumerate() {
            let count = picture.dims().iter().product::<usize>();
            let flat = picture.clone().reshape([count]);
            out.flat(format!("shown/{i}"), &picture.dims(), flat);
        }
    }

    fn restore(&mut self, from: &mut StateReader) -> Result<(), Error> {
        self.autoencoder.restore("autoencoder", from)?;
        self.discriminator.restore("discriminator", from)?;
        self.latents = from.number("latents")?;
        if self.config.freeze.is_some() {
            self.scale = from.number("scale")?;
        }
        if let Some([now, since]) = &mut self.codes {
            now.0.fill(0.0);
            since.0 = from.number("codes")?;
            since.0.resize(now.0.len(), 0.0);
        }
        self.latent = None;
        self.check_denoiser()?;
        let sizes: Vec<[usize; 4]> = from.number("shown")?;
        self.shown.clear();
        for (i, size) in sizes.into_iter().enumerate() {
            let values = from.values(&format!("shown/{i}"), &size)?;
            self.shown.push(Tensor::from_data(
                TensorData::new(values, size),
                &self.device,
            ));
        }
        Ok(())
    }

    fn begin_from(&mut self, from: &mut StateReader) -> Result<(), Error> {
        self.autoencoder.begin_from("autoencoder", from)?;
        if self.config.freeze.is_some() {
            // Of a run that was frozen too, what it knew already.
            let stated: Option<f64> = from.number("scale").unwrap_or_default();
            let measured = || {
                from.number("latents")
                    .map(|l: LatentStatistics| l.scale_factor())
            };
            self.scale = stated.map_or_else(measured, |scale| Ok(Some(scale)))?;
            self.check_denoiser()?;
        }
        self.discriminator.begin_from("discriminator", from)
    }

    fn begin_with(&mut self, model: &Checkpoint) -> Result<(), Error> {
        let options = LoadOptions::new(self.device.clone().autodiff(), DType::F32);
        let (autoencoder, _) =
            model.load::<StoredAutoencoder>(Role::AUTOENCODER, &options, &mut |_, _| {})?;
        if self.config.freeze.is_some() {
            let stored = StoredAutoencoder::of(&model.part(Role::AUTOENCODER)?.config);
            self.scale = stored.and_then(|stored| stored.scale);
        }
        (self.autoencoder).begin_with(learning(autoencoder, &self.config))?;
        self.check_denoiser()
    }

    fn validate(&self, batch: &[Example], step: Step) -> Result<Report, Error> {
        self.measure(batch, step)
    }

    fn sheet(&self, _: Step) -> Result<Option<RgbImage>, Error> {
        let net = self.autoencoder.averaged();
        let size = self.shown.first().map(|picture| picture.dims());
        let alike = self
            .shown
            .iter()
            .filter(|picture| Some(picture.dims()) == size);
        let pairs = alike.map(|picture| {
            let made = net.decode(net.encode(picture.clone()).mean);
            Tensor::cat(vec![picture.clone(), made], 3)
        });
        let pairs: Vec<Tensor<4>> = pairs.collect();
        Ok((!pairs.is_empty()).then(|| grid(Tensor::cat(pairs, 0))))
    }

    fn needs(&self) -> Needs {
        let denoiser = self.denoiser.as_ref();
        denoiser.map_or(Needs::Nothing, SecondStage::needs)
    }

    fn sheet_shows(&self) -> &'static str {
        "pairs: a picture of the data on the left, what became of it on the right"
    }

    /// The picture, what becomes of it, and what the first layer makes of it.
    fn numbers_of_a_picture(&self, [height, width]: [u64; 2]) -> u64 {
        let first = self.config.autoencoder.levels.first();
        height * width * (6 + first.map_or(0, |level| level.channels) as u64)
    }

    /// The folder of a diffusers autoencoder, with the scale that was measured.
    fn export(&self, folder: &Path) -> Result<(), Error> {
        let net = self.autoencoder.averaged();
        let config = StoredAutoencoder {
            scale: self.scale(),
            ..net.config().clone().into()
        };
        let (part, mut values) = export::part(Role::AUTOENCODER, config.into(), &net);
        let model = Model {
            parts: vec![part],
            scheduler: SchedulerConfig::default(),
            sample_size: self
                .shown
                .first()
                .map(|x| x.dims()[2] / self.config.multiple()),
            metadata: Default::default(),
            ..Model::default()
        };
        let take = &mut |_: Role, name: &str| Ok(values.remove(name).unwrap_or_default());
        Ok(write_folder(folder, &model, Existing::Refuse, take)?)
    }

    fn parameters(&self) -> Vec<(String, usize)> {
        let net = self.autoencoder.module();
        let learns = match self.config.freeze {
            Some(Freeze::Encoder) => {
                let counts = [
                    parameter_count(&net.decoder),
                    parameter_count(&net.post_quant_conv),
                ];
                ("decoder".to_owned(), counts.iter().sum())
            }
            None => ("autoencoder".to_owned(), self.autoencoder.parameter_count()),
        };
        vec![
            learns,
            (
                "discriminator".to_owned(),
                self.discriminator.parameter_count(),
            ),
        ]
    }
}
