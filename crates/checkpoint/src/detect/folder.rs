//! Opening a diffusers folder: its index and its components, one by one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::open::{Missing, at, nothing_known};
use super::scheduler::Marks;
use super::{Carried, Checkpoint, DetectedPart, Form, SchedulerConfig};
use crate::file::{Component, Folder, Variant};
use crate::networks::keys::short;
use crate::networks::{DetectError, Entry, KINDS, Role, Scheme, find};
use crate::report::ModelError;

/// The setting of an index that makes zeros of an empty negative prompt.
pub(crate) const ZEROS: &str = "force_zeros_for_empty_prompt";

fn bad(what: &'static str, key: &str, value: &Value, expected: &str) -> DetectError {
    DetectError::Key {
        what,
        key: key.to_owned(),
        value: short(value),
        expected: expected.to_owned(),
    }
}

/// The side of the latent square that a denoiser's settings state; the two sides of a rectangle are none.
fn side(json: &Value) -> Result<Option<usize>, DetectError> {
    let key = "sample_size";
    let wrong = |value| bad("config.json", key, value, "a whole number, at least 1");
    match json.get(key) {
        None | Some(Value::Null | Value::Array(_)) => Ok(None),
        Some(value) => match value.as_u64().filter(|side| *side > 0) {
            Some(side) => Ok(Some(side as usize)),
            None => Err(wrong(value)),
        },
    }
}

impl Checkpoint {
    pub(super) fn from_folder(folder: &Folder, variant: &Variant) -> Result<Self, ModelError> {
        let path = folder.path().to_owned();
        let zeros = folder.index().and_then(|index| index.get(ZEROS));
        let zeros = match zeros {
            None | Some(Value::Null) => None,
            Some(Value::Bool(zeros)) => Some(*zeros),
            Some(value) => {
                let source = bad("model_index.json", ZEROS, value, "true or false");
                return Err(at(&path)(source));
            }
        };
        let mut checkpoint = Self {
            path: path.clone(),
            files: folder.files(),
            form: Form::Folder,
            weights: Vec::new(),
            parts: Vec::new(),
            scheduler: SchedulerConfig::stable_diffusion(),
            stated: false,
            marks: Marks::default(),
            metadata: BTreeMap::new(),
            others: Vec::new(),
            carried: Vec::new(),
            side: None,
            zeros_for_empty: zeros,
            missing: Vec::new(),
        };
        let mut others = Vec::new();
        for component in folder.components() {
            let class = component.class.as_str();
            match (Entry::of_class(class), &component.config) {
                (Some(kind), _) => checkpoint.add_component(component, kind, variant)?,
                (None, Some(config)) if component.name == "scheduler" => {
                    let config = SchedulerConfig::from_json(config);
                    checkpoint.scheduler = config.map_err(at(&component.path))?;
                    // diffusers loads the class that model_index.json names, whatever the settings call themselves.
                    if !class.is_empty() {
                        checkpoint.scheduler.class_name = class.to_owned();
                    }
                    checkpoint.stated = true;
                }
                _ => others.push(component),
            }
        }
        for component in others {
            checkpoint.add_other(component);
        }
        match checkpoint.parts.is_empty() {
            false => Ok(checkpoint),
            true => Err(ModelError::NothingKnown {
                path,
                names: checkpoint.others,
            }),
        }
    }

    /// Whether the settings of a component without weights are read, of a model of these networks.
    fn reads(&self, component: &str) -> bool {
        match component {
            "scheduler" | "low_res_scheduler" => true,
            "feature_extractor" | "image_noising_scheduler" => {
                self.find(Role::IMAGE_NORMALIZER).is_some()
            }
            _ => false,
        }
    }

    /// Takes a component that is no network of this project.
    fn add_other(&mut self, component: &Component) {
        let Component { name, class, .. } = component;
        let read = self.reads(name);
        if read && component.config.is_none() {
            self.missing.push(Missing {
                name: name.clone(),
                class: class.clone(),
            });
            return;
        }
        // Tokenizers are written anew.
        let carried = Carried::of(component, self.files);
        let carried = carried.filter(|_| !name.starts_with("tokenizer"));
        self.carried.extend(carried);
        if !read {
            self.others.push(format!("{name} ({class})"));
        }
    }

    /// Takes the network of a folder's component, which is of `kind`.
    fn add_component(
        &mut self,
        component: &Component,
        kind: &Entry,
        variant: &Variant,
    ) -> Result<(), ModelError> {
        let Some(json) = &component.config else {
            // Of a folder that is missing, that is said.
            component.variants()?;
            let problem = "config.json is missing, so the network's size is unknown";
            return Err(ModelError::Request {
                path: component.path.clone(),
                problem: problem.into(),
            });
        };
        let role = kind.role(&component.name);
        if role == Role::DENOISER {
            self.side = side(json).map_err(at(&component.path))?;
        }
        let config = kind.read(json).map_err(at(&component.path))?;
        let weights = component.weights(variant)?;
        let (scheme, prefix) = if kind.spots.iter().all(|spot| spot.anchor.is_empty()) {
            // Its parameters have their own names whatever it is made of.
            (Scheme::Diffusers, "")
        } else {
            let mut found = find(|name| weights.get(name).is_some()).into_iter();
            let found = found.find(|found| KINDS[found.kind] == config);
            let found = found.ok_or_else(|| nothing_known(weights.path(), &weights))?;
            (found.scheme, found.prefix)
        };
        self.parts.push(DetectedPart {
            role,
            scheme,
            prefix,
            config,
            weights: self.weights.len(),
            index: self.parts.len(),
        });
        for file in weights.files() {
            self.metadata.extend(file.metadata().clone());
        }
        self.weights.push(weights);
        Ok(())
    }
}
