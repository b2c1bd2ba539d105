//! Opening the model of a request, or the built-in one where it names none.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use indicatif::ProgressBar;
use latent_checkpoint::{
    Files,
    file::hash::{sha256, short_hash},
};
use latent_default_model as built_in;
use latent_models::Form;
use latent_pipeline::{
    Model, ModelFiles,
    request::{Dtype, Request},
};

use crate::{failure::Failure, screen};

/// The files of a model: those at `path`, or the built-in model's.
pub fn files(path: Option<&Path>) -> ModelFiles {
    match path {
        Some(path) => ModelFiles {
            built_in: built_in(path),
            ..path.to_owned().into()
        },
        None => ModelFiles {
            model: built_in::FOLDER.into(),
            built_in: built_in::FILES,
            ..ModelFiles::default()
        },
    }
}

/// Where the model at `path` is: in the program where it is the built-in model's name and nothing there is called so.
pub fn built_in(path: &Path) -> Files {
    match path == Path::new(built_in::FOLDER) && !path.exists() {
        true => built_in::FILES,
        false => Files::Disk,
    }
}

/// Says where the model of a run is, for the folder of the run itself.
///
/// # Errors
/// Where `path` is such a folder.
fn not_a_run(path: &Path) -> Result<(), Failure> {
    if !path.join(latent_train::CHECKPOINTS).is_dir() || path.join("model_index.json").exists() {
        return Ok(());
    }
    let (name, model) = (path.display(), path.join("model"));
    Err(Failure::input(match model.is_dir() {
        true => format!("{name} is the folder of a run: use {}", model.display()),
        false => format!(
            "{name} is the folder of a run that has not ended: write its model with `latent export SETTINGS MODEL --out {name}`"
        ),
    }))
}

/// Opens the model of `request` on `device`. `hash` computes the hashes that pictures carry.
///
/// # Errors
/// Whatever is wrong with the files.
pub fn open(
    request: &Request,
    device: &Device,
    hash: bool,
    json: bool,
    alone: bool,
) -> Result<Model, Failure> {
    if request.model.is_none() && !json {
        screen::tell(format_args!(
            "drawing with the built-in model: icons, emoji and clip art of {0}×{0} pixels; for other pictures give a checkpoint \
             with --model FILE (docs/checkpoints.md)",
            built_in::SIDE
        ));
    }
    request.model.as_deref().map_or(Ok(()), not_a_run)?;
    let files = ModelFiles {
        vae: request.vae.clone(),
        text_encoder: request.text_encoder.clone(),
        prediction: request.prediction.map(Into::into),
        ..files(request.model.as_deref())
    };
    let asked = request.dtype.unwrap_or(Dtype::F32);
    let dtype = match asked {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 | Dtype::Int8 => DType::BF16,
    };
    if asked == Dtype::Int8 && *device != Device::flex() {
        return Err(Failure::input(
            "--dtype int8 is for the CPU: on a GPU use f16 or bf16",
        ));
    }
    let bar = screen::bar();
    let (mut model, reports) = match alone {
        true => Model::declare(&files, device, dtype)?,
        false => Model::open(&files, device, dtype, &mut |part, done, all| {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_prefix(format!("loading the {part}"));
        })?,
    };
    for report in reports {
        tracing::info!(
            tensors = report.applied.len(),
            ignored = report.ignored.len(),
            moving_average = report.moving_average,
            "{}",
            if alone { "checked" } else { "loaded" }
        );
    }
    if hash {
        model.hash = short_sha(&files.model, &bar)?;
        if let (Some((_, vae_hash)), Some(path)) = (&mut model.vae, &request.vae) {
            *vae_hash = short_sha(path, &bar)?;
        }
    }
    bar.finish_and_clear();
    Ok(model)
}

/// The model packed for what `request` asks.
pub fn packed(model: Model, request: &Request) -> Model {
    let form = match request.dtype {
        Some(Dtype::Int8) => Form::Int8,
        _ => Form::Plain,
    };
    model.packed(form)
}

/// The hash by which A1111 names a checkpoint; a folder has none.
fn short_sha(path: &Path, bar: &ProgressBar) -> Result<Option<String>, Failure> {
    if !path.is_file() {
        return Ok(None);
    }
    bar.set_prefix("hashing the file");
    let hash = sha256(path, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })
    .map_err(Failure::input)?;
    Ok(Some(short_hash(&hash).to_owned()))
}

/// The tiny checkpoint in its three forms.
pub fn write_test_model(folder: &Path) -> Result<latent_checkpoint::tiny::TinyPaths, Failure> {
    let mut weights = |component: &str, name: &str, shape: &[usize]| {
        latent_testkit::recipe::tensor_f16(&format!("{component}/{name}"), shape, 0)
    };
    Ok(latent_checkpoint::tiny::write_tiny(
        folder,
        4,
        &mut weights,
    )?)
}

/// Where this user's programs keep what they can make again.
pub fn cache_folder() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    }
}
