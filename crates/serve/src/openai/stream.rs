//! Events while a picture is drawn: previews, then the picture, which ends them.

use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::stream::unfold;
use latent_queue::{Job, Ulid};
use serde_json::Value;
use tokio::sync::watch;

use super::answer::{Told, usage};
use super::error;
use crate::app::Shared;
use crate::fault::{Fault, Result};
use crate::submit::{Waiter, results};

struct Drawing {
    app: Shared,
    waiter: Waiter,
    id: Ulid,
    told: Told,
    left: u64,
    sent: u64,
    seen: u64,
    changes: watch::Receiver<u64>,
}

/// Answers with events.
pub fn answer(
    app: &Shared,
    waiter: Waiter,
    id: Ulid,
    told: Told,
    partial: u64,
    changes: watch::Receiver<u64>,
) -> Response {
    let drawing = Drawing {
        app: app.clone(),
        waiter,
        id,
        told,
        left: partial,
        sent: 0,
        seen: 0,
        changes,
    };
    let events = unfold(Some(drawing), |drawing| async move {
        let mut drawing = drawing?;
        let (event, goes_on) = drawing.next().await;
        Some((Ok::<_, Infallible>(event), goes_on.then_some(drawing)))
    });
    Sse::new(events)
        .keep_alive(KeepAlive::new())
        .into_response()
}

impl Drawing {
    fn event(&self, kind: &str, file: &[u8], more: (&str, Value)) -> Event {
        let preview = kind == "partial_image";
        let kind = match self.told.edits {
            true => format!("image_edit.{kind}"),
            false => format!("image_generation.{kind}"),
        };
        let mut data = self.told.about();
        data["type"] = kind.clone().into();
        data["b64_json"] = BASE64_STANDARD.encode(file).into();
        data["created_at"] = (self.app.now() / 1000).into();
        if preview {
            let png = file.starts_with(b"\x89PNG");
            data["output_format"] = if png { "png" } else { "jpeg" }.into();
        }
        data[more.0] = more.1;
        Event::default().event(kind).data(data.to_string())
    }

    /// The next event, and whether another comes.
    async fn next(&mut self) -> (Event, bool) {
        loop {
            if self.left > 0 {
                self.app.live.want(self.app.now());
            }
            tokio::select! {
                biased;
                job = self.waiter.ended() => {
                    let done = self.last(job).await;
                    let event = done.unwrap_or_else(|fault| {
                        Event::default().event("error").data(error::body(&fault).to_string())
                    });
                    return (event, false);
                }
                changed = self.changes.changed(), if self.left > 0 => {
                    if changed.is_err() {
                        self.left = 0;
                    }
                    let preview = self.app.live.job(self.id).and_then(|running| running.preview);
                    if let Some((number, file)) = preview.filter(|(number, _)| *number != self.seen) {
                        self.seen = number;
                        self.left -= 1;
                        let index = ("partial_image_index", self.sent.into());
                        self.sent += 1;
                        return (self.event("partial_image", &file, index), true);
                    }
                }
            }
        }
    }

    async fn last(&self, job: Result<Job>) -> Result<Event> {
        let mut done = results(&self.app, &job?).await?;
        match done.pop() {
            Some((_, file)) => Ok(self.event("completed", &file, ("usage", usage()))),
            None => Err(Fault::new("job_cancelled", "the job was cancelled")),
        }
    }
}
