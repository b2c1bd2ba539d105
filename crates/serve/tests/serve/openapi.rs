//! The description of the API is the one that is committed.

/// After a change that is meant: `LATENT_WRITE=1 cargo test -p latent-serve --test openapi`.
#[test]
fn the_committed_description_is_the_one_that_is_served() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let now = latent_serve::description();
    if std::env::var_os("LATENT_WRITE").is_some() {
        std::fs::write(file, &now).expect("written");
    }
    let committed = std::fs::read_to_string(file).expect("crates/serve/openapi.json");
    assert!(
        committed == now,
        "the API changed: if that is meant, run this test with LATENT_WRITE=1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_served_and_says_what_there_is() {
    let server = crate::common::start().await;
    let served = server.get("/openapi.json").await.expect(200);
    for path in [
        "/api/v1/jobs",
        "/api/v1/jobs/{id}/cancel",
        "/api/v1/images/{id}/file",
        "/api/v1/events",
    ] {
        assert!(served["paths"].get(path).is_some(), "{path}");
    }
    let docs = server.get("/docs").await.text();
    assert!(docs.contains("/api/v1/jobs/{id}/move") && docs.contains("origin_refused"));
    for part in ["/sdapi/v1", "/v1", "/sdcpp/v1", "/openapi.json", "fake v1"] {
        assert!(docs.contains(part), "{part}");
    }
    let front = server.get("/").await;
    assert_eq!(
        front.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(front.header("cache-control"), Some("no-cache"));
    for (path, kind) in [("/app.js", "text/javascript"), ("/app.css", "text/css")] {
        assert!(front.text().contains(path), "{path}");
        let file = server.get(path).await;
        let found = file.header("content-type").unwrap_or_default();
        assert!(
            file.status == 200 && found.starts_with(kind),
            "{path}: {found}"
        );
    }
    assert_eq!(server.send("HEAD", "/", &[], b"").await.status, 200);
}
