//! Jobs.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use latent_queue::{Cancel, Idempotency, Job, JobFilter, Move, State as JobState, Ulid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::names;
use crate::app::Shared;
use crate::engine::{Format, Output};
use crate::fault::{Fault, Problem, Result};
use crate::guard::{Asked, Caller, Id, Json};
use crate::live::Running;
use crate::submit::{Ask, DRAW, Order, submit as enqueue};

/// A job to be taken in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// What is to be done; `draw` is offered.
    #[serde(default = "draw")]
    kind: String,
    /// What to draw, in the tables of a request file. Pictures are named `upload:HASH` or `image:ID`.
    #[serde(default)]
    request: Map<String, Value>,
    /// The format of the files; as the settings say where it is missing.
    #[serde(default)]
    format: Option<Format>,
    /// JPEG's quality.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    quality: Option<u8>,
    /// Higher is earlier; 0 is usual.
    #[serde(default)]
    #[schema(minimum = -100, maximum = 100)]
    priority: i32,
}

fn draw() -> String {
    DRAW.to_owned()
}

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
    jobs: Vec<JobView>,
    /// Give it as `cursor` to read on.
    next: Option<String>,
}

/// As it is told, without its pictures and its request.
pub fn view(app: &Shared, job: &Job) -> Result<JobView> {
    let order = Order::of(job)?;
    let mut notes = order.notes;
    let result = job.result.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    let told = result.as_ref().and_then(|result| result["notes"].as_array());
    notes.extend(told.into_iter().flatten().filter_map(|n| Some(n.as_str()?.to_owned())));
    let error = job.failure.as_ref().map(|failure| JobError {
        code: failure.code.clone(),
        message: failure.message.clone(),
    });
    Ok(JobView {
        id: job.id.to_string(),
        kind: job.kind.clone(),
        state: job.state.as_str(),
        front: order.front,
        model: job.model.clone(),
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
    })
}

async fn whole(app: &Shared, job: &Job) -> Result<JobView> {
    let mut view = view(app, job)?;
    view.ahead = app.queue.ahead(job.id).await?;
    let images = app.queue.pictures(job.id).await?;
    view.images = Some(images.iter().map(|image| image.id.to_string()).collect());
    view.request = Some(Order::of(job)?.request);
    Ok(view)
}

/// The job of a user.
pub async fn find(app: &Shared, caller: &Caller, id: Ulid) -> Result<Job> {
    let job = app.queue.job(id, caller.user()).await?;
    job.ok_or_else(|| latent_queue::Error::NoJob.into())
}

/// Take a job in. With an `Idempotency-Key`, the same body sent again within 24 hours is the same job.
#[utoipa::path(post, path = "/api/v1/jobs", tag = "jobs", request_body = NewJob,
    params(("Idempotency-Key" = Option<String>, Header, description = "Any text of at most 255 bytes")),
    responses((status = 202, body = JobView), (status = 422, body = Problem), (status = 429, body = Problem), (status = 507, body = Problem)))]
pub async fn submit(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: Json<NewJob>,
) -> Result<impl IntoResponse> {
    let Json { value: new, held } = body;
    if new.kind != DRAW {
        let message = format!("jobs of the kind {:?} are not offered: expected draw", new.kind);
        return Err(Fault::new("kind_not_offered", message).of("kind"));
    }
    let range = |field: &str, message: &str| Fault::asked("field_out_of_range", Some(field), message);
    if new.quality.is_some_and(|quality| !(1..=100).contains(&quality)) {
        return Err(range("quality", "expected 1 to 100"));
    }
    if !(-100..=100).contains(&new.priority) {
        return Err(range("priority", "expected -100 to 100"));
    }
    let key = headers.get("idempotency-key").map(|value| {
        let key = value.to_str().unwrap_or_default();
        match (1..=255).contains(&key.len()) {
            true => Ok(key.to_owned()),
            false => Err(range("Idempotency-Key", "expected 1 to 255 visible characters")),
        }
    });
    let idempotency = key.transpose()?.map(|key| Idempotency {
        key,
        body: held.bytes.to_vec(),
    });
    drop(held);
    let mut request = new.request;
    let given = names::resolve(&app, &caller, &mut request).await?;
    let usual = app.settings.get().output();
    let output = Output {
        format: new.format.unwrap_or(usual.format),
        quality: new.quality.unwrap_or(usual.quality),
        ..usual
    };
    let ask = Ask {
        request,
        given,
        output: Some(output),
        front: "native",
        idempotency,
        priority: new.priority,
        echo: Value::Null,
    };
    let taken = enqueue(&app, &caller, ask).await?;
    let place = format!("/api/v1/jobs/{}", taken.job.id);
    let view = whole(&app, &taken.job).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], axum::Json(view)))
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Only those in these states, divided by commas.
    state: Option<String>,
    /// Where to go on.
    cursor: Option<String>,
    /// At most so many, 1 to 500; 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
}

/// The jobs, the newest first.
#[utoipa::path(get, path = "/api/v1/jobs", tag = "jobs", params(Filter), responses((status = 200, body = JobList), (status = 422, body = Problem)))]
pub async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Asked(filter): Asked<Filter>,
) -> Result<axum::Json<JobList>> {
    let words = filter.state.as_deref().unwrap_or_default().split(',');
    let states = words.filter(|word| !word.is_empty()).map(|word| {
        let message = format!("{word:?}: expected queued, running, done, failed or cancelled");
        JobState::parse(word).ok_or_else(|| Fault::asked("field_unknown_choice", Some("state"), message))
    });
    let which = JobFilter {
        user: caller.user().map(str::to_owned),
        states: states.collect::<Result<_>>()?,
        kind: None,
    };
    let before = cursor(filter.cursor.as_deref())?;
    let page = app.queue.jobs(&which, before, limit(filter.limit)?).await?;
    let jobs = page.items.iter().map(|job| view(&app, job));
    Ok(axum::Json(JobList {
        jobs: jobs.collect::<Result<_>>()?,
        next: page.next.map(|id| id.to_string()),
    }))
}

/// Where to go on.
pub fn cursor<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>> {
    let read = text.map(|text| {
        let message = "expected what `next` of the answer before this said";
        text.parse().map_err(|_| Fault::asked("field_wrong_type", Some("cursor"), message))
    });
    read.transpose()
}

/// At most so many.
pub fn limit(asked: Option<u32>) -> Result<u32> {
    match asked.unwrap_or(50) {
        limit @ 1..=500 => Ok(limit),
        _ => Err(Fault::asked("field_out_of_range", Some("limit"), "expected 1 to 500")),
    }
}

/// A job, with its pictures and its request.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses((status = 200, body = JobView), (status = 404, body = Problem)))]
pub async fn get(State(app): State<Shared>, caller: Caller, Id(id): Id) -> Result<axum::Json<JobView>> {
    let job = find(&app, &caller, id).await?;
    app.live.want(app.now());
    whole(&app, &job).await.map(axum::Json)
}

/// How to cancel.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CancelHow {
    /// Decode the picture that is being drawn as it is; otherwise it is dropped at once.
    keep: bool,
}

/// Cancel a job in any state. Pictures that are there stay.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", tag = "jobs", params(("id" = String, Path)), request_body = CancelHow,
    responses((status = 200, body = JobView), (status = 404, body = Problem)))]
pub async fn cancel(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
    body: Json<CancelHow>,
) -> Result<axum::Json<JobView>> {
    let how = match body.value.keep {
        true => Cancel::Keep,
        false => Cancel::Drop,
    };
    app.cancel(id, caller.user(), how).await?;
    let job = find(&app, &caller, id).await?;
    whole(&app, &job).await.map(axum::Json)
}

/// Cancel a job, dropping the picture that is being drawn.
#[utoipa::path(delete, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub async fn remove(State(app): State<Shared>, caller: Caller, Id(id): Id) -> Result<StatusCode> {
    app.cancel(id, caller.user(), Cancel::Drop).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Queue a failed or cancelled job again; it goes on at its first missing picture.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn retry(State(app): State<Shared>, caller: Caller, Id(id): Id) -> Result<axum::Json<JobView>> {
    app.check_open()?;
    let job = app.queue.retry(id, caller.user()).await?;
    whole(&app, &job).await.map(axum::Json)
}

/// A new place among the waiting jobs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Place {
    /// Before all others.
    Next,
    /// Behind all others.
    Last,
    /// Right before this job.
    Before(String),
}

/// Give a waiting job another place.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/move", tag = "jobs", params(("id" = String, Path)), request_body = Place,
    responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn place(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
    body: Json<Place>,
) -> Result<axum::Json<JobView>> {
    let to = match &body.value {
        Place::Next => Move::Next,
        Place::Last => Move::Last,
        Place::Before(other) => {
            let other = other.parse();
            Move::Before(other.map_err(|_| Fault::from(latent_queue::Error::NoJob))?)
        }
    };
    app.queue.move_job(id, caller.user(), to).await?;
    let job = find(&app, &caller, id).await?;
    whole(&app, &job).await.map(axum::Json)
}

/// The last preview of the picture that is being drawn.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/preview", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, description = "A small picture", content_type = "image/jpeg"), (status = 404, body = Problem)))]
pub async fn preview(State(app): State<Shared>, caller: Caller, Id(id): Id) -> Result<impl IntoResponse> {
    find(&app, &caller, id).await?;
    app.live.want(app.now());
    let preview = app.live.job(id).and_then(|running| running.preview);
    let (_, file) = preview.ok_or_else(|| Fault::new("not_found", "there is no preview"))?;
    let kind = match file.starts_with(b"\x89PNG") {
        true => "image/png",
        false => "image/jpeg",
    };
    Ok(([(header::CONTENT_TYPE, kind)], file.to_vec()))
}
