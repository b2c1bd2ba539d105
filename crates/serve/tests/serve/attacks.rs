//! More attacks that were seen elsewhere: requests that the server is to make, addresses to lead to, what others do.

use std::time::Duration;

use crate::common::{Running, png, start, start_with};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use latent_serve::User;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

const JSON: (&str, &str) = ("content-type", "application/json");
const ANN: (&str, &str) = ("authorization", "Bearer one");
const BOB: (&str, &str) = ("authorization", "Bearer two");

async fn two() -> Running {
    let users = ["ann:one", "bob:two"].map(|user| User::parse(user).expect("a user"));
    start_with(|c| c.users = users.to_vec()).await
}

/// Sends JSON as a user.
async fn send(
    server: &Running,
    who: (&str, &str),
    path: &str,
    body: &Value,
) -> crate::common::Answer {
    server
        .send("POST", path, &[who, JSON], body.to_string().as_bytes())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_is_fetched() {
    let server = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    for scheme in ["http", "https", "HTTP", "ftp", "file"] {
        let url = format!("{scheme}://{address}/x.png");
        for (path, body) in [
            (
                "/api/v1/jobs",
                json!({"request": {"start": {"image": url}}}),
            ),
            (
                "/sdapi/v1/img2img",
                json!({"init_images": [url], "width": 64, "height": 64}),
            ),
            ("/sdapi/v1/extra-single-image", json!({"image": url})),
            ("/sdapi/v1/png-info", json!({"image": url})),
            (
                "/sdcpp/v1/img_gen",
                json!({"prompt": "x", "init_image": url}),
            ),
            (
                "/prompt",
                json!({"prompt": {
                "1": {"class_type": "LoadImage", "inputs": {"image": url}},
                "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}}),
            ),
        ] {
            let answer = server.post(path, &body).await;
            assert!(
                (400..500).contains(&answer.status),
                "{path} took {url}: {}",
                answer.text()
            );
        }
    }
    let came = timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(
        came.is_err(),
        "the server asked for an address that was sent to it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_other_sites_are_refused() {
    let server = start().await;
    let form = ("content-type", "multipart/form-data; boundary=x");
    let mut body =
        b"--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n"
            .to_vec();
    body.extend(png(8, 8));
    body.extend(
        b"\r\n--x\r\ncontent-disposition: form-data; name=\"prompt\"\r\n\r\nx\r\n--x--\r\n",
    );
    for path in ["/v1/images/edits", "/upload/image", "/api/upload/image"] {
        for origin in ["https://evil.org", "null"] {
            let answer = server
                .send("POST", path, &[form, ("origin", origin)], &body)
                .await;
            answer.refused(403, "origin_refused");
        }
        let answer = server
            .send(
                "POST",
                path,
                &[form, ("sec-fetch-site", "cross-site")],
                &body,
            )
            .await;
        answer.refused(403, "cross_site_refused");
    }
    let jobs = server.get("/api/v1/jobs").await.expect(200);
    assert_eq!(jobs["jobs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_leads_nowhere_else() {
    let server = two().await;
    let form = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "text/html"),
    ];
    for path in [
        "/login",
        "/login?next=https://evil.org",
        "/login?redirect=//evil.org",
    ] {
        for more in [
            "",
            "&next=https%3A%2F%2Fevil.org",
            "&redirect=%2F%2Fevil.org",
        ] {
            let body = format!("username=ann&password=one{more}");
            let answer = server.send("POST", path, &form, body.as_bytes()).await;
            assert_eq!(
                (answer.status, answer.header("location")),
                (303, Some("/")),
                "{path}"
            );
        }
    }
    for path in [
        "//evil.org",
        "/\\evil.org",
        "/%2F%2Fevil.org",
        "/https://evil.org",
    ] {
        let answer = server.send("GET", path, &[ANN], b"").await;
        assert_eq!(answer.header("location"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_are_in_no_measure_and_no_head() {
    let server = start().await;
    let job = server
        .post(
            "/api/v1/jobs",
            &json!({"request": {"prompt": "zanzibarquux", "steps": 1}}),
        )
        .await;
    let head = job.head.clone();
    server
        .ended(job.expect(202)["id"].as_str().expect("an id"))
        .await;
    assert!(!head.contains("zanzibarquux"), "{head}");
    for path in ["/metrics", "/healthz", "/readyz", "/", "/docs"] {
        let answer = server.get(path).await;
        assert!(
            !answer.text().contains("zanzibarquux") && !answer.head.contains("zanzibarquux"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_hear_and_stop_nothing() {
    let server = two().await;
    let mut listener = server.connect().await;
    let ask = server.request("GET", "/api/v1/events?after=0", &[BOB], b"");
    listener.write_all(&ask).await.expect("sent");
    let long = json!({"request": {"prompt": "mine", "steps": 1000}});
    let id = send(&server, ANN, "/api/v1/jobs", &long).await.expect(202)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/api/v1/jobs/{id}");
    let state = async || server.send("GET", &path, &[ANN], b"").await.expect(200)["state"].clone();
    while state().await != "running" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The global calls of the other interfaces concern the caller's jobs.
    for path in [
        "/sdapi/v1/interrupt",
        "/sdapi/v1/skip",
        "/interrupt",
        "/api/v1/queue/clear",
    ] {
        send(&server, BOB, path, &json!({})).await;
    }
    send(
        &server,
        BOB,
        "/queue",
        &json!({"clear": true, "delete": [id]}),
    )
    .await
    .expect(200);
    for path in [
        format!("/sdcpp/v1/jobs/{id}/cancel"),
        format!("/api/v1/jobs/{id}/cancel"),
        format!("/api/v1/jobs/{id}/move"),
    ] {
        let body = if path.ends_with("move") {
            json!("next")
        } else {
            json!({})
        };
        assert_eq!(send(&server, BOB, &path, &body).await.status, 404, "{path}");
    }
    assert_eq!(state().await, "running");
    let progress = server
        .send("GET", "/sdapi/v1/progress", &[BOB], b"")
        .await
        .expect(200);
    assert_eq!(
        (&progress["progress"], &progress["current_image"]),
        (&json!(0.0), &json!(null))
    );
    for path in [
        format!("/sdcpp/v1/jobs/{id}"),
        format!("/api/v1/jobs/{id}/preview"),
    ] {
        assert_eq!(
            server.send("GET", &path, &[BOB], b"").await.status,
            404,
            "{path}"
        );
    }
    let queue = server
        .send("GET", "/api/v1/queue", &[BOB], b"")
        .await
        .expect(200);
    assert_eq!(
        (&queue["waiting"], &queue["running"]),
        (&json!([]), &json!(0))
    );
    assert_eq!(
        server.send("GET", "/queue", &[BOB], b"").await.expect(200)["queue_running"],
        json!([])
    );
    send(&server, ANN, &format!("{path}/cancel"), &json!({}))
        .await
        .expect(200);
    let mut heard = vec![0; 1 << 16];
    let mut length = 0;
    while let Ok(Ok(read @ 1..)) = timeout(
        Duration::from_millis(300),
        listener.read(&mut heard[length..]),
    )
    .await
    {
        length += read;
    }
    let heard = String::from_utf8_lossy(&heard[..length]);
    assert!(
        heard.contains("listening") && !heard.contains(&id),
        "{heard}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn long_names_are_refused_at_once() {
    let server = start().await;
    let long = "x".repeat(1 << 20);
    let image = {
        let kind = [("content-type", "image/png")];
        server
            .send("POST", "/api/v1/images/import", &kind, &png(8, 8))
            .await
            .expect(201)["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let began = std::time::Instant::now();
    for (method, path, body) in [
        (
            "PATCH",
            format!("/api/v1/images/{image}"),
            json!({"tags": [long]}),
        ),
        (
            "PATCH",
            format!("/api/v1/images/{image}"),
            json!({"tags": vec!["x"; 10_000].iter().enumerate().map(|(n, x)| format!("{x}{n}")).collect::<Vec<_>>()}),
        ),
        ("PUT", "/api/v1/styles".into(), json!([{"name": long}])),
        (
            "POST",
            "/api/v1/jobs".into(),
            json!({"request": {"sampler": long}}),
        ),
        (
            "POST",
            "/sdapi/v1/options".into(),
            json!({"sd_model_checkpoint": long}),
        ),
        (
            "POST",
            "/prompt".into(),
            json!({"prompt": {"1": {"class_type": long, "inputs": {}}}}),
        ),
    ] {
        let answer = server.json(method, &path, &body).await;
        assert!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_in_base64_is_a_picture() {
    let server = start().await;
    let svg = BASE64_STANDARD.encode("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>");
    let mut bomb = png(1, 1);
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    for image in [
        svg.clone(),
        format!("data:image/svg+xml;base64,{svg}"),
        BASE64_STANDARD.encode(bomb),
        "!!!".into(),
    ] {
        for (path, body) in [
            (
                "/sdapi/v1/img2img",
                json!({"init_images": [image], "width": 64, "height": 64}),
            ),
            (
                "/sdcpp/v1/img_gen",
                json!({"prompt": "x", "init_image": image}),
            ),
        ] {
            let answer = server.post(path, &body).await;
            assert!(
                (400..500).contains(&answer.status),
                "{path}: {}",
                answer.text()
            );
        }
    }
}
