//! An answer that is waited for: quiet at first, then with blanks, so that nothing on the way takes it for dead.

use std::future::Future;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{once, unfold};
use latent_queue::Job;
use serde_json::Value;
use tokio::time::timeout;

use crate::app::Shared;
use crate::fault::Result;
use crate::submit::Waiter;

const BLANK: Bytes = Bytes::from_static(b" ");

/// Waits for a job and answers with the JSON that `finish` makes of it. What takes longer than a blank's time is answered with 200 and
/// blanks before the JSON; if it then fails, the connection breaks off.
///
/// # Errors
/// A fault that is found before the first blank.
pub async fn answer<F, Done>(app: &Shared, mut waiter: Waiter, finish: F) -> Result<Response>
where
    F: FnOnce(Job) -> Done + Send + 'static,
    Done: Future<Output = Result<Value>> + Send + 'static,
{
    let blank = app.config.limits.blank;
    if let Ok(job) = timeout(blank, waiter.ended()).await {
        return Ok(axum::Json(finish(job?).await?).into_response());
    }
    let rest = unfold(Some((waiter, finish)), move |state| async move {
        let (mut waiter, finish) = state?;
        match timeout(blank, waiter.ended()).await {
            Err(_) => Some((Ok(BLANK), Some((waiter, finish)))),
            Ok(job) => {
                let done = match job {
                    Ok(job) => finish(job).await,
                    Err(fault) => Err(fault),
                };
                let done = done.map(|value| Bytes::from(value.to_string()));
                Some((done.map_err(std::io::Error::other), None))
            }
        }
    });
    let body = Body::from_stream(once(async { Ok(BLANK) }).chain(rest));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
