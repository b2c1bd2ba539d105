//! `latent train`: settings → task → run, and what a person sees of it.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use latent_train::{Error, Outcome, Peers, TaskContext, TrainConfig, Trainer};

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
    let task = config.model.build(&context)?;
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&args.config));
    let mut dashboard = Dashboard::new(json, peers.rank() == 0, screen::on_ctrl_c()?);
    let mut trainer = Trainer::new(&config, task, &*peers, folder.clone())?;
    if let Some(steps) = args.steps {
        trainer = trainer.until(steps);
    }
    if args.resume {
        trainer.resume(&mut dashboard)?;
    }
    let outcome = trainer.run(&mut dashboard);
    dashboard.finish();
    match outcome? {
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
        match error.is_of_the_run() {
            true => Self::run(error),
            false => Self::input(error),
        }
    }
}
