//! OpenAI's interface.

use crate::common::{Answer, Running, png, start, start_with};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};
use latent_serve::User;
use serde_json::{Value, json};

async fn generate(server: &Running, more: Value) -> Answer {
    let mut body = json!({"prompt": "a red apple", "size": "16x16", "steps": 2, "seed": 1});
    body.as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    server.post("/v1/images/generations", &body).await
}

fn picture(value: &Value) -> Vec<u8> {
    BASE64_STANDARD
        .decode(value["b64_json"].as_str().expect("a text"))
        .expect("base64")
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_in_base64() {
    let server = start().await;
    let answer = generate(&server, json!({"model": "gpt-image-1", "n": 2, "response_format": "b64_json", "quality": "auto", "user": "me", "moderation": "low"})).await.expect(200);
    assert!(
        answer["created"]
            .as_i64()
            .is_some_and(|created| created > 1_000_000_000)
    );
    assert_eq!(
        (
            &answer["size"],
            &answer["output_format"],
            &answer["background"]
        ),
        (&json!("16x16"), &json!("png"), &json!("opaque"))
    );
    assert!(answer["usage"]["output_tokens_details"].is_object());
    let data = answer["data"].as_array().expect("a list");
    assert!(data.len() == 2 && picture(&data[0]).starts_with(b"\x89PNG") && data[0] != data[1]);
    assert_eq!(answer["safety_identifier"], "me");
    let cut = json!({"background": "transparent", "safety_identifier": "you"});
    let cut = generate(&server, cut).await.expect(200);
    assert_eq!(
        (&cut["background"], &cut["safety_identifier"]),
        (&json!("transparent"), &json!("you"))
    );
    let png = image::load_from_memory(&picture(&cut["data"][0])).expect("a picture");
    assert!(png.color().has_alpha());
    let jpeg = generate(
        &server,
        json!({"output_format": "jpeg", "output_compression": 50}),
    )
    .await
    .expect(200);
    assert!(picture(&jpeg["data"][0]).starts_with(b"\xFF\xD8"));
    let quality = server
        .post(
            "/v1/images/generations",
            &json!({"prompt": "x", "quality": "low"}),
        )
        .await
        .expect(200);
    assert_eq!(quality["quality"], "low");
    let job = server.get("/api/v1/images?limit=1").await.expect(200);
    assert_eq!(job["images"][0]["steps"], 10, "half of the model's steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_needs_no_key_and_ends() {
    let users = vec![User::parse("ann:one").expect("a user")];
    let server = start_with(|c| c.users = users).await;
    let body =
        json!({"prompt": "x", "size": "16x16", "steps": 1, "response_format": "url"}).to_string();
    let headers = [
        ("content-type", "application/json"),
        ("authorization", "Bearer one"),
    ];
    let answer = server
        .send("POST", "/v1/images/generations", &headers, body.as_bytes())
        .await
        .expect(200);
    let url = answer["data"][0]["url"].as_str().expect("an address");
    let path = url
        .strip_prefix(&format!("http://{}", server.address))
        .expect("absolute");
    let cross = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
    ];
    let file = server.send("GET", path, &cross, b"").await;
    assert_eq!(
        (file.status, file.header("content-type")),
        (200, Some("image/png"))
    );
    assert_eq!(file.header("cross-origin-resource-policy"), None);
    server
        .get("/files/0123456789abcdef0123456789abcdef")
        .await
        .refused(404, "not_found");
    let short = start_with(|c| c.limits.link = std::time::Duration::ZERO).await;
    let answer = generate(&short, json!({"response_format": "url"}))
        .await
        .expect(200);
    let url = answer["data"][0]["url"].as_str().expect("an address");
    let path = url.split_once("/files/").expect("a path").1;
    assert_eq!(short.get(&format!("/files/{path}")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_theirs() {
    let server = start().await;
    for (more, status, param) in [
        (json!({"prompt": ""}), 400, "prompt"),
        (json!({"n": 0}), 400, "n"),
        (json!({"size": "huge"}), 400, "size"),
        (json!({"background": "blue"}), 400, "background"),
        (
            json!({"background": "transparent", "output_format": "jpeg"}),
            400,
            "output_format",
        ),
        (json!({"sampler": "none"}), 400, "sampler"),
        (json!({"steps": 100_000}), 400, "steps"),
        (json!({"model": "none"}), 404, "model"),
    ] {
        let answer = generate(&server, more.clone()).await;
        let error = &answer.expect(status)["error"];
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!(param), &json!("invalid_request_error")),
            "{more}"
        );
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert!(error["message"].is_string() && error["code"].is_string());
    }
    let missing = generate(&server, json!({"model": "none"})).await.json();
    assert_eq!(missing["error"]["code"], "model_not_found");
    let failed = generate(&server, json!({"prompt": "fail"})).await;
    assert_eq!(failed.expect(500)["error"]["type"], "server_error");
    assert!(server.get("/v1/nothing").await.expect(404)["error"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn models() {
    let server = start().await;
    let list = server.get("/v1/models").await.expect(200);
    assert_eq!(
        (&list["object"], &list["data"][0]["id"]),
        (&json!("list"), &json!("tiny"))
    );
    assert_eq!(
        server.get("/v1/models/dall-e-3").await.expect(200)["id"],
        "tiny"
    );
    assert_eq!(
        server
            .get("/v1/models/sub%2Fother.safetensors")
            .await
            .expect(200)["object"],
        "model"
    );
    server.get("/v1/models/none").await.expect(404);
}

fn events(answer: &Answer) -> Vec<Value> {
    let text = answer.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_previews_and_ends_with_the_picture() {
    let server = start().await;
    let answer = generate(
        &server,
        json!({"stream": true, "partial_images": 2, "steps": 1000}),
    )
    .await;
    let events = events(&answer);
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["type"].as_str().expect("a type"))
        .collect();
    let (last, previews) = kinds.split_last().expect("events");
    assert_eq!(*last, "image_generation.completed");
    assert!(
        (1..=2).contains(&previews.len())
            && previews
                .iter()
                .all(|kind| *kind == "image_generation.partial_image"),
        "{kinds:?}"
    );
    assert_eq!(events[0]["partial_image_index"], 0);
    assert!(
        picture(events.last().expect("one")).starts_with(b"\x89PNG")
            && events.last().expect("one")["usage"].is_object()
    );
    let none = generate(&server, json!({"stream": true})).await;
    assert_eq!(self::events(&none).len(), 1);
    let failed = self::events(&generate(&server, json!({"stream": true, "prompt": "fail"})).await);
    assert_eq!(
        (failed.len(), &failed[0]["error"]["code"]),
        (1, &json!("network_failed"))
    );
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parts {
        body.extend_from_slice(
            format!(
                "--b\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"x\"\r\n\r\n"
            )
            .as_bytes(),
        );
        body.extend_from_slice(value);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

async fn edit(server: &Running, parts: &[(&str, &[u8])]) -> Answer {
    let kind = [("content-type", "multipart/form-data; boundary=b")];
    server
        .send("POST", "/v1/images/edits", &kind, &form(parts))
        .await
}

fn hole(width: u32) -> Vec<u8> {
    let picture = RgbaImage::from_fn(width, 16, |x, _| {
        Rgba([1, 2, 3, if x < 8 { 0 } else { 255 }])
    });
    let mut file = Vec::new();
    let to = &mut std::io::Cursor::new(&mut file);
    DynamicImage::ImageRgba8(picture)
        .write_to(to, ImageFormat::Png)
        .expect("encoded");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn edits() {
    let server = start().await;
    let (picture, mask) = (png(16, 16), hole(16));
    let base: Vec<(&str, &[u8])> = vec![
        ("prompt", b"an apple"),
        ("size", b"16x16"),
        ("steps", b"1"),
        ("seed", b"4"),
        ("model", b"gpt-image-1"),
    ];
    let with = |more: Vec<(&'static str, &[u8])>| -> Vec<(&str, Vec<u8>)> {
        base.iter()
            .copied()
            .chain(more)
            .map(|(name, value)| (name, value.to_vec()))
            .collect()
    };
    let send = async |parts: Vec<(&str, Vec<u8>)>| {
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, value)| (*name, value.as_slice()))
            .collect();
        edit(&server, &parts).await
    };
    let plain = send(with(vec![("image[]", &picture)])).await.expect(200);
    let masked = send(with(vec![("image", &picture), ("mask", &mask)]))
        .await
        .expect(200);
    let own = send(with(vec![("image", &mask)])).await.expect(200);
    assert!(plain["data"] != masked["data"] && masked["data"] != own["data"]);
    let jobs = server.get("/api/v1/jobs").await.expect(200);
    let starts = async |n: usize| {
        let id = jobs["jobs"][n]["id"].as_str().expect("an id").to_owned();
        server.get(&format!("/api/v1/jobs/{id}")).await.expect(200)["request"]["start"].clone()
    };
    assert!(starts(2).await["mask"].is_null() && starts(2).await["strength"] == 0.75);
    assert!(starts(1).await["mask"].is_string() && starts(0).await["mask"].is_string());
    let (wrong_size, opaque) = (hole(20), png(16, 16));
    for (parts, param) in [
        (with(vec![]), "image"),
        (with(vec![("image", b"x")]), "image"),
        (
            with(vec![("image[]", &picture), ("image[]", &picture)]),
            "image",
        ),
        (
            with(vec![("image", &picture), ("mask", &wrong_size)]),
            "mask",
        ),
        (with(vec![("image", &picture), ("mask", &opaque)]), "mask"),
    ] {
        assert_eq!(send(parts).await.expect(400)["error"]["param"], param);
    }
    let stream = send(with(vec![("image", &picture), ("stream", b"true")])).await;
    assert_eq!(events(&stream)[0]["type"], "image_edit.completed");
}
