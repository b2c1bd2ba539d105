//! A trained model as a folder that draws.

use std::collections::HashMap;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use latent_checkpoint::convert::{Model, NamedPart, write_trained};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::{Dtype, ModelError, Part, PartConfig, SchedulerConfig};
use latent_diffusion::{BetaSchedule, Prediction};
use latent_models::condition::Entry;
use latent_models::{ClipText, ConditionerConfig, parameters};

use super::LatentModel;
use super::first_stage::FirstStage;
use crate::{Error, ObjectiveConfig};

/// What is written.
pub(super) struct Export<'a> {
    pub model: &'a LatentModel,
    pub first: &'a FirstStage,
    pub text_encoder: Option<&'a ClipText>,
    pub objective: &'a ObjectiveConfig,
    /// The longer side of the pictures that were learnt from.
    pub size: Option<usize>,
    /// The guidance that samples are drawn with.
    pub guidance: f64,
    /// Further files, by path in the folder.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

impl Export<'_> {
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let mut parts = vec![(
            Part::Unet,
            PartConfig::Unet(self.model.unet.config().clone()),
        )];
        let mut numbers: HashMap<(Part, String), Tensor<1>> = HashMap::new();
        collect(Part::Unet, &self.model.unet, &mut numbers);
        // Text states that go to the denoiser as they are need no network: the model is an ordinary one.
        let conditioner = self.model.conditioner.as_ref().filter(|conditioner| {
            let config = conditioner.config();
            let plain = matches!(config.entry(), Some((Entry::CrossAttention, _)));
            !(plain && matches!(config, ConditionerConfig::FrozenText { .. }))
        });
        if let Some(conditioner) = conditioner {
            let config = PartConfig::Conditioner(conditioner.config().clone());
            parts.push((Part::Conditioner, config));
            collect(Part::Conditioner, conditioner, &mut numbers);
        }
        if let Some(autoencoder) = self.first.autoencoder() {
            let config = PartConfig::Autoencoder {
                network: autoencoder.config().clone(),
                scale: Some(self.first.scale()),
                shift: None,
            };
            parts.push((Part::Autoencoder, config));
            collect(Part::Autoencoder, autoencoder, &mut numbers);
        }
        if let Some(encoder) = self.text_encoder {
            let config = PartConfig::TextEncoder(encoder.config().clone());
            parts.push((Part::TextEncoder, config));
            collect(Part::TextEncoder, encoder, &mut numbers);
        }
        let named = |(part, config): (Part, PartConfig)| NamedPart {
            part,
            dtypes: config
                .parameters()
                .into_iter()
                .map(|(name, _)| (name, Dtype::F32))
                .collect(),
            config,
        };
        let model = Model {
            parts: parts.into_iter().map(named).collect(),
            scheduler: self.scheduler(),
            sample_size: self.size.map(|size| size / self.first.downsampling()),
            metadata: Default::default(),
        };
        let files: Vec<(&str, &[u8])> = self
            .files
            .iter()
            .map(|(name, b)| (*name, b.as_slice()))
            .collect();
        let values = &mut |part: Part, name: &str| {
            let tensor = numbers.get(&(part, name.to_owned()));
            let data = tensor.map(|tensor| tensor.clone().into_data());
            let data = data.ok_or_else(|| ModelError::Request {
                path: folder.to_owned(),
                problem: format!("the {part} has no `{name}`"),
            })?;
            Ok(data.iter::<f32>().flat_map(f32::to_le_bytes).collect())
        };
        Ok(write_trained(
            folder,
            &model,
            &files,
            Existing::Refuse,
            values,
        )?)
    }
}

impl Export<'_> {
    fn scheduler(&self) -> SchedulerConfig {
        let mut scheduler = scheduler(self.objective);
        let about = serde_json::json!({"size": self.size, "guidance": self.guidance});
        scheduler.rest.insert("_latent".to_owned(), about);
        scheduler
    }
}

fn collect<M: Module>(part: Part, module: &M, into: &mut HashMap<(Part, String), Tensor<1>>) {
    struct Collector<'a> {
        part: Part,
        names: std::vec::IntoIter<(String, Vec<usize>)>,
        into: &'a mut HashMap<(Part, String), Tensor<1>>,
    }
    impl ModuleVisitor for Collector<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some((name, shape)) = self.names.next() {
                let flat = param.val().reshape([shape.iter().product::<usize>()]);
                self.into.insert((self.part, name), flat);
            }
        }
    }
    module.visit(&mut Collector {
        part,
        names: parameters(module).into_iter(),
        into,
    });
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
