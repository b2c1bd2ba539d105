//! One queue in PostgreSQL, a service that only answers, and workers that draw; `LATENT_TEST_POSTGRES` names the server.
#![cfg(all(unix, feature = "cluster"))]

mod common;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use common::{Place, service::Service};
use serde_json::{Value, json};

/// A worker, which is ended at the end.
struct Worker(Child);

impl Worker {
    fn start(place: &Place, shared: &[&str]) -> Self {
        let line = [&["worker", "--json", "--threads", "1"], shared].concat();
        let mut child = place.command(&line).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut said).unwrap();
        let said: Value = serde_json::from_str(&said).expect("a line that says that it draws");
        assert_eq!(said["event"], "drawing");
        Self(child)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A database of its own on the server.
fn database(server: &str) -> String {
    let name = format!("latent_{}", std::process::id());
    let made = std::process::Command::new("psql")
        .args([server, "-qc", &format!("CREATE DATABASE {name}")])
        .status();
    assert!(made.expect("psql").success());
    let (rest, _) = server.rsplit_once('/').expect("a URL with a database");
    format!("{rest}/{name}")
}

fn running(service: &Service, id: &str) -> bool {
    let job = service.json("GET", &format!("/api/v1/jobs/{id}"), None);
    job["state"] == "running"
}

/// A worker that dies loses its job to another, and every picture is that of an undisturbed run.
#[test]
#[ignore = "it needs a server of PostgreSQL"]
fn a_worker_that_is_killed_is_replaced() {
    let server =
        std::env::var("LATENT_TEST_POSTGRES").expect("LATENT_TEST_POSTGRES names a server");
    let place = Place::new();
    let body = |seed: u64| {
        let request = json!({"prompt": "a blue fish", "seed": seed, "steps": 12, "width": 64, "height": 64, "batch_count": 4});
        json!({ "request": request })
    };
    let undisturbed: Vec<_> = {
        let service = Service::start(&place, "alone", &[]);
        let jobs = (0..6).map(|n| {
            let job = service.json("POST", "/api/v1/jobs", Some(&body(10 * n)));
            let job = service.wait(job["id"].as_str().unwrap(), 4, true);
            service.files(&job)
        });
        jobs.collect()
    };
    let url = database(&server);
    let shared = ["--database", url.as_str(), "--store", "shared"];
    let service = Service::start(&place, "answers", &[&shared[..], &["--no-draw"]].concat());
    let ids: Vec<_> = (0..6)
        .map(|n| {
            let job = service.json("POST", "/api/v1/jobs", Some(&body(10 * n)));
            job["id"].as_str().unwrap().to_owned()
        })
        .collect();
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        !ids.iter().any(|id| running(&service, id)),
        "the service drew"
    );
    let first = Worker::start(&place, &shared);
    let began = Instant::now();
    while !running(&service, &ids[0]) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "nothing is drawn"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    service.wait(&ids[0], 1, false);
    // Dropped, it is killed in the midst of its job.
    drop(first);
    let mut second = Worker::start(&place, &shared);
    for (id, files) in ids.iter().zip(&undisturbed) {
        let job = service.wait(id, 4, true);
        assert!(service.files(&job) == *files, "the pictures differ");
    }
    // Cancelling reaches a worker elsewhere before its next picture.
    let request = json!({"prompt": "a blue fish", "seed": 1, "steps": 500, "batch_count": 4});
    let job = service.json("POST", "/api/v1/jobs", Some(&json!({ "request": request })));
    let id = job["id"].as_str().unwrap();
    while !running(&service, id) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let asked = Instant::now();
    service.json(
        "POST",
        &format!("/api/v1/jobs/{id}/cancel"),
        Some(&json!({})),
    );
    while running(&service, id) {
        assert!(
            asked.elapsed() < Duration::from_secs(4),
            "it is still drawn"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // What it has begun it gives back when it is told to end.
    let pid = second.0.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(sent.unwrap().success() && second.0.wait().unwrap().success());
}
