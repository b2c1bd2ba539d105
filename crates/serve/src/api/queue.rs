//! The queue as a whole.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::job_view::{JobView, view};
use crate::app::Shared;
use crate::fault::Result;
use crate::guard::Caller;

/// The queue as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueueView {
    /// Why nothing is taken from it, if so.
    paused: Option<String>,
    /// How many jobs wait.
    queued: u64,
    /// How many are being drawn.
    running: u64,
    /// The mean time of a job, in milliseconds.
    mean_ms: Option<u64>,
    /// The jobs that wait, in their order.
    waiting: Vec<JobView>,
}

async fn seen(app: &Shared, caller: &Caller) -> Result<Json<QueueView>> {
    let counts = app.queue.counts(caller.user()).await?;
    let waiting = app.queue.waiting(caller.user()).await?;
    let waiting = waiting.iter().map(|waiting| {
        let mut job = view(app, &waiting.job);
        job.set_ahead(waiting.ahead);
        job
    });
    Ok(Json(QueueView {
        paused: counts.paused.map(|pause| pause.reason),
        queued: counts.queued,
        running: counts.running,
        mean_ms: counts.mean_ms,
        waiting: waiting.collect(),
    }))
}

/// The queue as it stands.
#[utoipa::path(get, path = "/api/v1/queue", tag = "jobs", responses((status = 200, body = QueueView)))]
pub async fn show(State(app): State<Shared>, caller: Caller) -> Result<Json<QueueView>> {
    seen(&app, &caller).await
}

/// Begin no more jobs, also after a restart. The running one goes on.
#[utoipa::path(post, path = "/api/v1/queue/pause", tag = "jobs", responses((status = 200, body = QueueView)))]
pub async fn pause(State(app): State<Shared>, caller: Caller) -> Result<Json<QueueView>> {
    app.queue.pause("paused by hand").await?;
    seen(&app, &caller).await
}

/// Go on.
#[utoipa::path(post, path = "/api/v1/queue/resume", tag = "jobs", responses((status = 200, body = QueueView)))]
pub async fn resume(State(app): State<Shared>, caller: Caller) -> Result<Json<QueueView>> {
    app.queue.resume().await?;
    seen(&app, &caller).await
}

/// Cancel all jobs of the user that wait.
#[utoipa::path(post, path = "/api/v1/queue/clear", tag = "jobs", responses((status = 200, body = QueueView)))]
pub async fn clear(State(app): State<Shared>, caller: Caller) -> Result<Json<QueueView>> {
    app.queue.clear(caller.user()).await?;
    seen(&app, &caller).await
}
