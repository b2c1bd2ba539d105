//! What every answer carries, and what is counted of it.

use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::app::Shared;
use crate::openai::links;

/// Names a request in answers and the log.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Pages may load from here alone, and nobody may frame them.
pub const CSP: &str = "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const FIXED: &[(&str, &str)] = &[
    ("content-security-policy", CSP),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // Under `no-referrer` a form of our own would be sent with the origin `null`, which is refused.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Adds them, and the time it took as A1111 does.
pub async fn add(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = given_id(request.headers()).unwrap_or_else(|| app.word());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let seconds = start.elapsed().as_secs_f64();
    let status = response.status();
    tracing::debug!(%id, %method, path, status = status.as_u16(), seconds, "answered");
    let class = usize::from(status.as_u16() / 100).min(5);
    app.answered[class].fetch_add(1, Ordering::Relaxed);
    let headers = response.headers_mut();
    for (name, value) in FIXED {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !path.starts_with(links::PATH) {
        let name = HeaderName::from_static("cross-origin-resource-policy");
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    for (name, value) in [
        (REQUEST_ID.clone(), id),
        (
            HeaderName::from_static("x-process-time"),
            format!("{seconds:.4}"),
        ),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// The id that a client or a proxy gave, if it is a plain word.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ((1..=64).contains(&given.len()) && given.chars().all(plain)).then(|| given.to_owned())
}
