//! Writing a model in each form. Where the values come from is the caller's: another file, or a recipe.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use latent_models::clip::Activation;
use serde_json::Value;

use super::{Target, configs, index, marks, request, tokenizer, usual_training};
use crate::detect::{Carried, SIDE, SchedulerConfig, ZEROS};
use crate::file::write::{Existing, FolderWriter, TorchLayout, json, safetensors, torch_zip};
use crate::file::{Dtype, TensorInfo};
use crate::load::{ENDING, transposed};
use crate::names::{Piece, Table};
use crate::networks::{Network, Role, Shapes, attachment_key};
use crate::report::ModelError;

/// A model to write: everything but the values of its parameters.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The networks.
    pub parts: Vec<NamedPart>,
    /// Noise schedule and prediction type.
    pub scheduler: SchedulerConfig,
    /// Nothing states the scheduler's settings: a single file does not state them either.
    pub assumed: bool,
    /// The side of the latent square that a diffusers folder draws by default; `None`: 64, or 96 for v-prediction.
    pub sample_size: Option<usize>,
    /// An empty negative prompt is zeros, where the input says it.
    pub zeros_for_empty: Option<bool>,
    /// Text to store in a single file.
    pub metadata: BTreeMap<String, String>,
    /// Further files that networks need, by path in the folder (`conditioner/vocab.txt`), with what is in them.
    pub attachments: Vec<(String, Vec<u8>)>,
    /// Components that are not networks, passed on as they are.
    pub carried: Vec<Carried>,
}

impl Model {
    /// How many text encoders it has.
    pub(super) fn texts(&self) -> usize {
        let texts = self.parts.iter();
        texts
            .filter(|part| matches!(part.config, Network::TextEncoder(_)))
            .count()
    }
}

/// One network to write.
#[derive(Clone, Debug)]
pub struct NamedPart {
    /// What it is for.
    pub role: Role,
    /// How it is built.
    pub config: Network,
    /// The type in which each parameter is stored, by published name.
    pub dtypes: HashMap<String, Dtype>,
}

/// Gives the values of a parameter, row-major and little-endian, in the type that [`NamedPart::dtypes`] says; and of one that is
/// stored as I8, under its name and `_scale`, the f32 factors of its rows.
pub type Values<'a> = dyn FnMut(Role, &str) -> Result<Vec<u8>, ModelError> + 'a;

/// A tensor of the output and the parameters it is made of, in order.
struct Output {
    info: TensorInfo,
    role: Role,
    parameters: Vec<String>,
    /// What part of the tensor each parameter is.
    piece: Piece,
}

impl Output {
    /// The scales of its rows.
    fn scales(&self) -> Self {
        let scales = |name: &String| format!("{name}{ENDING}");
        Self {
            info: TensorInfo {
                name: scales(&self.info.name),
                dtype: Dtype::F32,
                shape: self.info.shape[..1].to_vec(),
            },
            role: self.role,
            parameters: self.parameters.iter().map(scales).collect(),
            piece: self.piece,
        }
    }
}

/// The tensors of one network under `prefix` as `table` writes them, with the scales of those that have some.
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
        let output = |name: String, parameters| Output {
            info: TensorInfo {
                name,
                dtype,
                shape: place.piece.stored_shape(&shape),
            },
            role: part.role,
            parameters,
            piece: place.piece,
        };
        let Piece::Third { index, .. } = place.piece else {
            outputs.push(output(name, vec![parameter]));
            continue;
        };
        let at = *thirds.entry(name.clone()).or_insert_with(|| {
            outputs.push(output(name.clone(), vec![String::new(); 3]));
            outputs.len() - 1
        });
        if outputs[at].info.dtype != dtype {
            let problem =
                format!("query, key and value of `{name}` have different types; choose one dtype");
            return Err(request(path, problem));
        }
        outputs[at].parameters[index] = parameter;
    }
    let small = outputs
        .iter()
        .filter(|output| output.info.dtype == Dtype::I8);
    let scales: Vec<Output> = small.map(Output::scales).collect();
    outputs.extend(scales);
    Ok(outputs)
}

/// The bytes of an output tensor.
fn assemble(output: &Output, values: &mut Values<'_>) -> Result<Vec<u8>, ModelError> {
    let groups = match output.piece {
        Piece::Third { groups, .. } => groups,
        Piece::Whole => return values(output.role, &output.parameters[0]),
        Piece::Transposed => {
            let bytes = values(output.role, &output.parameters[0])?;
            // The stored shape is the parameter's with its dimensions exchanged.
            let [rows, columns] = [output.info.shape[0], output.info.shape[1]];
            return Ok(transposed(&bytes, rows, columns));
        }
    };
    let parts: Vec<Vec<u8>> = output
        .parameters
        .iter()
        .map(|parameter| values(output.role, parameter))
        .collect::<Result<_, _>>()?;
    let length = parts[0].len() / groups;
    let mut bytes = Vec::with_capacity(output.info.byte_len());
    for group in 0..groups {
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
    for (name, bytes) in &model.attachments {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            let problem = format!("a single file has no place for `{name}`, which is not text");
            request(path, problem)
        })?;
        metadata.insert(attachment_key(name), text.to_owned());
    }
    let mut all: Vec<Output> = Vec::new();
    for part in &model.parts {
        let scheme = part.config.file_scheme();
        let alone = model.parts.len() == 1 && part.role != Role::DENOISER;
        let prefix = match alone {
            true => part.config.prefix_alone(),
            false => part.config.prefix_in_file(part.role, model.texts()),
        };
        let prefix = prefix.ok_or_else(|| {
            let problem = format!("a single file has no place for the {}", part.role);
            request(path, problem)
        })?;
        let table = part.config.table(scheme);
        let outputs = outputs(path, part, &table, prefix)?;
        let pairs = outputs
            .iter()
            .map(|output| (output.info.name.as_str(), output.info.shape.as_slice()));
        let again = part.config.detect_again(&Shapes::new(pairs, prefix));
        if !again.is_ok_and(|found| part.config.is_found_as(&found)) {
            let text = serde_json::to_string(&part.config)
                .map_err(|e| request(path, format!("its settings cannot be written: {e}")))?;
            metadata.insert(part.role.metadata_key(), text);
        }
        all.extend(outputs);
    }
    for component in &model.carried {
        let entry = component.metadata().ok_or_else(|| {
            let problem = format!(
                "a single file has no place for `{}`, which is not text",
                component.name
            );
            request(path, problem)
        })?;
        metadata.extend([entry]);
    }
    if let Some(side) = model.sample_size.filter(|_| !model.assumed) {
        metadata.insert(SIDE.into(), side.to_string());
    }
    if model.zeros_for_empty == Some(false) {
        metadata.insert(format!("latent.{ZEROS}"), false.to_string());
    }
    if !usual_training(&model.scheduler) || !model.assumed && !usual_settings(&model.scheduler) {
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
    let marks = marks::marks(model);
    write_tensors(path, target, (&all, &marks), &metadata, existing, values)
}

fn write_tensors(
    path: &Path,
    target: Target,
    (outputs, marks): (&[Output], &[(TensorInfo, Vec<u8>)]),
    metadata: &BTreeMap<String, String>,
    existing: Existing,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let infos = outputs.iter().map(|output| &output.info);
    let infos: Vec<TensorInfo> = infos
        .chain(marks.iter().map(|(info, _)| info))
        .cloned()
        .collect();
    // The writers ask for every tensor once, in this order.
    let (mut outputs, mut marks) = (outputs.iter(), marks.iter());
    let bytes = |info: &TensorInfo| match (outputs.next(), marks.as_slice()) {
        (Some(output), _) => assemble(output, values).map(Cow::Owned),
        (None, [(_, bytes), ..]) => {
            marks.next();
            Ok(Cow::Borrowed(bytes.as_slice()))
        }
        (None, []) => Err(request(path, format!("`{}` is asked for twice", info.name))),
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

/// Whether a file that says nothing of its scheduler is taken to have these settings, bookkeeping aside.
fn usual_settings(scheduler: &SchedulerConfig) -> bool {
    let mut settings = scheduler.clone();
    settings
        .rest
        .retain(|key, _| key == SchedulerConfig::TRAINED || !key.starts_with('_'));
    settings == SchedulerConfig::stable_diffusion()
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
    let configs = model.parts.iter().map(|part| {
        let config = configs::part_json(path, part, model)?;
        Ok((configs::folder(part).to_owned(), config))
    });
    let configs: Vec<_> = configs.collect::<Result<_, ModelError>>()?;
    if let [(_, config)] = configs.as_slice() {
        let writer = FolderWriter::create(path, existing)?;
        write_part(path, &writer, "", &model.parts[0], config, values)?;
        return Ok(writer.finish()?);
    }
    let mut model = model.clone();
    model.carried.extend(index::companions(&model));
    let index = index::model_index(path, &model, &configs)?;
    write_whole(path, &model, &configs, &index, existing, values)
}

/// Writes a model that was trained here as a folder that [`Checkpoint::open`](crate::Checkpoint::open) opens: as
/// diffusers has it where diffusers has a class for a network and a pipeline for them all, in classes of this project's own
/// where it has none.
///
/// # Errors
/// When the folder cannot be written; and the errors of `values`.
pub fn write_trained(
    path: &Path,
    model: &Model,
    existing: Existing,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let configs = model.parts.iter().map(|part| {
        let config = configs::part_json(path, part, model);
        let config = config.unwrap_or_else(|_| part.config.own_json());
        (configs::folder(part).to_owned(), config)
    });
    let configs: Vec<_> = configs.collect();
    let index = index::model_index(path, model, &configs);
    let index = index.unwrap_or_else(|_| configs::own_index(model, &configs));
    write_whole(path, model, &configs, &index, existing, values)
}

/// Every network with its folder and settings, the files beside them, and what stands for the whole.
fn write_whole(
    path: &Path,
    model: &Model,
    configs: &[(String, Value)],
    index: &Value,
    existing: Existing,
    values: &mut Values<'_>,
) -> Result<(), ModelError> {
    let writer = FolderWriter::create(path, existing)?;
    for (part, (folder, config)) in model.parts.iter().zip(configs) {
        write_part(path, &writer, &format!("{folder}/"), part, config, values)?;
    }
    let carried = model.carried.iter().flat_map(|component| {
        let files = component.files.iter();
        files.map(|(name, bytes)| (format!("{}/{name}", component.name), bytes))
    });
    let attachments = model
        .attachments
        .iter()
        .map(|(name, bytes)| (name.clone(), bytes));
    for (name, bytes) in carried.chain(attachments) {
        let file = writer.file(name)?;
        if file.exists() {
            return Err(crate::Error::Exists { path: file }.into());
        }
        fs::write(&file, bytes).map_err(crate::Error::io(&file, "write"))?;
    }
    write_rest(path, &writer, model, index)?;
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
    let stem = part.config.weights_stem();
    let file = writer.file(format!("{folder}{stem}.safetensors"))?;
    let existing = Existing::Refuse;
    write_tensors(
        &file,
        Target::Safetensors,
        (&outputs, &[]),
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
    for part in &model.parts {
        if let Network::TextEncoder(text) = &part.config {
            let open_clip = text.activation == Activation::Gelu;
            write_tokenizer(path, writer, part.role, open_clip)?;
        }
    }
    json(&writer.file("model_index.json")?, index, Existing::Refuse)?;
    Ok(())
}

fn write_tokenizer(
    path: &Path,
    writer: &FolderWriter,
    role: Role,
    open_clip: bool,
) -> Result<(), ModelError> {
    let folder = tokenizer::folder(role);
    let files = tokenizer::vocabulary()
        .ok_or_else(|| request(path, "the tokenizer's vocabulary is not the published one"))?;
    for (name, text) in [("vocab.json", files.vocab), ("merges.txt", files.merges)] {
        let file = writer.file(format!("{folder}/{name}"))?;
        fs::write(&file, text).map_err(crate::Error::io(&file, "write"))?;
    }
    for (name, value) in tokenizer::settings(open_clip) {
        let value: Value = value;
        json(
            &writer.file(format!("{folder}/{name}"))?,
            &value,
            Existing::Refuse,
        )?;
    }
    Ok(())
}
