//! Jobs as they are told.

use latent_queue::{Cancel, Job, Ulid};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::app::Shared;
use crate::fault::Result;
use crate::guard::Caller;
use crate::live::Running;
use crate::submit::Order;

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobView {
    /// Its id.
    id: String,
    /// What is done.
    kind: String,
    /// `queued`, `running`, `done`, `failed` or `cancelled`.
    state: &'static str,
    /// The interface that it came through.
    front: String,
    /// The model.
    model: Option<String>,
    /// The prompt.
    prompt: String,
    /// Milliseconds since 1970.
    created: i64,
    /// The same, of its first start.
    started: Option<i64>,
    /// The same, of its end.
    finished: Option<i64>,
    /// How many pictures.
    pictures_total: u32,
    /// How many of them are there.
    pictures_done: u32,
    /// In pixels.
    width: u32,
    /// In pixels.
    height: u32,
    /// `drop` or `keep` if it was asked to stop.
    cancel: Option<&'static str>,
    /// Jobs that come before it, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
    /// While it is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<JobError>,
    /// What was read and does nothing, and what happened on the way.
    notes: Vec<String>,
    /// Its pictures that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Vec<String>>,
    /// The whole request, everything decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<Value>,
}

impl JobView {
    /// Says how many jobs come before it.
    pub fn set_ahead(&mut self, ahead: u64) {
        self.ahead = Some(ahead);
    }
}

/// How far a job is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Progress {
    /// The job.
    job: String,
    /// What is being done.
    stage: String,
    /// The picture, from 0.
    picture: u32,
    /// Of so many.
    pictures: u32,
    /// Steps done of it.
    step: u32,
    /// Of so many.
    steps: u32,
    /// Of the whole job, 0 to 1.
    fraction: f64,
    /// By the time so far.
    seconds_left: f64,
    /// The number of the last preview; 0 is none.
    preview: u64,
}

impl From<&Running> for Progress {
    fn from(running: &Running) -> Self {
        Self {
            job: running.job.to_string(),
            stage: running.stage.clone(),
            picture: running.picture,
            pictures: running.total,
            step: running.step,
            steps: running.steps,
            fraction: running.progress(),
            seconds_left: running.seconds_left(),
            preview: running.preview.as_ref().map_or(0, |(number, _)| *number),
        }
    }
}

/// Why a job failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobError {
    /// The stable name.
    code: String,
    /// In words.
    message: String,
}

/// A part of the list of jobs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Give it as `cursor` to read on.
    pub next: Option<String>,
}

/// As it is told, without its pictures and its request.
///
/// A job of another program's kind is told without what only that program reads.
pub fn view(app: &Shared, job: &Job) -> JobView {
    let order = Order::of(job).unwrap_or_default();
    let mut notes = order.notes;
    let result = job
        .result
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let told = result
        .as_ref()
        .and_then(|result| result["notes"].as_array());
    notes.extend(
        told.into_iter()
            .flatten()
            .filter_map(|n| Some(n.as_str()?.to_owned())),
    );
    let error = job.failure.as_ref().map(|failure| JobError {
        code: failure.code.clone(),
        message: failure.message.clone(),
    });
    let prompt = order.request["prompt"].as_str().map(str::to_owned);
    JobView {
        id: job.id.to_string(),
        kind: job.kind.clone(),
        state: job.state.as_str(),
        front: order.front,
        model: job.model.clone(),
        prompt: prompt.unwrap_or_default(),
        created: job.created_ms,
        started: job.started_ms,
        finished: job.finished_ms,
        pictures_total: job.pictures_total,
        pictures_done: job.pictures_done,
        width: order.width,
        height: order.height,
        cancel: job.cancel.map(|how| match how {
            Cancel::Drop => "drop",
            Cancel::Keep => "keep",
        }),
        ahead: None,
        progress: app.live.job(job.id).as_ref().map(Progress::from),
        error,
        notes,
        images: None,
        request: None,
    }
}

/// With everything.
pub async fn whole(app: &Shared, job: &Job) -> Result<JobView> {
    let mut view = view(app, job);
    view.ahead = app.queue.ahead(job.id).await?;
    let images = app.queue.pictures(job.id).await?;
    view.images = Some(images.iter().map(|image| image.id.to_string()).collect());
    view.request = Order::of(job).ok().map(|order| order.request);
    Ok(view)
}

/// The job of a user.
pub async fn find(app: &Shared, caller: &Caller, id: Ulid) -> Result<Job> {
    let job = app.queue.job(id, caller.user()).await?;
    job.ok_or_else(|| latent_queue::Error::NoJob.into())
}
