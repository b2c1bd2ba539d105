//! Each attack that was seen elsewhere, sent here.

use std::time::Duration;

use crate::common::{Answer, Running, png, start, start_with};
use latent_serve::User;
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn with(server: &Running, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let body: &[u8] = if method == "GET" {
        b""
    } else {
        b"{\"request\": {\"steps\": 1}}"
    };
    server.send(method, path, headers, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_is_refused() {
    let server = start().await;
    let own = format!("http://{}", server.address);
    for (headers, code) in [
        (vec![JSON, ("origin", "https://evil.org")], "origin_refused"),
        (vec![JSON, ("origin", "null")], "origin_refused"),
        (
            vec![JSON, ("origin", "http://localhost:3000")],
            "origin_refused",
        ),
        (vec![JSON, ("host", "evil.org")], "host_refused"),
        (
            vec![
                JSON,
                ("host", "evil.org:7860"),
                ("origin", "http://evil.org:7860"),
            ],
            "host_refused",
        ),
        (
            vec![JSON, ("sec-fetch-site", "cross-site")],
            "cross_site_refused",
        ),
    ] {
        for (method, path) in [
            ("POST", "/api/v1/jobs"),
            ("GET", "/api/v1/events"),
            ("POST", "/sdapi/v1/txt2img"),
            ("POST", "/v1/images/generations"),
        ] {
            with(&server, method, path, &headers)
                .await
                .refused(403, code);
        }
    }
    assert_eq!(
        with(&server, "POST", "/api/v1/jobs", &[JSON, ("origin", &own)])
            .await
            .status,
        202
    );
    assert_eq!(
        with(&server, "POST", "/api/v1/jobs", &[JSON]).await.status,
        202
    );
    let told = with(
        &server,
        "POST",
        "/api/v1/jobs",
        &[JSON, ("origin", "https://a.org")],
    )
    .await;
    assert!(
        told.text().contains("--cors-allow-origins https://a.org"),
        "the refusal says what opens it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_browser_sends_unasked_is_no_json() {
    let server = start().await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
    ] {
        for path in [
            "/api/v1/jobs",
            "/sdapi/v1/txt2img",
            "/v1/images/generations",
            "/sdcpp/v1/img_gen",
            "/sdapi/v1/options",
        ] {
            let answer = with(&server, "POST", path, &[("content-type", kind)]).await;
            assert_eq!(answer.status, 415, "{path} took {kind:?}");
        }
    }
    let queue = server.get("/api/v1/jobs").await.expect(200);
    assert_eq!(queue["jobs"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_origins_may_and_others_hear_nothing() {
    let server = start_with(|c| c.cors_origins = vec!["https://page.org".into()]).await;
    let asks = [
        ("origin", "https://page.org"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = server.send("OPTIONS", "/api/v1/jobs", &asks, b"").await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://page.org")
    );
    assert_eq!(answer.header("access-control-allow-credentials"), None);
    let asks = [
        ("origin", "https://evil.org"),
        ("access-control-request-method", "POST"),
    ];
    let answer = server.send("OPTIONS", "/api/v1/jobs", &asks, b"").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (403, None)
    );
    let may = with(
        &server,
        "POST",
        "/api/v1/jobs",
        &[
            JSON,
            ("origin", "https://page.org"),
            ("sec-fetch-site", "cross-site"),
        ],
    )
    .await;
    assert_eq!(
        (may.status, may.header("access-control-allow-origin")),
        (202, Some("https://page.org"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_carries_its_policy() {
    let server = start().await;
    for path in ["/", "/docs", "/api/v1/jobs", "/nothing", "/healthz"] {
        let answer = server.get(path).await;
        let policy = answer.header("content-security-policy").expect("a policy");
        for part in [
            "default-src 'self'",
            "frame-ancestors 'none'",
            "object-src 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        // The form of the login page is to be sent with its origin.
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        let inline = answer.text().replace("<script type=\"module\"", "");
        assert!(!inline.contains("<script"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_are_pictures_and_come_back_as_such() {
    let server = start().await;
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>";
    for path in [
        "/api/v1/uploads",
        "/api/v1/images/import",
        "/api/v1/images/read",
    ] {
        for kind in ["image/svg+xml", "text/html", "application/octet-stream", ""] {
            let answer = server
                .send("POST", path, &[("content-type", kind)], svg)
                .await;
            answer.refused(415, "picture_expected");
        }
        server
            .send("POST", path, &[("content-type", "image/png")], svg)
            .await
            .refused(422, "picture_invalid");
    }
    // What is hidden behind a picture does not come back.
    let mut file = png(8, 8);
    file.extend_from_slice(b"<script>alert(1)</script>");
    let image = server
        .send(
            "POST",
            "/api/v1/images/import",
            &[("content-type", "image/jpeg")],
            &file,
        )
        .await
        .expect(201);
    let id = image["id"].as_str().expect("an id");
    let back = server.get(&format!("/api/v1/images/{id}/file")).await;
    assert_eq!(
        (back.status, back.header("content-type")),
        (200, Some("image/png"))
    );
    assert!(!back.body.windows(8).any(|w| w == b"<script>"));
    let thumb = server.get(&format!("/api/v1/images/{id}/thumb")).await;
    assert_eq!(
        (thumb.status, thumb.header("content-type")),
        (200, Some("image/jpeg"))
    );
    // Only the header of a bomb is read.
    let mut bomb = png(1, 1);
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let answer = server
        .send(
            "POST",
            "/api/v1/uploads",
            &[("content-type", "image/png")],
            &bomb,
        )
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_is_a_path_or_an_address() {
    let server = start().await;
    for name in [
        "/etc/passwd",
        "../queue.db",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x",
        "upload:../../x",
        "image:../../x",
        "image:01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ] {
        let job = json!({"request": {"prompt": "x", "steps": 1, "start": {"image": name}}});
        let answer = server.post("/api/v1/jobs", &job).await;
        answer.refused(422, "picture_not_named");
        let body = json!({"init_images": [name], "steps": 1, "width": 64, "height": 64});
        let answer = server.post("/sdapi/v1/img2img", &body).await;
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
    }
    for path in [
        "/api/v1/images/..%2F..%2Fqueue.db/file",
        "/api/v1/images/%2e%2e/file",
        "/../settings.json",
        "/files/../queue.db",
        "/files/..%2Fqueue.db",
    ] {
        let answer = server.get(path).await;
        assert!(
            (400..500).contains(&answer.status),
            "{path}: {}",
            answer.status
        );
    }
    for model in ["/etc/passwd", "../tiny", "http://a.org/x"] {
        let answer = server
            .post("/sdapi/v1/options", &json!({"sd_model_checkpoint": model}))
            .await;
        assert_eq!(answer.status, 404, "{model}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_asked_and_see_their_own() {
    let users = ["ann:one", "bob:two"].map(|user| User::parse(user).expect("a user"));
    let server = start_with(|c| c.users = users.to_vec()).await;
    let basic = ("authorization", "Basic YW5uOm9uZQ==");
    let bearer = ("authorization", "Bearer two");
    for path in [
        "/",
        "/api/v1/jobs",
        "/sdapi/v1/options",
        "/sdapi/v1/cmd-flags",
        "/internal/progress",
        "/metrics",
        "/api/v1/events",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(
            answer
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Basic"))
        );
    }
    let theirs = server.get("/v1/models").await.expect(401);
    assert_eq!(theirs["error"]["type"], "authentication_error");
    assert_eq!(server.get("/healthz").await.status, 200);
    let page = ("accept", "text/html,application/xhtml+xml");
    let led = server.send("GET", "/", &[page], b"").await;
    assert_eq!((led.status, led.header("location")), (303, Some("/login")));
    assert_eq!(server.get("/style.css").await.status, 200);
    let ended = ("cookie", "latent_session=0123");
    let ended = server.send("GET", "/api/v1/queue", &[ended], b"").await;
    assert_eq!(
        (ended.status, ended.header("www-authenticate")),
        (401, None)
    );
    for wrong in [
        "Basic YW5uOnR3bw==",
        "Bearer three",
        "Bearer ",
        "Basic !",
        "Digest x",
        "",
    ] {
        let answer = server
            .send("GET", "/api/v1/jobs", &[("authorization", wrong)], b"")
            .await;
        assert_eq!(answer.status, 401, "{wrong}");
    }
    let sent = server
        .send(
            "POST",
            "/api/v1/jobs",
            &[basic, JSON],
            b"{\"request\": {\"prompt\": \"mine\", \"steps\": 1}}",
        )
        .await
        .expect(202);
    let path = format!("/api/v1/jobs/{}", sent["id"].as_str().expect("an id"));
    let mut done = sent;
    while done["state"] != "done" {
        tokio::time::sleep(Duration::from_millis(5)).await;
        done = server.send("GET", &path, &[basic], b"").await.expect(200);
    }
    let image = format!(
        "/api/v1/images/{}",
        done["images"][0].as_str().expect("an id")
    );
    for (method, path) in [
        ("GET", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/retry")),
        ("GET", image.clone()),
        ("GET", format!("{image}/file")),
        ("GET", format!("{image}/thumb")),
        ("DELETE", image.clone()),
        ("POST", format!("{image}/restore")),
    ] {
        let answer = server.send(method, &path, &[bearer], b"").await;
        assert_eq!(answer.status, 404, "{method} {path}");
    }
    let list = server
        .send("GET", "/api/v1/images", &[bearer], b"")
        .await
        .expect(200);
    assert_eq!(list["images"], json!([]));
    // Bob cannot draw from Ann's picture.
    let id = done["images"][0].as_str().expect("an id");
    let job = json!({"request": {"start": {"image": format!("image:{id}")}}}).to_string();
    server
        .send("POST", "/api/v1/jobs", &[bearer, JSON], job.as_bytes())
        .await
        .refused(422, "picture_not_named");
    let list = server
        .send("GET", "/api/v1/images?q=mine", &[basic], b"")
        .await
        .expect(200);
    assert_eq!(list["images"].as_array().map(Vec::len), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_a_cookie_that_no_script_and_no_other_site_has() {
    let users = vec![User::parse("ann:one").expect("a user")];
    let server = start_with(|c| c.users = users).await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(
        server
            .send("POST", "/login", &[form], b"username=ann&password=two")
            .await
            .status,
        401
    );
    let answer = server
        .send("POST", "/login", &[form], b"username=ann&password=one")
        .await;
    assert_eq!(answer.status, 200);
    let cookie = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().expect("a pair");
    assert_eq!(
        server
            .send("GET", "/api/v1/jobs", &[("cookie", pair)], b"")
            .await
            .status,
        200
    );
    let cross = [form, ("origin", "https://evil.org")];
    server
        .send("POST", "/login", &cross, b"username=ann&password=one")
        .await
        .refused(403, "origin_refused");
    server
        .send("POST", "/logout", &[("cookie", pair)], b"")
        .await
        .expect(204);
    assert_eq!(
        server
            .send("GET", "/api/v1/jobs", &[("cookie", pair)], b"")
            .await
            .status,
        401
    );
    let large = vec![b'x'; 100_000];
    assert!(server.send("POST", "/login", &[form], &large).await.status >= 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_told_so() {
    let server = start().await;
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (body, code) in [
        ("{", "json_invalid"),
        ("", "json_invalid"),
        (deep.as_str(), "json_too_deep"),
    ] {
        server
            .send(
                "POST",
                "/api/v1/jobs",
                &[JSON, ("content-length", &body.len().to_string())],
                body.as_bytes(),
            )
            .await
            .refused(400, code);
    }
    for (body, status) in [
        (json!([]), 422),
        (json!({"kind": "train"}), 501),
        (json!({"request": {"steps": 0}}), 422),
        (json!({"request": {"nothing": 1}}), 422),
        (json!({"request": {"prompt": "x".repeat(32_001)}}), 422),
        (json!({"unknown": 1}), 422),
        (json!({"request": {"sampler": "none"}}), 422),
    ] {
        let answer = server.post("/api/v1/jobs", &body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    server.get("/nothing").await.refused(404, "not_found");
    server
        .send("PUT", "/api/v1/jobs", &[], b"")
        .await
        .refused(405, "method_not_allowed");
    server
        .get("/api/v1/jobs?limit=0")
        .await
        .refused(422, "field_out_of_range");
    server
        .get("/api/v1/jobs?unknown=1")
        .await
        .refused(400, "query_invalid");
    server.get("/api/v1/jobs/x").await.refused(404, "not_found");
}
