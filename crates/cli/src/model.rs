//! Opening the model of a request, or the built-in test model where it names none.

use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use indicatif::ProgressBar;
use latent_checkpoint::file::hash::{sha256, short_hash};
use latent_models::Form;
use latent_pipeline::{
    Model, ModelFiles,
    request::{Dtype, Request},
};

use crate::{failure::Failure, screen};

/// The files of a model: those at `path`, or of the built-in test model.
///
/// # Errors
/// A cache folder that cannot be written.
pub fn files(path: Option<&Path>) -> Result<ModelFiles, Failure> {
    match path {
        Some(path) => Ok(path.to_owned().into()),
        None => Ok(test_model()?.into()),
    }
}

/// Opens the model of `request` on `device`. `hash` computes the hashes that pictures carry.
///
/// # Errors
/// Whatever is wrong with the files.
pub fn open(request: &Request, device: &Device, hash: bool, json: bool) -> Result<Model, Failure> {
    if request.model.is_none() && !json {
        eprintln!(
            "no model given: drawing with the built-in test model, its pictures are patterns; give --model FILE"
        );
    }
    let files = ModelFiles {
        vae: request.vae.clone(),
        text_encoder: request.text_encoder.clone(),
        ..files(request.model.as_deref())?
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
    let (mut model, reports) = Model::open(&files, device, dtype, &mut |part, done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_prefix(format!("loading the {part}"));
    })?;
    for report in reports {
        tracing::info!(
            tensors = report.applied.len(),
            ignored = report.ignored.len(),
            moving_average = report.moving_average,
            "loaded"
        );
    }
    if hash {
        model.hash = short_sha(&files.model, &bar)?;
        if let (Some((_, vae_hash)), Some(path)) = (&mut model.vae, &request.vae) {
            *vae_hash = short_sha(path, &bar)?;
        }
    }
    bar.finish_and_clear();
    if request.model.is_none() {
        "latent test model".clone_into(&mut model.name);
    }
    Ok(model)
}

/// The model packed for what `request` asks.
pub fn packed(model: Model, request: &Request) -> Model {
    let form = match request.dtype {
        Some(Dtype::Int8) => Form::Int8,
        _ => Form::Plain,
    };
    model.packed(form, request.canvas())
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

/// The checkpoint of recipe weights, written into the user's cache folder the first time.
fn test_model() -> Result<PathBuf, Failure> {
    let cache = cache_folder()
        .unwrap_or_else(std::env::temp_dir)
        .join("latent");
    let folder = cache.join(concat!("test-model-", env!("CARGO_PKG_VERSION")));
    let file = folder.join("model.safetensors");
    if file.is_file() {
        return Ok(file);
    }
    let failed = |e: std::io::Error| {
        Failure::run(format!(
            "cannot write the built-in test model into {}: {e}",
            cache.display()
        ))
    };
    std::fs::create_dir_all(&cache).map_err(failed)?;
    // Written whole beside its place, then renamed, so that two runs at once do not meet.
    let fresh = tempfile::tempdir_in(&cache).map_err(failed)?;
    write_test_model(fresh.path())?;
    match std::fs::rename(fresh.path(), &folder) {
        Err(e) if !file.is_file() => Err(failed(e)),
        _ => Ok(file),
    }
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
