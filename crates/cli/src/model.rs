//! The models of the command line: what can be named, and opening what a request names.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use latent_checkpoint::Target;
use latent_checkpoint::tiny::{self, TinyPaths};
use latent_default_model as built_in;
use latent_pipeline::{
    Model, ModelFiles, Resources,
    embeddings::Embeddings,
    library::Library,
    request::Request,
    resources::{BuiltIn, Disk, Models, Place},
};
use latent_testkit::golden::{EMBEDDINGS, HYPERNETWORKS};

use crate::{failure::Failure, screen};

/// Hold the folders of models and of LoRAs where no flag names them.
const FOLDERS: &str = "LATENT_MODELS";
const LORA_FOLDERS: &str = "LATENT_LORAS";
const HYPERNETWORK_FOLDERS: &str = "LATENT_HYPERNETWORKS";

/// What can be named on this command line: files, models in `folders` and LoRAs in `loras` (or those of the environment), the
/// built-in model, and embeddings in the folders of these.
///
/// # Errors
/// A folder that cannot be looked through.
pub fn resources(
    folders: &[PathBuf],
    loras: &[PathBuf],
    embeddings: &[PathBuf],
) -> Result<Disk, Failure> {
    let folders = given(folders, FOLDERS);
    let hashes = cache_folder().map(|folder| folder.join("latent/hashes.json"));
    Ok(Disk {
        models: Models {
            library: Library::open(&folders, hashes)?,
            loras: Library::open_adapters(&given(loras, LORA_FOLDERS))?,
            built_in: Some(BuiltIn {
                name: built_in::FOLDER,
                files: built_in::FILES,
            }),
            embeddings: Embeddings::open(embeddings)?,
            ..Models::default()
        },
    })
}

/// The hypernetworks in `folders`, or in those of the environment.
///
/// # Errors
/// A folder that cannot be looked through.
pub fn hypernetworks(folders: &[PathBuf]) -> Result<Library, Failure> {
    Ok(Library::open_adapters(&given(
        folders,
        HYPERNETWORK_FOLDERS,
    ))?)
}

/// Those that are typed, or else those of the environment.
fn given(folders: &[PathBuf], variable: &str) -> Vec<PathBuf> {
    match folders.is_empty() {
        false => folders.to_vec(),
        true => folders_of_environment(variable),
    }
}

/// Those that are there; the others are named, since no command asked for them.
fn folders_of_environment(variable: &str) -> Vec<PathBuf> {
    let folders = std::env::var_os(variable).unwrap_or_default();
    let named = std::env::split_paths(&folders).filter(|path| !path.as_os_str().is_empty());
    let (there, gone): (Vec<_>, Vec<_>) = named.partition(|path| path.is_dir());
    for path in gone {
        screen::tell(format_args!(
            "note: {variable} names {}, which is no folder",
            path.display()
        ));
    }
    there
}

/// The files of the model that is called `path`, or of the built-in one.
///
/// # Errors
/// A name that stands for nothing.
pub fn files(path: Option<&Path>) -> Result<ModelFiles, Failure> {
    let Place { path, files } = match path {
        Some(name) => place(name, &[])?,
        None => resources(&[], &[], &[])?.model(None)?,
    };
    Ok(ModelFiles {
        model: path,
        built_in: files,
        ..ModelFiles::default()
    })
}

/// Where what is called `name` is: a file or folder, a model of `folders`, the built-in one.
///
/// # Errors
/// A name that stands for nothing.
pub fn place(name: &Path, folders: &[PathBuf]) -> Result<Place, Failure> {
    match name.exists() {
        true => Ok(name.to_owned().into()),
        false => Ok(resources(folders, &[], &[])?.model(Some(&name.into()))?),
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

/// Opens the model of `request` on `device`. `hash` computes the hashes that pictures carry; `alone`: nothing else is
/// drawn.
///
/// # Errors
/// Whatever is wrong with the files.
pub fn open(
    request: &Request,
    resources: &dyn Resources,
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
    let files = ModelFiles::of(request, resources)?;
    not_a_run(&files.model)?;
    files
        .refiner
        .as_ref()
        .map_or(Ok(()), |refiner| not_a_run(&refiner.path))?;
    let bar = screen::bar();
    let mut progress = |part, done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_prefix(format!("loading the {part}"));
    };
    let (mut model, reports) = Model::open_for(request, &files, device, alone, &mut progress)?;
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
        bar.set_prefix("hashing the file");
        model.hash_files(&files, resources, &mut |done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })?;
    }
    bar.finish_and_clear();
    Ok(model)
}

/// The form of a checkpoint that a path asks for.
///
/// # Errors
/// A path that ends otherwise.
pub fn form(path: &Path) -> Result<Target, Failure> {
    Target::of(path).ok_or_else(|| {
        Failure::input(format!(
            "{} names no form: end it in .safetensors or .ckpt for one file, or give a name without an ending for a \
             diffusers folder",
            path.display()
        ))
    })
}

/// The tiny checkpoint in its three forms, and what is hung onto it: a LoRA, a ControlNet, an IP-Adapter,
/// a T2I-Adapter of style, a hypernetwork, embeddings.
pub fn write_test_model(folder: &Path) -> Result<TinyPaths, Failure> {
    let mut weights = |component: &str, name: &str, shape: &[usize]| {
        latent_testkit::recipe::tensor_f16(&format!("{component}/{name}"), shape, 0)
    };
    let file = |name| folder.join(name);
    tiny::write_tiny_lora(&file("lora.safetensors"), &mut weights)?;
    tiny::write_tiny_controlnet(&file("controlnet.safetensors"), &mut weights)?;
    tiny::write_tiny_ip_adapter(folder, &mut weights)?;
    tiny::write_tiny_style_adapter(&file("style.safetensors"), &mut weights)?;
    let kept = ["zeta.pt", "zeta_one.bin"];
    write_files(&file("embeddings"), &EMBEDDINGS, &kept)?;
    write_files(&file("hypernetworks"), &HYPERNETWORKS, &["bend.pt"])?;
    Ok(tiny::write_tiny(folder, 4, &mut weights)?)
}

/// Those of these names, in a folder of their own.
fn write_files(folder: &Path, files: &[(&str, &[u8])], names: &[&str]) -> Result<(), Failure> {
    let written = std::fs::create_dir_all(folder).and_then(|()| {
        let mut kept = files.iter().filter(|(name, _)| names.contains(name));
        kept.try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))
    });
    written.map_err(|e| Failure::run(format!("cannot write {}: {e}", folder.display())))
}

/// Where this user's programs keep what they can make again.
pub fn cache_folder() -> Option<PathBuf> {
    if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Caches"))
    } else {
        variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
    }
}

/// Where this user's programs keep what they have made for the user.
pub fn data_folder() -> Option<PathBuf> {
    let folder = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")))
    };
    folder.map(|folder| folder.join("latent"))
}

/// The folder that a variable of the environment names.
fn variable(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(name).map(PathBuf::from);
    folder.filter(|path| path.is_absolute())
}
