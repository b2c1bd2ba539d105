//! The job that is being drawn, as it is seen from outside. It is in memory alone: the queue knows no steps.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use latent_queue::Ulid;
use tokio::sync::watch;

use crate::engine::Stop;

/// A preview is made for so long after somebody asked for one, in milliseconds.
const WATCHED_MS: i64 = 3_000;
/// And at most so often.
const PREVIEW_MS: i64 = 500;

/// What is known of the running job.
#[derive(Clone, Debug)]
pub struct Running {
    /// The job.
    pub job: Ulid,
    /// Its owner.
    pub user: String,
    /// When it was begun by this process.
    pub since: Instant,
    /// The same in milliseconds since 1970.
    pub since_ms: i64,
    /// What is being done.
    pub stage: String,
    /// The picture it is done for, from 0.
    pub picture: u32,
    /// Steps done of it.
    pub step: u32,
    /// Of so many.
    pub steps: u32,
    /// Pictures committed.
    pub done: u32,
    /// Pictures promised.
    pub total: u32,
    /// The last preview and its number, from 1.
    pub preview: Option<(u64, Arc<Vec<u8>>)>,
    /// Things to know.
    pub notes: Vec<String>,
    /// How it is to stop, and whether a skip was asked for.
    stop: Option<Stop>,
    skip: Option<u32>,
}

impl Running {
    /// A job that is begun now.
    pub fn new(job: &latent_queue::Job, steps: u32, now_ms: i64) -> Self {
        Self {
            job: job.id,
            user: job.user.clone(),
            since: Instant::now(),
            since_ms: now_ms,
            stage: "starting".to_owned(),
            picture: job.pictures_done,
            step: 0,
            steps,
            done: job.pictures_done,
            total: job.pictures_total,
            preview: None,
            notes: Vec::new(),
            stop: None,
            skip: None,
        }
    }

    /// The share that is done, 0 to 1.
    pub fn progress(&self) -> f64 {
        let total = f64::from(self.total.max(1));
        let steps = f64::from(self.step) / f64::from(self.steps.max(1));
        ((f64::from(self.done) + steps.min(1.0)) / total).min(1.0)
    }

    /// Seconds to go, by the time so far.
    pub fn seconds_left(&self) -> f64 {
        let done = self.progress();
        match done > 0.0 {
            true => self.since.elapsed().as_secs_f64() * (1.0 - done) / done,
            false => 0.0,
        }
    }

    /// Whether it was asked to stop, and whether a picture was to be skipped.
    pub fn asked(&self) -> (Option<Stop>, bool) {
        (self.stop, self.skip.is_some())
    }
}

/// See [the module](self).
#[derive(Debug)]
pub struct Live {
    running: Mutex<Option<Running>>,
    changes: watch::Sender<u64>,
    wanted_ms: AtomicI64,
    made_ms: AtomicI64,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            changes: watch::Sender::new(0),
            wanted_ms: AtomicI64::new(i64::MIN / 2),
            made_ms: AtomicI64::new(i64::MIN / 2),
        }
    }
}

impl Live {
    fn with<R>(&self, work: impl FnOnce(&mut Option<Running>) -> R) -> R {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut running)
    }

    /// The running job, if it is this user's (none means anybody's).
    pub fn of(&self, user: Option<&str>) -> Option<Running> {
        let found = self.with(|running| running.clone());
        found.filter(|running| user.is_none_or(|user| user == running.user))
    }

    /// The running job, if it is that one.
    pub fn job(&self, id: Ulid) -> Option<Running> {
        self.of(None).filter(|running| running.job == id)
    }

    /// A job begins, or none is drawn any more.
    pub fn set(&self, running: Option<Running>) {
        self.with(|at| *at = running);
        self.changed();
    }

    /// Something about it changes.
    pub fn change(&self, change: impl FnOnce(&mut Running)) {
        self.with(|running| running.as_mut().map(change));
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Wakes at each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The job is to stop, if it is that one. A stop that drops is not taken back.
    pub fn stop(&self, id: Ulid, how: Stop) {
        self.with(|running| {
            let Some(running) = running.as_mut().filter(|r| r.job == id) else {
                return;
            };
            match how {
                Stop::Skip => running.skip = Some(running.picture),
                how if running.stop != Some(Stop::Drop) => running.stop = Some(how),
                _ => {}
            }
        });
    }

    /// How the work on a picture is to stop.
    pub fn asked(&self, picture: u32) -> Option<Stop> {
        self.with(|running| {
            let running = running.as_ref()?;
            let skip = running.skip.filter(|at| *at == picture).map(|_| Stop::Skip);
            running.stop.or(skip)
        })
    }

    /// Somebody looks on.
    pub fn want(&self, now_ms: i64) {
        self.wanted_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Whether a preview is to be made.
    pub fn wants_preview(&self, now_ms: i64) -> bool {
        let since = |at: &AtomicI64| now_ms.saturating_sub(at.load(Ordering::Relaxed));
        since(&self.wanted_ms) < WATCHED_MS && since(&self.made_ms) >= PREVIEW_MS
    }

    /// A preview was made.
    pub fn preview(&self, file: Vec<u8>, now_ms: i64) {
        self.made_ms.store(now_ms, Ordering::Relaxed);
        self.change(|running| {
            let number = running.preview.as_ref().map_or(0, |(number, _)| *number);
            running.preview = Some((number + 1, Arc::new(file)));
        });
    }
}
