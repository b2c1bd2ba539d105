//! Its jobs.

use axum::Json as Answer;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use latent_queue::{Cancel, Job, State as JobState};
use serde_json::{Map, Value, json};

use super::{Error, Result, translate};
use crate::app::Shared;
use crate::engine::{Format, Output};
use crate::fault::{Fault, Result as Outcome};
use crate::given::Given;
use crate::guard::{Caller, Json};
use crate::submit::{Ask, Order, results, submit as enqueue};

/// The interface's name in the queue.
const FRONT: &str = "sdcpp";

/// `POST img_gen`.
pub async fn submit(
    State(app): State<Shared>,
    caller: Caller,
    body: Outcome<Json<Map<String, Value>>>,
) -> Result<(StatusCode, Answer<Value>)> {
    let Json {
        value: fields,
        held,
    } = body?;
    drop(held);
    let mut request = Map::new();
    let mut given = Given::default();
    translate::lay(&mut request, &mut given, &fields, &app.config.limits)?;
    let output = output(&fields, app.settings.get().output())?;
    room(&app, &caller).await?;
    let ask = Ask {
        request,
        given,
        output: Some(output),
        front: FRONT,
        ..Ask::default()
    };
    let job = enqueue(&app, &caller, ask).await?.job;
    let told = json!({
        "id": job.id.to_string(),
        "kind": "img_gen",
        "status": "queued",
        "created": job.created_ms / 1000,
        "poll_url": format!("/sdcpp/v1/jobs/{}", job.id),
    });
    Ok((StatusCode::ACCEPTED, Answer(told)))
}

fn output(fields: &Map<String, Value>, usual: Output) -> Outcome<Output> {
    let stated = |field: &str| fields.get(field).filter(|value| !value.is_null());
    let wrong = |field: &str, expected: &str| {
        Fault::new("field_unusable", format!("{field}: expected {expected}")).of(field)
    };
    let format = match stated("output_format") {
        None => Format::Png,
        Some(name) => name
            .as_str()
            .and_then(Format::named)
            .ok_or_else(|| wrong("output_format", "png, jpeg or webp"))?,
    };
    let quality = match stated("output_compression").map(Value::as_u64) {
        None | Some(Some(0)) => usual.quality,
        Some(Some(quality @ 1..=100)) => quality as u8,
        Some(_) => return Err(wrong("output_compression", "0 to 100")),
    };
    Ok(Output {
        format,
        quality,
        text: stated("embed_image_metadata") != Some(&Value::Bool(false)),
        ..Output::default()
    })
}

/// Whether it takes one more.
async fn room(app: &Shared, caller: &Caller) -> Outcome<()> {
    let waiting = app.queue.waiting(caller.user()).await?;
    let own = waiting
        .iter()
        .filter(|w| Order::of(&w.job).is_ok_and(|order| order.front == FRONT));
    let most = app.config.limits.sdcpp_queue;
    match own.count() as u64 >= most {
        true => {
            let message = format!("{most} jobs wait, and no more may");
            let full = Fault::asked("queue_full", None, message);
            Err(full.with(StatusCode::TOO_MANY_REQUESTS).after(5))
        }
        false => Ok(()),
    }
}

async fn find(app: &Shared, caller: &Caller, id: &str) -> Result<Job> {
    let missing = || Error(Fault::new("not_found", "there is no such job"));
    let id = id.parse().map_err(|_| missing())?;
    let job = app
        .queue
        .job(id, caller.user())
        .await?
        .ok_or_else(missing)?;
    let kept = i64::try_from(app.config.limits.sdcpp_kept.as_millis()).unwrap_or(i64::MAX);
    match job.finished_ms.is_some_and(|at| app.now() - at > kept) {
        true => {
            let gone = Fault::new("not_found", "the job ended too long ago").with(StatusCode::GONE);
            Err(Error(gone))
        }
        false => Ok(job),
    }
}

async fn told(app: &Shared, job: &Job) -> Result<Value> {
    let order = Order::of(job)?;
    let status = match job.state {
        JobState::Queued => "queued",
        JobState::Running => "generating",
        JobState::Done => "completed",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    };
    let error = match (&job.failure, job.state) {
        (Some(failure), _) => json!({ "code": failure.code, "message": failure.message }),
        (None, JobState::Cancelled) => {
            json!({ "code": "cancelled", "message": "the job was cancelled" })
        }
        _ => Value::Null,
    };
    let mut result = Value::Null;
    if job.state == JobState::Done {
        let images = results(app, job).await?;
        let images = images.iter().map(|(picture, file)| json!({ "index": picture.n, "b64_json": BASE64_STANDARD.encode(file) }));
        result = json!({ "output_format": order.output.format.name(), "images": images.collect::<Vec<_>>() });
    }
    let place = app.queue.ahead(job.id).await?.map_or(0, |ahead| ahead + 1);
    Ok(json!({
        "id": job.id.to_string(),
        "kind": "img_gen",
        "status": status,
        "created": job.created_ms / 1000,
        "started": job.started_ms.map(|ms| ms / 1000),
        "completed": job.finished_ms.map(|ms| ms / 1000),
        "queue_position": place,
        "result": result,
        "error": error,
    }))
}

/// `GET jobs/{id}`.
pub async fn show(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>> {
    let job = find(&app, &caller, &id).await?;
    told(&app, &job).await.map(Answer)
}

/// `POST jobs/{id}/cancel`, also while it is being drawn.
pub async fn cancel(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<Value>> {
    let job = find(&app, &caller, &id).await?;
    app.cancel(job.id, caller.user(), Cancel::Drop).await?;
    let job = find(&app, &caller, &id).await?;
    told(&app, &job).await.map(Answer)
}
