//! The loop.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use latent_checkpoint::Checkpoint;
use latent_data::{Batches, Loader, Source};
use serde_json::Value;

use crate::lock::Lock;
use crate::log::Log;
use crate::sets::{Sets, open, validate};
use crate::{
    Checkpoints, Error, Event, LeastMemory, Observer, Peers, Plan, Report, Saved, StateWriter,
    Step, Task, TrainConfig, Update,
};
use crate::{export, sheet};

/// Where in its folder a run keeps checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
const SHEETS: &str = "sheets";
const MODEL: &str = "model";

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were taken and the model was written.
    Done,
    /// The observer stopped it after so many steps; a checkpoint was written.
    Stopped(u64),
}

/// A run: what is learnt, from what, and where everything is written.
pub struct Trainer<'a> {
    config: &'a TrainConfig,
    task: Box<dyn Task>,
    peers: &'a dyn Peers,
    folder: PathBuf,
    data: Loader,
    validation: Option<Loader>,
    checkpoints: Checkpoints,
    /// Steps that are done.
    step: u64,
    /// The steps of the whole run, and the one to end at.
    steps: u64,
    end: u64,
    /// The step of the latest checkpoint of this run.
    saved: Option<(u64, PathBuf)>,
    /// Losses of the last steps, for the limit.
    recent: Vec<f64>,
    seconds: Option<f64>,
    skipped: BTreeSet<String>,
    /// What was found in the data.
    found: Vec<String>,
    /// Of the process that writes.
    _lock: Option<Lock>,
}

/// How many steps the loss limit is a mean of.
const RECENT: usize = 20;

impl<'a> Trainer<'a> {
    /// A run that begins, on the data of the settings. `folder` is created and held until the trainer is dropped; a run
    /// that is there already has to be [resumed](Self::resume).
    ///
    /// # Errors
    /// Those of [`on`](Self::on), and data that cannot be opened.
    pub fn new(
        config: &'a TrainConfig,
        task: Box<dyn Task>,
        peers: &'a dyn Peers,
        folder: PathBuf,
    ) -> Result<Self, Error> {
        config.validate()?;
        let (source, validation) = open(config)?;
        Self::on(config, task, peers, folder, source, validation)
    }

    /// The same on sources of the caller's own: `source` in the place of `data`, and `validation`, where it is there, in
    /// that of `validation.data`; of the settings of data, those that prepare pictures are in force. All captions, classes,
    /// boxes and masks that the task needs are read once.
    ///
    /// # Errors
    /// A folder that another run holds; data that the task cannot learn from; settings out of range.
    pub fn on(
        config: &'a TrainConfig,
        task: Box<dyn Task>,
        peers: &'a dyn Peers,
        folder: PathBuf,
        source: Arc<dyn Source>,
        validation: Option<Arc<dyn Source>>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let lock = match peers.rank() {
            0 => Some(Lock::take(&folder)?),
            _ => None,
        };
        let sets = Sets::new(config, &task.needs(), peers, source, validation)?;
        let steps = config.steps(peers.size());
        config.rate.fits(steps)?;
        Ok(Self {
            data: sets.learnt,
            validation: sets.validation,
            checkpoints: Checkpoints::new(folder.join(CHECKPOINTS), config.checkpoint.keep)
                .sparing(config.rate.turns(steps)),
            config,
            task,
            peers,
            folder,
            step: 0,
            steps,
            end: steps,
            saved: None,
            recent: Vec::new(),
            seconds: None,
            skipped: BTreeSet::new(),
            found: sets.found,
            _lock: lock,
        })
    }

    /// Ends the run after so many steps at the latest. The schedule is that of the whole run all the same.
    #[must_use]
    pub fn until(mut self, step: u64) -> Self {
        self.end = self.end.min(step);
        self
    }

    /// Goes on from the latest checkpoint that is whole, or from the beginning where there is none.
    ///
    /// # Errors
    /// Checkpoints of which none is whole, or one of other settings or another model.
    pub fn resume(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let Some(saved) = latest(&self.checkpoints, observer)? else {
            observer.event(&Event::NothingToResume {
                folder: &self.folder,
            });
            return Ok(());
        };
        let about = &saved.about;
        let differing = (self.config).differences(&about.settings, &self.defining(), about.step);
        if !differing.is_empty() {
            return Err(Error::OtherRun {
                path: saved.path,
                problem: differing.join("; "),
            });
        }
        let mut state = saved.state()?;
        self.task.restore(&mut state)?;
        state.finish()?;
        self.step = saved.about.step;
        observer.event(&Event::Resumed {
            path: &saved.path,
            step: self.step,
        });
        self.saved = Some((self.step, saved.path));
        Ok(())
    }

    fn defining(&self) -> Value {
        self.config
            .defining(self.data.source().len(), self.peers.size())
    }

    /// What the run will take.
    pub fn plan(&self) -> Plan {
        let parameters = self.task.parameters();
        let learner = self.config.learner();
        // weight and gradient, the optimiser's memory, the average
        let bytes = 8 + learner.optimiser.bytes() + 4 * usize::from(learner.ema.is_some());
        let pictures = self.data.source().len();
        let pictures_per_step = self.config.pictures_per_step(self.peers.size());
        let shared = self
            .config
            .validation
            .as_ref()
            .is_some_and(|v| v.share.is_some());
        Plan {
            folder: self.folder.clone(),
            found: self.found.clone(),
            batch_bytes: LeastMemory::of(self.config, &*self.task).map_or(0, |least| least.batch),
            state_bytes: parameters
                .iter()
                .map(|(_, count)| (count * bytes) as u64)
                .sum(),
            parameters,
            pictures,
            held_back: match &self.validation {
                Some(loader) if shared => loader.source().len(),
                _ => 0,
            },
            pictures_per_step,
            done: self.step,
            steps: self.end,
            epochs: (self.end * pictures_per_step) as f64 / pictures as f64,
        }
    }

    /// Takes the steps that are left.
    ///
    /// # Errors
    /// [`Error::Exists`] where checkpoints are there that were not resumed; [`Error::Diverged`]; data or
    /// disks that fail.
    pub fn run(&mut self, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        if self.saved.is_none() && !self.checkpoints.steps()?.is_empty() {
            return Err(Error::Exists {
                path: self.folder.clone(),
            });
        }
        if let (None, Some(run)) = (&self.saved, &self.config.begin_from) {
            self.begin_from(run, observer)?;
        }
        observer.event(&Event::Plan(&self.plan()));
        let mut log = self.open_log(observer)?;
        let mut batches = self.data.at(self.step * self.config.accumulation);
        let mut since_line: Vec<(Report, f64)> = Vec::new();
        while self.step < self.end {
            let begun = observer.seconds();
            let (report, stop) = self.take_step(&mut batches, observer)?;
            let seconds = observer.seconds() - begun;
            self.seconds = Some(
                self.seconds
                    .map_or(seconds, |mean| 0.9 * mean + 0.1 * seconds),
            );
            observer.event(&Event::Step {
                step: self.step,
                steps: self.end,
                report: &report,
                seconds: self.seconds,
                pictures: self.config.pictures_per_step(self.peers.size()),
            });
            since_line.push((report, 1.0));
            let (step, last) = (self.step, self.step == self.end);
            let due = |every: u64| last || step.is_multiple_of(every);
            if let Some(log) = log.as_mut().filter(|_| due(self.config.log.every)) {
                let mean: Report = since_line.drain(..).collect();
                log.write("train", self.step, &mean, observer.seconds())?;
                self.name_skipped(observer);
            }
            // Before anything that is only looked at: what fails there costs no step.
            let turns = self.config.rate.turns(self.steps) == Some(step);
            if self.leads() && (stop || turns || due(self.config.checkpoint.every)) {
                self.save(observer)?;
            }
            if let Some(log) = log.as_mut() {
                let [validates, draws] = self.config.looked_at(due);
                if validates {
                    self.validated(log, observer)?;
                }
                if draws {
                    self.sheet(log, observer)?;
                }
            }
            if stop && !last {
                log.map_or(Ok(()), |log| log.draw())?;
                return Ok(Outcome::Stopped(self.step));
            }
        }
        if let Some(log) = log {
            log.draw()?;
            self.save(observer)?;
            self.export(observer)?;
        }
        Ok(Outcome::Done)
    }

    /// The log of the process that writes. A run that goes on after a kill between a checkpoint and what was due at its
    /// step makes up for it.
    fn open_log(&mut self, observer: &mut dyn Observer) -> Result<Option<Log>, Error> {
        if !self.leads() {
            return Ok(None);
        }
        let (mut log, damaged) = Log::open(
            &self.folder,
            self.step,
            self.config.log.tensorboard,
            observer.seconds(),
        )?;
        if damaged > 0 {
            observer.event(&Event::PassedOver {
                path: log.path(),
                reason: format!("{damaged} of its lines are damaged and left out"),
            });
        }
        let step = self.step;
        let due = |every: u64| step > 0 && step.is_multiple_of(every);
        let [validates, draws] = self.config.looked_at(due);
        if validates && log.validated().is_none_or(|last| last < step) {
            self.validated(&mut log, observer)?;
        }
        if draws && !self.sheet_path().exists() {
            self.sheet(&mut log, observer)?;
        }
        Ok(Some(log))
    }

    /// Takes the weights of another run's latest checkpoint, or of a model.
    fn begin_from(&mut self, run: &Path, observer: &mut dyn Observer) -> Result<(), Error> {
        if run.exists() && !run.join(CHECKPOINTS).exists() {
            let model = Checkpoint::open(run).map_err(Error::named("begin_from"))?;
            return self.task.begin_with(&model);
        }
        let checkpoints = Checkpoints::new(run.join(CHECKPOINTS), 1);
        let Some(saved) = latest(&checkpoints, observer)? else {
            let expected = "the folder of a run that has written a checkpoint, or a model";
            return Err(Error::setting("begin_from", run.display(), expected));
        };
        self.task.begin_from(&mut saved.state()?)
    }

    /// Whether this process writes.
    fn leads(&self) -> bool {
        self.peers.rank() == 0
    }

    /// One step, and whether any process was asked to stop.
    fn take_step(
        &mut self,
        batches: &mut Batches,
        observer: &mut dyn Observer,
    ) -> Result<(Report, bool), Error> {
        let share = self.config.batch;
        let mut parts = Vec::new();
        for part in 0..self.config.accumulation {
            let Some(batch) = batches.next().transpose()? else {
                break; // the loader has no end
            };
            let before = (part as usize * self.peers.size() + self.peers.rank()) * share;
            parts.push((batch.examples, self.now(before)));
        }
        let mut reports = Vec::new();
        for parts in parts.chunks(self.config.parallel as usize) {
            let weights = parts.iter().map(|(examples, _)| examples.len() as f64);
            reports.extend(self.task.accumulate_all(parts)?.into_iter().zip(weights));
        }
        let mut report: Report = reports.into_iter().collect();
        let rate = self.config.rate.at(self.step, self.steps);
        let update = Update {
            step: self.now(0),
            rate,
            peers: self.peers,
        };
        let applied = self.task.apply(&update).map_err(|e| self.diverged(e))?;
        let mut shared = [
            f64::from(u8::from(observer.stop())),
            report.get("loss").unwrap_or_default(),
        ];
        self.peers.sum_wide(&mut shared);
        let [stop, loss] = shared;
        let loss = loss / self.peers.size() as f64;
        self.check(loss)?;
        if let Some((_, value)) = report.0.iter_mut().find(|(name, _)| name == "loss") {
            *value = loss;
        }
        report.extend(applied);
        self.step += 1;
        Ok((report.with("rate", rate), stop > 0.0))
    }

    fn now(&self, first: usize) -> Step {
        Step {
            number: self.step,
            seed: self.config.seed,
            first,
        }
    }

    /// # Errors
    /// [`Error::Diverged`] for a loss that is not finite, or a mean above the limit.
    fn check(&mut self, loss: f64) -> Result<(), Error> {
        if !loss.is_finite() {
            return Err(self.diverged(Error::NotFinite {
                step: self.step,
                what: "the loss".to_owned(),
            }));
        }
        self.recent.push(loss);
        if self.recent.len() > RECENT {
            self.recent.remove(0);
        }
        let mean = self.recent.iter().sum::<f64>() / self.recent.len() as f64;
        match self.config.loss_limit {
            Some(limit) if self.recent.len() == RECENT && mean > limit => Err(Error::Diverged {
                step: self.step,
                what: format!(
                    "the mean loss of {RECENT} steps is {mean:.4}, above loss_limit = {limit}"
                ),
                checkpoint: self.saved.as_ref().map(|(_, path)| path.clone()),
            }),
            _ => Ok(()),
        }
    }

    /// With the last good checkpoint, where numbers broke down.
    fn diverged(&self, error: Error) -> Error {
        match error {
            Error::NotFinite { step, what } => Error::Diverged {
                step,
                what: format!("{what} is not finite"),
                checkpoint: self.saved.as_ref().map(|(_, path)| path.clone()),
            },
            other => other,
        }
    }

    /// Losses on the pictures that are not learnt from, into the log.
    fn validated(&mut self, log: &mut Log, observer: &mut dyn Observer) -> Result<(), Error> {
        let (Some(settings), Some(loader)) = (&self.config.validation, &self.validation) else {
            return Ok(());
        };
        let most = settings.pictures.unwrap_or(usize::MAX);
        let report = validate(&*self.task, loader, most, self.config.seed)?;
        log.write("validation", self.step, &report, observer.seconds())?;
        observer.event(&Event::Validated {
            step: self.step,
            report: &report,
        });
        self.name_skipped(observer);
        log.draw()
    }

    fn sheet_path(&self) -> PathBuf {
        let name = format!("step-{:08}.png", self.step);
        self.folder.join(SHEETS).join(name)
    }

    fn sheet(&self, log: &mut Log, observer: &mut dyn Observer) -> Result<(), Error> {
        let Some(sheet) = self.task.sheet(self.now(0))? else {
            return Ok(());
        };
        let folder = self.folder.join(SHEETS);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder, "create"))?;
        let path = self.sheet_path();
        let png = sheet::png(&sheet, &path)?;
        std::fs::write(&path, &png).map_err(Error::io(&path, "write"))?;
        log.sheet(self.step, &png, &sheet, observer.seconds())?;
        observer.event(&Event::Sheet {
            path: &path,
            shows: self.task.sheet_shows(),
        });
        Ok(())
    }

    /// Writes a checkpoint of this step, unless there is one.
    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        if self
            .saved
            .as_ref()
            .is_some_and(|(step, _)| *step == self.step)
        {
            return Ok(());
        }
        let mut state = StateWriter::new();
        self.task.save(&mut state);
        let position = self.step * self.config.accumulation;
        let path = self
            .checkpoints
            .save(self.step, position, self.defining(), &state)?;
        observer.event(&Event::Checkpoint {
            path: &path,
            step: self.step,
        });
        self.saved = Some((self.step, path));
        Ok(())
    }

    fn export(&self, observer: &mut dyn Observer) -> Result<(), Error> {
        let path = self.folder.join(MODEL);
        let (classes, part) = (
            self.data.source().classes(),
            self.folder.join(".model.part"),
        );
        export::replace(&*self.task, classes, &path, &part)?;
        observer.event(&Event::Exported { path: &path });
        Ok(())
    }

    fn name_skipped(&mut self, observer: &mut dyn Observer) {
        let learnt = self.data.skipped();
        let validated = self.validation.iter().flat_map(Loader::skipped);
        let validated =
            validated.map(|(id, reason)| (format!("{id} of the validation set"), reason));
        for (id, reason) in learnt.into_iter().chain(validated) {
            if !self.skipped.contains(&id) {
                observer.event(&Event::Skipped {
                    id: &id,
                    reason: &reason,
                });
                self.skipped.insert(id);
            }
        }
    }
}

/// The latest checkpoint that is whole; the observer is told of those that are not.
fn latest(checkpoints: &Checkpoints, observer: &mut dyn Observer) -> Result<Option<Saved>, Error> {
    checkpoints.latest(&mut |path, reason| observer.event(&Event::PassedOver { path, reason }))
}
