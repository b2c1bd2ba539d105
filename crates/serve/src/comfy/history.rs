//! What was drawn, what waits, and stopping.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use latent_queue::{Cancel, Job, JobFilter, State as JobState};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Result;
use super::prompt::Told;
use super::record::{Record, output};
use crate::app::Shared;
use crate::fault::{Fault, Result as Outcome};
use crate::guard::{Asked, Caller};

/// Jobs that are read at once.
const PAGE: u32 = 500;

/// Which part of the history.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Part {
    max_items: Option<i64>,
    offset: Option<i64>,
}

/// The job of an id, or of a name that the client gave it.
///
/// # Errors
/// A queue that cannot be read.
pub async fn find(app: &Shared, caller: &Caller, id: &str) -> Outcome<Option<Job>> {
    let own = app.tasks.get(caller.owner(), id);
    match own.or_else(|| id.parse().ok()) {
        Some(id) => Ok(app.queue.job(id, caller.user()).await?),
        None => Ok(None),
    }
}

/// A job that has ended, as it stands in the history.
///
/// # Errors
/// A queue that cannot be read.
async fn told(app: &Shared, job: &Job, record: &Record) -> Outcome<Value> {
    let done = job.state == JobState::Done;
    let mut outputs = Map::new();
    if done {
        let pictures = app.queue.pictures(job.id).await?;
        for (id, class) in record
            .outputs
            .iter()
            .filter(|(_, class)| class != "SaveImageWebsocket")
        {
            outputs.insert(id.clone(), output(class, &pictures));
        }
    }
    let id = record.id(job);
    let at = |ms: Option<i64>| json!({ "prompt_id": id, "timestamp": ms });
    let last = match job.state {
        JobState::Done => json!(["execution_success", at(job.finished_ms)]),
        JobState::Cancelled => json!(["execution_interrupted", at(job.finished_ms)]),
        _ => json!(["execution_error", failure(job, record)]),
    };
    let messages = json!([["execution_start", at(job.started_ms)], ["execution_cached", { "nodes": [], "prompt_id": id }], last]);
    let status = json!({
        "status_str": if done { "success" } else { "error" },
        "completed": done,
        "messages": messages,
    });
    Ok(json!({ "prompt": record.item(job), "outputs": outputs, "status": status, "meta": {} }))
}

/// Why a job failed, at the node that was at work.
pub fn failure(job: &Job, record: &Record) -> Value {
    let (code, message) = match &job.failure {
        Some(failure) => (failure.code.as_str(), failure.message.as_str()),
        None => ("job_failed", "the job failed"),
    };
    let (node, _, _) = record.at("sampling", 0);
    json!({
        "prompt_id": record.id(job),
        "timestamp": job.finished_ms,
        "node_id": node,
        "node_type": record.graph[node]["class_type"],
        "executed": [],
        "exception_message": message,
        "exception_type": code,
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
    })
}

/// `GET /history/{id}`: nothing until it has ended.
pub async fn one(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>> {
    let job = find(&app, &caller, &id).await?;
    let ended = job.filter(|job| job.state.ended());
    let mut all = Map::new();
    if let Some(job) = ended
        && let Some(record) = Record::of(&job)
    {
        all.insert(record.id(&job), told(&app, &job, &record).await?);
    }
    Ok(Answer(Value::Object(all)))
}

/// `GET /history`: the newest at the end, as there.
pub async fn all(
    State(app): State<Shared>,
    caller: Caller,
    part: Outcome<Asked<Part>>,
) -> Result<Answer<Value>> {
    let Asked(part) = part?;
    let most = part
        .max_items
        .filter(|most| *most >= 0)
        .unwrap_or(200)
        .min(i64::from(PAGE)) as usize;
    let filter = JobFilter {
        user: caller.user().map(str::to_owned),
        states: vec![JobState::Done, JobState::Failed, JobState::Cancelled],
        kind: None,
    };
    let page = app.queue.jobs(&filter, None, PAGE).await?;
    let own = page
        .items
        .iter()
        .filter_map(|job| Some((job, Record::of(job)?)));
    // Without an offset, the last ones; with one, from there on, the oldest first.
    let mut own: Vec<_> = own.collect();
    own.reverse();
    let first = match part.offset.and_then(|offset| usize::try_from(offset).ok()) {
        Some(offset) => offset,
        None => own.len().saturating_sub(most),
    };
    let mut all = Map::new();
    for (job, record) in own.iter().skip(first).take(most) {
        all.insert(record.id(job), told(&app, job, record).await?);
    }
    Ok(Answer(Value::Object(all)))
}

/// `POST /history`: jobs and what they drew are not removed by this interface.
pub async fn change(body: Outcome<Told>) -> Result<StatusCode> {
    body?;
    let message = "the history is not changed by this interface: jobs go after 30 days, pictures by DELETE /api/v1/images/ID";
    Err(Fault::new("not_offered", message).into())
}

/// `GET /queue`.
pub async fn queue(State(app): State<Shared>, caller: Caller) -> Result<Answer<Value>> {
    let items = |jobs: &mut dyn Iterator<Item = &Job>| -> Vec<Value> {
        jobs.filter_map(|job| Some(Record::of(job)?.item(job)))
            .collect()
    };
    let filter = JobFilter {
        user: caller.user().map(str::to_owned),
        states: vec![JobState::Running],
        kind: None,
    };
    // First those that wait: one that begins meanwhile is told twice and not left out.
    let waiting = app.queue.waiting(caller.user()).await?;
    let running = app.queue.jobs(&filter, None, PAGE).await?;
    Ok(Answer(json!({
        "queue_running": items(&mut running.items.iter()),
        "queue_pending": items(&mut waiting.iter().map(|waiting| &waiting.job)),
    })))
}

/// `POST /queue`: `{"clear": true}` or `{"delete": [id]}`, of jobs that wait.
pub async fn change_queue(
    State(app): State<Shared>,
    caller: Caller,
    body: Outcome<Told>,
) -> Result<StatusCode> {
    let Told(body) = body?;
    if body["clear"] == true {
        app.queue.clear(caller.user()).await?;
    }
    let ids: BTreeMap<_, _> = body["delete"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|id| (id, ()))
        .collect();
    for id in ids.keys() {
        if let Some(job) = find(&app, &caller, id)
            .await?
            .filter(|job| job.state == JobState::Queued)
        {
            app.cancel(job.id, caller.user(), Cancel::Drop).await?;
        }
    }
    Ok(StatusCode::OK)
}

/// `POST /interrupt`: the caller's job that is drawn, or the one that is named.
pub async fn interrupt(
    State(app): State<Shared>,
    caller: Caller,
    body: Outcome<Told>,
) -> Result<StatusCode> {
    let Told(body) = body?;
    let running = match body["prompt_id"].as_str() {
        Some(id) => find(&app, &caller, id)
            .await?
            .filter(|job| job.state == JobState::Running)
            .map(|job| job.id),
        None => app.live.of(caller.user()).map(|running| running.job),
    };
    if let Some(id) = running {
        // It may end at this moment.
        let _ = app.cancel(id, caller.user(), Cancel::Drop).await;
    }
    Ok(StatusCode::OK)
}

/// `POST /free`.
pub async fn free(State(app): State<Shared>, body: Outcome<Told>) -> Result<StatusCode> {
    let Told(body) = body?;
    if body["unload_models"] == true || body["free_memory"] == true {
        app.engine(|engine| {
            engine.unload();
            Ok(())
        })
        .await?;
    }
    Ok(StatusCode::OK)
}
