//! latent's own API, as its page uses it.

use std::time::Duration;

use crate::common::{Running, png, start, start_with};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn drawn(server: &Running, request: Value) -> Value {
    let sent = server
        .post("/api/v1/jobs", &json!({ "request": request }))
        .await
        .expect(202);
    server.ended(sent["id"].as_str().expect("an id")).await
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_two_requests_one_job() {
    let server = start().await;
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "k1"),
    ];
    let body = json!({"request": {"prompt": "x", "steps": 1}}).to_string();
    let send = async |body: &str| {
        server
            .send("POST", "/api/v1/jobs", &headers, body.as_bytes())
            .await
    };
    let (first, second) = (send(&body).await.expect(202), send(&body).await.expect(202));
    assert_eq!(first["id"], second["id"]);
    assert_eq!(
        first["request"]["seed"], second["request"]["seed"],
        "the seed is drawn once"
    );
    let other = body.replace('x', "y");
    send(&other).await.refused(422, "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_jobs_are_listed_moved_and_cleared() {
    let server = start_with(|c| c.paused = true).await;
    let mut ids = Vec::new();
    for prompt in ["a", "b", "c"] {
        let sent = server
            .post(
                "/api/v1/jobs",
                &json!({"request": {"prompt": prompt, "steps": 1}}),
            )
            .await
            .expect(202);
        ids.push(text(&sent["id"]));
    }
    let order = async || -> Vec<String> {
        let queue = server.get("/api/v1/queue").await.expect(200);
        queue["waiting"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|job| text(&job["id"]))
            .collect()
    };
    assert_eq!(order().await, ids);
    let path = |id: &str| format!("/api/v1/jobs/{id}/move");
    server
        .post(&path(&ids[2]), &json!("next"))
        .await
        .expect(200);
    assert_eq!(order().await, [&ids[2], &ids[0], &ids[1]].map(Clone::clone));
    server
        .post(&path(&ids[2]), &json!({"before": ids[1]}))
        .await
        .expect(200);
    assert_eq!(order().await, [&ids[0], &ids[2], &ids[1]].map(Clone::clone));
    server
        .post(&path(&ids[0]), &json!({"before": "none"}))
        .await
        .refused(404, "no_job");
    server
        .send("DELETE", &format!("/api/v1/jobs/{}", ids[0]), &[], b"")
        .await
        .expect(204);
    let page = server
        .get("/api/v1/jobs?state=queued&limit=1")
        .await
        .expect(200);
    assert_eq!(page["jobs"][0]["id"], ids[2].as_str());
    let next = server
        .get(&format!(
            "/api/v1/jobs?state=queued&limit=1&cursor={}",
            text(&page["next"])
        ))
        .await
        .expect(200);
    assert_eq!(next["jobs"][0]["id"], ids[1].as_str());
    server
        .send("POST", "/api/v1/queue/clear", &[], b"")
        .await
        .expect(200);
    assert!(order().await.is_empty());
    server
        .send("POST", "/api/v1/queue/resume", &[], b"")
        .await
        .expect(200);
    let again = server
        .send("POST", &format!("/api/v1/jobs/{}/retry", ids[1]), &[], b"")
        .await
        .expect(200);
    assert_eq!(server.ended(&text(&again["id"])).await["state"], "done");
    server
        .send("POST", &format!("/api/v1/jobs/{}/retry", ids[1]), &[], b"")
        .await
        .refused(409, "wrong_state");
}

/// Reads events until one fits.
async fn until(stream: &mut TcpStream, seen: &mut String, fits: impl Fn(&str) -> bool) {
    let read = async {
        let mut piece = [0; 4096];
        while !fits(seen) {
            let count = stream.read(&mut piece).await.expect("read");
            assert!(count > 0, "the events ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(10), read)
            .await
            .is_ok(),
        "{seen}"
    );
}

fn last_id(seen: &str) -> String {
    let mut lines = seen.lines().rev();
    let id = lines.find_map(|line| line.strip_prefix("id: "));
    id.expect("an id").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_where_they_stopped() {
    let mut server = start().await;
    let listen = async |server: &Running, headers: &[(&str, &str)]| {
        let mut stream = server.connect().await;
        let request = server.request("GET", "/api/v1/events", headers, b"");
        stream.write_all(&request).await.expect("sent");
        stream
    };
    let mut stream = listen(&server, &[]).await;
    let mut seen = String::new();
    until(&mut stream, &mut seen, |seen| seen.contains("listening")).await;
    assert!(seen.contains("text/event-stream"));
    drawn(&server, json!({"prompt": "a", "steps": 200})).await;
    until(&mut stream, &mut seen, |seen| {
        seen.contains("\"state\":\"done\"")
    })
    .await;
    for part in [
        "event: job",
        "\"state\":\"queued\"",
        "\"state\":\"running\"",
        "event: image\n",
        "event: progress",
        "\"stage\":\"sampling\"",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    drop(stream);
    let after = last_id(&seen);
    let second = drawn(&server, json!({"prompt": "b", "steps": 1})).await;
    let mut stream = listen(&server, &[("last-event-id", &after)]).await;
    let mut missed = String::new();
    until(&mut stream, &mut missed, |seen| {
        seen.contains("\"state\":\"done\"")
    })
    .await;
    assert!(missed.contains(&text(&second["id"])) && missed.contains("\"state\":\"queued\""));
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let first = missed
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .expect("an id");
    assert_eq!(number(first), number(&after) + 1);
    server.end();
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(read.is_ok(), "listeners hold up the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_there_while_somebody_looks() {
    let server = start().await;
    let sent = server
        .post(
            "/api/v1/jobs",
            &json!({"request": {"prompt": "long", "steps": 1000}}),
        )
        .await
        .expect(202);
    let id = text(&sent["id"]);
    server
        .until(&id, |job| job["progress"]["preview"].as_u64() > Some(0))
        .await;
    let preview = server.get(&format!("/api/v1/jobs/{id}/preview")).await;
    assert_eq!(
        (preview.status, preview.header("content-type")),
        (200, Some("image/jpeg"))
    );
    server
        .send("DELETE", &format!("/api/v1/jobs/{id}"), &[], b"")
        .await
        .expect(204);
    server.ended(&id).await;
    server
        .get(&format!("/api/v1/jobs/{id}/preview"))
        .await
        .refused(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gallery_is_searched_starred_and_emptied() {
    let server = start().await;
    let job = drawn(
        &server,
        json!({"prompt": "a red apple", "steps": 2, "seed": 5, "batch_count": 2}),
    )
    .await;
    drawn(
        &server,
        json!({"prompt": "a blue star", "steps": 3, "width": 32}),
    )
    .await;
    let ids = async |query: &str| -> Vec<String> {
        let list = server
            .get(&format!("/api/v1/images{query}"))
            .await
            .expect(200);
        list["images"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|image| text(&image["id"]))
            .collect()
    };
    assert_eq!(ids("").await.len(), 3);
    assert_eq!(ids("?steps_from=3").await.len(), 1);
    assert_eq!(ids("?q=apple&steps_to=2&steps_from=2").await.len(), 2);
    assert_eq!(ids("?steps_to=1").await.len(), 0);
    assert_eq!(ids("?q=apple").await.len(), 2);
    let first = text(&job["images"][0]);
    for query in ["?seed=5", "?q=apple&seed=5", "?sampler=Euler+a&seed=5"] {
        assert_eq!(ids(query).await, std::slice::from_ref(&first), "{query}");
    }
    assert_eq!(ids("?size=32x64").await.len(), 1);
    assert_eq!(ids(&format!("?job={}", text(&job["id"]))).await.len(), 2);
    let path = format!("/api/v1/images/{first}");
    let changed = server
        .json("PATCH", &path, &json!({"starred": true, "tags": ["fruit"]}))
        .await
        .expect(200);
    assert_eq!(
        (&changed["starred"], &changed["tags"]),
        (&json!(true), &json!(["fruit"]))
    );
    assert_eq!(ids("?starred=true").await, std::slice::from_ref(&first));
    assert_eq!(
        server.get("/api/v1/tags").await.expect(200),
        json!([{"name": "fruit", "count": 1}])
    );
    let whole = server.get(&path).await.expect(200);
    assert!(text(&whole["infotext"]).contains("Seed: 5") && whole["request"]["seed"] == 5);
    let file = server.get(&format!("{path}/file")).await;
    let tag = file.header("etag").expect("a tag").to_owned();
    let same = server
        .send(
            "GET",
            &format!("{path}/file"),
            &[("if-none-match", &tag)],
            b"",
        )
        .await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    server.send("DELETE", &path, &[], b"").await.expect(204);
    assert_eq!(
        (ids("").await.len(), ids("?bin=true").await),
        (2, vec![first.clone()])
    );
    server
        .send("POST", &format!("{path}/restore"), &[], b"")
        .await
        .expect(200);
    assert_eq!(ids("").await.len(), 3);
    server
        .send("DELETE", &format!("{path}?forever=true"), &[], b"")
        .await
        .expect(204);
    server.get(&path).await.refused(404, "no_picture");
    server
        .get("/api/v1/images?size=big")
        .await
        .refused(422, "field_wrong_type");
}

#[tokio::test(flavor = "multi_thread")]
async fn given_pictures_are_uploads_or_of_the_gallery() {
    let server = start().await;
    let sent = server
        .send(
            "POST",
            "/api/v1/uploads",
            &[("content-type", "image/png")],
            &png(16, 8),
        )
        .await
        .expect(201);
    assert_eq!(
        (&sent["width"], &sent["height"], &sent["format"]),
        (&json!(16), &json!(8), &json!("png"))
    );
    let name = text(&sent["name"]);
    let plain = drawn(&server, json!({"prompt": "x", "seed": 1, "steps": 1})).await;
    let with = drawn(
        &server,
        json!({"prompt": "x", "seed": 1, "steps": 1, "start": {"image": name, "strength": 0.5}}),
    )
    .await;
    assert_eq!(with["state"], "done", "{with}");
    let image = text(&plain["images"][0]);
    let from = drawn(
        &server,
        json!({"prompt": "x", "seed": 1, "steps": 1, "start": {"image": format!("image:{image}")}}),
    )
    .await;
    let mut bytes = Vec::new();
    for job in [&plain, &with, &from] {
        bytes.push(
            server
                .get(&format!("/api/v1/images/{}/file", text(&job["images"][0])))
                .await
                .body,
        );
    }
    assert!(bytes[0] != bytes[1] && bytes[1] != bytes[2]);
    let hash = name.trim_start_matches("upload:");
    let thumb = server.get(&format!("/api/v1/uploads/{hash}/thumb")).await;
    assert_eq!(
        (thumb.status, thumb.header("content-type")),
        (200, Some("image/jpeg"))
    );
    for wrong in ["0".repeat(64), "..".into(), "x".into()] {
        let answer = server.get(&format!("/api/v1/uploads/{wrong}/thumb")).await;
        assert_eq!(answer.status, 404, "{wrong}");
    }
    let unknown = format!("upload:{}", "0".repeat(64));
    let job = json!({"request": {"start": {"image": unknown}}});
    server
        .post("/api/v1/jobs", &job)
        .await
        .refused(404, "no_input");
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_others_are_read_and_taken_in() {
    let server = start().await;
    let job = drawn(
        &server,
        json!({"prompt": "a red apple", "steps": 2, "seed": 5}),
    )
    .await;
    let file = server
        .get(&format!("/api/v1/images/{}/file", text(&job["images"][0])))
        .await
        .body;
    let kind = [("content-type", "image/png")];
    let read = server
        .send("POST", "/api/v1/images/read", &kind, &file)
        .await
        .expect(200);
    assert_eq!(
        (&read["request"]["prompt"], &read["request"]["steps"]),
        (&json!("a red apple"), &json!(2))
    );
    let taken = server
        .send("POST", "/api/v1/images/import", &kind, &file)
        .await
        .expect(201);
    assert_eq!(
        (&taken["prompt"], &taken["job"]),
        (&json!("a red apple"), &Value::Null)
    );
    let list = server.get("/api/v1/images?q=apple").await.expect(200);
    assert_eq!(list["images"].as_array().map(Vec::len), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_styles_hold_and_are_checked() {
    let server = start().await;
    let changed = server
        .json(
            "PATCH",
            "/api/v1/settings",
            &json!({"clip_skip": 2, "format": "webp"}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&changed["clip_skip"], &changed["format"]),
        (&json!(2), &json!("webp"))
    );
    let job = drawn(&server, json!({"prompt": "x", "steps": 1})).await;
    assert_eq!(job["request"]["clip_skip"], 2);
    let file = server
        .get(&format!("/api/v1/images/{}/file", text(&job["images"][0])))
        .await;
    assert_eq!(file.header("content-type"), Some("image/webp"));
    for (wrong, code) in [
        (json!({"quality": 0}), "field_out_of_range"),
        (json!({"model": "none"}), "model_unknown"),
        (json!({"unknown": 1}), "field_wrong_type"),
    ] {
        server
            .json("PATCH", "/api/v1/settings", &wrong)
            .await
            .refused(422, code);
    }
    let styles = json!([{"name": "oil", "prompt": "oil on canvas", "negative_prompt": ""}]);
    assert_eq!(
        server
            .json("PUT", "/api/v1/styles", &styles)
            .await
            .expect(200),
        styles
    );
    let lists = json!([{"name": "colours/warm", "entries": ["red", "orange"]}]);
    let put = async |lists: &Value| server.json("PUT", "/api/v1/wildcards", lists).await;
    assert_eq!(put(&lists).await.expect(200), lists);
    for wrong in [
        json!([{"name": "a b", "entries": ["x"]}]),
        json!([{"name": "a", "entries": []}]),
        json!([{"name": "a", "entries": ["x"]}, {"name": "a", "entries": ["y"]}]),
    ] {
        put(&wrong).await.refused(422, "field_out_of_range");
    }
    let twice = json!([{"name": "oil"}, {"name": "oil"}]);
    server
        .json("PUT", "/api/v1/styles", &twice)
        .await
        .refused(422, "field_out_of_range");
    let folder = server.stop().await;
    let server = crate::common::start_in(folder, |_| {}, Default::default()).await;
    assert_eq!(server.get("/api/v1/styles").await.expect(200), styles);
    assert_eq!(server.get("/api/v1/wildcards").await.expect(200), lists);
    assert_eq!(
        server.get("/api/v1/settings").await.expect(200)["clip_skip"],
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_listed_and_loaded() {
    let server = start().await;
    let models = server.get("/api/v1/models").await.expect(200);
    assert_eq!(
        (&models["loaded"], &models["models"][1]["name"]),
        (&json!("tiny"), &json!("sub/other.safetensors"))
    );
    let post = async |path: &str| server.send("POST", path, &[], b"").await;
    post("/api/v1/models/scan").await.expect(200);
    post("/api/v1/models/sub%2Fother.safetensors/load")
        .await
        .expect(200);
    post("/api/v1/models/none/load")
        .await
        .refused(404, "model_unknown");
    post("/api/v1/models/unload").await.expect(204);
    assert!(server.engine.was_unloaded());
    let can = server.get("/api/v1/capabilities").await.expect(200);
    assert_eq!(
        (&can["kinds"], &can["interfaces"]),
        (
            &json!(["draw"]),
            &json!(["a1111", "openai", "sdcpp", "comfyui"])
        )
    );
}
