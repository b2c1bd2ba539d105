//! `latent export`: the model of a run's checkpoint, for this program and for others.

use latent_train::{CHECKPOINTS, Checkpoints, TaskContext, TrainConfig, name_classes};

use crate::{
    args::{ConvertArgs, ExportArgs, LibraryArgs},
    data,
    failure::{Failure, OK},
    files, machine,
    train::{default_folder, of_settings},
};

/// Runs `latent export`.
///
/// # Errors
/// Settings that cannot be used, a run without a checkpoint, a target that exists or cannot hold the model.
pub fn export(args: &ExportArgs, json: bool) -> Result<u8, Failure> {
    let config = TrainConfig::read(&args.config)?;
    let folder = args.out.clone();
    let folder = folder.unwrap_or_else(|| default_folder(&args.config));
    let context = TaskContext {
        device: machine::device("cpu")?.autodiff(),
        more_devices: Vec::new(),
        learner: config.learner(),
        seed: config.seed,
        side: config.side(),
    };
    let task = config.model.build(&context);
    let mut task = task.map_err(|error| of_settings(&args.config, error))?;
    let checkpoints = Checkpoints::new(folder.join(CHECKPOINTS), config.checkpoint.keep);
    let mut passed_over = |path: &std::path::Path, reason: String| {
        eprintln!("passed over {}: {reason}", path.display());
    };
    let saved = checkpoints.latest(&mut passed_over)?.ok_or_else(|| {
        Failure::input(format!(
            "{}: no checkpoint is here; train first, or name the run's folder with --out",
            folder.display()
        ))
    })?;
    let mut state = saved.state()?;
    task.restore(&mut state)?;
    state.finish()?;
    // A folder is what tasks write; other forms are made of it.
    let parent = args.target.parent().filter(|p| !p.as_os_str().is_empty());
    let parent = parent.unwrap_or(std::path::Path::new("."));
    let failed = |error: std::io::Error| {
        Failure::run(format!(
            "{} cannot be written: {error}",
            args.target.display()
        ))
    };
    let scratch = tempfile::tempdir_in(parent).map_err(failed)?;
    let model = scratch.path().join("model");
    task.export(&model)?;
    match latent_data::open(&config.data, &data::store_options()) {
        Ok(source) => name_classes(&model, source.classes())?,
        Err(error) => {
            eprintln!("the model has no names of classes, as its data is not there: {error}")
        }
    }
    eprintln!("step {} of {}", saved.about.step, folder.display());
    let as_it_is = args.dtype.is_none() && args.target.extension().is_none();
    if !as_it_is {
        let convert = ConvertArgs {
            source: model,
            library: LibraryArgs::default(),
            target: args.target.clone(),
            dtype: args.dtype,
            ema: false,
            names: None,
            like: None,
            overwrite: args.overwrite,
        };
        return files::convert_file(&convert, json);
    }
    if args.target.exists() {
        if !args.overwrite {
            return Err(Failure::input(format!(
                "{} exists: choose another name, or give --overwrite",
                args.target.display()
            )));
        }
        let old = scratch.path().join("old");
        std::fs::rename(&args.target, &old).map_err(failed)?;
    }
    std::fs::rename(&model, &args.target).map_err(failed)?;
    println!("{}", args.target.display());
    Ok(OK)
}
