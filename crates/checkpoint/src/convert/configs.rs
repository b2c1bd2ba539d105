//! Settings files of whole models as diffusers 0.42 writes them. Those of one network are its [kind](crate::networks)'s.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::request;
use super::write::{Model, NamedPart};
use crate::detect::SchedulerConfig;
use crate::networks::{DIFFUSERS, Network, OWN_CLASS, Role, sorted};
use crate::report::ModelError;

/// The component's subfolder.
pub(super) fn folder(part: &NamedPart) -> &'static str {
    part.config.folder().unwrap_or(part.role.folder())
}

/// A component's `config.json`.
pub(super) fn part_json(path: &Path, part: &NamedPart, model: &Model) -> Result<Value, ModelError> {
    let json = part.config.to_json(model.side());
    json.map_err(|problem| request(path, problem))
}

/// What a `model_index.json` says of a component with that `config.json`: its library and class.
fn library_and_class(config: &Value) -> Value {
    let own = config.get("_class_name").and_then(Value::as_str);
    let architecture = || config.get("architectures")?.get(0)?.as_str();
    match (own, architecture()) {
        (Some(class), _) if class.starts_with(OWN_CLASS) => json!(["latent", class]),
        // It stands in the module of the pipelines that use it.
        (Some(class @ "StableUnCLIPImageNormalizer"), _) => json!(["stable_diffusion", class]),
        (Some(class), _) => json!(["diffusers", class]),
        (None, class) => json!(["transformers", class]),
    }
}

/// The `model_index.json` of networks that diffusers has no pipeline for, from their folders and settings.
pub(super) fn own_index(model: &Model, parts: &[(String, Value)]) -> Value {
    index("LatentPipeline", model, parts)
}

/// An index with every component that is written.
pub(super) fn index(class: &str, model: &Model, parts: &[(String, Value)]) -> Value {
    let mut index = Map::new();
    index.insert("_class_name".into(), json!(class));
    index.insert("_diffusers_version".into(), json!(DIFFUSERS));
    let scheduler = scheduler_class(&model.scheduler);
    index.insert("scheduler".into(), json!(["diffusers", scheduler]));
    for (folder, config) in parts {
        index.insert(folder.clone(), library_and_class(config));
    }
    for carried in &model.carried {
        let entry = json!([carried.library, carried.class]);
        index.insert(carried.name.clone(), entry);
    }
    sorted(Value::Object(index))
}

impl Model {
    /// The side of the latent square that the model draws by default.
    fn side(&self) -> usize {
        let v = self.scheduler.prediction_type == "v_prediction";
        self.sample_size.unwrap_or(if v { 96 } else { 64 })
    }

    pub(super) fn part(&self, role: Role) -> Option<&Network> {
        let part = self.parts.iter().find(|part| part.role == role);
        part.map(|part| &part.config)
    }
}

/// The class to write: PNDM cannot rescale β, and would pass the setting over.
fn scheduler_class(scheduler: &SchedulerConfig) -> &str {
    match (
        scheduler.class_name.as_str(),
        scheduler.rescale_betas_zero_snr,
    ) {
        ("", _) | ("PNDMScheduler", true) => "DDIMScheduler",
        (class, _) => class,
    }
}

/// `scheduler_config.json`.
pub(super) fn scheduler_json(scheduler: &SchedulerConfig) -> Value {
    let mut value = scheduler.to_json();
    if let Some(object) = value.as_object_mut() {
        object.insert("_diffusers_version".into(), json!(DIFFUSERS));
        object.insert("_class_name".into(), json!(scheduler_class(scheduler)));
    }
    sorted(value)
}
