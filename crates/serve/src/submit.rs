//! The one way into the queue, and the one way to wait for what comes out of it.

use latent_queue::{Cancel, Idempotency, Job, NewJob, Picture, State, Ulid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::OwnedSemaphorePermit;

use crate::app::{Phase, Shared, ending};
use crate::engine::{Asked, Output, Settled};
use crate::fault::{Fault, Result};
use crate::given::Given;
use crate::guard::Caller;

/// The kind of job that this service draws.
pub const DRAW: &str = "draw";
/// Bytes of a picture's file, for each of its pixels, at most.
const BYTES_PER_PIXEL: u64 = 4;
/// Fields that hold prompts.
const PROMPTS: &[&str] = &["prompt", "negative_prompt", "prompt_2", "negative_prompt_2"];

/// What an interface made of a request.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// What is stated, in the request's tables; pictures by the names that `given` has for them.
    pub request: Map<String, Value>,
    /// The pictures.
    pub given: Given,
    /// How pictures are encoded; none is as the settings say.
    pub output: Option<Output>,
    /// The interface.
    pub front: &'static str,
    /// What makes a request sent twice one job.
    pub idempotency: Option<Idempotency>,
    /// Higher is earlier.
    pub priority: i32,
    /// What the interface needs to answer later.
    pub echo: Value,
}

/// What lies in the queue.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Order {
    /// The interface.
    pub front: String,
    /// The request, with everything decided.
    pub request: Value,
    /// How pictures are encoded.
    pub output: Output,
    /// The pictures it names.
    pub inputs: Vec<String>,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Steps of one picture.
    pub steps: u32,
    /// What was read and does nothing.
    pub notes: Vec<String>,
    /// What the interface needs to answer later.
    #[serde(default)]
    pub echo: Value,
}

impl Order {
    /// Of a job of this service.
    ///
    /// # Errors
    /// A row that another version wrote.
    pub fn of(job: &Job) -> Result<Self> {
        serde_json::from_str(&job.request).map_err(|error| {
            let message = format!("the job is not written as this version writes them: {error}");
            Fault::new("defect", message)
        })
    }
}

/// A request that was taken in.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The job.
    pub job: Job,
    /// Whether the same had been sent before.
    pub known: bool,
    /// What lies in the queue.
    pub order: Order,
}

/// Decides a request and puts it into the queue.
///
/// # Errors
/// What is wrong with it, or no room.
pub async fn submit(app: &Shared, caller: &Caller, ask: Ask) -> Result<Taken> {
    app.check_open()?;
    let Ask {
        mut request,
        given,
        output,
        front,
        idempotency,
        priority,
        echo,
    } = ask;
    check_prompts(&request, app.config.limits.prompt)?;
    let settings = app.settings.get();
    settings.below(&mut request);
    let (given, settled) = settle(app, request, given).await?;
    let order = Order {
        front: front.to_owned(),
        request: settled.request,
        output: output.unwrap_or_else(|| settings.output()),
        inputs: given.keep(&app.queue).await?,
        width: settled.width,
        height: settled.height,
        steps: settled.steps,
        notes: settled.notes,
        echo,
    };
    let pixels = u64::from(order.width) * u64::from(order.height);
    let new = NewJob {
        user: caller.owner().to_owned(),
        kind: DRAW.to_owned(),
        request: serde_json::to_string(&order).unwrap_or_default(),
        model: Some(settled.model),
        pictures: settled.pictures,
        priority,
        idempotency,
        inputs: order.inputs.clone(),
        bytes_needed: pixels * BYTES_PER_PIXEL * u64::from(settled.pictures),
    };
    let accepted = app.queue.submit(new).await?;
    let order = match accepted.known {
        true => Order::of(&accepted.job)?,
        false => order,
    };
    Ok(Taken {
        job: accepted.job,
        known: accepted.known,
        order,
    })
}

async fn settle(
    app: &Shared,
    request: Map<String, Value>,
    given: Given,
) -> Result<(Given, Settled)> {
    let shared = app.clone();
    app.engine(move |engine| {
        let asked = Asked {
            request: &request,
            inputs: &given.inputs,
        };
        let settled = engine.settle(&asked, &mut || shared.seed())?;
        Ok((given, settled))
    })
    .await
}

fn check_prompts(request: &Map<String, Value>, most: usize) -> Result<()> {
    let hires = request.get("hires").and_then(Value::as_object);
    for table in [Some(request), hires].into_iter().flatten() {
        for field in PROMPTS {
            let text = table
                .get(*field)
                .and_then(Value::as_str)
                .unwrap_or_default();
            let long = text.len() > most && text.chars().count() > most;
            if long {
                let message = format!("the prompt is longer than {most} characters");
                return Err(Fault::new("prompt_too_long", message).of(*field));
            }
        }
    }
    Ok(())
}

/// A request that waits for its job. The job is cancelled if this goes before the job has ended, unless it is to be kept.
#[derive(Debug)]
pub struct Waiter {
    app: Shared,
    id: Ulid,
    keep: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// A place to wait at; to be taken before anything is put into the queue.
///
/// # Errors
/// All are taken.
pub fn place(app: &Shared) -> Result<OwnedSemaphorePermit> {
    app.waiting.clone().try_acquire_owned().map_err(|_| {
        let message = "too many requests wait for pictures; use /api/v1/jobs, or try again";
        Fault::new("waiting_requests", message).after(5)
    })
}

impl Waiter {
    /// Waits for `id`. `keep`: the job goes on when nobody waits any more.
    pub fn new(app: &Shared, id: Ulid, keep: bool, place: OwnedSemaphorePermit) -> Self {
        Self {
            app: app.clone(),
            id,
            keep,
            ended: false,
            _place: place,
        }
    }

    /// Waits until the job has ended. May be dropped and called again.
    ///
    /// # Errors
    /// The process ends first.
    pub async fn ended(&mut self) -> Result<Job> {
        tokio::select! {
            biased;
            job = self.app.queue.ended(self.id) => {
                self.ended = true;
                job?.ok_or_else(|| Fault::from(latent_queue::Error::NoJob))
            }
            () = self.app.reached(Phase::Closed) => Err(ending()),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.ended || self.keep {
            return;
        }
        let (app, id) = (self.app.clone(), self.id);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { app.cancel(id, None, Cancel::Drop).await });
        }
    }
}

/// The pictures of a job that has ended, with their bytes. A job that was cancelled has those it had; one that failed is an
/// error.
///
/// # Errors
/// That of the job; pictures that cannot be read.
pub async fn results(app: &Shared, job: &Job) -> Result<Vec<(Picture, Vec<u8>)>> {
    if job.state == State::Failed {
        return Err(failure(job));
    }
    let mut done = Vec::new();
    for picture in app.queue.pictures(job.id).await? {
        let bytes = app
            .queue
            .store()
            .picture(picture.id, picture.format)
            .await?;
        done.push((picture, bytes));
    }
    Ok(done)
}

/// Why a job failed.
pub fn failure(job: &Job) -> Fault {
    match &job.failure {
        Some(failure) => Fault::failed(failure.code.clone(), failure.message.clone()),
        None => Fault::new("job_failed", "the job failed"),
    }
}
