//! `latent train`: settings → task → run, and what a person sees of it.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use latent_train::{Error, Event, Ground, Observer, Outcome, Peers, Report, TrainConfig, Trainer};
use serde_json::{Map, Value, json};

use crate::{
    args::TrainArgs,
    failure::{Failure, INTERRUPTED, OK},
    machine, screen,
};

/// Runs `latent train`.
///
/// # Errors
/// Settings or data that cannot be used; numbers that break down; a disk that fails.
pub fn train(args: &TrainArgs, json: bool) -> Result<u8, Failure> {
    let config = TrainConfig::read(&args.config)?;
    machine::set_threads(args.threads)?;
    let peers = peers()?;
    let ground = Ground {
        device: machine::device(&args.device)?.autodiff(),
        learner: config.learner(),
        seed: config.seed,
    };
    let task = config.model.build(&ground)?;
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
    dashboard.bar.finish_and_clear();
    match outcome? {
        Outcome::Done => Ok(OK),
        Outcome::Stopped(step) => {
            let folder = folder.display();
            dashboard.say(&format!(
                "stopped after step {step}; --resume --out {folder} goes on"
            ));
            Ok(INTERRUPTED)
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

/// Steps after which a speed is worth telling.
const MEASURED: u64 = 3;

/// Shows a run: a bar on a terminal, lines elsewhere, objects with `--json`.
struct Dashboard {
    json: bool,
    /// Of several processes one speaks.
    leads: bool,
    presses: Arc<AtomicUsize>,
    bar: ProgressBar,
    begun: Option<u64>,
}

impl Dashboard {
    fn new(json: bool, leads: bool, presses: Arc<AtomicUsize>) -> Self {
        let bar = if leads && !json {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        let template = "{wide_bar} {pos}/{len}\n{msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            json,
            leads,
            presses,
            bar,
            begun: None,
        }
    }

    /// A line above the bar.
    fn say(&self, text: &str) {
        if self.leads && !self.json {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }

    fn step(
        &mut self,
        step: u64,
        steps: u64,
        report: &Report,
        seconds: Option<f64>,
        pictures: u64,
    ) {
        let begun = *self.begun.get_or_insert(step - 1);
        let seconds = seconds.unwrap_or_default().max(1e-9);
        let left = std::time::Duration::from_secs_f64(seconds * (steps - step) as f64);
        let speed = pictures as f64 / seconds;
        self.bar.set_length(steps);
        self.bar.set_position(step);
        let values = values(report);
        self.bar.set_message(format!(
            "{values}  {speed:.1} pictures/s  {} left",
            HumanDuration(left)
        ));
        if step - begun == MEASURED && step < steps {
            let peak = machine::peak_rss().map_or(String::new(), |bytes| {
                format!(", {:.0} MB at most so far", bytes as f64 / 1e6)
            });
            self.say(&format!(
                "speed: {speed:.1} pictures/s, {} to the end{peak}",
                HumanDuration(left)
            ));
        }
        let every = (steps / 20).max(1);
        if self.bar.is_hidden() && (step.is_multiple_of(every) || step == steps) {
            self.say(&format!(
                "step {step} of {steps}: {values}  {speed:.1} pictures/s"
            ));
        }
    }
}

/// The numbers of a report on one line.
fn values(report: &Report) -> String {
    let text = |(name, value): &(String, f64)| match value.abs() {
        v if v != 0.0 && !(1e-3..1e4).contains(&v) => format!("{name} {value:.2e}"),
        _ => format!("{name} {value:.4}"),
    };
    report.0.iter().map(text).collect::<Vec<_>>().join("  ")
}

fn object(event: &str, step: u64, report: &Report) -> Value {
    let mut object = Map::new();
    object.insert("event".to_owned(), json!(event));
    object.insert("step".to_owned(), json!(step));
    object.extend(
        report
            .0
            .iter()
            .map(|(name, value)| (name.clone(), json!(value))),
    );
    Value::Object(object)
}

impl Observer for Dashboard {
    fn event(&mut self, event: &Event<'_>) {
        let (text, value) = match event {
            Event::Plan(plan) => (plan.to_string(), json!({"event": "plan", "plan": plan})),
            Event::PassedOver { path, reason } => (
                format!("passed over {}: {reason}", path.display()),
                json!({"event": "passed_over", "path": path, "reason": reason}),
            ),
            Event::Resumed { path, step } => (
                format!("going on after step {step}, from {}", path.display()),
                json!({"event": "resumed", "path": path, "step": step}),
            ),
            Event::Step {
                step,
                steps,
                report,
                seconds,
                pictures,
            } => {
                self.step(*step, *steps, report, *seconds, *pictures);
                (String::new(), object("step", *step, report))
            }
            Event::Validated { step, report } => (
                format!("validation after step {step}: {}", values(report)),
                object("validation", *step, report),
            ),
            Event::Sheet { path } => (
                format!("sheet: {}", path.display()),
                json!({"event": "sheet", "path": path}),
            ),
            Event::Checkpoint { path, step } => (
                format!("checkpoint: {}", path.display()),
                json!({"event": "checkpoint", "path": path, "step": step}),
            ),
            Event::Skipped { id, reason } => (
                format!("skipped {id}: {reason}"),
                json!({"event": "skipped", "id": id, "reason": reason}),
            ),
            Event::Exported { path } => (
                format!("model: {}", path.display()),
                json!({"event": "model", "path": path}),
            ),
            _ => return,
        };
        if self.json && self.leads {
            println!("{value}");
        } else if !text.is_empty() {
            self.say(&text);
        }
    }

    fn stop(&mut self) -> bool {
        self.presses.load(Ordering::SeqCst) > 0
    }

    fn seconds(&mut self) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0.0, |time| time.as_secs_f64())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { .. }
            | Error::Diverged { .. }
            | Error::NotFinite { .. }
            | Error::Chart { .. } => Self::run(error),
            _ => Self::input(error),
        }
    }
}
