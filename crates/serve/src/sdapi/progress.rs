//! Watching and stopping: of the caller's own job, or of any where nobody is asked for a name.

use axum::Json as Answer;
use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use latent_queue::{Cancel, State as JobState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::Result;
use super::fields::{Field, Fields, Kind};
use crate::app::Shared;
use crate::engine::Stop;
use crate::fault::Result as Outcome;
use crate::guard::{Asked, Caller, Json};
use crate::live::Running;

/// A time as A1111 writes it, `20260801123456`, in UTC (days to dates: Howard Hinnant, "chrono-compatible low-level date algorithms").
pub fn stamp(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// How to be told.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Query {
    skip_current_image: bool,
}

fn share(running: &Running) -> f64 {
    (0.01 + running.progress()).min(1.0)
}

fn state(running: Option<&Running>) -> Value {
    let (stop, skip) = running.map_or((None, false), Running::asked);
    let number = |of: fn(&Running) -> u32| running.map_or(0, of);
    json!({
        "skipped": skip,
        "interrupted": stop.is_some(),
        "stopping_generation": stop.is_some(),
        "job": running.map_or(String::new(), |running| running.stage.clone()),
        "job_count": number(|running| running.total),
        "job_timestamp": running.map_or("0".to_owned(), |running| stamp(running.since_ms)),
        "job_no": number(|running| running.done),
        "sampling_step": number(|running| running.step),
        "sampling_steps": number(|running| running.steps),
    })
}

/// `GET progress`.
pub async fn progress(
    State(app): State<Shared>,
    caller: Caller,
    query: Outcome<Asked<Query>>,
) -> Result<Answer<Value>> {
    let Asked(query) = query?;
    let running = app.live.of(caller.user());
    let wanted = running.as_ref().filter(|_| !query.skip_current_image);
    if wanted.is_some() {
        app.live.want(app.now());
    }
    let preview = wanted.and_then(|running| running.preview.as_ref());
    Ok(Answer(json!({
        "progress": running.as_ref().map_or(0.0, share),
        "eta_relative": running.as_ref().map_or(0.0, Running::seconds_left),
        "state": state(running.as_ref()),
        "current_image": preview.map(|(_, file)| BASE64_STANDARD.encode(file.as_slice())),
        "textinfo": running.map(|running| running.stage),
    })))
}

/// `POST interrupt`: the picture being drawn is decoded as it is, and the request answered with what there is.
pub async fn interrupt(State(app): State<Shared>, caller: Caller) -> Result<Answer<Value>> {
    if let Some(running) = app.live.of(caller.user()) {
        // It may end at this moment.
        let _ = app.cancel(running.job, caller.user(), Cancel::Keep).await;
    }
    Ok(Answer(json!({})))
}

/// `POST skip`: the same for one picture.
pub async fn skip(State(app): State<Shared>, caller: Caller) -> Answer<Value> {
    if let Some(running) = app.live.of(caller.user()) {
        app.live.stop(running.job, Stop::Skip);
    }
    Answer(Value::Null)
}

const TASK: &[Field] = &[
    ("id_task", Kind::Text, "null"),
    ("id_live_preview", Kind::Whole, "-1"),
    ("live_preview", Kind::Flag, "true"),
];

/// `POST /internal/progress`: one request, by the id that its client chose.
pub async fn task(
    State(app): State<Shared>,
    caller: Caller,
    body: Outcome<Json<Value>>,
) -> Result<Answer<Value>> {
    let asked = Fields::read(&body?.value, &[TASK])?;
    let name = asked.text("id_task").unwrap_or_default();
    let id = app.tasks.get(caller.owner(), name);
    let job = match id {
        Some(id) => app.queue.job(id, caller.user()).await?,
        None => None,
    };
    let Some(job) = job else {
        return Ok(Answer(
            json!({ "active": false, "queued": false, "completed": false, "id_live_preview": -1, "textinfo": "Waiting..." }),
        ));
    };
    let running = app.live.job(job.id);
    let queued = job.state == JobState::Queued;
    let mut told = json!({
        "active": job.state == JobState::Running,
        "queued": queued,
        "completed": job.state.ended(),
        "id_live_preview": asked.whole("id_live_preview"),
    });
    if queued {
        let ahead = app.queue.ahead(job.id).await?.unwrap_or(0);
        let all = app.queue.counts(None).await?.queued;
        told["textinfo"] = format!("In queue: {}/{}", ahead + 1, all.max(ahead + 1)).into();
    }
    if let Some(running) = running {
        told["progress"] = share(&running).into();
        told["eta"] = running.seconds_left().into();
        told["textinfo"] = running.stage.clone().into();
        if asked.flag("live_preview") {
            app.live.want(app.now());
            let known = asked.whole("id_live_preview");
            let newer = running
                .preview
                .filter(|(number, _)| i64::try_from(*number).is_ok_and(|n| n != known));
            if let Some((number, file)) = newer {
                let kind = if file.starts_with(b"\x89PNG") {
                    "png"
                } else {
                    "jpeg"
                };
                let body = BASE64_STANDARD.encode(file.as_slice());
                told["live_preview"] = format!("data:image/{kind};base64,{body}").into();
                told["id_live_preview"] = number.into();
            }
        }
    }
    Ok(Answer(told))
}

/// `GET /internal/pending-tasks`.
pub async fn pending(State(app): State<Shared>, caller: Caller) -> Result<Answer<Value>> {
    let waiting = app.queue.waiting(caller.user()).await?;
    let names = waiting.iter().map(|waiting| {
        let id = waiting.job.id;
        app.tasks
            .name(caller.owner(), id)
            .unwrap_or_else(|| id.to_string())
    });
    let names: Vec<_> = names.collect();
    Ok(Answer(json!({ "size": names.len(), "tasks": names })))
}

#[cfg(test)]
mod tests {
    use super::stamp;

    #[test]
    fn times_are_written_as_dates() {
        assert_eq!(stamp(0), "19700101000000");
        assert_eq!(stamp(951_827_696_000), "20000229123456");
        assert_eq!(stamp(1_785_587_696_789), "20260801123456");
    }
}
