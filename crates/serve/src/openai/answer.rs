//! What is answered.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use latent_queue::Job;
use serde_json::{Value, json};

use super::links::PATH;
use crate::app::Shared;
use crate::fault::{Fault, Result};
use crate::submit::{Order, results};

/// What an answer needs to know.
#[derive(Debug)]
pub struct Told {
    /// Where this server is, if addresses are wanted.
    pub base: Option<String>,
    /// `quality` as it was sent.
    pub quality: String,
    /// Whom it is for, as the client says.
    pub identifier: Option<String>,
    /// What lies in the queue.
    pub order: Order,
    /// It was an edit.
    pub edits: bool,
}

impl Told {
    /// What an answer and an event have both.
    pub fn about(&self) -> Value {
        let output = self.order.output;
        json!({
            "background": if output.transparent { "transparent" } else { "opaque" },
            "output_format": output.format.name(),
            "quality": self.quality,
            "safety_identifier": self.identifier,
            "size": format!("{}x{}", self.order.width, self.order.height),
        })
    }
}

/// Nothing is counted in tokens here.
pub fn usage() -> Value {
    json!({
        "input_tokens": 0, "output_tokens": 0, "total_tokens": 0,
        "input_tokens_details": { "image_tokens": 0, "text_tokens": 0 },
        "output_tokens_details": { "image_tokens": 0, "text_tokens": 0 },
    })
}

/// The answer for a job that has ended.
///
/// # Errors
/// That of the job; a job that was cancelled.
pub async fn of(app: &Shared, job: &Job, told: &Told) -> Result<Value> {
    let done = results(app, job).await?;
    if done.is_empty() {
        return Err(Fault::new("job_cancelled", "the job was cancelled"));
    }
    let mut data = Vec::with_capacity(done.len());
    for (picture, file) in done {
        data.push(match &told.base {
            None => json!({ "b64_json": BASE64_STANDARD.encode(file) }),
            Some(base) => {
                let word = app.word();
                let now = app.now();
                let holds = i64::try_from(app.config.limits.link.as_millis()).unwrap_or(i64::MAX);
                app.links
                    .put(&word, picture.id, now, now.saturating_add(holds));
                json!({ "url": format!("{base}{PATH}{word}") })
            }
        });
    }
    let mut answer = told.about();
    answer["created"] = (job.created_ms / 1000).into();
    answer["data"] = data.into();
    answer["usage"] = usage();
    Ok(answer)
}
