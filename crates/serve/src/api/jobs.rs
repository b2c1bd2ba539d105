//! Jobs.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use latent_queue::{Cancel, Idempotency, JobFilter, Move, State as JobState};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::job_view::{JobList, JobView, find, view, whole};
use super::names;
use crate::app::Shared;
use crate::engine::{Format, Output, Stop};
use crate::fault::{Fault, Problem, Result};
use crate::guard::{Asked, Caller, Id, Json};
use crate::submit::{Ask, DRAW, submit as enqueue};

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
    let Json { value: new, held } = body.object()?;
    if new.kind != DRAW {
        let message = format!(
            "jobs of the kind {:?} are not offered: expected draw",
            new.kind
        );
        return Err(Fault::new("kind_not_offered", message).of("kind"));
    }
    let range =
        |field: &str, message: &str| Fault::asked("field_out_of_range", Some(field), message);
    if new
        .quality
        .is_some_and(|quality| !(1..=100).contains(&quality))
    {
        return Err(range("quality", "expected 1 to 100"));
    }
    if !(-100..=100).contains(&new.priority) {
        return Err(range("priority", "expected -100 to 100"));
    }
    let key = headers.get("idempotency-key").map(|value| {
        let key = value.to_str().unwrap_or_default();
        match (1..=255).contains(&key.len()) {
            true => Ok(key.to_owned()),
            false => Err(range(
                "Idempotency-Key",
                "expected 1 to 255 visible characters",
            )),
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
    Ok((
        StatusCode::ACCEPTED,
        [(header::LOCATION, place)],
        axum::Json(view),
    ))
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
        JobState::parse(word)
            .ok_or_else(|| Fault::asked("field_unknown_choice", Some("state"), message))
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
        jobs: jobs.collect(),
        next: page.next.map(|id| id.to_string()),
    }))
}

/// Where to go on.
pub fn cursor<T: std::str::FromStr>(text: Option<&str>) -> Result<Option<T>> {
    let read = text.map(|text| {
        let message = "expected what `next` of the answer before this said";
        text.parse()
            .map_err(|_| Fault::asked("field_wrong_type", Some("cursor"), message))
    });
    read.transpose()
}

/// At most so many.
pub fn limit(asked: Option<u32>) -> Result<u32> {
    match asked.unwrap_or(50) {
        limit @ 1..=500 => Ok(limit),
        _ => Err(Fault::asked(
            "field_out_of_range",
            Some("limit"),
            "expected 1 to 500",
        )),
    }
}

/// A job, with its pictures and its request.
#[utoipa::path(get, path = "/api/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path)), responses((status = 200, body = JobView), (status = 404, body = Problem)))]
pub async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<JobView>> {
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
    let how = match body.object()?.value.keep {
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

/// Give up the picture that is being drawn and go on with the job's next one. Of a job that is not being drawn: nothing.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/skip", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem)))]
pub async fn skip(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<JobView>> {
    let job = find(&app, &caller, id).await?;
    app.live.stop(id, Stop::Skip);
    whole(&app, &job).await.map(axum::Json)
}

/// Queue a failed or cancelled job again; it goes on at its first missing picture.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/retry", tag = "jobs", params(("id" = String, Path)),
    responses((status = 200, body = JobView), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn retry(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
) -> Result<axum::Json<JobView>> {
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
pub async fn preview(
    State(app): State<Shared>,
    caller: Caller,
    Id(id): Id,
) -> Result<impl IntoResponse> {
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
