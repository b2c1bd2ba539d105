//! A service that keeps nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{png, start_in, start_with};
use latent_queue::Limits;
use serde_json::json;

/// The names of all files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => names.extend(files(&path)),
            false => names.push(
                path.file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned(),
            ),
        }
    }
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_but_the_queue() {
    let server = start_with(|c| c.private = true).await;
    let upload = server
        .send(
            "POST",
            "/api/v1/uploads",
            &[("content-type", "image/png")],
            &png(64, 64),
        )
        .await
        .expect(201);
    let request = json!({"prompt": "mine", "steps": 1, "start": {"image": upload["name"]}});
    let job = server
        .post("/api/v1/jobs", &json!({ "request": request }))
        .await;
    let job = server
        .ended(job.expect(202)["id"].as_str().expect("an id"))
        .await;
    assert_eq!(job["state"], "done", "{job}");
    let image = job["images"][0].as_str().expect("an id");
    for what in ["file", "thumb"] {
        let answer = server.get(&format!("/api/v1/images/{image}/{what}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let styles = json!([{"name": "oil", "prompt": "oil on canvas"}]);
    server
        .json("PUT", "/api/v1/styles", &styles)
        .await
        .expect(200);
    let settings = json!({"quality": 70});
    server
        .json("PATCH", "/api/v1/settings", &settings)
        .await
        .expect(200);
    let told = server.get("/api/v1/settings").await.expect(200);
    assert_eq!(told["quality"], 70, "they hold as long as the process");
    let written = files(server.folder());
    assert!(
        !written.is_empty() && written.iter().all(|name| name.starts_with("queue.db")),
        "{written:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn results_go_by_themselves() {
    let limits = Limits {
        picture_ms: Some(300),
        job_ms: 300,
        ..Limits::private()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let server = start_in(folder, |c| c.private = true, limits).await;
    let job = server
        .post("/api/v1/jobs", &json!({"request": {"steps": 1}}))
        .await;
    let job = server
        .ended(job.expect(202)["id"].as_str().expect("an id"))
        .await;
    let image = job["images"][0].as_str().expect("an id").to_owned();
    let began = Instant::now();
    while server
        .get(&format!("/api/v1/images/{image}/file"))
        .await
        .status
        != 404
    {
        assert!(began.elapsed() < Duration::from_secs(30), "it stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let path = format!("/api/v1/jobs/{}", job["id"].as_str().expect("an id"));
    server.get(&path).await.refused(404, "no_job");
}
