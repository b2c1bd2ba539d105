//! What changes, as it changes: server-sent events that go on where a listener stopped.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use latent_queue::{Change, Event};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;

use super::job_view::Progress;
use crate::app::{Phase, Shared};
use crate::fault::Result;
use crate::feed::{Listening, READ};
use crate::guard::{Asked, Caller};

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// The number of the last event that was seen; the header `Last-Event-ID`, which a browser sends by itself, comes
    /// first. Without either: what changes from now on.
    after: Option<i64>,
    /// Whether pictures are to be shown while they form, which costs a little time; true.
    previews: Option<bool>,
}

struct Listener {
    app: Shared,
    _counted: Listening,
    caller: Caller,
    after: i64,
    changed: watch::Receiver<i64>,
    live: watch::Receiver<u64>,
    ready: VecDeque<Sent>,
    next_progress: Instant,
    previews: bool,
}

/// Changes of jobs, pictures and the queue, each with a number as its id, and `progress`, without one. `gap` says that events
/// were missed that are no longer kept: read everything anew.
#[utoipa::path(get, path = "/api/v1/events", tag = "jobs", params(From), responses((status = 200, description = "Events, each with JSON as its data", content_type = "text/event-stream")))]
pub async fn listen(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    Asked(from): Asked<From>,
) -> Result<Sse<impl Stream<Item = std::result::Result<Sent, Infallible>>>> {
    app.check_open()?;
    let seen = headers
        .get("last-event-id")
        .and_then(|v| v.to_str().ok()?.parse().ok());
    let mut changed = app.queue.changed();
    let newest = *changed.borrow_and_update();
    let after = seen.or(from.after).unwrap_or(newest);
    changed.mark_changed();
    let mut live = app.live.changes();
    live.mark_changed();
    let listener = Listener {
        after: after.max(0),
        live,
        changed,
        caller,
        ready: VecDeque::from([Sent::default().comment("listening")]),
        next_progress: Instant::now(),
        _counted: Listening::new(&app),
        previews: from.previews.unwrap_or(true),
        app,
    };
    let events = unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

impl Listener {
    /// The next event; none when the process ends.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.previews {
                self.app.live.want(self.app.now());
            }
            let mut live = self.live.clone();
            let pace = self.next_progress;
            let progress = async move {
                sleep_until(pace).await;
                live.changed().await
            };
            tokio::select! {
                () = self.app.reached(Phase::Closed) => return None,
                changed = self.changed.changed() => {
                    changed.ok()?;
                    self.read().await?;
                }
                changed = progress => {
                    changed.ok()?;
                    self.live.mark_unchanged();
                    self.next_progress = Instant::now() + self.app.feed.pace();
                    self.progress();
                }
                // A preview is wanted as long as somebody listens.
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn read(&mut self) -> Option<()> {
        let known = *self.changed.borrow_and_update();
        let (app, user) = (&self.app, self.caller.user());
        let read = app.feed.after(&app.queue, self.after, known, user).await;
        let read = read
            .map_err(|error| tracing::error!(%error, "events cannot be read"))
            .ok()?;
        if read.gap {
            self.after = read.newest;
            let event = Sent::default().event("gap").id(read.newest.to_string());
            self.ready.push_back(event.data("{}"));
            return Some(());
        }
        self.after = match read.events.last() {
            Some(last) if read.events.len() == READ as usize => {
                self.changed.mark_changed();
                last.number
            }
            // Everything up to there was read; what was another's is not asked for again.
            _ => read.newest,
        };
        for event in &read.events {
            let (name, data) = told(event);
            let sent = Sent::default().event(name).id(event.number.to_string());
            self.ready.push_back(sent.data(data.to_string()));
        }
        Some(())
    }

    fn progress(&mut self) {
        let running = self.app.live.of(self.caller.user());
        let data = running.as_ref().map(Progress::from);
        let data = serde_json::to_string(&data).unwrap_or_default();
        self.ready
            .push_back(Sent::default().event("progress").data(data));
    }
}

/// The name and the data of an event.
fn told(event: &Event) -> (&'static str, Value) {
    let id = |id: &latent_queue::Ulid| id.to_string();
    match &event.change {
        Change::Job { id: job, state } => {
            ("job", json!({ "id": id(job), "state": state.as_str() }))
        }
        Change::CancelAsked { id: job, .. } => ("cancel", json!({ "id": id(job) })),
        Change::Order => ("order", json!({})),
        Change::Picture { id: image, job } => (
            "image",
            json!({ "id": id(image), "job": job.as_ref().map(id) }),
        ),
        Change::PictureChanged { id: image } => ("image_changed", json!({ "id": id(image) })),
        Change::PictureGone { id: image } => ("image_gone", json!({ "id": id(image) })),
        Change::Paused { paused } => ("queue", json!({ "paused": paused })),
    }
}
