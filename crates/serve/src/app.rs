//! What all handlers share.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

use latent_queue::{Cancel, Cancelled, Outside, Queue, Ulid};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};

use crate::api::Wildcard;
use crate::comfy::Comfy;
use crate::config::Config;
use crate::engine::{Engine, Stop};
use crate::fault::{Fault, Result};
use crate::feed::Feed;
use crate::guard::auth::Sessions;
use crate::guard::body;
use crate::guard::rate::Rate;
use crate::live::Live;
use crate::openai::links::Links;
use crate::settings::{Settings, Style};
use crate::store::Kept;

/// So many names of jobs are known.
const TASKS: usize = 1000;

/// A handle to what all handlers share.
pub type Shared = Arc<App>;

/// Where the process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It takes jobs.
    Open,
    /// It takes none and ends the one it has.
    Draining,
    /// It draws no more: whoever waits is sent away.
    Closed,
}

/// What all handlers share.
pub struct App {
    /// How the service is run.
    pub config: Config,
    /// What draws.
    pub engine: Arc<dyn Engine>,
    /// Jobs and pictures.
    pub queue: Queue,
    /// Clock and randomness.
    pub outside: Outside,
    /// The job that is drawn.
    pub live: Live,
    /// Who listens to events.
    pub feed: Feed,
    /// Settings for all.
    pub settings: Kept<Settings>,
    /// Styles for all.
    pub styles: Kept<Vec<Style>>,
    /// Lists of words for all.
    pub wildcards: Kept<Vec<Wildcard>>,
    /// Room for bodies.
    pub bodies: Arc<Semaphore>,
    /// Places for requests that wait.
    pub waiting: Arc<Semaphore>,
    /// How often each key asks.
    pub rate: Rate,
    /// How often wrong keys come from each address.
    pub tries: Rate,
    /// Logins.
    pub sessions: Sessions,
    /// Pictures by unguessable address.
    pub links: Links,
    /// Where the process stands.
    pub phase: watch::Sender<Phase>,
    /// Jobs by the ids that clients of A1111 chose for them.
    pub tasks: Tasks,
    /// What ComfyUI's interface keeps in memory.
    pub comfy: Comfy,
    /// Answers by the hundreds of their status.
    pub answered: [AtomicU64; 6],
    /// When a model is being loaded by request, since when; 0 otherwise.
    pub loading_ms: AtomicI64,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl App {
    /// With settings from the folder of the configuration.
    ///
    /// # Errors
    /// Settings that cannot be read.
    pub fn new(
        config: Config,
        engine: Arc<dyn Engine>,
        queue: Queue,
        outside: Outside,
    ) -> std::io::Result<Shared> {
        let limits = &config.limits;
        Ok(Arc::new(Self {
            settings: Kept::open(&config.data, "settings.json", !config.private)?,
            styles: Kept::open(&config.data, "styles.json", !config.private)?,
            wildcards: Kept::open(&config.data, "wildcards.json", !config.private)?,
            rate: Rate::new(limits.rate, limits.rate.div_ceil(10)),
            tries: Rate::new(limits.tries, 2 * limits.tries),
            bodies: body::room(&config.limits),
            waiting: Arc::new(Semaphore::new(config.limits.waiting)),
            config,
            engine,
            queue,
            outside,
            live: Live::default(),
            feed: Feed::default(),
            sessions: Sessions::default(),
            links: Links::default(),
            phase: watch::Sender::new(Phase::Open),
            tasks: Tasks::default(),
            comfy: Comfy::default(),
            answered: Default::default(),
            loading_ms: AtomicI64::new(0),
        }))
    }

    /// Milliseconds since 1970.
    pub fn now(&self) -> i64 {
        (self.outside.now)()
    }

    /// A word that nobody guesses: 32 hexadecimal digits.
    pub fn word(&self) -> String {
        let mut hash = Sha256::new();
        hash.update((self.outside.random)().to_le_bytes());
        hash.update((self.outside.random)().to_le_bytes());
        let bytes: [u8; 32] = hash.finalize().into();
        bytes[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// A seed, of 32 bits as A1111 draws them.
    pub fn seed(&self) -> u64 {
        u64::from((self.outside.random)() as u32)
    }

    /// Calls the engine where it may block.
    ///
    /// # Errors
    /// Those of the call; a panic in it is a defect.
    pub async fn engine<R: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce(&dyn Engine) -> Result<R> + Send + 'static,
    ) -> Result<R> {
        let engine = self.engine.clone();
        let done = tokio::task::spawn_blocking(move || call(engine.as_ref())).await;
        done.unwrap_or_else(|_| {
            Err(Fault::new(
                "defect",
                "the engine panicked; the log says more",
            ))
        })
    }

    /// Cancels a job of a user, at once also where it is being drawn.
    ///
    /// # Errors
    /// No such job.
    pub async fn cancel(&self, id: Ulid, user: Option<&str>, how: Cancel) -> Result<Cancelled> {
        let done = self.queue.cancel(id, user, how).await?;
        if done == Cancelled::Asked {
            let stop = match how {
                Cancel::Drop => Stop::Drop,
                Cancel::Keep => Stop::Keep,
            };
            self.live.stop(id, stop);
        }
        Ok(done)
    }

    /// Waits until the process stands there.
    pub async fn reached(&self, phase: Phase) {
        let mut at = self.phase.subscribe();
        // The sender lives as long as this.
        let _ = at.wait_for(|now| *now >= phase).await;
    }

    /// Refuses new jobs once the process ends.
    ///
    /// # Errors
    /// That it does.
    pub fn check_open(&self) -> Result<()> {
        match *self.phase.borrow() {
            Phase::Open => Ok(()),
            _ => Err(ending()),
        }
    }
}

/// The answer to whoever comes or waits when the process ends.
pub fn ending() -> Fault {
    Fault::new("shutting_down", "the server is shutting down; try again").after(10)
}

/// Jobs by the ids that clients chose for them, the last thousand.
#[derive(Debug, Default)]
pub struct Tasks(Mutex<VecDeque<Task>>);

/// A user's name for a job.
#[derive(Debug)]
struct Task {
    user: String,
    name: String,
    job: Ulid,
}

impl Tasks {
    fn with<R>(&self, work: impl FnOnce(&mut VecDeque<Task>) -> R) -> R {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut all)
    }

    /// A user's task is this job.
    pub fn put(&self, user: &str, name: &str, job: Ulid) {
        let task = Task {
            user: user.to_owned(),
            name: name.to_owned(),
            job,
        };
        self.with(|all| {
            all.retain(|other| other.user != user || other.name != name);
            all.push_back(task);
            if all.len() > TASKS {
                all.pop_front();
            }
        });
    }

    /// The job of a user's task.
    pub fn get(&self, user: &str, name: &str) -> Option<Ulid> {
        self.with(|all| {
            let mut tasks = all.iter();
            let found = tasks.find(|task| task.user == user && task.name == name);
            found.map(|task| task.job)
        })
    }

    /// The name a user gave to a job.
    pub fn name(&self, user: &str, job: Ulid) -> Option<String> {
        self.with(|all| {
            let mut tasks = all.iter();
            let found = tasks.find(|task| task.user == user && task.job == job);
            found.map(|task| task.name.clone())
        })
    }
}
