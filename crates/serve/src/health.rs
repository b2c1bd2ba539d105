//! Whether the service lives and takes jobs, and what it counts.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use crate::app::Shared;
use crate::fault::Result;

/// Their routes.
pub fn router() -> Router<Shared> {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(app): State<Shared>) -> Result<&'static str> {
    app.check_open()?;
    app.queue.counts(None).await?;
    Ok("ready\n")
}

/// In the text format of Prometheus. No prompts, no users.
async fn metrics(State(app): State<Shared>) -> Result<impl IntoResponse> {
    let counts = app.queue.counts(None).await?;
    let memory = app.engine(|engine| Ok(engine.memory())).await?;
    let running = app.live.of(None);
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, values: &[(String, f64)]| {
        let _ = writeln!(
            text,
            "# HELP latent_{name} {help}\n# TYPE latent_{name} {kind}"
        );
        for (labels, value) in values {
            let _ = writeln!(text, "latent_{name}{labels} {value}");
        }
    };
    let states = [
        ("queued", counts.queued),
        ("running", counts.running),
        ("done", counts.done),
        ("failed", counts.failed),
        ("cancelled", counts.cancelled),
    ];
    let states = states.map(|(state, count)| (format!("{{state=\"{state}\"}}"), count as f64));
    put("jobs", "gauge", "Jobs that are known, by state.", &states);
    let paused = f64::from(u8::from(counts.paused.is_some()));
    put(
        "queue_paused",
        "gauge",
        "Whether the queue is paused.",
        &[(String::new(), paused)],
    );
    if let Some(mean) = counts.mean_ms {
        let seconds = mean as f64 / 1000.0;
        put(
            "job_seconds_mean",
            "gauge",
            "Mean time of a job.",
            &[(String::new(), seconds)],
        );
    }
    let progress = running.map_or(0.0, |running| running.progress());
    put(
        "job_progress",
        "gauge",
        "Share of the running job that is done.",
        &[(String::new(), progress)],
    );
    let answers: Vec<_> = (1..6)
        .map(|class| {
            let count = app.answered[class].load(Ordering::Relaxed);
            (format!("{{status=\"{class}xx\"}}"), count as f64)
        })
        .collect();
    put(
        "http_responses_total",
        "counter",
        "Answers, by status.",
        &answers,
    );
    let limits = &app.config.limits;
    let waiting = limits.waiting - app.waiting.available_permits();
    put(
        "http_waiting",
        "gauge",
        "Requests that wait for pictures.",
        &[(String::new(), waiting as f64)],
    );
    let bytes = [
        ("total", memory.total),
        ("free", memory.free),
        ("used", memory.used),
    ];
    let bytes = bytes.map(|(kind, bytes)| (format!("{{kind=\"{kind}\"}}"), bytes as f64));
    put(
        "memory_bytes",
        "gauge",
        "Main memory; used is of this process.",
        &bytes,
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}
