//! Settings files of whole models as diffusers 0.42 writes them. Those of one network are its [kind](crate::networks)'s.

use std::path::Path;

use latent_models::unet::Labels;
use latent_models::{AutoencoderConfig, ClipTextConfig, UNetConfig};
use serde_json::{Map, Value, json};

use super::write::{Model, NamedPart};
use super::{request, tokenizer};
use crate::detect::SchedulerConfig;
use crate::networks::{DIFFUSERS, Network, OWN_CLASS, Role, extend, sorted};
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
        (Some(class), _) => json!(["diffusers", class]),
        (None, class) => json!(["transformers", class]),
    }
}

/// The `model_index.json` of networks that diffusers has no pipeline for, from their folders and settings.
pub(super) fn own_index(model: &Model, parts: &[(String, Value)]) -> Value {
    index("LatentPipeline", model, parts)
}

fn index(class: &str, model: &Model, parts: &[(String, Value)]) -> Value {
    let mut index = Map::new();
    index.insert("_class_name".into(), json!(class));
    index.insert("_diffusers_version".into(), json!(DIFFUSERS));
    let scheduler = scheduler_class(&model.scheduler);
    index.insert("scheduler".into(), json!(["diffusers", scheduler]));
    for (folder, config) in parts {
        index.insert(folder.clone(), library_and_class(config));
    }
    sorted(Value::Object(index))
}

impl Model {
    /// The side of the latent square that the model draws by default.
    fn side(&self) -> usize {
        let v = self.scheduler.prediction_type == "v_prediction";
        self.sample_size.unwrap_or(if v { 96 } else { 64 })
    }

    fn part(&self, role: Role) -> Option<&Network> {
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

/// The networks of a model that decide which pipeline of diffusers draws with them.
struct Signs<'a> {
    denoiser: &'a UNetConfig,
    autoencoder: &'a AutoencoderConfig,
    texts: Vec<&'a ClipTextConfig>,
    others: usize,
}

/// A pipeline of diffusers: its class, what its networks are like, and what else its index says, as JSON.
struct Pipeline {
    class: &'static str,
    fits: fn(&Signs<'_>) -> bool,
    more: &'static str,
}

const PIPELINES: [Pipeline; 6] = [
    Pipeline {
        class: "StableDiffusionXLInpaintPipeline",
        fits: |s| s.told_sizes(6) && s.reads_text() && s.inpaints(),
        more: r#"{"force_zeros_for_empty_prompt": true, "requires_aesthetics_score": false}"#,
    },
    Pipeline {
        class: "StableDiffusionXLPipeline",
        fits: |s| s.told_sizes(6) && s.reads_text(),
        more: r#"{"force_zeros_for_empty_prompt": true}"#,
    },
    Pipeline {
        class: "StableDiffusionXLImg2ImgPipeline",
        fits: |s| s.told_sizes(5) && s.reads_text(),
        more: r#"{"force_zeros_for_empty_prompt": false, "requires_aesthetics_score": true,
            "text_encoder": [null, null], "tokenizer": [null, null]}"#,
    },
    Pipeline {
        class: "StableDiffusionInpaintPipeline",
        fits: |s| s.plain() && s.reads_text() && s.inpaints(),
        more: UNCHECKED,
    },
    Pipeline {
        class: "StableDiffusionPipeline",
        fits: |s| s.plain() && s.reads_text(),
        more: UNCHECKED,
    },
    Pipeline {
        class: "LDMPipeline",
        fits: |s| {
            s.texts.is_empty() && s.denoiser.context.is_none() && s.autoencoder.codebook.is_some()
        },
        more: "{}",
    },
];

/// No network that judges pictures.
const UNCHECKED: &str = r#"{"feature_extractor": [null, null], "image_encoder": [null, null],
    "requires_safety_checker": false, "safety_checker": [null, null]}"#;

impl Signs<'_> {
    fn reads_text(&self) -> bool {
        let context = self.denoiser.context.is_some();
        context && self.autoencoder.codebook.is_none() && self.others == 0
    }

    /// One text encoder, and nothing beside the time.
    fn plain(&self) -> bool {
        self.texts.len() == 1 && self.denoiser.labels == Labels::None
    }

    /// Whether the denoiser is given the pooled text and `count` sizes.
    fn told_sizes(&self, count: usize) -> bool {
        let pooled = self.texts.last().and_then(|text| text.projection);
        pooled.is_some_and(|pooled| self.denoiser.labels == Labels::Vector(pooled + 256 * count))
    }

    fn inpaints(&self) -> bool {
        self.denoiser.in_channels == self.autoencoder.latent_channels * 2 + 1
    }
}

/// `model_index.json`: the pipeline that draws with exactly these networks.
pub(super) fn model_index(
    path: &Path,
    model: &Model,
    parts: &[(String, Value)],
) -> Result<Value, ModelError> {
    let texts = model.parts.iter().filter_map(|part| match &part.config {
        Network::TextEncoder(text) => Some((part.role, text)),
        _ => None,
    });
    let texts: Vec<_> = texts.collect();
    let networks = (model.part(Role::DENOISER), model.part(Role::AUTOENCODER));
    let row = match networks {
        (Some(Network::Unet(denoiser)), Some(Network::Autoencoder(stored))) => {
            let signs = Signs {
                denoiser,
                autoencoder: &stored.network,
                texts: texts.iter().map(|(_, text)| *text).collect(),
                others: model.parts.len() - 2 - texts.len(),
            };
            PIPELINES.iter().find(|row| (row.fits)(&signs))
        }
        _ => None,
    };
    let row = row.ok_or_else(|| {
        let problem = "diffusers has no pipeline for just these networks; convert them one by one";
        request(path, problem)
    })?;
    let mut index = index(row.class, model, parts);
    let more = serde_json::from_str(row.more).unwrap_or_default();
    extend(&mut index, more);
    for (role, _) in texts {
        extend(
            &mut index,
            json!({tokenizer::folder(role): ["transformers", "CLIPTokenizer"]}),
        );
    }
    Ok(sorted(index))
}
