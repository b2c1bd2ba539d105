//! `latent eval`: how good a trained model is.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use indicatif::ProgressBar;
use latent_eval::{Error, Observer, Options, evaluate};

use crate::{
    args::EvalArgs,
    data,
    failure::{Failure, INTERRUPTED, OK},
    machine, model, screen,
};

/// Runs `latent eval`.
///
/// # Errors
/// A model or data that cannot be measured, a folder that cannot be written.
pub fn eval(args: &EvalArgs, json: bool) -> Result<u8, Failure> {
    let beside = || {
        let parent = args.model.as_deref().and_then(Path::parent);
        parent.unwrap_or(Path::new("")).join("eval")
    };
    let train = args.train.as_deref().map(data::config).transpose()?;
    let options = Options {
        train,
        store: data::store_options(),
        size: args.size,
        count: args.count,
        steps: args.steps,
        cfg_scale: args.cfg_scale,
        sweep: args.sweep.clone(),
        features: args.features.clone(),
        seed: args.seed,
        encoder_steps: args.encoder_steps,
        things_from: args.things_from.clone(),
        things: args.things.as_ref().map(data::things).transpose()?,
        subgroups_from: args.subgroups_from.clone(),
        seeds: args.seeds,
        judge_steps: args.judge_steps,
        from_noise: args.from_noise.clone(),
        ..Options::new(
            model::files(args.model.as_deref())?,
            data::config(&args.data)?,
            args.out.clone().unwrap_or_else(beside),
        )
    };
    // Before anything is opened, so that a wrong number is told at once.
    options.validate()?;
    machine::set_threads(args.threads)?;
    let device = machine::device(&args.device)?;
    let mut watch = Watch::new(json)?;
    let outcome = evaluate(&options, &device, &mut watch);
    watch.bar.finish_and_clear();
    let report = match outcome {
        Err(stopped @ Error::Stopped) => {
            eprintln!("{stopped}");
            return Ok(INTERRUPTED);
        }
        outcome => outcome?,
    };
    match json {
        true => println!("{}", serde_json::to_value(&report).map_err(Failure::run)?),
        false => {
            print!("{report}");
            println!("\nreport and sheets: {}", options.out.display());
        }
    }
    Ok(OK)
}

/// A bar for each stretch of work; lines where standard error is no terminal.
pub(crate) struct Watch {
    json: bool,
    presses: Arc<AtomicUsize>,
    pub bar: ProgressBar,
}

impl Watch {
    /// Before the first stretch.
    ///
    /// # Errors
    /// A system that lets nobody listen to Ctrl-C.
    pub(crate) fn new(json: bool) -> Result<Self, Failure> {
        Ok(Self {
            json,
            presses: screen::on_ctrl_c(screen::AFTER_STEP)?,
            bar: ProgressBar::hidden(),
        })
    }
}

impl Observer for Watch {
    fn stage(&mut self, what: &str, steps: u64) {
        self.bar.finish_and_clear();
        // The blocks of one stage fit no other.
        crate::ALLOCATOR.release();
        if self.json {
            return;
        }
        self.bar = screen::bar();
        self.bar.set_prefix(what.to_owned());
        self.bar.set_length(steps);
        if self.bar.is_hidden() {
            match steps {
                0 => eprintln!("{what}"),
                steps => eprintln!("{what}: {steps}"),
            }
        }
    }

    fn advance(&mut self, steps: u64) {
        self.bar.inc(steps);
    }

    fn note(&mut self, text: String) {
        self.bar.suspend(|| eprintln!("note: {text}"));
    }

    fn stop(&mut self) -> bool {
        self.presses.load(Ordering::SeqCst) > 0
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Pipeline(error) => error.into(),
            Error::Data(error) => error.into(),
            Error::Training(error) => error.into(),
            Error::Io { .. } | Error::Drawing { .. } => Self::run(error),
            _ => Self::input(error),
        }
    }
}
