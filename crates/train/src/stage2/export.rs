//! A trained model as a folder that draws.

use std::collections::HashMap;
use std::path::Path;

use latent_checkpoint::convert::{Model, write_trained};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::{ModelError, Role, SchedulerConfig, StoredAutoencoder};
use latent_diffusion::{BetaSchedule, Prediction};
use latent_models::condition::Entry;
use latent_models::{ClipText, ConditionerConfig};

use super::first_stage::FirstStage;
use super::{LatentModel, SamplesConfig};
use crate::export::part;
use crate::{Error, NoiseConfig, ObjectiveConfig};

/// What is written.
pub(super) struct Export<'a> {
    pub model: &'a LatentModel,
    pub first: &'a FirstStage,
    pub text_encoder: Option<&'a ClipText>,
    pub objective: &'a ObjectiveConfig,
    /// The longer side of the pictures that were learnt from.
    pub size: Option<usize>,
    /// How samples are drawn.
    pub samples: SamplesConfig,
    /// Further files, by path in the folder.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Export<'_> {
    pub fn write(self, folder: &Path) -> Result<(), Error> {
        let net = &self.model.unet;
        let mut parts = vec![part(Role::DENOISER, net.config().into(), net)];
        // Text states that go to the denoiser as they are need no network: the model is an ordinary one.
        let conditioner = self.model.conditioner.as_ref().filter(|conditioner| {
            let config = conditioner.config();
            let plain = matches!(config.entry(), Some((Entry::CrossAttention, _)));
            !(plain && matches!(config, ConditionerConfig::FrozenText { .. }))
        });
        if let Some(net) = conditioner {
            let config = net.config().clone().into();
            parts.push(part(Role::CONDITIONER, config, net));
        }
        if let Some(net) = self.first.autoencoder() {
            let config = StoredAutoencoder {
                scale: Some(self.first.scale()),
                ..net.config().clone().into()
            };
            parts.push(part(Role::AUTOENCODER, config.into(), net));
        }
        if let Some(net) = self.text_encoder {
            let config = net.config().clone().into();
            parts.push(part(Role::TEXT_ENCODER, config, net));
        }
        let (parts, mut numbers): (Vec<_>, HashMap<_, _>) = parts
            .into_iter()
            .map(|(named, values)| {
                let role = named.role;
                (named, (role, values))
            })
            .unzip();
        let model = Model {
            parts,
            scheduler: self.scheduler(),
            sample_size: self.size.map(|size| size / self.first.downsampling()),
            metadata: Default::default(),
            attachments: self.files,
            ..Model::default()
        };
        let values = &mut |role: Role, name: &str| {
            let bytes = numbers.get_mut(&role).and_then(|part| part.remove(name));
            bytes.ok_or_else(|| ModelError::Request {
                path: folder.to_owned(),
                problem: format!("the {role} has no `{name}`"),
            })
        };
        Ok(write_trained(folder, &model, Existing::Refuse, values)?)
    }
}

impl Export<'_> {
    fn scheduler(&self) -> SchedulerConfig {
        let mut scheduler = scheduler(self.objective);
        let about = serde_json::json!({
            "size": self.size, "guidance": self.samples.guidance, "steps": self.samples.steps,
        });
        let shift = self.samples.shift;
        let flow = self.objective.prediction == Prediction::Flow;
        scheduler.shift = (flow && shift != 1.0).then_some(shift);
        let key = SchedulerConfig::TRAINED.to_owned();
        scheduler.rest.insert(key, about);
        scheduler
    }
}

/// How the model is sampled, in diffusers' words.
fn scheduler(objective: &ObjectiveConfig) -> SchedulerConfig {
    let noise = objective.noise;
    let flow = objective.prediction == Prediction::Flow;
    SchedulerConfig {
        class_name: if flow {
            "FlowMatchEulerDiscreteScheduler"
        } else {
            "DDIMScheduler"
        }
        .into(),
        num_train_timesteps: noise.steps,
        beta_start: noise.start,
        beta_end: noise.end,
        beta_schedule: match noise.schedule {
            BetaSchedule::Linear => "linear",
            BetaSchedule::ScaledLinear => "scaled_linear",
            BetaSchedule::Cosine => "squaredcos_cap_v2",
            BetaSchedule::Sigmoid => "sigmoid",
            BetaSchedule::Sqrt => "sqrt",
        }
        .into(),
        prediction_type: if flow {
            "flow_prediction"
        } else {
            objective.prediction.name()
        }
        .into(),
        rescale_betas_zero_snr: noise.zero_terminal_snr,
        timestep_spacing: noise.zero_terminal_snr.then(|| "trailing".to_owned()),
        steps_offset: 1,
        set_alpha_to_one: Some(false),
        clip_sample: Some(false),
        ..SchedulerConfig::default()
    }
}

/// What a model was asked for that is sampled so: [`scheduler`] backwards.
///
/// # Errors
/// A schedule or a prediction that is not trained here.
pub(super) fn objective(scheduler: &SchedulerConfig) -> Result<ObjectiveConfig, Error> {
    let stated: Prediction = scheduler.prediction_type.parse()?;
    // diffusers' classes for EDM's forms say ε and v of these.
    let prediction = match scheduler.class_name.starts_with("EDM") {
        true => Prediction::Edm,
        false => stated,
    };
    let name = serde_json::Value::from(scheduler.beta_schedule.as_str());
    let schedule = serde_json::from_value(name).map_err(|_| {
        let expected = "a schedule that models are trained with here";
        Error::setting("beta_schedule", &scheduler.beta_schedule, expected)
    })?;
    Ok(ObjectiveConfig {
        prediction,
        noise: NoiseConfig {
            schedule,
            start: scheduler.beta_start,
            end: scheduler.beta_end,
            steps: scheduler.num_train_timesteps,
            zero_terminal_snr: scheduler.rescale_betas_zero_snr,
        },
        ..ObjectiveConfig::default()
    })
}
