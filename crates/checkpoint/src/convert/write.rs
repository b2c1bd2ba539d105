//! Writing a model in each form. Where the values come from is the caller's: another file, or a recipe.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Target, configs, request, same_config, tokenizer, usual_training};
use crate::detect::{PartConfig, SchedulerConfig, Shapes, config_metadata_key, detect_part};
use crate::file::write::{Existing, FolderWriter, TorchLayout, json, safetensors, torch_zip};
use crate::file::{Dtype, TensorInfo};
use crate::names::scope::single_file_prefix;
use crate::names::{Found, Part, Piece, Scheme, Table};
use crate::report::ModelError;

/// A model to write: everything but the values of its parameters.
#[derive(Clone, Debug)]
pub struct Model {
    /// The networks.
    pub parts: Vec<NamedPart>,
    /// Noise schedule and prediction type.
    pub scheduler: SchedulerConfig,
    /// The side of the latent square that a diffusers folder draws by default; `None`: 64, or 96 for v-prediction.
    pub sample_size: Option<usize>,
    /// Text to store in a single file.
    pub metadata: BTreeMap<String, String>,
}

/// One network to write.
#[derive(Clone, Debug)]
pub struct NamedPart {
    /// Which network.
    pub part: Part,
    /// How it is built.
    pub config: PartConfig,
    /// The type in which each parameter is stored, by published name.
    pub dtypes: HashMap<String, Dtype>,
}

/// Gives the values of a parameter, row-major and little-endian, in the type that [`NamedPart::dtypes`] says.
pub type Values<'a> = dyn FnMut(Part, &str) -> Result<Vec<u8>, ModelError> + 'a;

/// A tensor of the output and the parameters it is made of, in order.
struct Output {
    info: TensorInfo,
    part: Part,
    parameters: Vec<String>,
    /// How often query, key and value alternate; 0 for a tensor that is one parameter.
    groups: usize,
}

/// The tensors of one network under `prefix` as `table` writes them.
fn outputs(
    path: &Path,
    part: &NamedPart,
    table: &Table,
    prefix: &str,
) -> Result<Vec<Output>, ModelError> {
    let mut outputs: Vec<Output> = Vec::new();
    let mut thirds: HashMap<String, usize> = HashMap::new();
    for (parameter, mut shape) in part.config.parameters() {
        let unnamed = || request(path, format!("this form has no name for `{parameter}`"));
        let place = table.place(&parameter).ok_or_else(unnamed)?;
        let dtype = *part.dtypes.get(&parameter).ok_or_else(unnamed)?;
        if let Some(dims) = place.dims {
            shape.resize(dims.max(shape.len()), 1);
        }
        let name = format!("{prefix}{}", place.name);
        let Piece::Third { index, groups } = place.piece else {
            outputs.push(Output {
                info: TensorInfo { name, dtype, shape },
                part: part.part,
                parameters: vec![parameter],
                groups: 0,
            });
            continue;
        };
        let at = *thirds.entry(name.clone()).or_insert_with(|| {
            let mut shape = shape.clone();
            shape[0] *= 3;
            outputs.push(Output {
                info: TensorInfo {
                    name: name.clone(),
                    dtype,
                    shape,
                },
                part: part.part,
                parameters: vec![String::new(); 3],
                groups,
            });
            outputs.len() - 1
        });
        if outputs[at].info.dtype != dtype {
            let problem =
                format!("query, key and value of `{name}` have different types; choose one dtype");
            return Err(request(path, problem));
        }
        outputs[at].parameters[index] = parameter;
    }
    Ok(outputs)
}

/// The bytes of an output tensor.
fn assemble(output: &Output, values: &mut Values<'_>) -> Result<Vec<u8>, ModelError> {
    if output.groups == 0 {
        return values(output.part, &output.parameters[0]);
    }
    let parts: Vec<Vec<u8>> = output
        .parameters
        .iter()
        .map(|parameter| values(output.part, parameter))
        .collect::<Result<_, _>>()?;
    let length = parts[0].len() / output.groups;
    let mut bytes = Vec::with_capacity(output.info.byte_len());
    for group in 0..output.groups {
        for part in &parts {
            bytes.extend_from_slice(&part[group * length..(group + 1) * length]);
        }
    }
    Ok(bytes)
}

/// Writes `model` as one file with the original names.
///
/// A setting that the names and shapes do not lead back to (an unusual number of heads, another noise schedule) is
/// stored as JSON in the file's metadata under `latent.…`, where detection finds it.
///
/// # Errors
/// When the form has no name for a parameter, or the file cannot be written; and the errors of `values`.
pub fn write_file(
    path: &Path,
    target: Target,
    model: &Model,
    existing: Existing,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let mut metadata = model.metadata.clone();
    metadata.retain(|key, _| !key.starts_with("latent."));
    let mut all: Vec<Output> = Vec::new();
    for part in &model.parts {
        let scheme = configs::single_file_scheme(part.part, &part.config);
        let alone = model.parts.len() == 1 && part.part != Part::Unet;
        let prefix = match (alone, part.part, scheme) {
            (true, Part::TextEncoder, Scheme::Diffusers) => "text_model.",
            (true, ..) => "",
            (false, part, scheme) => single_file_prefix(part, scheme).ok_or_else(|| {
                request(path, format!("a single file has no place for the {part}"))
            })?,
        };
        let table = part.config.table(scheme);
        let outputs = outputs(path, part, &table, prefix)?;
        let pairs = outputs
            .iter()
            .map(|output| (output.info.name.as_str(), output.info.shape.as_slice()));
        let found = Found {
            component: part.part,
            scheme,
            prefix,
        };
        let again = detect_part(&Shapes::new(pairs, prefix), &found);
        if !again.is_ok_and(|config| same_config(&config, &part.config)) {
            let text = serde_json::to_string(&part.config)
                .map_err(|e| request(path, format!("its settings cannot be written: {e}")))?;
            metadata.insert(config_metadata_key(part.part).into(), text);
        }
        all.extend(outputs);
    }
    if !usual_training(&model.scheduler) {
        metadata.insert(
            "latent.scheduler".into(),
            model.scheduler.to_json().to_string(),
        );
    }
    if model.scheduler.prediction_type == "v_prediction" {
        metadata.insert("modelspec.prediction_type".into(), "v".into());
    }
    if model.scheduler.rescale_betas_zero_snr {
        metadata.insert("ss_zero_terminal_snr".into(), "True".into());
    }
    if target == Target::Safetensors {
        metadata.insert("format".into(), "pt".into());
    } else {
        metadata.remove("format");
    }
    write_tensors(path, target, &all, &metadata, existing, values)
}

fn write_tensors(
    path: &Path,
    target: Target,
    outputs: &[Output],
    metadata: &BTreeMap<String, String>,
    existing: Existing,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let infos: Vec<TensorInfo> = outputs.iter().map(|output| output.info.clone()).collect();
    // The writers ask for every tensor once, in this order.
    let mut queue = outputs.iter();
    let bytes = |info: &TensorInfo| match queue.next() {
        Some(output) => assemble(output, values).map(Cow::Owned),
        None => Err(request(path, format!("`{}` is asked for twice", info.name))),
    };
    match target {
        Target::Ckpt => torch_zip(
            path,
            &infos,
            TorchLayout::Checkpoint(metadata),
            existing,
            bytes,
        ),
        _ => safetensors(path, &infos, metadata, existing, bytes),
    }
}

/// Writes `model` as a diffusers folder; a model of one network becomes the folder of that component.
///
/// # Errors
/// When diffusers has no class for a network or for this set of networks, or the folder cannot be written; and the
/// errors of `values`.
pub fn write_folder(
    path: &Path,
    model: &Model,
    existing: Existing,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let alone = model.parts.len() == 1;
    let index = match alone {
        true => None,
        false => Some(configs::model_index(path, model)?),
    };
    let writer = FolderWriter::create(path, existing)?;
    for part in &model.parts {
        let folder = match alone {
            true => String::new(),
            false => format!("{}/", configs::folder(part)),
        };
        let config = configs::part_json(path, part, model)?;
        write_part(path, &writer, &folder, part, &config, values)?;
    }
    if let Some(index) = index {
        write_rest(path, &writer, model, &index)?;
    }
    Ok(writer.finish()?)
}

/// Writes a model that was trained here as a folder that [`Checkpoint::open`](crate::Checkpoint::open) opens: as
/// diffusers has it where diffusers has a class for a network and a pipeline for them all, in classes of this project's own
/// where it has none. `files` are further files, by path in the folder.
///
/// # Errors
/// When the folder cannot be written; and the errors of `values`.
pub fn write_trained(
    path: &Path,
    model: &Model,
    files: &[(&str, &[u8])],
    existing: Existing,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let writer = FolderWriter::create(path, existing)?;
    let mut parts = Vec::with_capacity(model.parts.len());
    for part in &model.parts {
        let config = configs::part_json(path, part, model);
        let config = config.unwrap_or_else(|_| configs::own_json(part));
        let folder = configs::folder(part);
        write_part(path, &writer, &format!("{folder}/"), part, &config, values)?;
        parts.push((folder.to_owned(), config));
    }
    for (name, bytes) in files {
        let file = writer.file(name)?;
        fs::write(&file, bytes).map_err(crate::Error::io(&file, "write"))?;
    }
    let index = configs::model_index(path, model);
    let index = index.unwrap_or_else(|_| configs::own_index(model, &parts));
    write_rest(path, &writer, model, &index)?;
    Ok(writer.finish()?)
}

/// A network's settings and weights.
fn write_part(
    path: &Path,
    writer: &FolderWriter,
    folder: &str,
    part: &NamedPart,
    config: &Value,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let file = writer.file(format!("{folder}config.json"))?;
    json(&file, config, Existing::Refuse)?;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let outputs = outputs(path, part, &Table::identity(), "")?;
    let stem = match part.part {
        Part::TextEncoder | Part::TextEncoder2 => "model",
        _ => "diffusion_pytorch_model",
    };
    let file = writer.file(format!("{folder}{stem}.safetensors"))?;
    let existing = Existing::Refuse;
    write_tensors(
        &file,
        Target::Safetensors,
        &outputs,
        &metadata,
        existing,
        values,
    )
}

/// Scheduler, tokenizer and index.
fn write_rest(
    path: &Path,
    writer: &FolderWriter,
    model: &Model,
    index: &Value,
) -> Result<(), ModelError> {
    let scheduler = configs::scheduler_json(&model.scheduler);
    let file = writer.file("scheduler/scheduler_config.json")?;
    json(&file, &scheduler, Existing::Refuse)?;
    if model
        .parts
        .iter()
        .any(|part| part.part == Part::TextEncoder)
    {
        write_tokenizer(path, writer)?;
    }
    json(&writer.file("model_index.json")?, index, Existing::Refuse)?;
    Ok(())
}

fn write_tokenizer(path: &Path, writer: &FolderWriter) -> Result<(), ModelError> {
    let files = tokenizer::vocabulary()
        .ok_or_else(|| request(path, "the tokenizer's vocabulary is not the published one"))?;
    for (name, text) in [("vocab.json", files.vocab), ("merges.txt", files.merges)] {
        let file = writer.file(format!("tokenizer/{name}"))?;
        fs::write(&file, text).map_err(crate::Error::io(&file, "write"))?;
    }
    for (name, value) in tokenizer::settings() {
        let value: Value = value;
        json(
            &writer.file(format!("tokenizer/{name}"))?,
            &value,
            Existing::Refuse,
        )?;
    }
    Ok(())
}
