//! What requests may name, as the service tells it.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{DType, Device};
use latent_checkpoint::{AdapterFile, Files, Role};
use latent_diffusion::{
    Prediction, Scheduler as Ladder,
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
        loras: adapters(&models.loras),
        embeddings: models
            .embeddings
            .entries()
            .iter()
            .filter_map(embedding)
            .collect(),
        hypernetworks: names(&models.hypernetworks),
        schedulers: all_schedulers(),
        ..Catalogue::default()
    };
    let upscalers = Upscaler::NAMES.iter().filter(|(name, _)| *name != "None");
    for (name, upscaler) in upscalers {
        let kind = match upscaler.is_latent() {
            true => &mut catalogue.latent_upscalers,
            false => &mut catalogue.upscalers,
        };
        kind.push((*name).to_owned());
    }
    let own = models.built_in.map(|own| built_in_model(own, models));
    let mut flows = own.as_ref().is_none_or(|(_, flow)| *flow);
    catalogue.models.extend(own.map(|(model, _)| model));
    for entry in models.library.entries() {
        flows &= sort(entry, models, &mut catalogue);
    }
    // One file may lie in a folder of models and in one of LoRAs.
    let mut named = BTreeSet::new();
    catalogue
        .loras
        .retain(|lora| named.insert(lora.name.clone()));
    catalogue.samplers = all_samplers(flows);
    catalogue
}

fn names(library: &Library) -> Vec<String> {
    let entries = library.entries().iter();
    entries.map(|entry| entry.name.to_string()).collect()
}

fn built_in_model(own: BuiltIn, models: &Models) -> (Model, bool) {
    let place = Place {
        path: own.name.into(),
        files: own.files,
    };
    let model = Model {
        name: own.name.to_owned(),
        family: "built in: icons, emoji and clip art".to_owned(),
        size: match own.files {
            Files::Memory(files) => files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
            Files::Disk => 0,
        },
        ..Model::default()
    };
    with_wishes(model, &place, models)
}

/// With the side of its pictures, the steps and the guidance that the model says of itself; and whether it is a rectified flow.
fn with_wishes(model: Model, place: &Place, models: &Models) -> (Model, bool) {
    let request = Request::default();
    let files = ModelFiles {
        model: place.path.clone(),
        built_in: place.files,
        ..ModelFiles::default()
    };
    let none = Sent {
        models,
        files: &Inputs::new(),
    };
    let declared = latent_pipeline::Model::declare(&files, &Device::flex(), DType::F32).ok();
    let flow = declared
        .as_ref()
        .is_some_and(|(own, _)| own.prediction == Prediction::Flow);
    let defaults = declared.and_then(|(own, _)| own.defaults(&request, &none).ok());
    let size = defaults.as_ref().map_or(request.size(), |own| own.size);
    let steps = defaults.as_ref().and_then(|own| own.steps);
    let guidance = defaults.and_then(|own| own.guidance);
    let model = Model {
        side: size.width.max(size.height) as u32,
        steps: steps.unwrap_or(request.steps) as u32,
        cfg_scale: guidance.unwrap_or(request.guidance.scale),
        ..model
    };
    (model, flow)
}

/// Puts a file to those of its kind. What is not to be used is left out: `latent models` says why. Whether rectified flows are
/// still all that there is to draw with.
fn sort(entry: &Entry, models: &Models, catalogue: &mut Catalogue) -> bool {
    let name = entry.name.to_string();
    let Ok((checkpoint, recognised)) = family::open(&entry.path, Files::Disk) else {
        if AdapterFile::is_adapter(&entry.path) {
            catalogue.loras.extend(adapter(entry));
        }
        return true;
    };
    let has = |role| checkpoint.find(role).is_some();
    let family = match recognised {
        Recognised::Family(family) => family.name,
        Recognised::TrainedHere => "trained here",
        Recognised::Unknown(_) => return true,
        Recognised::Part => {
            let held_by = has(Role::CONTROLNET) || has(Role::T2I_ADAPTER);
            let kind = match (has(Role::AUTOENCODER), held_by) {
                (true, _) => &mut catalogue.vaes,
                (false, true) => &mut catalogue.controls,
                (false, false) if has(Role::IP_ADAPTER) => &mut catalogue.ip_adapters,
                _ => return true,
            };
            kind.push(name);
            return true;
        }
    };
    let model = Model {
        name,
        sha256: models.library.known(entry),
        family: family.to_owned(),
        size: entry.size,
        ..Model::default()
    };
    let (model, flow) = with_wishes(model, &entry.path.clone().into(), models);
    catalogue.models.push(model);
    flow
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

/// Those that some model can be drawn with.
fn all_samplers(flows: bool) -> Vec<Sampler> {
    let all = samplers().iter();
    let all = all.filter(|info| !flows || info.sampler.refused_on_flows().is_none());
    let all = all.map(|info| {
        let ladder = scheduler_info(info.scheduler).name.to_owned();
        let mut options = BTreeMap::from([("scheduler".to_owned(), ladder)]);
        if info.discard_penultimate {
            options.insert("discard_next_to_last_sigma".to_owned(), "True".to_owned());
        }
        Sampler {
            name: info.label.to_owned(),
            aliases: [&[info.name], info.aliases]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
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

/// The pairs of A1111's text, with the prompts, and a size as two, as its page has them: all of it texts.
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
                items.push((format!("{key}-1"), json!(width.to_string())));
                items.push((format!("{key}-2"), json!(height.to_string())));
            }
            None => items.push((key, json!(value))),
        }
    }
    items
}
