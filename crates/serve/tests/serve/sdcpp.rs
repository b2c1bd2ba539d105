//! stable-diffusion.cpp's asynchronous interface.

use std::time::Duration;

use crate::common::{Running, png, start, start_with};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

fn request(more: Value) -> Value {
    let mut body = json!({"prompt": "a red apple", "width": 16, "height": 16, "seed": 42, "batch_count": 1, "output_format": "png",
        "sample_params": {"sample_steps": 2, "sample_method": "euler_a", "scheduler": "discrete", "guidance": {"txt_cfg": 7.0}}});
    body.as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    body
}

async fn submit(server: &Running, more: Value) -> String {
    let job = server
        .post("/sdcpp/v1/img_gen", &request(more))
        .await
        .expect(202);
    let id = job["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        (&job["kind"], &job["status"], &job["poll_url"]),
        (
            &json!("img_gen"),
            &json!("queued"),
            &json!(format!("/sdcpp/v1/jobs/{id}"))
        )
    );
    id
}

async fn show(server: &Running, id: &str) -> Value {
    let job = server
        .get(&format!("/sdcpp/v1/jobs/{id}"))
        .await
        .expect(200);
    for key in [
        "id",
        "kind",
        "status",
        "created",
        "started",
        "completed",
        "queue_position",
        "result",
        "error",
    ] {
        assert!(job.get(key).is_some(), "{key}");
    }
    job
}

async fn finish(server: &Running, more: Value) -> Value {
    let id = submit(server, more).await;
    server.ended(&id).await;
    show(server, &id).await
}

async fn cancel(server: &Running, id: &str) -> Value {
    server
        .send("POST", &format!("/sdcpp/v1/jobs/{id}/cancel"), &[], b"")
        .await
        .expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_their_formats() {
    let server = start().await;
    let done = finish(&server, json!({"batch_count": 3})).await;
    assert_eq!(
        (&done["status"], &done["error"], &done["queue_position"]),
        (&json!("completed"), &Value::Null, &json!(0))
    );
    let images = done["result"]["images"].as_array().expect("a list");
    assert_eq!(
        images
            .iter()
            .map(|image| image["index"].as_u64())
            .collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    let times = ["created", "started", "completed"].map(|key| done[key].as_i64().expect("a time"));
    assert!(times.is_sorted(), "{times:?}");
    for (format, start) in [("jpeg", &b"\xFF\xD8"[..]), ("webp", b"RIFF")] {
        let done = finish(&server, json!({"output_format": format})).await;
        assert_eq!(done["result"]["output_format"], format);
        let file = BASE64_STANDARD
            .decode(
                done["result"]["images"][0]["b64_json"]
                    .as_str()
                    .expect("a text"),
            )
            .expect("base64");
        assert!(file.starts_with(start));
    }
    let empty = json!({"init_image": null, "mask_image": null, "control_image": null, "ip_adapter_image": null, "ref_images": [], "lora": [], "clip_skip": -1,
        "strength": 0.75, "embed_image_metadata": true, "cache_mode": "disabled", "cache_option": "", "scm_mask": "", "output_compression": 100,
        "hires": {"enabled": false, "upscaler": "Latent", "scale": 2.0}, "vae_tiling_params": {"enabled": false}});
    assert_eq!(finish(&server, empty).await["status"], "completed");
    let given = BASE64_STANDARD.encode(png(16, 16));
    let masked = finish(&server, json!({"init_image": format!("data:image/png;base64,{given}"), "mask_image": given, "strength": 1.0})).await;
    assert_eq!(masked["status"], "completed");
    let large = finish(&server, json!({"hires": {"enabled": true, "upscaler": "Latent", "scale": 2.0, "denoising_strength": 0.7}})).await;
    let file = BASE64_STANDARD
        .decode(
            large["result"]["images"][0]["b64_json"]
                .as_str()
                .expect("a text"),
        )
        .expect("base64");
    assert_eq!(
        image::load_from_memory(&file).expect("a picture").width(),
        32
    );
    let failed = finish(&server, json!({"prompt": "fail"})).await;
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("network_failed"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn places_cancelling_and_a_full_queue() {
    let server = start_with(|c| c.limits.sdcpp_queue = 3).await;
    let long = json!({"sample_params": {"sample_steps": 1000}, "batch_count": 4});
    let first = submit(&server, long).await;
    server.until(&first, |job| job["state"] == "running").await;
    let mut waiting = Vec::new();
    for seed in 1..=3 {
        waiting.push(submit(&server, json!({"seed": seed})).await);
    }
    let place = async |id: &str| show(&server, id).await["queue_position"].as_u64();
    assert_eq!(
        (place(&waiting[0]).await, place(&waiting[2]).await),
        (Some(1), Some(3))
    );
    let full = server.post("/sdcpp/v1/img_gen", &request(json!({}))).await;
    assert!(full.expect(429)["error"].is_string());
    let cancelled = cancel(&server, &waiting[1]).await;
    assert_eq!(
        (
            &cancelled["status"],
            &cancelled["error"]["code"],
            &cancelled["result"]
        ),
        (&json!("cancelled"), &json!("cancelled"), &Value::Null)
    );
    assert_eq!(place(&waiting[2]).await, Some(2));
    cancel(&server, &first).await;
    server.ended(&first).await;
    assert_eq!(show(&server, &first).await["status"], "cancelled");
    for id in [&waiting[0], &waiting[2]] {
        assert_eq!(server.ended(id).await["state"], "done");
        assert_eq!(cancel(&server, id).await["status"], "completed");
        assert!(show(&server, id).await["result"]["images"].is_array());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_what_is_too_old() {
    let server = start_with(|c| c.limits.sdcpp_kept = Duration::from_millis(50)).await;
    for (more, word) in [
        (json!({"output_format": "tiff"}), "output_format"),
        (
            json!({"sample_params": {"sample_method": "nothing"}}),
            "sampler",
        ),
        (json!({"sample_params": {"sample_steps": -3}}), "steps"),
        (json!({"control_image": "eA=="}), "control_image"),
        (json!({"width": "x"}), "width"),
        (json!({"mask_image": "eA=="}), "mask_image"),
        (json!({"init_image": "/etc/passwd."}), "init_image"),
    ] {
        let answer = server.post("/sdcpp/v1/img_gen", &request(more)).await;
        let body = answer.expect(400);
        assert!(
            body["error"].is_string() && answer.text().contains(word),
            "{word}: {body}"
        );
    }
    let raw = [
        ("content-type", "application/json"),
        ("content-length", "0"),
    ];
    assert!(
        server
            .send("POST", "/sdcpp/v1/img_gen", &raw, b"")
            .await
            .expect(400)["error"]
            .is_string()
    );
    server.get("/sdcpp/v1/jobs/job_none").await.expect(404);
    server
        .send("POST", "/sdcpp/v1/jobs/job_none/cancel", &[], b"")
        .await
        .expect(404);
    server
        .post("/sdcpp/v1/vid_gen", &json!({}))
        .await
        .expect(501);
    let id = submit(&server, json!({})).await;
    server.ended(&id).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server
        .get(&format!("/sdcpp/v1/jobs/{id}"))
        .await
        .expect(410);
    let can = server.get("/sdcpp/v1/capabilities").await.expect(200);
    for key in "model current_mode supported_modes defaults defaults_by_mode output_formats output_formats_by_mode features features_by_mode samplers schedulers loras upscalers limits".split(' ') {
        assert!(can.get(key).is_some(), "{key}");
    }
    assert_eq!(
        can["features_by_mode"]["img_gen"]["cancel_generating"],
        true
    );
}
