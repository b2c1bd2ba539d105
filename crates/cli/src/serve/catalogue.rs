//! What requests may name, as the service tells it.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device};
use latent_checkpoint::{AdapterFile, Files, Role};
use latent_diffusion::{
    Scheduler as Ladder,
    names::{samplers, scheduler_info, schedulers},
};
use latent_pipeline::{
    ModelFiles, embeddings,
    family::{self, Recognised},
    infotext::Infotext,
    library::{Entry, Library},
    request::{Choice, Request, Upscaler},
    resources::{BuiltIn, Models, Place},
};
use latent_serve::{Adapter, Catalogue, Embedding, Inputs, Model, Sampler, Scheduler};
use serde_json::{Value, json};

use super::engine::Sent;

/// The name that its trainer gave a LoRA, in its metadata.
const ALIAS: &str = "ss_output_name";

/// Everything that there is.
pub fn of(models: &Models) -> Catalogue {
    let mut catalogue = Catalogue {
        models: models
            .built_in
            .map(|own| built_in_model(own, models))
            .into_iter()
            .collect(),
        loras: adapters(&models.loras),
        embeddings: models
            .embeddings
            .entries()
            .iter()
            .filter_map(embedding)
            .collect(),
        hypernetworks: names(&models.hypernetworks),
        samplers: all_samplers(),
        schedulers: all_schedulers(),
        ..Catalogue::default()
    };
    let upscalers = Upscaler::NAMES.iter().filter(|(name, _)| *name != "None");
    let (latent, pixels): (Vec<_>, Vec<_>) =
        upscalers.partition(|(_, upscaler)| upscaler.is_latent());
    let names =
        |all: Vec<&(&str, Upscaler)>| all.iter().map(|(name, _)| (*name).to_owned()).collect();
    (catalogue.latent_upscalers, catalogue.upscalers) = (names(latent), names(pixels));
    for entry in models.library.entries() {
        sort(entry, models, &mut catalogue);
    }
    catalogue
}

fn names(library: &Library) -> Vec<String> {
    let entries = library.entries().iter();
    entries.map(|entry| entry.name.to_string()).collect()
}

fn built_in_model(own: BuiltIn, models: &Models) -> Model {
    let size = match own.files {
        Files::Memory(files) => files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
        Files::Disk => 0,
    };
    let (side, steps) = wishes(
        &Place {
            path: own.name.into(),
            files: own.files,
        },
        models,
    );
    Model {
        name: own.name.to_owned(),
        family: "built in: icons, emoji and clip art".to_owned(),
        size,
        side,
        steps,
        sha256: None,
    }
}

/// The side of its pictures and the steps that a model says of itself.
fn wishes(place: &Place, models: &Models) -> (u32, u32) {
    let request = Request::default();
    let files = ModelFiles {
        model: place.path.clone(),
        built_in: place.files,
        ..ModelFiles::default()
    };
    let declared = latent_pipeline::Model::declare(&files, &Device::flex(), DType::F32);
    let none = Sent {
        models,
        files: &Inputs::new(),
    };
    let defaults = declared.and_then(|(model, _)| model.defaults(&request, &none));
    let defaults = defaults.ok();
    let side = defaults
        .as_ref()
        .map_or(0, |own| own.size.width.max(own.size.height));
    let steps = defaults.and_then(|own| own.steps).unwrap_or(request.steps);
    (side as u32, steps as u32)
}

/// Puts a file to those of its kind. What is not to be used is left out: `latent models` says why.
fn sort(entry: &Entry, models: &Models, catalogue: &mut Catalogue) {
    let name = entry.name.to_string();
    let Ok((checkpoint, recognised)) = family::open(&entry.path, Files::Disk) else {
        if AdapterFile::is_adapter(&entry.path) {
            catalogue.loras.extend(adapter(entry));
        }
        return;
    };
    let has = |role| checkpoint.find(role).is_some();
    let drawn_with = match recognised {
        Recognised::Family(family) => Some(family.name),
        Recognised::TrainedHere => Some("trained here"),
        Recognised::Part | Recognised::Unknown(_) => None,
    };
    if let Some(family) = drawn_with {
        let (side, steps) = wishes(&entry.path.clone().into(), models);
        catalogue.models.push(Model {
            name,
            sha256: models.library.known(entry),
            family: family.to_owned(),
            size: entry.size,
            side,
            steps,
        });
        return;
    }
    match recognised {
        Recognised::Part if has(Role::AUTOENCODER) => catalogue.vaes.push(name),
        Recognised::Part if has(Role::CONTROLNET) || has(Role::T2I_ADAPTER) => {
            catalogue.controls.push(name)
        }
        Recognised::Part if has(Role::IP_ADAPTER) => catalogue.ip_adapters.push(name),
        _ => {}
    }
}

fn adapters(library: &Library) -> Vec<Adapter> {
    library.entries().iter().filter_map(adapter).collect()
}

fn adapter(entry: &Entry) -> Option<Adapter> {
    let file = AdapterFile::open(&entry.path).ok()?;
    let metadata = file.metadata();
    let pairs = metadata
        .iter()
        .map(|(key, text)| (key.clone(), json!(text)));
    let name = entry.name.to_string();
    Some(Adapter {
        alias: metadata.get(ALIAS).cloned(),
        metadata: pairs.collect(),
        name: match name.rsplit_once('.') {
            Some((stem, _)) => stem.to_owned(),
            None => name,
        },
    })
}

fn embedding(entry: &embeddings::Entry) -> Option<Embedding> {
    let read = entry.read().ok()?;
    let width = read.learnt.widths().into_iter().max().unwrap_or_default();
    Some(Embedding {
        name: entry.name.clone(),
        vectors: read.learnt.count() as u32,
        width: width as u32,
    })
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn all_samplers() -> Vec<Sampler> {
    let all = samplers().iter().map(|info| {
        let ladder = scheduler_info(info.scheduler).name.to_owned();
        let mut options = BTreeMap::from([("scheduler".to_owned(), ladder)]);
        if info.discard_penultimate {
            options.insert("discard_next_to_last_sigma".to_owned(), "True".to_owned());
        }
        Sampler {
            name: info.label.to_owned(),
            aliases: owned(info.aliases),
            options,
        }
    });
    all.collect()
}

fn all_schedulers() -> Vec<Scheduler> {
    let all = schedulers().iter().map(|info| Scheduler {
        name: info.name.to_owned(),
        label: info.label.to_owned(),
        aliases: owned(info.aliases),
        rho: match info.scheduler {
            Ladder::Karras => Some(7.0),
            Ladder::Polyexponential => Some(1.0),
            _ => None,
        },
        reads_model: matches!(
            info.scheduler,
            Ladder::Normal
                | Ladder::SgmUniform
                | Ladder::Simple
                | Ladder::DdimUniform
                | Ladder::Beta
        ),
    });
    all.collect()
}

/// The pairs of A1111's text, with the prompts, and a size as two numbers, as its page has them.
pub fn items(infotext: &str) -> Vec<(String, Value)> {
    if infotext.is_empty() {
        return Vec::new();
    }
    let info = Infotext::parse(infotext);
    let mut items = vec![
        ("Prompt".to_owned(), json!(info.prompt)),
        ("Negative prompt".to_owned(), json!(info.negative_prompt)),
    ];
    for (key, value) in info.entries {
        let size = value.split_once('x');
        let number = |text: &str| text.parse::<u32>().ok();
        match size.and_then(|(width, height)| Some((number(width)?, number(height)?))) {
            Some((width, height)) => {
                items.push((format!("{key}-1"), json!(width)));
                items.push((format!("{key}-2"), json!(height)));
            }
            None => items.push((key, json!(value))),
        }
    }
    items
}
