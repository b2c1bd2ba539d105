//! `latent train`: settings → task → run, and what a person sees of it.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use latent_data::counted;
use latent_train::{Error, LeastMemory, Outcome, Peers, TaskContext, TrainConfig, Trainer};

use crate::{
    args::TrainArgs,
    dashboard::Dashboard,
    data,
    failure::{Failure, INTERRUPTED, OK, PIPE},
    machine, screen,
};

/// Runs `latent train`.
///
/// # Errors
/// Settings or data that cannot be used; numbers that break down; a disk that fails.
pub fn train(args: &TrainArgs, json: bool) -> Result<u8, Failure> {
    let config = TrainConfig {
        store: data::store_options(),
        ..TrainConfig::read(&args.config)?
    };
    machine::set_threads(args.threads)?;
    let peers = peers()?;
    let mut devices = machine::devices(&args.device)?
        .into_iter()
        .map(Device::autodiff);
    let context = TaskContext {
        device: devices.next().unwrap_or_else(|| Device::flex().autodiff()),
        more_devices: devices.collect(),
        learner: config.learner(),
        seed: config.seed,
        side: config.side(),
    };
    let count = 1 + context.more_devices.len();
    if count as u64 > config.parallel {
        return Err(Failure::input(format!(
            "--device {}: {count} devices, and `parallel` in {} is {}: expected at least {count}, batches of a step \
             that are computed at the same time",
            args.device,
            args.config.display(),
            config.parallel
        )));
    }
    let of_settings = |error| of_settings(&args.config, error);
    let task = config.model.build(&context).map_err(of_settings)?;
    // The memory of a GPU is its own.
    let on_cpu = |name: &str| name.trim().eq_ignore_ascii_case("cpu");
    if args.device.split(',').all(on_cpu)
        && let Some(free) = machine::free_memory()
    {
        let least = LeastMemory::of(&config, &*task).map_err(of_settings)?;
        least.fits(&config, free).map_err(of_settings)?;
    }
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&args.config));
    let mut dashboard = Dashboard::new(
        json,
        peers.rank() == 0,
        screen::on_ctrl_c(screen::AFTER_STEP)?,
    );
    let trainer = Trainer::new(&config, task, &*peers, folder.clone());
    let mut trainer = trainer.map_err(of_settings)?;
    if let Some(steps) = args.steps {
        trainer = trainer.until(steps);
    }
    if args.resume {
        trainer.resume(&mut dashboard)?;
    }
    if let Some(steps) = args.steps {
        let [all, done] = [config.steps(peers.size()), trainer.plan().done];
        if let Some(note) = without_effect(steps, all, done, &config, &args.config) {
            dashboard.note(&note);
        }
    }
    let outcome = trainer.run(&mut dashboard);
    dashboard.finish();
    match outcome.map_err(of_settings)? {
        Outcome::Done => Ok(OK),
        Outcome::Stopped(step) => {
            let folder = folder.display();
            dashboard.say(&format!(
                "stopped after step {step}; --resume --out {folder} goes on"
            ));
            Ok(match dashboard.is_heard() {
                true => INTERRUPTED,
                false => PIPE,
            })
        }
    }
}

/// What is said of `--steps` where it changes nothing: the run ends before, or is that far already.
fn without_effect(
    steps: u64,
    all: u64,
    done: u64,
    config: &TrainConfig,
    settings: &Path,
) -> Option<String> {
    let settings = settings.display();
    let length = match config.pictures {
        Some(pictures) => format!("pictures = {pictures}"),
        None => format!("steps = {all}"),
    };
    if steps > all {
        return Some(format!(
            "--steps {steps} makes no run longer: it ends after {}, by `{length}` in {settings}; a longer run needs \
             another number there",
            counted(all as usize, "step")
        ));
    }
    (steps <= done).then(|| {
        format!("--steps {steps} counts from the run's beginning, and the run is at step {done} already: none is left")
    })
}

/// The failure, with the settings' file before what names a key of it alone.
pub fn of_settings(settings: &Path, error: Error) -> Failure {
    let names_a_key = matches!(
        error,
        Error::Setting { .. }
            | Error::Named { .. }
            | Error::Memory { .. }
            | Error::Network(_)
            | Error::Data(latent_data::Error::Setting { .. })
    );
    let failure = Failure::from(error);
    match names_a_key {
        true => Failure {
            message: format!("{}: {}", settings.display(), failure.message),
            ..failure
        },
        false => failure,
    }
}

#[cfg(feature = "mpi")]
fn peers() -> Result<Box<dyn Peers>, Failure> {
    Ok(Box::new(latent_train::Mpi::start()?))
}

#[cfg(not(feature = "mpi"))]
fn peers() -> Result<Box<dyn Peers>, Failure> {
    Ok(Box::new(latent_train::Alone))
}

/// `runs/NAME` for `…/NAME.toml`.
pub fn default_folder(config: &Path) -> PathBuf {
    Path::new("runs").join(config.file_stem().unwrap_or_default())
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let name = match error {
            Error::Memory { .. } => Some("memory_short"),
            Error::Exists { .. } | Error::NoFolder { .. } => Some("output_exists"),
            _ => None,
        };
        let failure = match error.is_of_the_run() {
            true => Self::run(error),
            false => Self::input(error),
        };
        match name {
            Some(name) => Self { name, ..failure },
            None => failure,
        }
    }
}
