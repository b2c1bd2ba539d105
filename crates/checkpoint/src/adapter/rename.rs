//! Rewriting an adapter in another spelling. No number changes: what one spelling keeps in a tensor and another in settings (alpha)
//! moves there and back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::file::{AdapterFile, Module};
use super::keys::Part;
use super::kind::Kind;
use super::scale::KEY as METADATA;
use super::spelling::{self, Dialect};
use crate::Error;
use crate::error::shown;
use crate::file::write::{Existing, safetensors};
use crate::file::{Dtype, TensorInfo};
use crate::networks::Role;
use crate::patch::Targets;
use crate::report::ModelError;

/// A module's path, alpha and rank.
type Written = (String, f64, usize);

/// The spellings that can be written.
pub const WRITTEN: [(&str, Dialect); 5] = [
    ("kohya", Dialect::Kohya),
    ("kohya-original", Dialect::KohyaOriginal),
    ("diffusers", Dialect::Diffusers),
    ("comfyui", Dialect::Comfy),
    ("simpletuner", Dialect::Lycoris),
];
/// Hashes that a trainer wrote of the file, which do not hold for another.
const OF_THE_FILE: [&str; 3] = [
    "sshs_model_hash",
    "sshs_legacy_hash",
    "modelspec.hash_sha256",
];

/// Where a tensor of the output comes from.
enum Bytes {
    Stored(String),
    Made(Vec<u8>),
}

/// What is written.
struct Output {
    dialect: Dialect,
    tensors: Vec<(TensorInfo, Bytes)>,
    /// Alpha and rank of each module, by network and path, where they go into settings.
    settings: BTreeMap<&'static str, Vec<Written>>,
    magnitudes: bool,
}

/// Writes `file` in the names of `dialect` as a safetensors file. `networks` are those that it was made for: their modules say what
/// its keys mean. What is left out is returned, each tensor with the reason.
///
/// # Errors
/// Tensors that fit nothing in the networks; what the spelling has no words for; an output that cannot be written.
pub fn rename(
    file: &AdapterFile,
    networks: &[Targets],
    dialect: Dialect,
    output: &Path,
    existing: Existing,
) -> Result<Vec<(String, String)>, ModelError> {
    let places = places(networks, dialect);
    let stray = file
        .modules()
        .find(|module| !places.contains_key(module.stem));
    let stray = stray.and_then(|module| module.parts.values().next());
    if let Some(stray) = stray.or(file.unknown().first()) {
        return Err(file.wrong(format!(
            "`{}` fits nothing in the model: only what is known can be named anew",
            shown(stray)
        )));
    }
    let mut out = Output {
        dialect,
        tensors: Vec::new(),
        settings: BTreeMap::new(),
        magnitudes: false,
    };
    for module in file.modules() {
        let Some(place) = places.get(module.stem) else {
            continue;
        };
        if place.stem.is_empty() {
            return Err(file.wrong(format!(
                "`{}` has no name in the spelling of {}",
                shown(module.stem),
                dialect.words()
            )));
        }
        out.module(&module, place)?;
    }
    let mut metadata = file.metadata().clone();
    metadata.retain(|key, _| key != METADATA && !OF_THE_FILE.contains(&key.as_str()));
    if dialect == Dialect::Diffusers && !out.settings.is_empty() {
        metadata.insert(METADATA.to_owned(), out.settings().to_string());
    }
    metadata
        .entry("format".to_owned())
        .or_insert_with(|| "pt".to_owned());
    out.tensors.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let infos: Vec<TensorInfo> = out.tensors.iter().map(|(info, _)| info.clone()).collect();
    let bytes: BTreeMap<&str, &Bytes> = out
        .tensors
        .iter()
        .map(|(info, bytes)| (info.name.as_str(), bytes))
        .collect();
    safetensors::<Error>(output, &infos, &metadata, existing, |info| {
        match bytes.get(info.name.as_str()) {
            Some(Bytes::Stored(name)) => file.weights().bytes(name),
            Some(Bytes::Made(bytes)) => Ok(Cow::Borrowed(bytes.as_slice())),
            None => Ok(Cow::Borrowed(&[])),
        }
    })?;
    let left = file.left_out().iter();
    Ok(left
        .map(|(name, why)| (name.clone(), (*why).to_owned()))
        .collect())
}

/// A module of a model.
#[derive(Clone)]
struct Place {
    role: Role,
    path: String,
    /// How it is written; empty where the spelling has no name for it.
    stem: String,
}

/// The modules of networks, by every stem that they may have.
fn places(networks: &[Targets], dialect: Dialect) -> BTreeMap<String, Place> {
    let two = networks
        .iter()
        .any(|network| network.role() == Role::TEXT_ENCODER_2);
    let mut places = BTreeMap::new();
    for target in networks.iter().flat_map(Targets::all) {
        let path = target.name.rsplit_once('.').map_or("", |(path, _)| path);
        let (stems, _) = spelling::stems(&target);
        // kohya names text encoders alike with either kind of path.
        let written = match (dialect, target.role()) {
            (_, Role::DENOISER) => dialect,
            (Dialect::KohyaOriginal, _) => Dialect::Kohya,
            _ => dialect,
        };
        let spelled = written.spell(&target, path);
        // Of one text encoder among two, the later of the names.
        let own = match (written, target.role()) {
            (Dialect::Kohya, Role::TEXT_ENCODER) if two => spelled.last(),
            _ => spelled.first(),
        };
        let place = Place {
            role: target.role(),
            path: path.to_owned(),
            stem: own.cloned().unwrap_or_default(),
        };
        places.extend(stems.into_iter().map(|stem| (stem, place.clone())));
    }
    places
}

impl Output {
    /// Puts a module in.
    fn module(&mut self, module: &Module<'_>, place: &Place) -> Result<(), ModelError> {
        let kind = module.kind()?;
        let diffusers = self.dialect == Dialect::Diffusers;
        if diffusers && kind != Kind::LowRank {
            return Err(module.file.wrong(format!(
                "`{}` is a {}, and diffusers' names have plain LoRAs and DoRAs alone",
                shown(module.stem),
                kind.words()
            )));
        }
        for (part, name) in module.parts {
            if diffusers && matches!(*part, "alpha" | "scale") {
                continue;
            }
            let (ending, shape) = self.written(module, part)?;
            let info = module.info(part).cloned();
            let Some(info) = info else { continue };
            let info = TensorInfo {
                name: format!("{}.{ending}", place.stem),
                shape,
                ..info
            };
            self.tensors.push((info, Bytes::Stored(name.clone())));
        }
        let rank = module.rank(kind);
        let Some(rank) = rank else { return Ok(()) };
        let (scale, alpha) = (module.number("scale")?, module.number("alpha")?);
        let stated = scale.map(|scale| scale * rank as f64).or(alpha);
        let settings = || module.file.scale_of(place.role, &place.path, rank);
        if diffusers {
            let alpha = stated.or_else(|| settings().map(|factor| factor * rank as f64));
            let alpha = alpha.unwrap_or(rank as f64);
            let own = self.settings.entry(place.role.folder()).or_default();
            own.push((place.path.clone(), alpha, rank));
        } else if let (None, Some(factor)) = (stated, settings()) {
            let dtype = module
                .info("lora_down")
                .map_or(Dtype::F32, |info| info.dtype);
            let (dtype, bytes) = number(factor * rank as f64, dtype);
            let info = TensorInfo {
                name: format!("{}.alpha", place.stem),
                dtype,
                shape: Vec::new(),
            };
            self.tensors.push((info, Bytes::Made(bytes)));
        }
        Ok(())
    }

    /// What a part is called, and its shape.
    fn written(
        &mut self,
        module: &Module<'_>,
        part: Part,
    ) -> Result<(String, Vec<usize>), ModelError> {
        let shape = module.shape(part).to_vec();
        let peft = matches!(self.dialect, Dialect::Diffusers | Dialect::Comfy);
        let diffusers = self.dialect == Dialect::Diffusers;
        let count: usize = shape.iter().product();
        let ending = match part {
            "lora_down" if peft => "lora_A.weight",
            "lora_up" if peft => "lora_B.weight",
            "lora_bias" if peft => "lora_B.bias",
            "lora_down" => "lora_down.weight",
            "lora_up" => "lora_up.weight",
            "lora_bias" => "lora_up.bias",
            "lora_mid" => "lora_mid.weight",
            // PEFT's magnitudes are of the outputs: [o], of convolutions [1, o, 1, 1].
            "dora_scale" if diffusers => {
                self.magnitudes = true;
                let of_inputs = shape.len() > 1 && shape[0] == 1 && count > 1;
                if of_inputs {
                    return Err(module.file.wrong(format!(
                        "`{}` has magnitudes of the inputs, and diffusers' names have those of outputs alone",
                        shown(module.stem)
                    )));
                }
                let shape = match module.shape("lora_down").len() {
                    0..=2 => vec![count],
                    axes => [&[1, count][..], &vec![1; axes - 2]].concat(),
                };
                return Ok(("lora_magnitude_vector".to_owned(), shape));
            }
            "magnitude" if diffusers => {
                self.magnitudes = true;
                "lora_magnitude_vector"
            }
            "magnitude" => {
                let axes = module.shape("lora_down").len().max(2);
                let shape = [&[count, 1][..], &vec![1; axes - 2]].concat();
                return Ok(("dora_scale".to_owned(), shape));
            }
            "a1" | "a2" | "b1" | "b2" => return Ok((format!("{part}.weight"), shape)),
            part => part,
        };
        Ok((ending.to_owned(), shape))
    }

    /// diffusers' settings of alpha.
    fn settings(&self) -> Value {
        let mut all = Map::new();
        for (network, modules) in &self.settings {
            // As PEFT calls modules of a text encoder.
            let path = |path: &str| path.strip_prefix("text_model.").unwrap_or(path).to_owned();
            let ranks = modules.iter().map(|(_, _, rank)| *rank);
            let rank = ranks.max().unwrap_or(1);
            let of = |value: &dyn Fn(&Written) -> Option<Value>| -> Value {
                let pairs = modules
                    .iter()
                    .filter_map(|module| Some((path(&module.0), value(module)?)));
                Value::Object(pairs.collect())
            };
            let fields = [
                ("r", json!(rank)),
                ("lora_alpha", json!(rank)),
                ("alpha_pattern", of(&|(_, alpha, _)| Some(json!(alpha)))),
                (
                    "rank_pattern",
                    of(&|(_, _, own)| (*own != rank).then(|| json!(own))),
                ),
                (
                    "target_modules",
                    modules
                        .iter()
                        .map(|(own, ..)| Value::from(path(own)))
                        .collect(),
                ),
                ("use_dora", json!(self.magnitudes)),
                ("bias", json!("none")),
                ("lora_bias", json!(false)),
            ];
            all.extend(fields.map(|(key, value)| (format!("{network}.{key}"), value)));
        }
        Value::Object(all)
    }
}

/// A number in the type of its module's tensors where that holds it, else in f32.
fn number(value: f64, dtype: Dtype) -> (Dtype, Vec<u8>) {
    let single = value as f32;
    match dtype {
        Dtype::F16 if f16::from_f32(single).to_f32() == single => {
            (Dtype::F16, f16::from_f32(single).to_le_bytes().to_vec())
        }
        Dtype::BF16 if bf16::from_f32(single).to_f32() == single => {
            (Dtype::BF16, bf16::from_f32(single).to_le_bytes().to_vec())
        }
        _ => (Dtype::F32, single.to_le_bytes().to_vec()),
    }
}
