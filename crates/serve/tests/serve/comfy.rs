//! ComfyUI's interface: graphs, what became of them, files.

use std::time::{Duration, Instant};

use crate::common::{Answer, Running, png, start, start_with};
use latent_serve::User;
use serde_json::{Value, json};

/// The graph that every client begins with.
pub fn graph() -> Value {
    json!({
        "3": {"class_type": "KSampler", "inputs": {
            "model": ["4", 0], "seed": 28, "steps": 3, "cfg": 6.5, "sampler_name": "euler_a", "scheduler": "karras",
            "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0], "denoise": 1}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 128, "batch_size": 2}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red apple", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "fog", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}, "_meta": {"title": "Save Image"}},
    })
}

/// Sends a graph.
pub async fn send(server: &Running, graph: &Value) -> Answer {
    let body = json!({"prompt": graph, "client_id": "me"});
    server.post("/prompt", &body).await
}

/// Waits until it stands in the history.
pub async fn history(server: &Running, id: &str) -> Value {
    let began = Instant::now();
    loop {
        let told = server.get(&format!("/history/{id}")).await.expect(200);
        if let Some(own) = told.get(id) {
            return own.clone();
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{id} is not in the history"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The request that a graph became.
pub async fn request(server: &Running, graph: &Value) -> Value {
    let told = send(server, graph).await.expect(200);
    let id = told["prompt_id"].as_str().expect("an id");
    server.get(&format!("/api/v1/jobs/{id}")).await.expect(200)["request"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_drawn_and_its_pictures_are_viewed() {
    let server = start().await;
    let told = send(&server, &graph()).await.expect(200);
    assert_eq!(told["node_errors"], json!({}));
    assert!(told["number"].is_number());
    let id = told["prompt_id"].as_str().expect("an id");
    let own = history(&server, id).await;
    assert_eq!(
        (&own["status"]["status_str"], &own["status"]["completed"]),
        (&json!("success"), &json!(true))
    );
    assert_eq!(own["prompt"][1], id);
    assert_eq!(own["prompt"][2], graph());
    assert_eq!(own["prompt"][4], json!(["9"]));
    let images = own["outputs"]["9"]["images"].as_array().expect("pictures");
    assert_eq!(images.len(), 2);
    let job = server.get(&format!("/api/v1/jobs/{id}")).await.expect(200);
    for (image, known) in images.iter().zip(job["images"].as_array().expect("ids")) {
        assert_eq!(
            (&image["subfolder"], &image["type"]),
            (&json!(""), &json!("output"))
        );
        let name = image["filename"].as_str().expect("a name");
        assert_eq!(name, format!("{}.png", known.as_str().expect("an id")));
        let path = format!("/view?filename={name}&subfolder=&type=output");
        let view = server.get(&path).await;
        assert_eq!(
            (view.status, view.header("content-type")),
            (200, Some("image/png"))
        );
        let file = server
            .get(&format!(
                "/api/v1/images/{}/file",
                known.as_str().expect("an id")
            ))
            .await;
        assert_eq!(view.body, file.body);
        let small = server.get(&format!("{path}&preview=jpeg;50")).await;
        assert_eq!(
            (small.status, small.header("content-type")),
            (200, Some("image/jpeg"))
        );
        assert!(small.body.starts_with(&[0xff, 0xd8]));
    }
    let all = server.get("/api/history?max_items=8").await.expect(200);
    assert_eq!(all[id], own, "the same below /api");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_says_what_the_graph_says() {
    let server = start_with(|c| c.paused = true).await;
    let found = request(&server, &graph()).await;
    for (field, value) in [
        ("compat", json!("comfyui")),
        ("prompt", json!("a red apple")),
        ("negative_prompt", json!("fog")),
        ("steps", json!(3)),
        ("seed", json!(28)),
        ("sampler", json!("Euler a")),
        ("scheduler", json!("Karras")),
        ("width", json!(64)),
        ("height", json!(128)),
        ("batch_size", json!(2)),
        ("model", json!("tiny")),
        ("guidance", json!({"scale": 6.5})),
    ] {
        assert_eq!(found[field], value, "{field}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_shown_emptied_and_interrupted() {
    let server = start().await;
    let mut long = graph();
    long["3"]["inputs"]["steps"] = json!(1000);
    let ids = [
        send(&server, &long).await,
        send(&server, &graph()).await,
        send(&server, &graph()).await,
    ];
    let ids = ids.map(|told| {
        told.expect(200)["prompt_id"]
            .as_str()
            .expect("an id")
            .to_owned()
    });
    server.until(&ids[0], |job| job["state"] == "running").await;
    let queue = server.get("/queue").await.expect(200);
    assert_eq!(queue["queue_running"][0][1], ids[0]);
    let pending: Vec<_> = queue["queue_pending"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| item[1].clone())
        .collect();
    assert_eq!(pending, [ids[1].clone(), ids[2].clone()]);
    assert_eq!(
        server.get("/prompt").await.expect(200)["exec_info"]["queue_remaining"],
        3
    );
    assert_eq!(
        server
            .get(&format!("/history/{}", ids[0]))
            .await
            .expect(200),
        json!({})
    );
    server
        .post("/queue", &json!({"delete": [ids[2]]}))
        .await
        .expect(200);
    assert_eq!(server.ended(&ids[2]).await["state"], "cancelled");
    server
        .post("/interrupt", &json!({"prompt_id": ids[1]}))
        .await
        .expect(200);
    let still = server
        .get(&format!("/api/v1/jobs/{}", ids[0]))
        .await
        .expect(200);
    assert_eq!(still["state"], "running", "another's name stops nothing");
    server
        .send("POST", "/interrupt", &[], b"")
        .await
        .expect(200);
    let own = history(&server, &ids[0]).await;
    assert_eq!(
        (&own["status"]["status_str"], &own["outputs"]),
        (&json!("error"), &json!({}))
    );
    assert_eq!(own["status"]["messages"][2][0], "execution_interrupted");
    assert_eq!(history(&server, &ids[1]).await["status"]["completed"], true);
    server
        .post("/history", &json!({"clear": true}))
        .await
        .expect(501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_name_its_graph() {
    let server = start().await;
    let body = json!({"prompt": graph(), "prompt_id": "0f3c", "client_id": "me"});
    assert_eq!(
        server.post("/prompt", &body).await.expect(200)["prompt_id"],
        "0f3c"
    );
    assert_eq!(history(&server, "0f3c").await["prompt"][1], "0f3c");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told() {
    let server = start().await;
    let mut failing = graph();
    failing["6"]["inputs"]["text"] = json!("fail");
    let told = send(&server, &failing).await.expect(200);
    let own = history(&server, told["prompt_id"].as_str().expect("an id")).await;
    let [kind, data] = own["status"]["messages"][2]
        .as_array()
        .expect("a message")
        .as_slice()
    else {
        panic!("{own}");
    };
    assert_eq!(
        (kind, &data["exception_type"], &data["node_type"]),
        (
            &json!("execution_error"),
            &json!("network_failed"),
            &json!("KSampler")
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is() {
    let server = start().await;
    let all = server.get("/object_info").await.expect(200);
    let required = |class: &str| &all[class]["input"]["required"];
    assert_eq!(
        required("CheckpointLoaderSimple")["ckpt_name"][0],
        json!(["tiny", "sub/other.safetensors"])
    );
    assert_eq!(
        required("VAELoader")["vae_name"][0],
        json!(["vae.safetensors"])
    );
    assert!(
        required("KSampler")["sampler_name"][0]
            .as_array()
            .expect("a list")
            .contains(&json!("euler_a"))
    );
    assert_eq!(
        required("KSampler")["scheduler"][0],
        json!(["karras", "discrete"])
    );
    let one = server.get("/object_info/KSampler").await.expect(200);
    assert_eq!(one["KSampler"], all["KSampler"]);
    assert_eq!(
        server.get("/object_info/Nothing").await.expect(200),
        json!({})
    );
    assert_eq!(server.get("/embeddings").await.expect(200), json!(["bad"]));
    assert_eq!(
        server.get("/models/loras").await.expect(200),
        json!(["line"])
    );
    let stats = server.get("/system_stats").await.expect(200);
    assert_eq!(
        (&stats["system"]["ram_total"], &stats["devices"][0]["type"]),
        (&json!(100), &json!("cpu"))
    );
}

/// A form with a file.
pub async fn upload(server: &Running, name: &str, file: &[u8], more: &[(&str, &str)]) -> Answer {
    let mut body = Vec::new();
    for (field, value) in more {
        body.extend(
            format!("--x\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n")
                .into_bytes(),
        );
    }
    body.extend(
        format!(
            "--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"{name}\"\r\n\r\n"
        )
        .into_bytes(),
    );
    body.extend(file);
    body.extend(b"\r\n--x--\r\n");
    let kind = ("content-type", "multipart/form-data; boundary=x");
    server.send("POST", "/upload/image", &[kind], &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_found_by_both_of_its_names() {
    let server = start_with(|c| c.paused = true).await;
    let told = upload(
        &server,
        "my cat.png",
        &png(64, 48),
        &[("subfolder", "mine"), ("overwrite", "true")],
    )
    .await
    .expect(200);
    assert_eq!(
        (&told["subfolder"], &told["type"]),
        (&json!("mine"), &json!("input"))
    );
    let name = told["name"].as_str().expect("a name");
    for image in [
        name.to_owned(),
        format!("mine/{name}"),
        "mine/my cat.png".into(),
        format!("{name} [input]"),
    ] {
        let mut graph = graph();
        graph["5"] =
            json!({"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}});
        graph["1"] = json!({"class_type": "LoadImage", "inputs": {"image": image}});
        graph["3"]["inputs"]["denoise"] = json!(0.4);
        let found = request(&server, &graph).await;
        assert_eq!(
            (&found["width"], &found["height"]),
            (&json!(64), &json!(48))
        );
        assert_eq!(found["start"]["strength"], 0.4);
    }
    let view = server
        .get(&format!("/view?filename={name}&subfolder=mine&type=input"))
        .await;
    assert_eq!(
        (view.status, view.header("content-type")),
        (200, Some("image/png"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_names_and_no_paths() {
    let server = start().await;
    for name in [
        "../queue.db",
        "..%2Fqueue.db",
        "/etc/passwd",
        "%2e%2e/settings.json",
        "queue.db",
        "x.svg",
        "",
    ] {
        for kind in ["output", "input", "temp"] {
            let answer = server
                .get(&format!("/view?filename={name}&type={kind}&subfolder=.."))
                .await;
            assert_eq!(answer.status, 404, "{name}: {}", answer.text());
        }
    }
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>";
    assert_eq!(upload(&server, "x.png", svg, &[]).await.status, 400);
    assert_eq!(
        upload(&server, &"x".repeat(500), &png(8, 8), &[])
            .await
            .status,
        400
    );
    // What is hidden behind a picture does not come back, whatever the name says.
    let mut file = png(8, 8);
    file.extend_from_slice(b"<script>alert(1)</script>");
    let told = upload(&server, "x.html", &file, &[]).await.expect(200);
    for name in [told["name"].as_str().expect("a name"), "x.html"] {
        let back = server
            .get(&format!("/view?filename={name}&type=input"))
            .await;
        assert_eq!(
            (back.status, back.header("content-type")),
            (200, Some("image/png"))
        );
        assert!(!back.body.windows(8).any(|w| w == b"<script>"));
    }
    let mut graph = graph();
    graph["5"] =
        json!({"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}});
    for name in [
        "../../etc/passwd",
        "http://127.0.0.1:1/x.png",
        "nothing.png",
    ] {
        graph["1"] = json!({"class_type": "LoadImage", "inputs": {"image": name}});
        let told = send(&server, &graph).await.expect(400);
        assert_eq!(
            told["node_errors"]["1"]["errors"][0]["extra_info"]["input_name"], "image",
            "{told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn graphs_and_files_belong_to_their_user() {
    let users = ["ann:one", "bob:two"].map(|user| User::parse(user).expect("a user"));
    let server = start_with(|c| c.users = users.to_vec()).await;
    let json = ("content-type", "application/json");
    let (ann, bob) = (
        ("authorization", "Bearer one"),
        ("authorization", "Bearer two"),
    );
    let body = json!({"prompt": graph(), "prompt_id": "mine"}).to_string();
    server
        .send("POST", "/prompt", &[ann, json], body.as_bytes())
        .await
        .expect(200);
    let began = Instant::now();
    let own = loop {
        let told = server
            .send("GET", "/history/mine", &[ann], b"")
            .await
            .expect(200);
        if let Some(own) = told.get("mine") {
            break own.clone();
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let job = server
        .send("GET", "/api/v1/jobs", &[ann], b"")
        .await
        .expect(200)["jobs"][0]["id"]
        .clone();
    for id in ["mine", job.as_str().expect("an id")] {
        let told = server
            .send("GET", &format!("/history/{id}"), &[bob], b"")
            .await
            .expect(200);
        assert_eq!(told, json!({}));
    }
    assert_eq!(
        server
            .send("GET", "/history", &[bob], b"")
            .await
            .expect(200),
        json!({})
    );
    let name = own["outputs"]["9"]["images"][0]["filename"]
        .as_str()
        .expect("a name");
    for (who, status) in [(ann, 200), (bob, 404)] {
        let view = server
            .send("GET", &format!("/view?filename={name}"), &[who], b"")
            .await;
        assert_eq!(view.status, status);
    }
    for path in [
        "/prompt",
        "/history",
        "/queue",
        "/view?filename=x",
        "/object_info",
        "/system_stats",
        "/ws",
        "/api/queue",
    ] {
        assert_eq!(server.get(path).await.status, 401, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_browser_needs_no_type() {
    let server = start_with(|c| c.paused = true).await;
    let body = json!({"prompt": graph()}).to_string();
    let own = format!("http://{}", server.address);
    let answer = server.send("POST", "/prompt", &[], body.as_bytes()).await;
    answer.expect(200);
    for headers in [
        vec![("origin", own.as_str())],
        vec![("sec-fetch-site", "same-origin")],
        vec![("sec-fetch-mode", "no-cors")],
        vec![("content-type", "text/plain")],
    ] {
        let answer = server
            .send("POST", "/prompt", &headers, body.as_bytes())
            .await;
        assert_eq!(answer.status, 415, "{headers:?}");
    }
    let evil = [
        ("origin", "https://evil.org"),
        ("content-type", "application/json"),
    ];
    for path in [
        "/prompt",
        "/api/prompt",
        "/interrupt",
        "/queue",
        "/upload/image",
        "/free",
    ] {
        server
            .send("POST", path, &evil, body.as_bytes())
            .await
            .refused(403, "origin_refused");
    }
}
