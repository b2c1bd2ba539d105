//! The core: jobs through the queue, what survives, how it ends.

use std::time::{Duration, Instant};

use crate::common::{start, start_in, start_with};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn job(prompt: &str, steps: u32, count: u32) -> serde_json::Value {
    json!({"request": {"prompt": prompt, "steps": steps, "batch_count": count, "seed": 7}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_becomes_pictures() {
    let server = start().await;
    let answer = server.post("/api/v1/jobs", &job("a red apple", 3, 2)).await;
    let sent = answer.expect(202);
    let id = sent["id"].as_str().expect("an id");
    assert_eq!(
        answer.header("location"),
        Some(format!("/api/v1/jobs/{id}").as_str())
    );
    let done = server.ended(id).await;
    assert_eq!(done["state"], "done", "{done}");
    let images = done["images"].as_array().expect("pictures");
    assert_eq!(images.len(), 2);
    let file = server
        .get(&format!(
            "/api/v1/images/{}/file",
            images[1].as_str().expect("an id")
        ))
        .await;
    assert_eq!(
        (file.status, file.header("content-type")),
        (200, Some("image/png"))
    );
    assert!(file.body.starts_with(b"\x89PNG"));
    let again = server
        .post("/api/v1/jobs", &job("a red apple", 3, 2))
        .await
        .expect(202);
    let again = server.ended(again["id"].as_str().expect("an id")).await;
    let other = server
        .get(&format!(
            "/api/v1/images/{}/file",
            again["images"][1].as_str().expect("an id")
        ))
        .await;
    assert_eq!(file.body, other.body, "the same request gave two pictures");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics() {
    let server = start().await;
    assert_eq!(server.get("/healthz").await.text(), "ok\n");
    assert_eq!(server.get("/readyz").await.status, 200);
    server
        .post("/api/v1/jobs", &job("a secret prompt", 1, 1))
        .await
        .expect(202);
    let metrics = server.get("/metrics").await.text();
    for line in [
        "# TYPE latent_jobs gauge",
        "latent_queue_paused 0",
        "latent_http_responses_total{status=\"2xx\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("secret"));
    let answer = server.get("/healthz").await;
    assert!(answer.header("x-request-id").is_some() && answer.header("x-process-time").is_some());
    let named = server
        .send("GET", "/healthz", &[("x-request-id", "mine-1")], b"")
        .await;
    assert_eq!(named.header("x-request-id"), Some("mine-1"));
    let odd = server
        .send("GET", "/healthz", &[("x-request-id", "<script>")], b"")
        .await;
    assert_ne!(odd.header("x-request-id"), Some("<script>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_the_job_and_no_other() {
    let server = start().await;
    let bad = server
        .post("/api/v1/jobs", &job("panic", 1, 1))
        .await
        .expect(202);
    let failed = server
        .post("/api/v1/jobs", &job("fail", 1, 1))
        .await
        .expect(202);
    let good = server
        .post("/api/v1/jobs", &job("an apple", 1, 1))
        .await
        .expect(202);
    let bad = server.ended(bad["id"].as_str().expect("an id")).await;
    assert_eq!(
        (&bad["state"], &bad["error"]["code"]),
        (&json!("failed"), &json!("defect"))
    );
    assert!(server.engine.was_unloaded());
    let failed = server.ended(failed["id"].as_str().expect("an id")).await;
    assert_eq!(failed["error"]["code"], "network_failed");
    assert_eq!(
        server.ended(good["id"].as_str().expect("an id")).await["state"],
        "done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_drops_or_keeps() {
    let server = start().await;
    for (keep, pictures) in [(false, 0), (true, 1)] {
        let sent = server
            .post("/api/v1/jobs", &job("long", 1000, 3))
            .await
            .expect(202);
        let id = sent["id"].as_str().expect("an id");
        server
            .until(id, |job| job["progress"]["step"].as_u64() > Some(2))
            .await;
        let start = Instant::now();
        server
            .post(&format!("/api/v1/jobs/{id}/cancel"), &json!({"keep": keep}))
            .await
            .expect(200);
        let ended = server.ended(id).await;
        assert!(
            start.elapsed() < Duration::from_millis(900),
            "it went on for {:?}",
            start.elapsed()
        );
        assert_eq!(ended["state"], "cancelled");
        assert_eq!(
            ended["images"].as_array().map(Vec::len),
            Some(pictures),
            "{ended}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn skipping_goes_on_with_the_next_picture() {
    let server = start().await;
    let sent = server
        .post("/api/v1/jobs", &job("long", 1000, 2))
        .await
        .expect(202);
    let id = sent["id"].as_str().expect("an id");
    assert_eq!(sent["prompt"], "long");
    server
        .until(id, |job| job["progress"]["step"].as_u64() > Some(2))
        .await;
    let start = Instant::now();
    let skip = format!("/api/v1/jobs/{id}/skip");
    server.send("POST", &skip, &[], b"").await.expect(200);
    server
        .until(id, |job| job["progress"]["picture"] == 1)
        .await;
    assert!(start.elapsed() < Duration::from_millis(900));
    let path = format!("/api/v1/jobs/{id}");
    server.send("DELETE", &path, &[], b"").await.expect(204);
    server.ended(id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_gives_the_job_back_and_the_next_process_ends_it() {
    let mut server = start_with(|c| c.limits.grace = Duration::from_millis(50)).await;
    let sent = server
        .post("/api/v1/jobs", &job("long", 1000, 2))
        .await
        .expect(202);
    let id = sent["id"].as_str().expect("an id").to_owned();
    server
        .until(&id, |job| job["progress"]["step"].as_u64() > Some(2))
        .await;
    server.end();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let ready = server.get("/readyz").await;
    ready.refused(503, "shutting_down");
    server
        .post("/api/v1/jobs", &job("late", 1, 1))
        .await
        .refused(503, "shutting_down");
    let folder = server.ended_by_itself().await;
    let server = start_in(folder, |_| {}, latent_queue::Limits::default()).await;
    let done = server.ended(&id).await;
    assert_eq!(
        (&done["state"], done["images"].as_array().map(Vec::len)),
        (&json!("done"), Some(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_start_draws_nothing_until_resumed() {
    let server = start_with(|c| c.paused = true).await;
    let sent = server
        .post("/api/v1/jobs", &job("x", 1, 1))
        .await
        .expect(202);
    let id = sent["id"].as_str().expect("an id");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        server.get(&format!("/api/v1/jobs/{id}")).await.expect(200)["state"],
        "queued"
    );
    assert!(server.get("/api/v1/queue").await.expect(200)["paused"].is_string());
    server
        .send("POST", "/api/v1/queue/resume", &[], b"")
        .await
        .expect(200);
    assert_eq!(server.ended(id).await["state"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = latent_queue::Limits {
        waiting_user: 2,
        ..Default::default()
    };
    let server = start_in(folder, |c| c.paused = true, limits).await;
    for _ in 0..2 {
        server
            .post("/api/v1/jobs", &job("x", 1, 1))
            .await
            .expect(202);
    }
    let full = server.post("/api/v1/jobs", &job("x", 1, 1)).await;
    full.refused(429, "user_queue_full");
    assert!(full.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_large_heads_are_cut_off() {
    let server = start_with(|c| c.limits.head_time = Duration::from_millis(100)).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: local")
        .await
        .expect("sent");
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "a head that never ends holds a connection");
    let long = "x".repeat(40_000);
    let answer = server
        .send("GET", "/healthz", &[("x-long", &long)], b"")
        .await;
    assert!([0, 431].contains(&answer.status), "{}", answer.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_in_length_time_and_number() {
    let server = start_with(|c| {
        c.limits.body = 100_000;
        c.limits.bodies = 150_000;
        c.limits.body_idle = Duration::from_millis(300);
    })
    .await;
    let json = [("content-type", "application/json")];
    let large = server
        .send("POST", "/api/v1/jobs", &json, &vec![b' '; 100_001])
        .await;
    large.refused(413, "body_too_large");
    let chunked = [
        ("content-type", "application/json"),
        ("transfer-encoding", "chunked"),
        ("content-length", ""),
    ];
    let chunks = [
        format!("{:x}\r\n", 100_001).as_bytes(),
        &vec![b' '; 100_001],
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let request = server.request("POST", "/api/v1/jobs", &chunked, &chunks);
    let request = String::from_utf8(request)
        .expect("text")
        .replace("content-length: \r\n", "");
    let mut stream = server.connect().await;
    let _ = stream.write_all(request.as_bytes()).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    crate::common::parse(&bytes).refused(413, "body_too_large");
    // One that stands still holds its room, so that another finds none.
    let mut slow = server.connect().await;
    let head = server.request(
        "POST",
        "/api/v1/jobs",
        &[json[0], ("content-length", "90000")],
        b"",
    );
    slow.write_all(&head).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let body = vec![b' '; 90_000];
    server
        .send("POST", "/api/v1/jobs", &json, &body)
        .await
        .refused(503, "bodies_in_flight");
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).await.expect("answered");
    crate::common::parse(&bytes).refused(408, "body_too_slow");
    server
        .send("POST", "/api/v1/jobs", &json, &body)
        .await
        .refused(400, "json_invalid");
}
